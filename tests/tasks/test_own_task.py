"""A user's data from files to model-ready items, through the real store; and what is wrong with them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image

from pare_tune.config import default_trial
from pare_tune.errors import ConfigError, DataError
from pare_tune.tasks.base import Dense, MultiLabel, Point, Task
from pare_tune.tasks.load import TaskData, load_task, open_test
from pare_tune.tasks.own import survey as survey_module
from pare_tune.tasks.own.predict import Piece
from pare_tune.tasks.own.predict import prepare as open_new
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.survey import looked_at_once, survey
from pare_tune.tasks.own.task import own_task
from pare_tune.yaml import validate


def prepare(*given: Any) -> Piece:
    """All of the new samples."""
    samples = open_new(*given)
    return samples.piece(range(len(samples)))


N = 60
Y = np.arange(N) % 3


def spec_of(root: Path, **tree: Any) -> OwnData:
    whole = {"name": "mine", "kind": "point", "input": "x.npy", "target": "y.npy", **tree}
    return validate(OwnData, {k: v for k, v in whole.items() if v is not None}, where="task").under(root)


def task_of(root: Path, **tree: Any) -> Task:
    return own_task(spec_of(root, **tree), root / "cache")


def data_of(root: Path, **tree: Any) -> TaskData:
    return load_task(task_of(root, **tree), cache=root / "cache")


def series(shape: tuple[int, ...] = (2, 40), seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(3.0, 2.0, size=(N, *shape)).astype(np.float32)


def save(root: Path, **arrays: Any) -> None:
    for name, array in arrays.items():
        np.save(root / f"{name}.npy", array)


def stacked(data: Any) -> npt.NDArray[np.float32]:
    return np.stack([data.item(i)["x"].numpy() for i in range(len(data))])


def test_series_become_normalised_items_in_three_splits(tmp_path: Path) -> None:
    x = series()
    save(tmp_path, x=x, y=np.array(["c", "a", "b"])[Y])
    task = task_of(tmp_path)
    data = load_task(task, cache=tmp_path / "cache")
    test = open_test(task, cache=tmp_path / "cache")
    assert (len(data.train), len(data.val), len(test)) == (42, 9, 9)
    assert (task.output, data.input_shape, data.provenance) == (Point(3), (2, 40), "real")
    assert task.raw is not None
    assert task.raw["target"]["names"] == ("a", "b", "c")
    train = stacked(data.train)
    np.testing.assert_allclose(train.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=(0, 2)), 1, atol=1e-5)
    everything = np.concatenate([train, stacked(data.val), stacked(test)])
    assert len(np.unique(everything[:, 0, 0])) == N  # each sample once
    # Fitted on train alone, so that the whole has another mean.
    whole = (x - x.mean(axis=(0, 2), keepdims=True)) / x.std(axis=(0, 2), keepdims=True)
    assert abs(np.sort(everything[:, 0, 0]) - np.sort(whole[:, 0, 0])).max() > 1e-4
    for i in range(len(data.train)):
        item = data.train.item(i)
        assert {"c": 2, "a": 0, "b": 1}[np.array(["c", "a", "b"])[Y][self_of(x, item, task)]] == int(
            item["y"]
        )


def self_of(x: npt.NDArray[Any], item: dict[str, torch.Tensor], task: Task) -> int:
    """Which raw sample an item is."""
    assert task.raw is not None
    mean, std = (np.array(task.raw["inputs"][k])[:, None] for k in ("mean", "std"))
    raw = item["x"].numpy() * std + mean
    return int(np.argmin(np.abs(x - raw).sum(axis=(1, 2))))


def test_the_same_data_are_read_once_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, x=series(), y=Y)
    first = survey(spec_of(tmp_path), tmp_path / "cache")
    monkeypatch.setattr("pare_tune.tasks.own.survey._look", lambda spec: pytest.fail("read again"))
    again = survey(spec_of(tmp_path, metric="macro_f1_error", title="other words"), tmp_path / "cache")
    assert again.key == first.key
    assert again.survey == first.survey
    assert (again.split == first.split).all()
    monkeypatch.undo()
    assert survey(spec_of(tmp_path, split={"seed": 1}), tmp_path / "cache").key != first.key
    save(tmp_path, x=series(seed=1))
    changed = survey(spec_of(tmp_path), tmp_path / "cache")
    assert changed.key != first.key
    assert changed.survey.layout.mean != first.survey.layout.mean


def test_a_run_and_a_worker_look_at_the_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, x=series(), y=Y)
    looks: list[OwnData] = []
    look = survey_module._look_or_load
    monkeypatch.setattr(
        survey_module, "_look_or_load", lambda spec, cache: looks.append(spec) or look(spec, cache)
    )

    @looked_at_once()
    def run() -> TaskData:
        task_of(tmp_path)
        with looked_at_once():  # a call of the API within a command
            assert survey(spec_of(tmp_path), tmp_path / "cache") is survey(
                spec_of(tmp_path), tmp_path / "cache"
            )
        return load_task(task_of(tmp_path), cache=tmp_path / "cache")

    assert len(run().train) == 42
    assert len(looks) == 1
    assert len(run().train) == 42
    assert len(looks) == 2, "the next run looks anew"
    task_of(tmp_path)
    task_of(tmp_path)
    assert len(looks) == 4, "outside, every look is one"


def test_a_changed_file_is_prepared_anew(tmp_path: Path) -> None:
    save(tmp_path, x=series(), y=Y)
    before = stacked(data_of(tmp_path).train)
    save(tmp_path, x=series(seed=1))
    after = stacked(data_of(tmp_path).train)
    assert (before != after).any()
    assert len(list((tmp_path / "cache" / "prepared").glob("mine-real-*"))) == 2


def test_a_file_that_changes_between_survey_and_reading_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, x=series(), y=Y)
    task = task_of(tmp_path)
    save(tmp_path, x=series(seed=1))
    with pytest.raises(DataError, match="changed while they were read"):
        load_task(task, cache=tmp_path / "cache")


def test_a_task_travels_to_other_processes(tmp_path: Path) -> None:
    save(tmp_path, x=series(), y=Y)
    data = data_of(tmp_path)
    packed = pickle.dumps(data.train)
    assert len(packed) < 20_000
    assert torch.equal(pickle.loads(packed).item(1)["x"], data.train.item(1)["x"])


def test_no_group_is_in_two_splits(tmp_path: Path) -> None:
    groups = np.array([f"patient {i // 6}" for i in range(N)])
    x = series()
    x[:, 0, 0] = np.arange(N) // 6
    save(tmp_path, x=x, y=Y, who=groups)
    task = task_of(tmp_path, split={"group": "who.npy"}, normalise="none")
    data = load_task(task, cache=tmp_path / "cache")
    test = open_test(task, cache=tmp_path / "cache")
    seen = [set(stacked(part)[:, 0, 0].tolist()) for part in (data.train, data.val, test)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 10
    assert min(map(len, seen)) >= 1


def test_samples_that_repeat_are_kept_in_one_split(tmp_path: Path) -> None:
    x = series()
    x[30:] = x[:30]
    save(tmp_path, x=x, y=np.tile(Y[:30], 2))
    found = survey(spec_of(tmp_path), tmp_path / "cache")
    assert found.survey.same == 30
    assert found.survey.same_across == 0
    assert (found.split[:30] == found.split[30:]).all()


def ragged(root: Path, *, dense: bool = False, channels: int = 1) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    shapes = [(channels, 20 + i) if channels > 1 else (20 + i,) for i in range(N)]
    made = [rng.normal(5.0, 2.0, size=s).astype(np.float32) for s in shapes]
    np.savez(root / "x.npz", **{f"x{i}": s for i, s in enumerate(made)})
    if dense:
        np.savez(
            root / "y.npz", **{f"y{i}": 100 + 3 * s.reshape(-1, s.shape[-1])[0] for i, s in enumerate(made)}
        )
    return made


@pytest.mark.parametrize("channels", [1, 2])
def test_series_of_different_lengths_are_padded_and_marked(tmp_path: Path, channels: int) -> None:
    made = ragged(tmp_path, channels=channels)
    save(tmp_path, y=Y)
    data = data_of(tmp_path, input="x.npz:*")
    length = data.input_shape[1]
    assert data.input_shape == (channels + 1, length)
    assert length >= 79
    lengths = set()
    for i in range(len(data.train)):
        x = data.train.item(i)["x"].numpy()
        real = int(x[-1].sum())
        assert x[-1].tolist() == [1.0] * real + [0.0] * (length - real)
        assert (x[:-1, real:] == 0).all()
        lengths.add(real)
    assert lengths <= {s.shape[-1] for s in made}
    real = np.concatenate([data.train.item(i)["x"].numpy() for i in range(len(data.train))], axis=1)
    values = real[0][real[-1] == 1]  # padding is not counted in mean and spread
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-4)


def test_a_length_of_ones_own_cuts_what_is_longer(tmp_path: Path) -> None:
    ragged(tmp_path)
    save(tmp_path, y=Y)
    assert data_of(tmp_path, input="x.npz:*", length=32).input_shape == (2, 32)
    found = survey(spec_of(tmp_path, input="x.npz:*", length=32), tmp_path / "cache").survey
    assert found.warnings == ("series longer than 32 steps are cut there (length); the longest has 79",)


def test_dense_targets_of_padded_series_ignore_the_padding(tmp_path: Path) -> None:
    ragged(tmp_path, dense=True)
    data = data_of(tmp_path, kind="dense", input="x.npz:*", target="y.npz:*")
    length = data.input_shape[1]
    assert data.output == Dense((length,))
    items = [data.val.item(i) for i in range(4)]
    batch = {k: torch.stack([i[k] for i in items]) for k in ("y", "ignore")}
    assert (batch["ignore"] == 1 - torch.stack([i["x"][-1] for i in items])).all()
    wrong = batch["y"] + 7 * batch["ignore"]  # wrong only where nothing counts
    assert float(data.loss(wrong, batch)) == pytest.approx(0)
    assert data.task.metric.score(wrong, batch) == pytest.approx(0)
    off = batch["y"] + 2.0
    assert float(data.loss(off, batch)) == pytest.approx(4.0, rel=1e-5)
    assert data.task.metric.score(off, batch) == pytest.approx(2.0, rel=1e-5)
    assert data.target_scale is not None
    assert float(data.target_scale[0]) == pytest.approx(115, abs=2)  # padding does not pull it to 0


def test_a_length_that_gives_no_tokens_is_padded_to_one_that_does(tmp_path: Path) -> None:
    save(tmp_path, x=series((997,)), y=series((997,), seed=1))
    data = data_of(tmp_path, kind="dense")
    assert data.input_shape == (2, 1000)
    assert data.output == Dense((1000,))
    assert float(data.train.item(0)["ignore"].sum()) == 3


def test_images_of_one_size_are_kept_as_they_are(tmp_path: Path) -> None:
    save(tmp_path, x=np.random.default_rng(0).integers(0, 255, (N, 24, 20, 3)).astype(np.uint8), y=Y)
    data = data_of(tmp_path)
    assert data.input_shape == (3, 24, 20)
    assert data.train.item(0)["x"].dtype == torch.float32
    assert data.task.canvas == {"paper": None, "embedded": None}


def test_large_images_are_laid_on_a_square(tmp_path: Path) -> None:
    x = np.zeros((9, 1, 300, 40), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
    save(tmp_path, x=x, y=np.arange(9) % 3)
    data = data_of(tmp_path)
    assert data.input_shape == (1, 64, 64)
    assert data.task.canvas == {"paper": 224, "embedded": 64}


def folder_of_images(root: Path, *, masks: bool = False) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        size = (20 + i, 30)
        image = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
        place = root / "images" if masks else root / "images" / "abc"[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
        if masks:
            (root / "masks").mkdir(exist_ok=True)
            half = np.zeros(size, np.uint8)
            half[:, :15] = 255
            Image.fromarray(half).save(root / "masks" / f"{i}.png")


def test_images_of_any_size_share_a_square(tmp_path: Path) -> None:
    folder_of_images(tmp_path)
    data = data_of(tmp_path, input="images", target=None)
    assert data.input_shape == (3, 64, 64)
    assert data.task.output == Point(3)


def test_masks_are_resized_with_their_images_and_stay_masks(tmp_path: Path) -> None:
    folder_of_images(tmp_path, masks=True)
    data = data_of(tmp_path, kind="dense", input="images", target="masks", class_weights="balanced")
    assert data.output == Dense((64, 64))
    y = data.train.item(0)["y"]
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert float(y[:, :32].mean()) == 1.0
    assert float(y[:, 32:].mean()) == 0.0
    assert (data.task.loss, data.task.metric.name, data.target_scale) == (
        "bce_with_logits",
        "jaccard_error",
        None,
    )
    assert data.task.loss_options == {"pos_weight": 1.0}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_normalised_column_by_column(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame(series((4,)), columns=list("abcd")).mul([1, 10, 100, 1000])
    frame["label"] = np.array(["yes", "no"])[np.arange(N) % 2]
    if suffix == "csv":
        frame.to_csv(tmp_path / "t.csv", index=False)
    else:
        frame.to_parquet(tmp_path / "t.parquet")
    data = data_of(tmp_path, input=f"t.{suffix}", target="label", class_weights="balanced")
    train = stacked(data.train)
    assert data.input_shape == (1, 4)
    np.testing.assert_allclose(train[:, 0].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train[:, 0].std(axis=0), 1, atol=1e-5)
    assert data.task.paper.target_tokens == 4


def unlike(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples of one axis whose values have their own units, as columns have."""
    return (
        x
        * np.geomspace(0.1, 1e3, x.shape[1], dtype=np.float32)[
            np.random.default_rng(1).permutation(x.shape[1])
        ]
    )


