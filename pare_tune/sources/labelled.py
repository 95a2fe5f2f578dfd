"""What the sources of labelled image files share: finding the files, and storing them at one size."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pare_tune.data.images import SUFFIXES, read_square
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources.base import Source, SourceData, SourceRequest
from pare_tune.sources.stored import StoredSamples, image_size, stored, subset


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Image files, and which class each is of."""

    names: tuple[str, ...]
    files: Sequence[Path]
    labels: Sequence[int]


def class_folders(folder: Path, *, named: str = r"[^._].*") -> LabelledFiles:
    """One class a subfolder, by name, with all images below it.

    Args:
        named: what the whole name of a class folder matches; other folders, and files beside them, are passed over.

    Raises:
        DataError: there are fewer than two such folders, one has no image, or one cannot be read.
    """
    try:
        names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and re.fullmatch(named, e.name))
        found = [sorted(_images(folder / name)) for name in names]
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    if len(names) < 2:
        raise DataError(
            f"{folder} must hold one folder of images a class, at least two of them; found {len(names)}"
        )
    empty = next((name for name, files in zip(names, found, strict=True) if not files), None)
    if empty is not None:
        raise DataError(
            f"{folder / empty} holds no image ({', '.join(sorted(SUFFIXES))}); put some in, or take the folder away"
        )
    labels = np.repeat(np.arange(len(names)), [len(files) for files in found])
    return LabelledFiles(tuple(names), [file for files in found for file in files], labels.tolist())


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

    path = stored(
        source,
        request,
        records,
        files=_digest(images, source.homepage),
        size=size,
        subset=None if len(chosen) == len(images.files) else [len(chosen), request.seed],
    )
    return SourceData(
        name=source.name,
        kind=source.kind,
        dataset=StoredSamples(path, source.kind, request),
        num_classes=len(images.names),
        class_names=images.names,
        provenance=provenance,
    )


def _images(folder: Path) -> Iterator[Path]:
    """Links to folders are not followed: they may lead round in a circle."""
    for parent, folders, files in os.walk(folder, onerror=_stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield Path(parent, name)


def _stop(error: OSError) -> None:
    raise error


def _digest(images: LabelledFiles, homepage: str) -> str:
    """Of names, labels, sizes and times: changed files are read again."""
    total = hashlib.sha256("\0".join(images.names).encode(errors="surrogateescape"))
    for line in _lines(images, homepage):
        total.update(line.encode(errors="surrogateescape"))
    return total.hexdigest()


def _lines(images: LabelledFiles, homepage: str) -> Iterable[str]:
    for file, label in zip(images.files, images.labels, strict=True):
        try:
            stat = file.stat()
        except OSError as error:
            raise DataError(
                f"{file} cannot be read ({error.strerror}); "
                + (f"get it again ({homepage})" if homepage else "put it there")
            ) from error
        yield f"{file}\0{label} {stat.st_size} {stat.st_mtime_ns}\0"
