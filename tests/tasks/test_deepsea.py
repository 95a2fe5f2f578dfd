from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data import arrays
from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.base import MultiLabel
from pare_tune.tasks.deepsea import DEEPSEA
from pare_tune.tasks.samples.motifs import FACTORS, FILE, NUM_LABELS, PIONEERS, SPLIT_SIZES, write_sample

SIZES = {"train": 7, "val": 3, "test": 5}

Arrays = dict[str, np.ndarray]


def one_hot(bases: np.ndarray) -> np.ndarray:
    return (bases[..., None] == np.arange(4)).astype(np.uint8)


def arrays_of_a_release() -> Arrays:
    rng = np.random.default_rng(0)
    made: Arrays = {}
    for split, size in SIZES.items():
        bases = rng.integers(0, 4, (size, 1000))
        bases[0, 100:110] = -1  # unknown bases
        made[f"x_{split}"] = one_hot(bases)
        made[f"y_{split}"] = rng.integers(0, 2, (size, 36), dtype=np.uint8)
    return made


@pytest.fixture
def release(tmp_path: Path) -> Path:
    np.savez(tmp_path / FILE, **arrays_of_a_release())
    return tmp_path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, 0)
    return root


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in DEEPSEA.read(root, 0).items()}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("slab", [1 << 22, 9000])
def test_items_are_the_releases_bases_with_channels_first(
    tmp_path: Path, save: Callable[..., None], slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_SLAB", slab)  # all rows of a split at once, or two at a time
    made = arrays_of_a_release()
    save(tmp_path / FILE, **made)
    for split, records in read(tmp_path).items():
        items = [DEEPSEA.item(r, None, None) for r in records]
        x, y = (np.stack([i[name] for i in items]) for name in ("x", "y"))
        assert x.dtype == y.dtype == np.float32
        np.testing.assert_array_equal(x, made[f"x_{split}"].transpose(0, 2, 1))
        np.testing.assert_array_equal(y, made[f"y_{split}"])


def test_records_take_one_bit_a_base_and_fit_the_store_and_the_task(release: Path) -> None:
    path = release / "train.arrow"
    write_store(path, DEEPSEA.read(release, 0)["train"])
    record = Store(path)[0]
    assert record["x"].nbytes == 500
    item = DEEPSEA.item(record, None, np.random.default_rng(0))
    assert item["x"].shape == DEEPSEA.input_shape
    assert item["y"].shape == (36,)
    assert DEEPSEA.output == MultiLabel(36)


def test_booleans_and_floats_are_read_as_well(tmp_path: Path) -> None:
    made = arrays_of_a_release()
    np.savez(tmp_path / FILE, **{k: v.astype(bool if k[0] == "x" else np.float64) for k, v in made.items()})
    for split, records in read(tmp_path).items():
        np.testing.assert_array_equal([r["y"] for r in records], made[f"y_{split}"])


def put(name: str, index: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    def change(made: Arrays) -> None:
        if value != int(value if value == value else 0):
            made[name] = made[name].astype(np.float32)
        made[name][index] = value

    return change


def replace(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    def act(made: Arrays) -> None:
        made[name] = change(made[name])

    return act


def crowd(made: Arrays) -> None:
    made["x_val"][2, 7] = (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda made: made.pop("x_val"), r"no array 'x_val'; it has x_test, x_train, y_test"),
        (lambda made: made.pop("y_test"), r"no array 'y_test'"),
        (
            replace("x_train", lambda a: a[:, :999]),
            r"x_train must have shape \(7, 1000, 4\), found \(7, 999, 4\)",
        ),
        (replace("x_test", lambda a: a[:4]), r"x_test must have shape \(5, 1000, 4\), found \(4, 1000, 4\)"),
        (replace("y_train", lambda a: a[:, :35]), r"y_train must have shape \(any, 36\), found \(7, 35\)"),
        (replace("y_train", lambda a: a[:, 0]), r"y_train must have shape \(any, 36\), found \(7,\)"),
        (
            replace("x_train", lambda a: a.astype("U1")),
            r"x_train must be bool or int or uint or float, found <U1",
        ),
        (replace("x_train", lambda a: a.astype(object)), r"x_train must be .*, found object"),
        (put("x_train", (6, 3, 2), 2), r"x_train must hold 0 and 1 alone, found 2 at index \[6, 3, 2\]"),
        (
            put("x_train", (6, 3, 2), 0.25),
            r"x_train must hold 0 and 1 alone, found 0\.25 at index \[6, 3, 2\]",
        ),
        (put("y_val", (1, 30), 255), r"y_val must hold 0 and 1 alone, found 255 at index \[1, 30\]"),
        (put("y_val", (1, 30), np.nan), r"y_val must hold 0 and 1 alone, found nan at index \[1, 30\]"),
        (crowd, r"x_val must hold one base a position at most, found \[1, 0, 1, 0\] at index \[2, 7\]"),
    ],
)
def test_a_bad_array_is_named_with_what_was_expected(
    tmp_path: Path, damage: Callable[[Arrays], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_SLAB", 9000)  # what is wrong is not in the first slab
    made = arrays_of_a_release()
    damage(made)
    np.savez(tmp_path / FILE, **made)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)
    assert DEEPSEA.homepage in str(caught.value)


def test_a_missing_or_truncated_file_is_named(release: Path) -> None:
    whole = (release / FILE).read_bytes()
    (release / FILE).write_bytes(whole[:-100])
    with pytest.raises(DataError, match=rf"not a whole \.npz file.*{DEEPSEA.homepage}"):
        read(release)
    (release / FILE).unlink()
    with pytest.raises(DataError, match=rf"cannot read .*{FILE}.*{DEEPSEA.homepage}"):
        read(release)


def test_damage_inside_a_split_is_met_and_named_where_it_lies(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / FILE, **arrays_of_a_release())
    whole = bytearray((tmp_path / FILE).read_bytes())
    at = whole.index(b"x_train.npy") + 2000
    whole[at : at + 50] = bytes(50)
    (tmp_path / FILE).write_bytes(whole)
    with pytest.raises(DataError, match="not a whole .npz file"):
        read(tmp_path)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    made = arrays_of_a_release()
    np.savez(tmp_path / FILE, **{k: v[:0] if k.endswith("val") else v for k, v in made.items()})
    with pytest.raises(DataError, match="the split is empty"):
        write_store(tmp_path / "val.arrow", DEEPSEA.read(tmp_path, 0)["val"])


def test_the_sample_has_the_releases_layout_and_labels_of_all_kinds(sample: Path) -> None:
    with np.load(sample / FILE) as content:
        for split, size in SPLIT_SIZES.items():
            x, y = content[f"x_{split}"], content[f"y_{split}"]
            assert (x.dtype, x.shape) == (np.uint8, (size, 1000, 4))
            assert (y.dtype, y.shape) == (np.uint8, (size, NUM_LABELS))
            assert (x.sum(axis=-1) == 1).all()
            assert y.any(axis=0).all()
            assert 0.1 < y.mean() < 0.2


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", 0)
    write_sample(tmp_path / "other", 1)
    assert (tmp_path / "again" / FILE).read_bytes() == (sample / FILE).read_bytes()
    assert (tmp_path / "other" / FILE).read_bytes() != (sample / FILE).read_bytes()


def repeats(text: str, word: str) -> int:
    """Places where `word` is followed by itself."""
    return sum(text.startswith(word * 2, i) for i in range(len(text)))


def auroc(positive: np.ndarray, score: np.ndarray) -> float:
    wins = score[positive][:, None] - score[~positive]
    return float((wins > 0).mean() + (wins == 0).mean() / 2)


def test_a_feature_shows_in_the_sites_of_its_factor_and_cell_type_on_either_strand(sample: Path) -> None:
    with np.load(sample / FILE) as content:
        x, y = content["x_val"], content["y_val"] == 1
    pair = str.maketrans("ACGT", "TGCA")
    texts = ["".join("ACGT"[b] for b in row) for row in x.argmax(axis=-1)]
    counts = {
        word: np.array([repeats(t, word) + repeats(t.translate(pair)[::-1], word) for t in texts])
        for word in (*FACTORS, *PIONEERS)
    }
    both = [np.minimum(counts[factor], counts[pioneer]) for factor in FACTORS for pioneer in PIONEERS]
    assert np.mean([auroc(y[:, i], both[i]) for i in range(NUM_LABELS)]) > 0.9
    composition = x.mean(axis=1)
    by_base = [max(auroc(y[:, i], composition[:, b]) for b in range(4)) for i in range(NUM_LABELS)]
    assert np.mean(by_base) < 0.7
