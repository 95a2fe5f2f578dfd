"""Folders of images: photographs, scans, plots; grey or colour, of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data import images
from pare_tune.data.images import Header, ImageFiles, find_images, listing, open_image, open_rgb, read_header
from pare_tune.errors import DataError
from pare_tune.tasks.own.samples import Each, Shapes

_DEEP: Final = {"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": np.uint16, "I;16L": np.uint16}
_SPLIT_NAMES: Final = frozenset({"train", "val", "valid", "validation", "test"})


def class_of(folder: Path, files: ImageFiles) -> list[str]:
    """The subfolder that each image lies in: its class.

    Raises:
        DataError: images lie beside the subfolders, one of these holds no image, or they are splits.
    """
    classes = images.class_of(folder, files)
    if "train" in classes and {c.lower() for c in classes} <= _SPLIT_NAMES:
        raise DataError(
            f"{folder} has the subfolders {', '.join(sorted(set(classes)))}: give each split by itself in a task "
            f"file, as train: {{input: {folder.name}/train}}, test: {{input: {folder.name}/test}}"
        )
    return classes


def pair_masks(folder: Path, names: Sequence[str], where: str) -> ImageFiles:
    """For each image name (a path inside its folder) the mask of the same path but for the suffix.

    Raises:
        DataError: an image has no mask, or two.
    """
    files = find_images(folder)
    masks: dict[str, Path] = {}
    for path, name in zip(files.paths, files.names, strict=True):
        stem = Path(name).with_suffix("").as_posix()
        if stem in masks:
            raise DataError(f"{folder} holds two masks for {stem}: {masks[stem].name} and {path.name}")
        masks[stem] = path
    stems = [Path(name).with_suffix("").as_posix() for name in names]
    missing = [name for name, stem in zip(names, stems, strict=True) if stem not in masks]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} images in {where} have no mask of the same name in {folder}; the first "
            f"is {missing[0]}"
        )
    paths = [masks[stem] for stem in stems]
    return ImageFiles(paths, [path.name for path in paths], files.notes)


def open_images(files: ImageFiles, where: str, *, grey: bool | None = None, are_masks: bool = False) -> Each:
    """Images as (H, W) where all are grey, else (H, W, 3).

    All have one scale: those of 8, 16 and 32 bits are not read side by side, since what is bright in one is dark in
    another, and no file says how to bring them together.

    Args:
        grey: read all in grey (True) or colour (False); None as they are.
        are_masks: read all in grey, and of a palette its numbers, which are the mask; its colours only show it.

    Raises:
        DataError: one is missing or damaged, or they are of several scales.
    """
    headers = [read_header(path) for path in files.paths]
    scale = _one_scale(headers, files.names, where)
    is_grey = are_masks or grey or (grey is None and all(header.is_grey for header in headers))
    read = _read_mask if are_masks else _read_grey if is_grey else _read_colour
    dtypes = [np.dtype(_DEEP.get(header.mode, np.uint8) if is_grey else np.uint8) for header in headers]
    shapes = [header.size if is_grey else (*header.size, 3) for header in headers]
    samples = Each(lambda i: read(files.paths[i]), Shapes(shapes, dtypes, files.names), where)
    samples.scale, samples.notes = scale, (*files.notes, *_left_out(headers, where))
    return samples


def _one_scale(headers: Sequence[Header], names: Sequence[str], where: str) -> str:
    first: dict[str, str] = {}
    for header, name in zip(headers, names, strict=True):
        first.setdefault(header.scale, name)
    if len(first) > 1:
        counted = listing([f"{sum(h.scale == s for h in headers)} of {s} ({n})" for s, n in first.items()])
        raise DataError(
            f"{where}: images of one data set have one scale, found {counted}; convert them to one, or take one kind "
            f"away"
        )
    return next(iter(first), "")


def _left_out(headers: Sequence[Header], where: str) -> Iterator[str]:
    if count := sum(header.has_alpha for header in headers):
        yield f"{where}: {count} images have transparency, which is not read"
    if count := sum(header.is_cut for header in headers):
        yield f"{where}: {count} images have 16 bits a channel in colour, of which 8 are read"


def _read_colour(path: Path) -> npt.NDArray[Any]:
    return np.asarray(open_rgb(path))


def _read_grey(path: Path, own: tuple[str, ...] = ("L",)) -> npt.NDArray[Any]:
    image = open_image(path)
    if image.mode in _DEEP or image.mode in own:
        return np.asarray(image)
    image.info.pop("transparency", None)  # Pillow warns of palettes that have it
    return np.asarray(image.convert("L"))


def _read_mask(path: Path) -> npt.NDArray[Any]:
    return _read_grey(path, ("L", "P"))
