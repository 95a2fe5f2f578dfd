from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks import TASKS, Modality, get_task
from pare_tune.tasks.base import Dense, Split
from pare_tune.tasks.load import JoinedDataset, load_task, open_test, provenance_of

ARRAYS = {"train": 6, "val": 3, "test": 4}


def read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    """One .npy a split, (n, 30) measures and the label in the last column."""

    def records(split: Split) -> Iterable[Record]:
        for row in np.load(root / f"{split}.npy"):
            yield {"x": row[None, :30], "y": np.int64(row[30])}

    return {"train": records("train"), "val": records("val"), "test": records("test")}


TASK = replace(get_task("wdbc"), name="rows", read=read, files=("train.npy", "val.npy", "test.npy"))


def write(root: Path, **changes: Any) -> None:
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for split, count in ARRAYS.items():
        rows = rng.normal(size=(count, 31)).astype(np.float32)
        rows[:, 30] = np.arange(count) % 2
        np.save(root / f"{split}.npy", changes.get(split, rows))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write(tmp_path / "release")
    return tmp_path / "release"


def test_splits_are_opened_as_they_are_in_the_release(release: Path, tmp_path: Path) -> None:
    data = load_task(TASK, data=release, cache=tmp_path / "cache")
    assert (len(data.train), len(data.val), data.provenance, data.input_shape) == (6, 3, "real", (1, 30))
    test = open_test(TASK, data=release, cache=tmp_path / "cache")
    assert len(test) == 4
    expected = np.load(release / "val.npy")
    item = data.val.item(2)
    np.testing.assert_array_equal(item["x"].numpy()[0], expected[2, :30])
    assert item["y"].dtype == torch.int64
    assert int(item["y"]) == int(expected[2, 30])


def test_less_of_the_training_split_is_all_that_a_search_sees_of_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 31)).astype(np.float32)
    rows[:, 30] = [0, 0, 0, 1, 1, 1]
    write(tmp_path / "release", train=rows)
    task = replace(TASK, loss_options={"class_weights": "balanced"})
    half = load_task(task, data=tmp_path / "release", share=0.5, cache=tmp_path / "cache")
    assert (len(half.train), len(half.val)) == (3, 3)
    labels = [int(half.train.item(i)["y"]) for i in range(3)]
    assert sorted(set(labels)) == [0, 1]
    # Classes weigh what they do among the samples that are there.
    logits, y = torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1])
    weights = torch.tensor([3 / labels.count(0), 3 / labels.count(1)])
    assert half.loss(logits, {"y": y}).item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, y, weight=weights).item()
    )
    assert len(open_test(task, data=tmp_path / "release", cache=tmp_path / "cache")) == 4


def test_a_release_is_read_once_until_it_changes(release: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):
        load_task(TASK, data=release, cache=cache)
    stores = list((cache / "prepared").glob("rows-*"))
    assert len(stores) == 1
    stamp = (stores[0] / "train.arrow").stat().st_mtime_ns
    rows = np.zeros((9, 31), np.float32)
    rows[0, 30] = 1
    write(release, train=rows)
    assert len(load_task(TASK, data=release, cache=cache).train) == 9
    assert (stores[0] / "train.arrow").stat().st_mtime_ns == stamp


def test_a_dataset_travels_as_a_path(release: Path, tmp_path: Path) -> None:
    data = load_task(TASK, data=release, cache=tmp_path / "cache")
    packed = pickle.dumps(data.train)
    assert len(packed) < 20_000
    assert torch.equal(pickle.loads(packed).item(1)["x"], data.train.item(1)["x"])


@pytest.mark.parametrize(
    ("split", "where", "value", "message"),
    [
        ("train", (2, 5), np.nan, "train sample 2: x holds NaN"),
        ("val", (1, 0), np.inf, "val sample 1: x holds NaN or infinity"),
        ("test", (3, 30), 2.0, r"test sample 3: label 2 is outside 0\.\.1"),
        ("train", (0, 30), -1.0, "train sample 0: label -1"),
    ],
)
def test_nan_and_labels_out_of_range_are_refused_and_nothing_stays(
    release: Path, tmp_path: Path, split: str, where: tuple[int, int], value: float, message: str
) -> None:
    rows = np.load(release / f"{split}.npy")
    rows[where] = value
    write(release, **{split: rows})
    with pytest.raises(DataError, match=message):
        load_task(TASK, data=release, cache=tmp_path / "cache")
    assert not [p for p in (tmp_path / "cache" / "prepared").iterdir() if not p.name.startswith(".")]


def test_an_empty_split_is_refused(release: Path, tmp_path: Path) -> None:
    write(release, val=np.zeros((0, 31), np.float32))
    with pytest.raises(DataError, match="val: the split is empty"):
        load_task(TASK, data=release, cache=tmp_path / "cache")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder .*absent.*--data"):
        load_task(TASK, data=tmp_path / "absent", cache=tmp_path / "cache")


def test_joined_splits_follow_each_other(release: Path, tmp_path: Path) -> None:
    data = load_task(TASK, data=release, cache=tmp_path / "cache")
    joined = JoinedDataset([data.train, data.val])
    assert len(joined) == 9
    assert torch.equal(joined.item(7)["x"], data.val.item(1)["x"])
    with pytest.raises(IndexError):
        joined.item(9)


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_tasks_own_data_loads_with_disjoint_splits(name: str) -> None:
    task = TASKS[name]
    data = load_task(task)
    test = open_test(task)
    assert data.provenance == provenance_of(task, None) == task.embedded_provenance
    seen: dict[bytes, str] = {}
    for split, dataset in (("train", data.train), ("val", data.val), ("test", test)):
        assert len(dataset) > 2
        for i in range(len(dataset)):
            item = dataset.item(i)
            assert item["x"].dtype == torch.float32
            assert item["x"].shape == data.input_shape
            if task.modality is Modality.TABLE:
                continue  # rows may be equal; that each is in one split is tested where tables are split
            key = item["x"].numpy().tobytes()
            assert seen.setdefault(key, split) == split, f"{split} sample {i} is also in {seen[key]}"


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.scale_target])
def test_dense_targets_are_scaled_by_the_training_split(name: str) -> None:
    data = load_task(TASKS[name])
    assert isinstance(data.output, Dense)
    rng = np.random.default_rng(0)
    values = torch.stack([data.train.item(i, rng)["y"] for i in range(len(data.train))])
    assert data.target_scale is not None
    mean, spread = data.target_scale
    if TASKS[name].scale_target == "pointwise":
        torch.testing.assert_close(mean, values.mean(0))
        largest = float(spread.max())
        torch.testing.assert_close(spread, values.std(0).clamp_min(1e-3 * largest))
    else:
        assert float(mean) == pytest.approx(float(values.mean()), abs=0.3)
        assert float(spread) == pytest.approx(float(values.std()), rel=0.2)
    assert tuple(values.shape[1:]) == data.output.shape
