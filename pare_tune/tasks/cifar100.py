"""CIFAR-100: which of 100 classes a photograph of 32×32 pixels shows (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_array
from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Modality, PaperSettings, Point, Split, Task, release_at
from pare_tune.tasks.metrics import ERROR_RATE
from pare_tune.tasks.samples.pictures import write_cifar100

HOMEPAGE: Final = "https://www.cs.toronto.edu/~kriz/cifar.html"
FOLDER: Final = "cifar-100-python"
NUM_CLASSES: Final = 100
SIDE: Final = 32
MEAN: Final = (0.5071, 0.4867, 0.4408)
STD: Final = (0.2675, 0.2565, 0.2761)
"""Of the training images, RGB, in units of 255."""
PADDING: Final = 4
"""Black pixels around a training image before it is cropped to its size again."""

_VAL_SHARE = 5  # one in five

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def read(root: Path, _seed: int) -> Mapping[Split, Iterator[Record]]:
    """x (3, 32, 32) uint8, y fine class 0..99. Validation is the last fifth of `train`, as in NAS-Bench-360.

    Raises:
        DataError: a file is missing, cut short, or does not hold images with one fine label each.
        UnsafePickle: a file holds more than arrays and lists.
    """
    with release_at(HOMEPAGE):
        images, labels = _load(root / FOLDER / "train", at_least=_VAL_SHARE)
        test = _load(root / FOLDER / "test", at_least=1)
    cut = len(labels) - len(labels) // _VAL_SHARE
    return {
        "train": _records(images[:cut], labels[:cut]),
        "val": _records(images[cut:], labels[cut:]),
        "test": _records(*test),
    }


def _load(path: Path, at_least: int) -> tuple[Images, Labels]:
    content = load_pickle(path)
    images = require_array(_field(content, "data", path), "data", path, shape=(None, 3 * SIDE**2), kinds="u")
    if images.dtype != np.uint8:
        raise DataError(f"{path}: data must be uint8, found {images.dtype}")
    if len(images) < at_least:
        raise DataError(f"{path} must hold at least {at_least} images, found {len(images)}; get it again")
    labels = _field(content, "fine_labels", path)
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{path}: fine_labels must be a list of {len(images)} labels, one for each image")
    odd = next((y for y in labels if type(y) is not int or not 0 <= y < NUM_CLASSES), None)
    if odd is not None:
        raise DataError(
            f"{path}: fine_labels must be whole numbers from 0 to {NUM_CLASSES - 1}, found {odd!r}"
        )
    return images.reshape(-1, 3, SIDE, SIDE), np.array(labels, dtype=np.int64)


def _field(content: object, name: str, path: Path) -> Any:
    # Written by Python 2, where names are byte strings; how they come back depends on the reader.
    for key in (name, name.encode()):
        if isinstance(content, dict) and key in content:
            return content[key]
    found = ", ".join(sorted(map(str, content))) if isinstance(content, dict) else type(content).__name__
    raise DataError(f"{path} must hold a dict with data and fine_labels, found {found}")


def _records(images: Images, labels: Labels) -> Iterator[Record]:
    for x, y in zip(images, labels, strict=True):
        yield {"x": x, "y": y}


def item(record: Record, _canvas: Canvas, rng: np.random.Generator | None) -> dict[str, npt.NDArray[Any]]:
    """x (3, 32, 32) float32, normalised by the training images' `MEAN` and `STD`.

    In training a random crop of the image with `PADDING` around it, mirrored half of the time.
    """
    image = record["x"]
    if rng is not None:
        padded = np.pad(image, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
        top, left = rng.integers(0, 2 * PADDING + 1, 2)
        image = padded[:, top : top + SIDE, left : left + SIDE]
        if rng.random() < 0.5:
            image = image[:, :, ::-1]
    mean, std = (255 * np.array(values, dtype=np.float32)[:, None, None] for values in (MEAN, STD))
    return {**record, "x": (image.astype(np.float32) - mean) / std}


CIFAR100 = Task(
    name="cifar100",
    title="photograph of 32×32 pixels → class, 100 classes",
    modality=Modality.GRID_2D,
    input_shape=(3, SIDE, SIDE),
    output=Point(NUM_CLASSES),
    loss="cross_entropy",
    metric=ERROR_RATE,
    paper=PaperSettings(
        batch_size=32,
        accumulation=32,
        epochs=60,
        optimizer="sgd",
        lr=1e-4,
        weight_decay=1e-3,
        momentum=0.9,
        warmup_epochs=5,
        decay_epochs=200,
        source="cifar10",
        score=6.25,
        notes=(
            "The official code sums the gradients of 32 accumulated batches, so its learning rate is 32 times the "
            "paper's 1e-4, and lets k fall from 2000 to 525. It trains on train and validation together and selects "
            "on test."
        ),
    ),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(f"{FOLDER}/train", f"{FOLDER}/test"),
    read=read,
    make=write_cifar100,
    item=item,
)
