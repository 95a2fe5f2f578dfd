"""Source `cifar10`: the paper's proxy for 2D classification, from its Python release.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import StoredSamples, find_release, image_size, inventory, stored

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_FOLDER: Final = "cifar-10-batches-py"
_BATCHES: Final = tuple(f"data_batch_{i}" for i in range(1, 6))


def read_batch(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """One pickled batch → (n, 3, 32, 32) images and (n,) labels.

    Raises:
        UnsafePickle: the pickle names more than plain arrays.
        DataError: the file is missing, truncated, or does not hold images with one label each.
    """
    content = load_pickle(path)
    images, labels = _field(content, "data", path), _listed(_field(content, "labels", path))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3072,):
        raise DataError(
            f"{path}: data must be uint8 (n, 3072), found {_described(images)}; get the file again"
        )
    if not labels or len(labels) != len(images):
        raise DataError(
            f"{path}: {len(images)} images need one label each, and there must be at least one; get the file again"
        )
    odd = next((label for label in labels if type(label) is not int or not 0 <= label < len(CLASSES)), None)
    if odd is not None:
        raise DataError(
            f"{path}: labels must be whole numbers from 0 to 9, found {odd!r}; get the file again"
        )
    return images.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


def _field(content: object, name: str, path: Path) -> Any:
    # Written by Python 2, where names are byte strings; how they come back depends on the reader.
    for key in (name, name.encode()):
        if isinstance(content, dict) and key in content:
            return content[key]
    raise DataError(f"{path}: a CIFAR batch is a dict with data and labels, this file has no {name!r}")


def _listed(values: object) -> list[object]:
    """Labels as the release has them, a list, or as copies do, an array; empty for anything else."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    return listed if isinstance(listed, list) else []


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _open(request: SourceRequest) -> SourceData:
    image_size(request)  # said here, where the request is known, and not in the first batch
    folder = find_release(request, CIFAR10.name, CIFAR10.homepage, (_FOLDER,))
    paths = [folder / batch for batch in _BATCHES]

    def records() -> Iterator[Record]:
        for path in paths:
            images, labels = read_batch(path)
            for x, y in zip(images, labels, strict=True):
                yield {"x": x, "y": y}

    path = stored("cifar10", request, records, files=inventory(paths, CIFAR10.homepage))
    return SourceData(
        name=CIFAR10.name,
        kind=CIFAR10.kind,
        dataset=StoredSamples(path, CIFAR10.kind, request),
        num_classes=len(CLASSES),
        class_names=CLASSES,
        provenance="CIFAR-10 training images (Krizhevsky, 2009)",
    )


CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10: 50,000 photographs of 10 classes, 32×32",
    kind=SourceKind.IMAGES,
    embedded=False,
    open=_open,
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    files=tuple(f"{_FOLDER}/{batch}" for batch in _BATCHES),
)
