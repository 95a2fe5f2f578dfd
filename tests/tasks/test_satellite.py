from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks.samples.seasons import NUM_CLASSES, NUM_DATES, TEST_FILE, TRAIN_FILE, write_sample
from pare_tune.tasks.satellite import SATELLITE, read


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not run",)


def write(root: Path, name: str, content: object) -> None:
    np.save(root / name, np.array(content, dtype=object), allow_pickle=True)


def release(root: Path, *, train: int = 60, test: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name, count in ((TRAIN_FILE, train), (TEST_FILE, test)):
        content = {
            "data": rng.normal(500.0, 20.0, (count, NUM_DATES)),
            "label": rng.integers(1, NUM_CLASSES + 1, count),
        }
        write(root, name, content)
    return root


def test_reads_the_public_files_with_labels_from_0_and_one_scale(tmp_path: Path) -> None:
    splits = {name: list(records) for name, records in read(release(tmp_path), 0).items()}
    assert {name: len(records) for name, records in splits.items()} == {"train": 48, "val": 12, "test": 12}
    x = np.stack([r["x"] for r in splits["train"]])
    assert x.shape == (48, 1, NUM_DATES)
    assert x.dtype == np.float32
    assert (x.mean(), x.std()) == (pytest.approx(0.0, abs=1e-5), pytest.approx(1.0, abs=1e-5))
    labels = [int(r["y"]) for r in splits["train"] + splits["val"]]
    original = np.load(tmp_path / TRAIN_FILE, allow_pickle=True).item()["label"]
    assert sorted(labels) == sorted((original - 1).tolist())


def test_splits_are_disjoint_and_fixed_by_the_seed(tmp_path: Path) -> None:
    root = release(tmp_path)
    rows = {s: [r["x"].tobytes() for r in records] for s, records in read(root, 0).items()}
    assert not set(rows["train"]) & set(rows["val"])
    assert rows["val"] == [r["x"].tobytes() for r in read(root, 0)["val"]]
    assert rows["val"] != [r["x"].tobytes() for r in read(root, 1)["val"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((5, NUM_DATES))}, "keys data and label"),
        ([1, 2], "must hold|shape"),
        ({"data": np.zeros((5, 45)), "label": np.ones(5, int)}, r"\(any, 46\)"),
        ({"data": np.zeros((5, NUM_DATES)), "label": np.ones(4, int)}, r"\(5,\)"),
        ({"data": np.full((5, NUM_DATES), np.nan), "label": np.ones(5, int)}, "finite, found nan"),
        ({"data": np.ones((5, NUM_DATES)), "label": np.full(5, 25)}, "25"),
        ({"data": np.ones((5, NUM_DATES)), "label": np.zeros(5, int)}, "label"),
        ({"data": np.ones((5, NUM_DATES)), "label": np.full(5, 1.5)}, "whole numbers"),
        ({"data": np.ones((2, NUM_DATES)), "label": np.ones(2, int)}, "at least 3"),
        ({"data": np.ones((9, NUM_DATES)), "label": np.ones(9, int)}, "constant"),
        ({"data": np.array([["a"] * NUM_DATES] * 5), "label": np.ones(5, int)}, "data"),
    ],
)
def test_a_wrong_file_is_one_message(content: object, message: str, tmp_path: Path) -> None:
    write(release(tmp_path), TRAIN_FILE, content)
    with pytest.raises(DataError, match=message):
        read(tmp_path, 0)


def test_missing_truncated_and_hostile_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"satellite_train\.npy.*public release"):
        read(tmp_path, 0)
    path = release(tmp_path) / TRAIN_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="get it again"):
        read(tmp_path, 0)
    header = path.read_bytes()[:128]
    path.write_bytes(header + pickle.dumps(np.array({"data": Evil()}, dtype=object).tolist()))
    with pytest.raises((UnsafePickle, DataError)):
        read(tmp_path, 0)
    assert "must not run" not in capsys.readouterr().out


def test_the_sample_is_the_same_twice_and_can_be_learned(tmp_path: Path) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_sample(tmp_path / name, 0)
    for file in (TRAIN_FILE, TEST_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    splits = {s: list(records) for s, records in read(tmp_path / "a", 0).items()}
    x = {s: np.stack([r["x"].ravel() for r in records]) for s, records in splits.items()}
    y = {s: np.array([int(r["y"]) for r in records]) for s, records in splits.items()}
    assert set(y["train"]) == set(range(NUM_CLASSES))
    error = 1 - KNeighborsClassifier(5).fit(x["train"], y["train"]).score(x["val"], y["val"])
    assert 0.1 < error < 0.9, "neither chance (0.96) nor trivial"
    assert SATELLITE.output.num_classes == NUM_CLASSES  # type: ignore[union-attr]
