"""Sources `cifar10`, the paper's proxy for 2D classification, and `cifar100`: their Python releases.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import StoredSamples, find_release, image_size, inventory, stored

_HOMEPAGE: Final = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """What differs between the two."""

    title: str
    folder: str
    batches: tuple[str, ...]
    """Of the training images; the test images are left alone."""
    field: str
    """Of the labels."""
    classes: tuple[str, ...]


_TEN: Final = _Release(
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    batches=tuple(f"data_batch_{i}" for i in range(1, 6)),
    field="labels",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
_HUNDRED_NAMES: Final = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
_HUNDRED: Final = _Release(
    title="CIFAR-100",
    folder="cifar-100-python",
    batches=("train",),
    field="fine_labels",
    classes=tuple(_HUNDRED_NAMES.split()),
)


def read_batch(
    path: Path, field: str, num_classes: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """One pickled batch → (n, 3, 32, 32) images and (n,) labels, which are in `field`.

    Raises:
        UnsafePickle: the pickle names more than plain arrays.
        DataError: the file is missing, truncated, or does not hold images with one label each.
    """
    content = load_pickle(path)
    images, labels = _field(content, "data", path), _listed(_field(content, field, path))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3072,):
        raise DataError(
            f"{path}: data must be uint8 (n, 3072), found {_described(images)}; get the file again"
        )
    if not labels or len(labels) != len(images):
        raise DataError(
            f"{path}: {len(images)} images need one label each, and there must be at least one; get the file again"
        )
    odd = next((label for label in labels if type(label) is not int or not 0 <= label < num_classes), None)
    if odd is not None:
        raise DataError(
            f"{path}: {field} must be whole numbers from 0 to {num_classes - 1}, found {odd!r}; get the file again"
        )
    return images.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


def _field(content: object, name: str, path: Path) -> Any:
    # Written by Python 2, where names are byte strings; how they come back depends on the reader.
    for key in (name, name.encode()):
        if isinstance(content, dict) and key in content:
            return content[key]
    raise DataError(
        f"{path}: a CIFAR batch is a dict that holds {name!r}, and this file has none; get it again"
    )


def _listed(values: object) -> list[object]:
    """Labels as the release has them, a list, or as copies do, an array; empty for anything else."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    return listed if isinstance(listed, list) else []


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _open_ten(request: SourceRequest) -> SourceData:
    return _open(CIFAR10, _TEN, request)


def _open_hundred(request: SourceRequest) -> SourceData:
    return _open(CIFAR100, _HUNDRED, request)


def _open(source: Source, release: _Release, request: SourceRequest) -> SourceData:
    image_size(request)  # said here, where the request is known, and not in the first batch
    folder = find_release(request, source)
    paths = [folder / batch for batch in release.batches]

    def records() -> Iterator[Record]:
        for path in paths:
            images, labels = read_batch(path, release.field, len(release.classes))
            for x, y in zip(images, labels, strict=True):
                yield {"x": x, "y": y}

    path = stored(source, request, records, files=inventory(paths, _HOMEPAGE))
    return SourceData(
        name=source.name,
        kind=source.kind,
        dataset=StoredSamples(path, source.kind, request),
        num_classes=len(release.classes),
        class_names=release.classes,
        provenance=f"{release.title} training images (Krizhevsky, 2009)",
    )


CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10: 50,000 photographs of 10 classes, 32×32",
    kind=SourceKind.IMAGES,
    classes=10,
    embedded=False,
    open=_open_ten,
    homepage=_HOMEPAGE,
    releases=(_TEN.folder,),
)

CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100: 50,000 photographs of 100 classes, 32×32",
    kind=SourceKind.IMAGES,
    classes=100,
    embedded=False,
    open=_open_hundred,
    homepage=_HOMEPAGE,
    releases=(_HUNDRED.folder,),
    holds=("cifar100", "spherical"),
)
