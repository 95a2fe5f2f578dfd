"""PSICOV: the release is read as documented, expanded as documented, and scored by PDNET's MAE_8."""

from __future__ import annotations

import math
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Record, Store, write_store
from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks import psicov
from pare_tune.tasks.psicov import PSICOV, mae_8
from pare_tune.tasks.samples.proteins import write_sample

NUM_DEEPCOV, NUM_PSICOV = 19, 5


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release")
    write_sample(root, 0, num_deepcov=NUM_DEEPCOV, num_psicov=NUM_PSICOV)
    return root


@pytest.fixture(scope="module")
def record(release: Path) -> Record:
    return next(iter(psicov.read(release, 0)["test"]))


@pytest.fixture
def damaged(release: Path, tmp_path: Path) -> Path:
    shutil.copytree(release, tmp_path / "release")
    return tmp_path / "release"


def made_record(length: int, seed: int = 0) -> Record:
    rng = np.random.default_rng(seed)
    shapes = {"ss": (3, length), "pssm": (length, 22), "sa": (length,), "entropy": (length,)}
    shapes |= dict.fromkeys(("ccmpred", "freecon", "potential", "dist"), (length, length))
    return {name: rng.uniform(1, 40, shape).astype(np.float16) for name, shape in shapes.items()}


def expanded(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """The documented expansion by plain loops, with its border: x (57, l + 10, l + 10) and y (l + 10, l + 10)."""
    length = len(record["sa"])
    vectors = [*record["ss"], *(record["pssm"][:, k] for k in range(22)), record["sa"], record["entropy"]]
    channels = []
    for vector in vectors:
        repeated = np.zeros((length, length))
        for row in range(length):
            for column in range(length):
                repeated[row, column] = vector[column]
        channels += [repeated, repeated.T]
    channels += [record["ccmpred"], record["freecon"], record["potential"]]
    x = np.zeros((57, length + 10, length + 10))
    for index, channel in enumerate(channels):
        x[index, 5:-5, 5:-5] = channel
    y = np.full((length + 10, length + 10), 100.0)
    y[5:-5, 5:-5] = record["dist"]
    return x, y


class TestRead:
    def test_a_small_release_gives_a_fifth_of_deepcov_to_validation(self, release: Path) -> None:
        sizes = {split: len(list(records)) for split, records in psicov.read(release, 0).items()}
        assert sizes == {"train": 16, "val": 3, "test": 5}

    def test_the_real_lists_give_the_split_of_nas_bench_360(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "deepcov.lst").write_text("".join(f"d{i} {i}\n" for i in range(3456)))
        (tmp_path / "psicov.lst").write_text("".join(f"p{i}\n" for i in range(150)))
        splits = names_read(monkeypatch, tmp_path, 0)
        assert {k: len(v) for k, v in splits.items()} == {"train": 3356, "val": 100, "test": 150}
        assert len(set().union(*splits.values())) == 3606
        assert names_read(monkeypatch, tmp_path, 0) == splits
        assert set(names_read(monkeypatch, tmp_path, 1)["val"]) != set(splits["val"])

    def test_a_protein_of_the_test_list_is_never_trained_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "deepcov.lst").write_text("".join(f"p{i}\n" for i in range(20)) + "p0\n")
        (tmp_path / "psicov.lst").write_text("p3\np7\n\n")
        splits = names_read(monkeypatch, tmp_path, 0)
        assert splits["test"] == ["p3", "p7"]
        assert sorted(splits["train"] + splits["val"]) == sorted({f"p{i}" for i in range(20)} - {"p3", "p7"})

    def test_the_root_may_be_the_protein_folder_itself(self, release: Path) -> None:
        ours, theirs = (next(iter(psicov.read(r, 0)["val"])) for r in (release, release / "protein"))
        np.testing.assert_array_equal(ours["dist"], theirs["dist"])

    def test_features_are_those_of_the_files_and_lose_nothing(self, release: Path, record: Record) -> None:
        name = (release / "protein/psicov.lst").read_text().split()[0]
        with (release / f"protein/psicov/features/{name}.pkl").open("rb") as file:
            features = pickle.load(file)
        for key in ("ss", "pssm", "sa", "entropy", "ccmpred", "freecon", "potential"):
            assert record[key].dtype == np.float16
            np.testing.assert_array_equal(record[key], features[key])

    def test_distances_are_cleaned(self, damaged: Path) -> None:
        path = first_file(damaged, "distance/*-cb.npy")
        length, sequence, dist = np.load(path, allow_pickle=True)
        dist[3, 4] = dist[4, 3] = 0.2
        save_triple(path, length, sequence, dist)
        got = next(iter(psicov.read(damaged, 0)["test"]))["dist"].astype(np.float64)
        dist = dist.astype(np.float64)
        assert got[3, 4] == got[4, 3] == 1.0
        assert got[0, 0] == dist[0, 1]
        assert got[-1, -1] == dist[-1, -2]
        for i in (1, 4, len(dist) - 2):
            mean = (max(dist[i, i - 1], 1) + max(dist[i, i + 1], 1)) / 2
            assert got[i, i] == pytest.approx(mean, abs=2e-3)
        away = ~np.eye(len(dist), dtype=bool) & (dist >= 1)
        np.testing.assert_array_equal(got[away], dist[away])

    def test_records_survive_the_store(self, release: Path, tmp_path: Path) -> None:
        records = list(psicov.read(release, 0)["train"])
        write_store(tmp_path / "train.arrow", records, ragged=PSICOV.ragged)
        store = Store(tmp_path / "train.arrow")
        assert len({len(r["sa"]) for r in records}) > 3, "lengths differ"
        for index, want in enumerate(records):
            for name, value in want.items():
                np.testing.assert_array_equal(store[index][name], value, strict=True)
        x = psicov.item(store[0], 64, None)["x"]
        np.testing.assert_array_equal(x, psicov.item(records[0], 64, None)["x"])


