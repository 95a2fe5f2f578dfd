from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks.base import Point
from pare_tune.tasks.cifar100 import CIFAR100, FOLDER, MEAN, PADDING, STD
from pare_tune.tasks.samples import pictures

SIZES = {"train": 20, "test": 7}


def batch(size: int) -> dict[Any, Any]:
    """One file's content; the release has more fields, which are not used."""
    rng = np.random.default_rng(size)
    return {
        "data": rng.integers(0, 256, (size, 3072), dtype=np.uint8),
        "fine_labels": rng.integers(0, 100, size).tolist(),
        "coarse_labels": [0] * size,
        "filenames": [f"{i}.png" for i in range(size)],
        "batch_label": "training batch 1 of 1",
    }


def write(root: Path, part: str, content: object) -> None:
    (root / FOLDER).mkdir(exist_ok=True)
    (root / FOLDER / part).write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for part, size in SIZES.items():
        write(tmp_path, part, batch(size))
    return tmp_path


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Samples of a size that tests can wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "CIFAR_SIZES", {"train": 100, "test": 40})
        yield


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in CIFAR100.read(root, 0).items()}


def test_the_last_fifth_of_train_is_validation(release: Path) -> None:
    splits = read(release)
    train, test = batch(20), batch(7)
    for split, content, rows in (
        ("train", train, slice(0, 16)), ("val", train, slice(16, 20)), ("test", test, slice(0, 7)),
    ):  # fmt: skip
        x = np.stack([r["x"] for r in splits[split]])
        assert x.dtype == np.uint8
        np.testing.assert_array_equal(x, content["data"][rows].reshape(-1, 3, 32, 32))
        assert [r["y"] for r in splits[split]] == content["fine_labels"][rows]


def test_byte_strings_as_names_of_fields_are_read_too(release: Path) -> None:
    write(release, "test", {name.encode(): value for name, value in batch(7).items()})
    assert len(read(release)["test"]) == 7


def test_labels_may_be_an_array(release: Path) -> None:
    write(release, "test", batch(7) | {"fine_labels": np.array(batch(7)["fine_labels"], dtype=np.int64)})
    assert [r["y"] for r in read(release)["test"]] == batch(7)["fine_labels"]


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    path = release / "train.arrow"
    write_store(path, CIFAR100.read(release, 0)["train"])
    record = Store(path)[3]
    item = CIFAR100.item(record, None, None)
    assert item["x"].shape == CIFAR100.input_shape
    assert (item["x"].dtype, item["y"].dtype) == (np.float32, np.int64)
    assert CIFAR100.output == Point(100)


def test_an_item_is_the_whole_picture_normalised_per_channel(release: Path) -> None:
    record = read(release)["val"][0]
    x = CIFAR100.item(record, None, None)["x"]
    for channel, mean, std in zip(range(3), MEAN, STD, strict=True):
        expected = (record["x"][channel] / 255 - mean) / std
        np.testing.assert_allclose(x[channel], expected, atol=1e-5)


def crops(image: np.ndarray) -> dict[bytes, tuple[int, int, bool]]:
    """Every picture that training may see, from its definition."""
    padded = np.zeros((3, 32 + 2 * PADDING, 32 + 2 * PADDING), np.uint8)
    padded[:, PADDING:-PADDING, PADDING:-PADDING] = image
    found = {}
    for top in range(2 * PADDING + 1):
        for left in range(2 * PADDING + 1):
            crop = padded[:, top : top + 32, left : left + 32]
            found[crop.tobytes()] = (top, left, False)
            found[crop[:, :, ::-1].tobytes()] = (top, left, True)
    return found


