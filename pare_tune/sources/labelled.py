"""What the sources of labelled image files share: finding the files, and storing them at one size."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pare_tune.data.images import class_of, find_images, read_square
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceRequest
from pare_tune.sources.stored import image_size, inventory, open_stored, subset

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Image files, and which class each is of."""

    names: tuple[str, ...]
    files: Sequence[Path]
    labels: Sequence[int]


def class_folders(folder: Path, *, named: str = ".*") -> LabelledFiles:
    """One class a subfolder, by name, with all images below it, as `find_images` takes them.

    Args:
        named: what the whole name of a class folder matches; other folders are passed over.

    Raises:
        DataError: there are fewer than two such folders, one has no image, images lie beside them, or one cannot be
            read.
    """
    images = find_images(folder, named=named)
    for note in images.notes:
        logger.info("%s", note)
    files = sorted(images.paths)
    classes = dict(zip(images.paths, class_of(folder, images), strict=True))
    names = sorted(set(classes.values()))
    if len(names) < 2:
        raise DataError(
            f"{folder} must hold one folder of images a class, at least two of them; found {len(names)}"
        )
    number = {name: label for label, name in enumerate(names)}
    return LabelledFiles(tuple(names), files, [number[classes[file]] for file in files])


def open_labelled(
    source: Source,
    request: SourceRequest,
    images: LabelledFiles,
    *,
    largest: int | None = None,
    provenance: str,
) -> SourceData:
    """Store the images (of a subset, only those), and open the store.

    Each is scaled to its shorter side and cut to the square in the middle. The official code cuts at random anew at
    every visit; a store that every trial shares holds one cut, as those of the other sources do.

    Args:
        largest: side of the release's images: a larger request is met when they are fetched.

    Raises:
        DataError: a file is no whole image.
    """
    size = min(image_size(request), largest or image_size(request))
    chosen = subset(len(images.files), request.max_samples, request.seed)

    def records() -> Iterator[Record]:
        for i in chosen:
            x = read_square(images.files[i], size, homepage=source.homepage)
            yield {"x": x, "y": np.asarray(images.labels[i], dtype=np.int64)}

    return open_stored(
        source,
        request,
        records,
        class_names=images.names,
        provenance=provenance,
        files=inventory(images.files, source.homepage),
        labels=images.labels,
        size=size,
        subset=None if len(chosen) == len(images.files) else [len(chosen), request.seed],
    )