class TestBrokenReleases:
    def test_a_folder_without_the_release_says_where_it_is_found(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no protein/deepcov\.lst in .*https://"):
            psicov.read(tmp_path, 0)

    @pytest.mark.parametrize("pattern", ["features/*.pkl", "distance/*-cb.npy"])
    def test_a_missing_protein_is_named_before_anything_is_read(self, damaged: Path, pattern: str) -> None:
        path = first_file(damaged, pattern)
        path.unlink()
        with pytest.raises(DataError, match=rf"{path.name} is missing; unpack .*https://"):
            psicov.read(damaged, 0)

    def test_a_missing_list_is_named(self, damaged: Path) -> None:
        (damaged / "protein/psicov.lst").unlink()
        with pytest.raises(DataError, match=r"psicov\.lst cannot be read as text"):
            psicov.read(damaged, 0)

    def test_too_few_proteins_to_validate_on_say_so(self, damaged: Path) -> None:
        (damaged / "protein/deepcov.lst").write_text("s000A\ns001A\n")
        with pytest.raises(DataError, match=r"deepcov\.lst needs at least 5 proteins"):
            psicov.read(damaged, 0)

    @pytest.mark.parametrize(
        ("name", "index", "value", "message"),
        [
            ("pssm", (2, 21), np.nan, r"pssm must be finite, found nan at index \[2, 21\]"),
            ("ccmpred", (1, 0), np.inf, r"ccmpred must be finite, found inf at index \[1, 0\]"),
            ("sa", (3,), 101, r"sa must lie in \[-100, 100\], found 101.0 at index \[3\]"),
        ],
    )
    def test_a_bad_feature_is_named_with_its_file_and_place(
        self, damaged: Path, name: str, index: tuple[int, ...], value: float, message: str
    ) -> None:
        path = first_file(damaged, "features/*.pkl")
        features = load(path)
        features[name][index] = value
        save(path, features)
        with pytest.raises(DataError, match=rf"{path.name}: {message}"):
            list(psicov.read(damaged, 0)["test"])

    def test_features_of_another_shape_or_kind_are_named(self, damaged: Path) -> None:
        path = first_file(damaged, "features/*.pkl")
        features = load(path)
        length = len(features["seq"])
        save(path, features | {"ss": features["ss"].T})
        with pytest.raises(DataError, match=rf"ss must have shape \(3, {length}\), found \({length}, 3\)"):
            list(psicov.read(damaged, 0)["test"])
        save(path, {k: v for k, v in features.items() if k != "freecon"})
        with pytest.raises(DataError, match="freecon must be an array, found NoneType"):
            list(psicov.read(damaged, 0)["test"])
        save(path, [features])
        with pytest.raises(DataError, match="must hold a dict"):
            list(psicov.read(damaged, 0)["test"])

    def test_a_map_of_another_protein_is_named(self, damaged: Path) -> None:
        path = first_file(damaged, "distance/*-cb.npy")
        length, sequence, dist = np.load(path, allow_pickle=True)
        save_triple(path, length - 1, sequence[1:], dist[1:, 1:])
        with pytest.raises(
            DataError, match=rf"{path.name}: its length is {length - 1}, .* have {length} residues"
        ):
            list(psicov.read(damaged, 0)["test"])

    @pytest.mark.parametrize("value", [np.nan, -1.0, 600.0])
    def test_an_impossible_distance_is_named(self, damaged: Path, value: float) -> None:
        path = first_file(damaged, "distance/*-cb.npy")
        length, sequence, dist = np.load(path, allow_pickle=True)
        dist[5, 9] = value
        save_triple(path, length, sequence, dist)
        with pytest.raises(
            DataError, match=rf"distances must lie in \[0, 500\], found {value} at index \[5, 9\]"
        ):
            list(psicov.read(damaged, 0)["test"])

    def test_a_pickle_that_runs_code_is_refused(self, damaged: Path) -> None:
        class Harmful:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.system, ("exit 1",)

        path = first_file(damaged, "features/*.pkl")
        save(path, load(path) | {"sa": Harmful()})
        with pytest.raises(UnsafePickle, match=path.name):
            list(psicov.read(damaged, 0)["test"])


class TestItem:
    @pytest.mark.parametrize("canvas", [64, 80, None])
    def test_a_protein_that_fits_is_laid_top_left(self, record: Record, canvas: int | None) -> None:
        x, y = expanded(record)
        side = canvas or len(x[0])
        item = psicov.item(record, canvas, None)
        assert item["x"].shape == (57, side, side)
        assert item["x"].dtype == item["y"].dtype == np.float32
        np.testing.assert_array_equal(item["x"][:, : len(y), : len(y)], x)
        np.testing.assert_array_equal(item["y"][: len(y), : len(y)], y)
        assert not item["x"][:, len(y) :].any()
        assert not item["x"][:, :, len(y) :].any()
        assert (item["y"][len(y) :] == 100).all()
        assert (item["y"][:, len(y) :] == 100).all()
        assert item["length"] == len(record["sa"])
        assert item["length"].dtype == np.int64

    def test_targets_are_cut_off_in_training_only(self, record: Record) -> None:
        seen, true = (psicov.item(record, 64, rng)["y"] for rng in (np.random.default_rng(0), None))
        assert true.max() == 100
        np.testing.assert_array_equal(seen, np.minimum(true, 16))

    def test_evaluation_shows_the_top_left_window(self) -> None:
        record = made_record(40)
        x, y = expanded(record)
        item = psicov.item(record, 24, None)
        np.testing.assert_array_equal(item["x"], x[:, :24, :24])
        np.testing.assert_array_equal(item["y"], y[:24, :24])
        assert item["length"] == 19, "the border takes 5 of 24"

    @pytest.mark.parametrize("canvas", [24, 48, 49])
    def test_training_shows_every_window_rows_and_columns_apart(self, canvas: int) -> None:
        record = made_record(40)
        x, y = expanded(record)
        starts = set()
        for seed in range(60):
            item = psicov.item(record, canvas, np.random.default_rng(seed))
            top, left = found = where(item["x"], x, canvas)
            np.testing.assert_array_equal(item["x"], x[:, top : top + canvas, left : left + canvas])
            np.testing.assert_array_equal(
                item["y"], np.minimum(y[top : top + canvas, left : left + canvas], 16)
            )
            assert item["length"] == (min(40, canvas - 5) if found == (0, 0) else 0)
            starts.add(found)
        highest = 50 - canvas
        assert all(0 <= n <= highest for start in starts for n in start)
        assert any(top != left for top, left in starts)
        if highest <= 2:
            assert len(starts) == (highest + 1) ** 2, "every window is reached, the last one too"

    def test_the_same_generator_state_gives_the_same_window(self) -> None:
        one, two = (psicov.item(made_record(40), 24, np.random.default_rng(7)) for _ in range(2))
        np.testing.assert_array_equal(one["x"], two["x"])

    def test_a_protein_that_just_fits_is_not_cut(self) -> None:
        item = psicov.item(made_record(30), 40, np.random.default_rng(0))
        np.testing.assert_array_equal(item["x"], expanded(made_record(30))[0])
        assert item["length"] == 30


def by_hand(prediction: np.ndarray, y: np.ndarray, lengths: list[int]) -> float:
    """MAE_8 pair by pair."""
    means = []
    for p, t, length in zip(prediction.astype(np.float64), y.astype(np.float64), lengths, strict=True):
        average = np.maximum((p + p.T) / 2, 0.01)
        errors = []
        for i in range(length):
            for j in range(length):
                if j - i >= 24 and t[i + 5, j + 5] <= 8:
                    errors.append(abs(t[i + 5, j + 5] - average[i + 5, j + 5]))
        if errors:
            means.append(sum(errors) / len(errors))
    return sum(means) / len(means) if means else math.inf


def batch(lengths: list[int], side: int = 48, seed: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(seed)
    y = np.full((len(lengths), side, side), 100.0, np.float32)
    for row, length in zip(y, lengths, strict=True):
        half = rng.uniform(3, 15, (length, length))
        row[5 : 5 + length, 5 : 5 + length] = (half + half.T) / 2
    prediction = rng.uniform(-2, 16, y.shape).astype(np.float32)
    return torch.from_numpy(prediction), {"y": torch.from_numpy(y), "length": torch.tensor(lengths)}


class TestMae8:
    @pytest.mark.parametrize("lengths", [[38], [30, 38, 26], [25, 24, 30], [38, 10, 31]])
    def test_equals_the_plain_loop(self, lengths: list[int]) -> None:
        prediction, truth = batch(lengths)
        assert mae_8(prediction, truth) == pytest.approx(
            by_hand(prediction.numpy(), truth["y"].numpy(), lengths), rel=1e-6
        )

    def test_each_protein_counts_once_and_for_its_own_length(self) -> None:
        prediction, truth = batch([38, 26])
        apart = [mae_8(prediction[i : i + 1], {k: v[i : i + 1] for k, v in truth.items()}) for i in range(2)]
        assert mae_8(prediction, truth) == pytest.approx(sum(apart) / 2)
        assert mae_8(prediction, truth | {"length": torch.tensor([38, 38])}) == pytest.approx(
            sum(apart) / 2
        ), "beyond a protein's end the target is far, which does not count"

    def test_the_transpose_counts_as_much(self) -> None:
        prediction, truth = batch([38])
        assert mae_8(prediction, truth) == pytest.approx(mae_8(prediction.mT, truth))

    def test_only_close_pairs_far_along_the_chain_count(self) -> None:
        _, truth = batch([38])
        prediction = truth["y"].clone()
        assert mae_8(prediction, truth) == 0
        near = (torch.arange(48) - torch.arange(48)[:, None]).abs() < 24
        prediction[:, near] = 50.0
        prediction[truth["y"] > 8] = 50.0
        assert mae_8(prediction, truth) == 0
        p, q = ((truth["y"][0] <= 8) & ~near).nonzero()[0].tolist()
        prediction[0, p, q] += 1
        assert mae_8(prediction, truth) > 0

    def test_pairs_exactly_24_apart_and_8_apart_count(self) -> None:
        y = torch.full((1, 40, 40), 100.0)
        y[0, 5, 29] = y[0, 29, 5] = 8.0
        truth = {"y": y, "length": torch.tensor([30])}
        assert mae_8(torch.full_like(y, 5.0), truth) == pytest.approx(3.0)
        assert mae_8(torch.full_like(y, 5.0), truth | {"length": torch.tensor([24])}) == math.inf

    def test_predictions_are_kept_at_a_hundredth(self) -> None:
        y = torch.full((1, 40, 40), 100.0)
        y[0, 5, 30] = y[0, 30, 5] = 6.0
        assert mae_8(torch.full_like(y, -9.0), {"y": y, "length": torch.tensor([30])}) == pytest.approx(5.99)

    def test_without_any_pair_it_is_infinite(self) -> None:
        prediction, truth = batch([20, 24])
        assert mae_8(prediction, truth) == math.inf

    def test_a_diverged_prediction_is_not_hidden(self) -> None:
        prediction, truth = batch([38, 30])
        assert math.isnan(mae_8(torch.full_like(prediction, math.nan), truth))
        prediction[:, :5] = math.nan  # the border is not scored
        assert math.isfinite(mae_8(prediction, truth))

    def test_a_cropped_protein_is_scored_on_the_residues_it_shows(self) -> None:
        items = [psicov.item(made_record(60, seed), 48, None) for seed in range(3)]
        truth = {k: torch.from_numpy(np.stack([i[k] for i in items])) for k in ("y", "length")}
        prediction = torch.from_numpy(np.random.default_rng(1).uniform(0, 16, (3, 48, 48)).astype(np.float32))
        dists = [made_record(60, seed)["dist"][:43, :43] for seed in range(3)]
        errors = [
            np.mean(
                [
                    abs(float(d[i, j]) - float(0.5 * (p[i + 5, j + 5] + p[j + 5, i + 5])))
                    for i in range(43)
                    for j in range(i + 24, 43)
                    if d[i, j] <= 8
                ]
            )
            for d, p in zip(dists, prediction.numpy(), strict=True)
        ]
        assert mae_8(prediction, truth) == pytest.approx(float(np.mean(errors)), rel=1e-5)

    def test_a_window_from_elsewhere_is_passed_over(self) -> None:
        prediction, truth = batch([38, 30])
        skipped = truth | {"length": torch.tensor([38, 0])}
        assert mae_8(prediction, skipped) == mae_8(prediction[:1], {k: v[:1] for k, v in truth.items()})


def test_the_paper_settings_are_those_of_its_table() -> None:
    paper = PSICOV.paper
    assert (paper.batch_size, paper.accumulation, paper.epochs) == (1, 32, 10)
    assert (paper.optimizer, paper.lr, paper.weight_decay, paper.clip) == ("adam", 5e-6, 1e-5, None)
    assert (paper.warmup_epochs, paper.decay_epochs, paper.source, paper.score) == (5, 100, "voc", 0.99)
    assert (paper.k_start, paper.k_end) == (0.957, 0.0)
    assert (PSICOV.metric.direction, PSICOV.metric.unit, PSICOV.loss) == ("min", "Å", "mse")


def where(window: np.ndarray, x: np.ndarray, canvas: int) -> tuple[int, int]:
    """Where in `x` the window was cut, found by the ccmpred channel."""
    highest = x.shape[-1] - canvas
    starts = [
        (top, left)
        for top in range(highest + 1)
        for left in range(highest + 1)
        if np.array_equal(window[54], x[54, top : top + canvas, left : left + canvas])
    ]
    assert len(starts) == 1
    return starts[0]


def names_read(monkeypatch: pytest.MonkeyPatch, root: Path, seed: int) -> dict[str, list[str]]:
    monkeypatch.setattr(psicov, "require_files", lambda paths, remedy: None)
    monkeypatch.setattr(psicov, "_records", lambda part, names: names)
    return dict(psicov.read(root, seed))  # type: ignore[arg-type]


def first_file(root: Path, pattern: str) -> Path:
    """The file of the first test protein."""
    return min((root / "protein/psicov").glob(pattern))


def load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        features: dict[str, Any] = pickle.load(file)
    return features


def save(path: Path, features: object) -> None:
    with path.open("wb") as file:
        pickle.dump(features, file)


def save_triple(path: Path, length: int, sequence: str, dist: np.ndarray) -> None:
    triple = np.empty(3, dtype=object)
    triple[:] = length, sequence, dist
    np.save(path, triple)


def test_methods_that_are_fitted_to_whole_arrays_learn_the_targets_of_training() -> None:
    assert PSICOV.training_target is not None
    record = made_record(30)
    true, seen = (psicov.item(record, 40, rng)["y"] for rng in (None, np.random.default_rng(0)))
    assert true.max() > psicov.CLIP
    np.testing.assert_array_equal(PSICOV.training_target(true), seen)