@pytest.mark.parametrize(
    ("x", "said", "modality"),
    [
        (series((13,)), {}, "table"),
        (series((13,)), {"modality": "sequence_1d"}, "sequence_1d"),
        (series((13,)), {"length": 16}, "sequence_1d"),
        (unlike(series((40,))), {}, "table"),
        (series((40,)), {}, "sequence_1d"),
        (unlike(series((40,))).cumsum(axis=1), {}, "sequence_1d"),
        (np.sort(unlike(series((40,)))), {}, "sequence_1d"),
        (unlike(series((300,))), {}, "sequence_1d"),
        (np.where(np.arange(40) < 9, series((40,)), 0) * (series((40,), 1) > 6), {}, "sequence_1d"),
        (series((40,)).astype(np.float64) * 1e200, {}, "sequence_1d"),
    ],
    ids=["short", "said", "length", "unlike", "noise", "walk", "smooth", "many", "spikes", "large"],
)
def test_rows_of_an_array_are_a_tables_where_their_order_says_nothing(
    tmp_path: Path, x: npt.NDArray[Any], said: dict[str, Any], modality: str
) -> None:
    save(tmp_path, x=x, y=Y)
    seen = survey(spec_of(tmp_path, **said), tmp_path / "cache").survey
    assert seen.layout.modality == modality
    assert any("rows of a table" in w for w in seen.warnings) == (modality == "table")