def test_training_items_are_crops_of_the_padded_picture_and_their_mirror_images(release: Path) -> None:
    record = read(release)["train"][0]
    known = crops(record["x"])
    mean, std = (np.array(v)[:, None, None] for v in (MEAN, STD))
    seen = []
    for seed in range(300):
        x = CIFAR100.item(record, None, np.random.default_rng(seed))["x"]
        pixels = np.rint(255 * (x * std + mean)).astype(np.uint8)
        seen.append(known[pixels.tobytes()])
    tops, lefts, mirrored = zip(*seen, strict=True)
    assert set(tops) == set(lefts) == set(range(9))
    assert 100 < sum(mirrored) < 200


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def change(**values: Any) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        content = batch(20) | values
        write(root, "train", {k: v for k, v in content.items() if v is not None})

    return act


def labels(value: object) -> list[object]:
    return [*batch(20)["fine_labels"][:-1], value]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / FOLDER / "train").unlink(), r"train: No such file"),
        (lambda r: (r / FOLDER / "test").unlink(), r"test: No such file"),
        (lambda r: (r / FOLDER / "train").write_bytes(b"no"), r"train is not a"),
        (
            lambda r: (r / FOLDER / "train").write_bytes((r / FOLDER / "train").read_bytes()[:-99]),
            r"train is not a .*pickle.*get it again",
        ),
        (lambda r: write(r, "train", [1, 2]), r"must hold a dict with data and fine_labels, found list"),
        (change(fine_labels=None), r"dict with data and fine_labels, found .*coarse_labels"),
        (change(data=None), r"dict with data and fine_labels, found .*fine_labels"),
        (change(data="pixels"), r"data must be an array, found str"),
        (change(data=np.zeros((20, 3000), np.uint8)), r"shape \(any, 3072\), found \(20, 3000\)"),
        (change(data=np.zeros((20, 3072), np.float32)), r"data must be uint, found float32"),
        (change(data=np.zeros((20, 3072), np.uint16)), r"data must be uint8, found uint16"),
        (change(data=np.zeros((19, 3072), np.uint8)), r"fine_labels must be a list of 19 labels"),
        (change(fine_labels=7), r"fine_labels must be a list of 20 labels"),
        (change(fine_labels=labels(100)), r"must be whole numbers from 0 to 99, found 100"),
        (change(fine_labels=labels(-1)), r"must be whole numbers from 0 to 99, found -1"),
        (change(fine_labels=labels(1.5)), r"must be whole numbers from 0 to 99, found 1\.5"),
        (change(fine_labels=labels(float("nan"))), r"must be whole numbers from 0 to 99, found nan"),
        (change(fine_labels=labels("cat")), r"must be whole numbers from 0 to 99, found 'cat'"),
        (change(fine_labels=labels([3])), r"must be whole numbers from 0 to 99, found \[3\]"),
        (lambda r: write(r, "train", batch(4)), r"train must hold at least 5 images, found 4"),
        (lambda r: write(r, "test", batch(0)), r"test must hold at least 1 images, found 0"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(release)
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert CIFAR100.homepage in str(caught.value)


def test_a_hostile_pickle_is_refused(release: Path) -> None:
    write(release, "train", batch(20) | {"filenames": Hostile()})
    with pytest.raises(UnsafePickle, match="system"):
        read(release)


@pytest.mark.usefixtures("small")
def test_the_sample_has_the_releases_layout_and_twenty_balanced_classes(tmp_path: Path) -> None:
    pictures.write_cifar100(tmp_path, 0)
    splits = read(tmp_path)
    assert {split: len(records) for split, records in splits.items()} == {"train": 80, "val": 20, "test": 40}
    counts = np.bincount([r["y"] for split in ("train", "val") for r in splits[split]], minlength=100)
    assert set(counts[counts > 0]) == {5}
    assert set(np.flatnonzero(counts)) == set(pictures.CIFAR_CLASSES.values())


@pytest.mark.usefixtures("small")
def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        pictures.write_cifar100(tmp_path / name, seed)
    for part in SIZES:
        content = {
            name: (tmp_path / name / FOLDER / part).read_bytes() for name in ("first", "again", "other")
        }
        assert content["first"] == content["again"] != content["other"]
