"""Sources `cifar10`, the paper's proxy for 2D classification, and `cifar100`: their Python releases.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pare_tune.data import cifar
from pare_tune.data.store import Record
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import find_release, image_size, inventory, open_stored


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


def _open_ten(request: SourceRequest) -> SourceData:
    return _open_release(CIFAR10, _TEN, request)


def _open_hundred(request: SourceRequest) -> SourceData:
    return _open_release(CIFAR100, _HUNDRED, request)


def _open_release(source: Source, release: _Release, request: SourceRequest) -> SourceData:
    image_size(request)  # said here, where the request is known, and not in the first batch
    folder = find_release(request, source)
    paths = [folder / batch for batch in release.batches]

    def records() -> Iterator[Record]:
        for path in paths:
            yield from cifar.records_of(*cifar.read_batch(path, release.field, len(release.classes)))

    return open_stored(
        source,
        request,
        records,
        class_names=release.classes,
        provenance=f"{release.title} training images (Krizhevsky, 2009)",
        files=inventory(paths, cifar.HOMEPAGE),
    )


CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10: 50,000 photographs of 10 classes, 32×32",
    kind=SourceKind.IMAGES,
    classes=10,
    embedded=False,
    open=_open_ten,
    homepage=cifar.HOMEPAGE,
    releases=(_TEN.folder,),
    uses=(cifar,),
)

CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100: 50,000 photographs of 100 classes, 32×32",
    kind=SourceKind.IMAGES,
    classes=100,
    embedded=False,
    open=_open_hundred,
    homepage=cifar.HOMEPAGE,
    releases=(_HUNDRED.folder,),
    uses=(cifar,),
    holds=("cifar100", "spherical"),
)