def test_multilabel_targets(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (N, 4))
    save(tmp_path, x=series(), y=labels)
    data = data_of(tmp_path, kind="multilabel", classes=["u", "v", "w", "z"])
    assert data.task.output == MultiLabel(4)
    assert data.train.item(0)["y"].dtype == torch.float32
    assert data.task.metric.name == "multilabel_auroc_error"
    assert data.task.loss == "bce_with_logits"


@pytest.mark.parametrize("metric", ["nrmse", "rmse"])
def test_the_loss_follows_a_relative_metric(tmp_path: Path, metric: str) -> None:
    save(tmp_path, x=series((64,)), y=series((64,), seed=1))
    data = data_of(tmp_path, kind="dense", metric=metric)
    assert data.task.loss == {"nrmse": "nrmse", "rmse": "mse"}[metric]
    assert data.target_scale is not None


def test_class_weights_are_those_that_are_given(tmp_path: Path) -> None:
    save(tmp_path, x=series(), y=Y)
    data = data_of(tmp_path, class_weights=[1.0, 2.0, 4.0])
    logits, y = torch.zeros(3, 3), torch.tensor([0, 1, 2])
    logits[2, 2] = 5.0
    nats = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    expected = (nats * torch.tensor([1.0, 2.0, 4.0])).sum() / 7
    assert float(data.loss(logits, {"y": y})) == pytest.approx(float(expected))


