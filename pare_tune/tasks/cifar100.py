"""CIFAR-100: which of 100 classes a photograph of 32×32 pixels shows (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.cifar import HOMEPAGE, SIDE, read_batch, records_of
from pare_tune.data.store import Record
from pare_tune.tasks.base import Canvas, Modality, PaperSettings, Point, Split, Task, release_at
from pare_tune.tasks.metrics import ERROR_RATE
from pare_tune.tasks.samples.pictures import write_cifar100

FOLDER: Final = "cifar-100-python"
NUM_CLASSES: Final = 100
MEAN: Final = (0.5071, 0.4867, 0.4408)
STD: Final = (0.2675, 0.2565, 0.2761)
"""Of the training images, RGB, in units of 255."""
PADDING: Final = 4
"""Black pixels around a training image before it is cropped to its size again."""

_FIELD = "fine_labels"
_VAL_SHARE = 5  # one in five


def read(root: Path, _seed: int) -> Mapping[Split, Iterator[Record]]:
    """x (3, 32, 32) uint8, y fine class 0..99. Validation is the last fifth of `train`, as in NAS-Bench-360.

    Raises:
        DataError: a file is missing, cut short, or does not hold images with one fine label each.
        UnsafePickle: a file holds more than arrays and lists.
    """
    with release_at(HOMEPAGE):
        images, labels = read_batch(root / FOLDER / "train", _FIELD, NUM_CLASSES, at_least=_VAL_SHARE)
        test = read_batch(root / FOLDER / "test", _FIELD, NUM_CLASSES)
    cut = len(labels) - len(labels) // _VAL_SHARE
    return {
        "train": records_of(images[:cut], labels[:cut]),
        "val": records_of(images[cut:], labels[cut:]),
        "test": records_of(*test),
    }


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
    paper=PaperSettings.of("cifar100"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(f"{FOLDER}/train", f"{FOLDER}/test"),
    read=read,
    make=write_cifar100,
    item=item,
)
