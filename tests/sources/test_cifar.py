from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.errors import DataError, UnsafePickle
from pare_tune.sources.base import SourceData, SourceRequest
from pare_tune.sources.cifar import CIFAR10, CIFAR100

PER_BATCH = 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The release's layout: five batches with byte-string keys, as Python 2 wrote them."""
    folder = tmp_path / "release" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(1, 6):
        write(
            folder / f"data_batch_{i}",
            {
                b"batch_label": b"training batch",
                b"labels": rng.integers(0, 10, PER_BATCH).tolist(),
                b"data": rng.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8),
                b"filenames": [b"x.png"] * PER_BATCH,
            },
        )
    return folder.parent


def write(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def batch(root: Path, number: int = 1) -> Path:
    return root / "cifar-10-batches-py" / f"data_batch_{number}"


def opened(root: Path, **fields: Any) -> SourceData:
    fields = {"image_size": 32, **fields}
    return CIFAR10.open(SourceRequest(root=root, cache=root.parent / "cache", **fields))


def test_items_are_the_release_s_images_normalised(root: Path) -> None:
    content = pickle.loads(batch(root, 2).read_bytes())
    source = opened(root, image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.25, 0.5))
    assert len(source.dataset) == 5 * PER_BATCH
    assert source.num_classes == 10
    item = source.dataset[PER_BATCH + 1]
    pixels = torch.from_numpy(content[b"data"][1].reshape(3, 32, 32)) / 255
    expected = (pixels - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.25, 0.5]).view(
        3, 1, 1
    )
    torch.testing.assert_close(item["x"], expected)
    assert int(item["y"]) == content[b"labels"][1]


def test_images_are_enlarged_when_fetched(root: Path) -> None:
    small, large = opened(root).dataset, opened(root, image_size=64).dataset
    assert large[0]["x"].shape == (3, 64, 64)
    expected = torch.nn.functional.interpolate(small[0]["x"][None], (64, 64), mode="bilinear")[0]
    torch.testing.assert_close(large[0]["x"], expected)
    assert len(list((root.parent / "cache" / "sources").glob("cifar10-*"))) == 1


def test_python_2_pickles_of_protocol_0_are_read(root: Path) -> None:
    content = pickle.loads(batch(root).read_bytes())
    before = opened(root).dataset[0]["x"]
    batch(root).write_bytes(pickle.dumps(content, protocol=0))
    assert torch.equal(opened(root).dataset[0]["x"], before)


def test_a_pickle_that_would_run_code_is_refused(root: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    write(batch(root, 3), Bomb())
    with pytest.raises(UnsafePickle):
        opened(root)
    assert not (tmp_path / "ran").exists()


def test_no_folder_names_the_homepage(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none was given.*cs\.toronto\.edu.*cifar-10-batches-py with --source-data"
    ):
        CIFAR10.open(SourceRequest(cache=tmp_path, image_size=32))


def test_a_folder_without_the_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no cifar-10-batches-py"):
        opened(tmp_path)


def test_a_missing_batch_is_named(root: Path) -> None:
    batch(root, 4).unlink()
    with pytest.raises(DataError, match="data_batch_4 is missing"):
        opened(root)


def test_a_truncated_batch_is_named(root: Path) -> None:
    batch(root).write_bytes(batch(root).read_bytes()[:500])
    with pytest.raises(DataError, match="data_batch_1"):
        opened(root)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (b"data", np.zeros((PER_BATCH, 3072)), "data must be .*, found float64"),
        (b"data", np.zeros((PER_BATCH, 100), np.uint8), r"shape \(any, 3072\), found \(4, 100\)"),
        (b"data", [1, 2], "found list"),
        (b"data", np.zeros((0, 3072), np.uint8), "at least 1 images, found 0"),
        (b"labels", [1, 2], "a list of 4 labels, one for each image"),
        (b"labels", [0.5] * PER_BATCH, r"0 to 9, found 0\.5"),
        (b"labels", [[1], [1, 2], [], [3]], r"0 to 9, found \[1\]"),
        (b"labels", [1, 2, 3, 10**30], "0 to 9, found 10000"),
        (b"labels", b"1234", "a list of 4 labels, one for each image"),
    ],
)
def test_garbled_batches_are_described(root: Path, field: bytes, value: object, message: str) -> None:
    content = pickle.loads(batch(root).read_bytes())
    write(batch(root), {**content, field: value})
    with pytest.raises(DataError, match=message):
        opened(root)


def test_a_batch_without_labels_is_named(root: Path) -> None:
    write(batch(root), {b"data": np.zeros((1, 3072), np.uint8)})
    with pytest.raises(DataError, match="a dict with data and labels, found data"):
        opened(root)


def test_changed_files_are_read_again(root: Path) -> None:
    before = opened(root).dataset[0]
    content = pickle.loads(batch(root).read_bytes())
    write(batch(root), {**content, b"data": 255 - content[b"data"], b"note": b"longer"})
    assert not torch.equal(opened(root).dataset[0]["x"], before["x"])


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    """CIFAR-100's layout: one file for training, fine and coarse labels."""
    folder = tmp_path / "release" / "cifar-100-python"
    folder.mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (3, 3072), dtype=np.uint8)
    fine, coarse = [99, 0, 41], [13, 4, 5]
    write(folder / "train", {b"fine_labels": fine, b"coarse_labels": coarse, b"data": images})
    return folder.parent


def test_cifar100_has_its_fine_labels(hundred: Path) -> None:
    request = SourceRequest(root=hundred, cache=hundred.parent / "cache", image_size=32)
    source = CIFAR100.open(request)
    assert (source.num_classes, len(set(source.class_names)), len(source.dataset)) == (100, 100, 3)
    assert list(source.class_names) == sorted(source.class_names), "labels are in the order of the names"
    assert [source.class_names[int(source.dataset[i]["y"])] for i in range(3)] == [
        "worm",
        "apple",
        "lawn_mower",
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (b"fine_labels", [0, 1, 100], "fine_labels must be whole numbers from 0 to 99, found 100"),
        (b"fine_labels", None, "a list of 3 labels, one for each image"),
        (b"data", np.zeros((3, 3071), np.uint8), r"found \(3, 3071\)"),
    ],
)
def test_garbled_cifar100_is_described(hundred: Path, field: bytes, value: object, message: str) -> None:
    path = hundred / "cifar-100-python" / "train"
    write(path, {**pickle.loads(path.read_bytes()), field: value})
    with pytest.raises(DataError, match=message):
        CIFAR100.open(SourceRequest(root=hundred, cache=hundred.parent / "cache", image_size=32))


def test_the_two_are_stored_apart(root: Path, hundred: Path) -> None:
    opened(root)
    CIFAR100.open(SourceRequest(root=hundred, cache=hundred.parent / "cache", image_size=32))
    stores = sorted((hundred.parent / "cache" / "sources").glob("cifar*"))
    assert [path.name.partition("-")[0] for path in stores] == ["cifar10", "cifar100"]