def test_classes_can_be_put_in_an_order(tmp_path: Path) -> None:
    save(tmp_path, x=series(), y=Y + 5)
    data = data_of(tmp_path, classes=[7, 5, 6])
    assert data.task.raw is not None
    assert data.task.raw["target"]["names"] == ("7", "5", "6")
    task = data.task
    x = series()
    for i in range(5):
        item = data.train.item(i)
        assert ("7", "5", "6")[int(item["y"])] == str((Y + 5)[self_of(x, item, task)])


@pytest.mark.parametrize("preset", ["embedded", "paper"])
@pytest.mark.parametrize("kind", ["point", "dense"])
def test_trial_0_is_made_of_the_modalitys_settings(tmp_path: Path, preset: Any, kind: str) -> None:
    save(tmp_path, x=series((64,)), y=Y if kind == "point" else series((64,), seed=1))
    spec = spec_of(tmp_path, kind=kind)
    config = default_trial(own_task(spec, tmp_path / "cache"), preset=preset, own=spec)
    assert (config.task, config.own, config.data) == ("mine", spec, None)
    if preset == "embedded":
        assert config.backbone == "micro-roberta"
        assert config.train.epochs == 60  # 42 samples: as many steps as are allowed
    else:
        assert config.backbone == "roberta-base"
        assert config.optimizer.lr == {"point": 3e-5, "dense": 1e-4}[kind]


