"""Reads the batches of CIFAR's Python release (Krizhevsky, 2009), pickles of images with a label each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_array
from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError

HOMEPAGE: Final = "https://www.cs.toronto.edu/~kriz/cifar.html"
SIDE: Final = 32

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def read_batch(path: Path, field: str, num_classes: int, *, at_least: int = 1) -> tuple[Images, Labels]:
    """One batch → (n, 3, 32, 32) images and (n,) labels, which are in `field`.

    Raises:
        UnsafePickle: the pickle names more than plain arrays.
        DataError: the file is missing, cut short, or does not hold images with one label each.
    """
    content = load_pickle(path)
    # Written by Python 2, where names are byte strings; how they come back depends on the reader.
    named = {_name(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    if not {"data", field} <= named.keys():
        raise DataError(
            f"{path}: a CIFAR batch must hold a dict with data and {field}, found "
            f"{', '.join(sorted(named)) or type(content).__name__}; get it again"
        )
    images = require_array(named["data"], "data", path, shape=(None, 3 * SIDE**2), kinds="u")
    if images.dtype != np.uint8:
        raise DataError(f"{path}: data must be uint8, found {images.dtype}; get it again")
    if len(images) < at_least:
        raise DataError(f"{path} must hold at least {at_least} images, found {len(images)}; get it again")
    labels = named[field]
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(
            f"{path}: {field} must be a list of {len(images)} labels, one for each image; get it again"
        )
    odd = next((y for y in labels if type(y) is not int or not 0 <= y < num_classes), None)
    if odd is not None:
        raise DataError(
            f"{path}: {field} must be whole numbers from 0 to {num_classes - 1}, found {odd!r}; get it again"
        )
    return images.reshape(-1, 3, SIDE, SIDE), np.array(labels, dtype=np.int64)


def records_of(images: npt.NDArray[np.generic], labels: Labels) -> Iterator[Record]:
    """Images with their labels, as x and y."""
    for x, y in zip(images, labels, strict=True):
        yield {"x": x, "y": y}


def _name(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
