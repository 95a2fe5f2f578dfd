"""Spherical CIFAR-100: the class of a photograph that lies on a turned sphere (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_array, require_keys, whole_numbers
from pare_tune.data.cifar import records_of
from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Modality, PaperSettings, Point, Split, Task, first_of, release_at
from pare_tune.tasks.metrics import ERROR_RATE
from pare_tune.tasks.samples.sphere import FILE, SIDE, write_sample

HOMEPAGE: Final = "https://github.com/rtu715/NAS-Bench-360"
NUM_CLASSES: Final = 100
MEAN: Final = 0.25
STD: Final = 0.3
"""Of all colours over the grid, black where the picture does not reach included; rounded, in units of 255."""

# The benchmark's own scripts read the gzipped file or, unpacked, the same file in a folder.
_PLACES = (FILE, "spherical/s2_cifar100", f"spherical/{FILE}", "s2_cifar100")
_VAL_SHARE = 5  # one in five

Array = npt.NDArray[Any]


def read(root: Path, _seed: int) -> Mapping[Split, Iterator[Record]]:
    """x (3, 60, 60) uint8, colatitude × longitude; y class 0..99. Validation is the last fifth of `train`, as in
    NAS-Bench-360.

    The release is one pickle, so it is in memory as a whole until the last record is read: 0.75 GB, or 1.4 GB at the
    peak if it is of one of the pickle protocols of Python 2.

    Raises:
        DataError: the file is missing, cut short or no such pickle, or holds other shapes, values or classes.
        UnsafePickle: the pickle holds more than arrays.
    """
    with release_at(HOMEPAGE):
        path = first_of([root / place for place in _PLACES], f"no file {root / FILE}")
        content = require_keys(load_pickle(path), ("train", "test"), path)
        images, labels = _part(content, "train", path, at_least=_VAL_SHARE)
        test = _part(content, "test", path, at_least=1)
    cut = len(labels) - len(labels) // _VAL_SHARE
    return {
        "train": records_of(images[:cut], labels[:cut]),
        "val": records_of(images[cut:], labels[cut:]),
        "test": records_of(*test),
    }


def _part(
    content: Mapping[str, Any], name: str, path: Path, *, at_least: int
) -> tuple[Array, npt.NDArray[np.int64]]:
    part = require_keys(content[name], ("images", "labels"), f"{path}: {name}")
    what = f"{name} images", f"{name} labels"
    images = require_array(part["images"], what[0], path, shape=(None, 3, SIDE, SIDE), kinds="iuf")
    labels = require_array(part["labels"], what[1], path, shape=(len(images),), kinds="iuf")
    if len(images) < at_least:
        raise DataError(f"{path}: {name} must hold at least {at_least} images, found {len(images)}")
    pixels = whole_numbers(images, what[0], path, low=0, high=255, dtype=np.uint8)
    return pixels, whole_numbers(labels, what[1], path, low=0, high=NUM_CLASSES - 1)


def item(record: Record, _canvas: Canvas, _rng: np.random.Generator | None) -> dict[str, Array]:
    """x (3, 60, 60) float32, normalised by `MEAN` and `STD`; not augmented in training, as in the official code."""
    return {**record, "x": (record["x"].astype(np.float32) - 255 * MEAN) / np.float32(255 * STD)}


SPHERICAL = Task(
    name="spherical",
    title="photograph on a turned sphere, 60×60 angles → class, 100 classes",
    modality=Modality.GRID_2D,
    input_shape=(3, SIDE, SIDE),
    output=Point(NUM_CLASSES),
    loss="cross_entropy",
    metric=ERROR_RATE,
    paper=PaperSettings.of("spherical"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(FILE,),
    read=read,
    make=write_sample,
    item=item,
)