def nan_in(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    x[3, 0, 5] = np.nan
    x[7] = np.inf
    return x


def with_labels(**changes: int) -> npt.NDArray[Any]:
    y = Y.copy()
    for place, value in changes.items():
        y[int(place[1:])] = value
    return y


@pytest.mark.parametrize(
    ("arrays", "tree", "message"),
    [
        ({"x": nan_in(series())}, {}, r"81 input values are NaN or infinite, in 2 samples \(3, 7\)"),
        ({"x": series().astype(np.float64) * 1e39}, {}, "more than single precision holds"),
        ({"x": np.ones((N, 2, 40))}, {}, "every channel has one value throughout"),
        ({"x": series()[:2], "y": Y[:2]}, {}, "holds 2 samples; train, val and test need at least one each"),
        ({"x": series()[:0], "y": Y[:0]}, {}, "holds 0 samples; train, val and test need at least one each"),
        (
            {"x": series((40,))[:0], "y": Y[:0]},
            {},
            "holds 0 samples; train, val and test need at least one each",
        ),
        ({"x": series((2, 40))[:, :, :0]}, {"modality": "sequence_1d", "channels": "first"}, "hold nothing"),
        ({"y": np.zeros(N, int)}, {}, "every sample is of class '0'"),
        ({"y": with_labels(_9=7)}, {}, "class '7' has 1 sample; to be in each of 3 splits"),
        ({"y": with_labels(_9=-1)}, {}, r"label -1 \(sample 9\) is negative"),
        (
            {"y": with_labels(_9=7)},
            {"classes": [0, 1, 2]},
            r"label '7' \(sample 9\) is not among classes: 0, 1, 2",
        ),
        (
            {"y": Y + 0.5},
            {},
            r"needs classes .* found 0.5 \(sample 0\); for one number a sample take kind regression",
        ),
        ({"y": np.where(Y == 0, np.nan, Y)}, {}, r"sample 0 has no label \(NaN\)"),
        ({"y": np.eye(3)[Y]}, {}, r"targets of shape \(60, 3\); one column a class is kind multilabel"),
        (
            {"y": np.eye(3)[Y] * 2},
            {"kind": "multilabel"},
            r"targets of 0 and 1, found 2.0 \(sample 0, label 0\)",
        ),
        ({"y": np.eye(4)[Y]}, {"kind": "multilabel"}, "label 'label 3' is the same for every sample"),
        ({"y": Y}, {"kind": "multilabel"}, r"a row of 0 and 1 a sample, found targets of shape \(60,\)"),
        (
            {"y": np.eye(3)[Y]},
            {"kind": "multilabel", "classes": ["a"]},
            "classes names 1 labels, the targets have 3",
        ),
        ({}, {"class_weights": [1.0, 2.0]}, "class_weights has 2 numbers, there are 3 classes: 0, 1, 2"),
        ({"y": np.zeros((N, 40))}, {"kind": "dense"}, "every value is 0; there is nothing to learn"),
        ({"y": np.zeros((N, 40, 2, 2))}, {"kind": "dense"}, "a target of modality|samples of|dense"),
        (
            {"y": np.tile(Y[:, None], 40)},
            {"kind": "dense"},
            r"takes the whole values \[0, 1, 2\]: if they are classes",
        ),
        ({"y": series((1,))}, {"kind": "dense"}, "one value at each position"),
        ({"y": nan_in(series())[:, 0]}, {"kind": "dense"}, "target values are NaN or infinite"),
        ({"y": series((40,))}, {"kind": "dense", "class_weights": "balanced"}, "these targets are numbers"),
        ({}, {"modality": "table"}, "samples of 1 axes"),
        ({}, {"split": {"group": "same.npy"}}, "at least as many groups of samples that differ, found 1"),
        ({}, {"split": {"column": "fold.npy"}}, "no sample is in test"),
        (
            {},
            {"split": {"column": "fold3.npy", "group": "pairs.npy"}},
            "group '.*' is in train .* would leak",
        ),
        ({}, {"split": {"column": "by_class.npy"}}, "class '1' has no training sample, but 20 to be scored"),
    ],
)
def test_data_that_cannot_be_trained_on_say_why(
    tmp_path: Path, arrays: dict[str, Any], tree: dict[str, Any], message: str
) -> None:
    words = np.array(["train", "val", "test"])
    save(
        tmp_path, same=np.zeros(N, int), fold=np.array(["train", "val"] * 30), fold3=words[Y], pairs=np.arange(N) // 2,
        by_class=words[Y],
    )  # fmt: skip
    save(tmp_path, **{"x": series(), "y": Y, **arrays})
    with pytest.raises(DataError, match=message):
        task_of(tmp_path, **tree)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    save(tmp_path, x=nan_in(series()), y=np.eye(4)[Y])
    with pytest.raises(DataError) as told:
        task_of(tmp_path, kind="multilabel")
    assert len(str(told.value).splitlines()) == 2


def test_the_same_file_for_train_and_test_is_a_leak(tmp_path: Path) -> None:
    save(tmp_path, x=series(), y=Y)
    part = {"input": "x.npy", "target": "y.npy"}
    with pytest.raises(DataError, match="every sample of test is also one of the splits before it"):
        task_of(tmp_path, input=None, target=None, train=part, test=part)


def test_some_samples_in_two_splits_are_a_warning(tmp_path: Path) -> None:
    x = series()
    x[50] = x[0]
    np.savez(tmp_path / "d.npz", a=x[:40], b=x[40:50], c=x[50:], ya=Y[:40], yb=Y[40:50], yc=Y[50:])
    parts = {
        s: {"input": f"d.npz:{k}", "target": f"d.npz:y{k}"}
        for s, k in zip(("train", "val", "test"), "abc", strict=True)
    }
    found = survey(spec_of(tmp_path, input=None, target=None, **parts), tmp_path / "cache").survey
    assert found.same_across == 1
    assert any("1 samples of val and test are, to the last bit, also in" in w for w in found.warnings)
    assert any("as another of a different target" in w for w in found.warnings)
    assert found.counts == {"train": 40, "val": 10, "test": 10}


def test_files_of_other_shapes_are_told_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=series(), b=series((40,)), y=Y)
    parts = {s: {"input": f"d.npz:{k}", "target": "d.npz:y"} for s, k in (("train", "a"), ("test", "b"))}
    with pytest.raises(DataError, match=r"one shape, found 2 × 40 in d.npz:a and 40 in d.npz:b"):
        task_of(tmp_path, input=None, target=None, **parts)


def test_a_relative_metric_refuses_targets_of_zero(tmp_path: Path) -> None:
    y = series((64,), seed=1)
    y[4] = 0
    save(tmp_path, x=series((64,)), y=y)
    with pytest.raises(ConfigError, match="metric nrmse divides by each target's size, and 1 of them"):
        task_of(tmp_path, kind="dense", metric="nrmse")


# New samples for a trained model


def raw_of(data: TaskData) -> dict[str, Any]:
    """As it comes back from the weights' metadata."""
    found: dict[str, Any] = json.loads(json.dumps(data.task.raw))
    return found


def test_new_samples_are_prepared_as_the_training_samples_were(tmp_path: Path) -> None:
    x = series()
    save(tmp_path, x=x, y=Y)
    data = data_of(tmp_path)
    ready = prepare(x, raw_of(data), None)
    from_file = prepare(tmp_path / "x.npy", raw_of(data), None)
    np.testing.assert_array_equal(ready.x, from_file.x)
    for i in range(10):
        item = data.train.item(i)
        np.testing.assert_array_equal(ready.x[self_of(x, item, data.task)], item["x"].numpy())
    outputs = np.zeros((N, 3), np.float32)
    assert ready.restore(outputs) is outputs


def test_new_series_of_any_length_get_outputs_of_their_own_length(tmp_path: Path) -> None:
    made = ragged(tmp_path, dense=True)
    data = data_of(tmp_path, kind="dense", input="x.npz:*", target="y.npz:*")
    length = data.input_shape[1]
    ready = prepare(tmp_path / "x.npz", raw_of(data), None)  # by the key that was trained on
    assert ready.x.shape == (N, 2, length)
    outputs = np.ones((N, length), np.float32)
    restored = ready.restore(outputs)
    assert restored.shape == (N, 79)
    assert np.isfinite(restored).sum(axis=1).tolist() == [len(s) for s in made]
    same = prepare(np.stack([s[:20] for s in made]), raw_of(data), None)
    assert same.restore(outputs).shape == (N, 20)


def test_new_rows_of_a_table_go_by_their_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(series((3,)), columns=list("abc")).assign(label=Y)
    frame.to_csv(tmp_path / "t.csv", index=False)
    raw = raw_of(data_of(tmp_path, input="t.csv", target="label"))
    frame[["c", "label", "a", "b"]].to_csv(tmp_path / "new.csv", index=False)
    by_name = prepare(tmp_path / "new.csv", raw, None)
    np.testing.assert_allclose(
        by_name.x, prepare(frame[["a", "b", "c"]].to_numpy(), raw, None).x, rtol=1e-5, atol=1e-6
    )
    frame.drop(columns="b").to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match="has no column 'b'"):
        prepare(tmp_path / "new.csv", raw, None)


def test_new_images_get_masks_of_their_own_size(tmp_path: Path) -> None:
    folder_of_images(tmp_path, masks=True)
    raw = raw_of(data_of(tmp_path, kind="dense", input="images", target="masks"))
    one = prepare(np.zeros((2, 33, 17, 3), np.uint8), raw, 64)
    assert one.x.shape == (2, 3, 64, 64)
    assert one.restore(np.ones((2, 64, 64), np.float32)).shape == (2, 33, 17)
    many = prepare(tmp_path / "images", raw, 64)
    assert many.restore(np.ones((12, 64, 64), np.float32)).shape == (12, 64, 64)


def test_new_images_are_of_the_scale_that_was_trained_on(tmp_path: Path) -> None:
    folder_of_greys(tmp_path / "images", 255, np.uint8)
    folder_of_greys(tmp_path / "deep", 4095, np.uint16)
    raw = raw_of(data_of(tmp_path, input="images", target=None))
    assert prepare(tmp_path / "images", raw, None).x.shape == (12, 1, 16, 16)
    with pytest.raises(DataError, match=r"deep: images of 16 bits \(uint16\), and .* trained on uint8"):
        prepare(tmp_path / "deep", raw, None)
    del raw["at"]["dtype"]  # as models of earlier versions
    assert prepare(tmp_path / "deep", raw, None).x.shape == (12, 1, 16, 16)


def test_images_below_a_link_are_looked_at_when_they_change(tmp_path: Path) -> None:
    folder_of_greys(tmp_path / "far", 255, np.uint8)
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / "images" / name).symlink_to(tmp_path / "far" / name)
    before = data_of(tmp_path, input="images", target=None)
    assert len(before.train) + len(before.val) < 12
    folder_of_greys(tmp_path / "far", 99, np.uint8)
    after = data_of(tmp_path, input="images", target=None)
    assert float(before.train.item(0)["x"].max()) != float(after.train.item(0)["x"].max())


def folder_of_greys(root: Path, high: int, dtype: type[np.integer[Any]]) -> None:
    rng = np.random.default_rng(high)
    for i in range(12):
        (root / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, high, (16, 16)).astype(dtype)).save(root / "abc"[i % 3] / f"{i}.png")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (np.zeros((4, 2, 41)), r"the model takes samples of 2 × 40, got 4 of 2 × 41"),
        (np.zeros((2, 40)), "got 2 of 40"),
        (np.zeros((0, 2, 40)), "got 0 of"),
        (np.full((4, 2, 40), np.nan), "sample 0 holds NaN"),
        (np.zeros((4, 2, 40), complex), "complex"),
    ],
)
def test_new_samples_that_do_not_fit_are_refused(tmp_path: Path, new: npt.NDArray[Any], message: str) -> None:
    save(tmp_path, x=series(), y=Y)
    raw = raw_of(data_of(tmp_path))
    with pytest.raises(DataError, match=message):
        prepare(new, raw, None)
