"""Folders of images: photographs, scans, plots; grey or colour, of any size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.images import FORMATS, SUFFIXES, open_image
from pare_tune.errors import DataError
from pare_tune.tasks.own.samples import Each, Shapes

_GREY: Final = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")
_DEEP: Final = {"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": np.uint16, "I;16L": np.uint16}
_SPLIT_NAMES: Final = frozenset({"train", "val", "valid", "validation", "test"})


def is_image(name: object) -> bool:
    """Whether a file of this name is an image by its suffix."""
    return isinstance(name, str | Path) and Path(name).suffix.lower() in SUFFIXES


def find_images(folder: Path) -> list[Path]:
    """Every image under `folder`, in natural order. Raises DataError where there is none."""
    found = sorted(
        (p for p in folder.rglob("*") if p.is_file() and is_image(p.name)), key=_natural_path(folder)
    )
    if not found:
        raise DataError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def class_of(folder: Path, paths: Sequence[Path]) -> list[str]:
    """The subfolder that each image lies in: its class.

    Raises:
        DataError: images lie beside the subfolders, or the subfolders are splits.
    """
    classes = [path.relative_to(folder).parts[0] for path in paths]
    loose = next((p for p in paths if p.parent == folder), None)
    if loose is not None:
        raise DataError(
            f"{folder}: classes are subfolders, but {loose.name} lies beside them; move it, or give labels as target: "
            f"a CSV with a column of file names"
        )
    if "train" in classes and {c.lower() for c in classes} <= _SPLIT_NAMES:
        raise DataError(
            f"{folder} has the subfolders {', '.join(sorted(set(classes)))}: give each split by itself in a task "
            f"file, as train: {{input: {folder.name}/train}}, test: {{input: {folder.name}/test}}"
        )
    return classes


def pair_masks(folder: Path, names: Sequence[str], where: str) -> list[Path]:
    """For each image name (a path inside its folder) the mask of the same path but for the suffix.

    Raises:
        DataError: an image has no mask, or two.
    """
    masks: dict[str, Path] = {}
    for path in find_images(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
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
    return [masks[stem] for stem in stems]


def open_images(paths: Sequence[Path], names: Sequence[str], where: str, *, grey: bool | None = None) -> Each:
    """Images as (H, W) where all are grey, else (H, W, 3).

    Args:
        grey: True reads all in grey (masks); None as they are.

    Raises:
        DataError: one is missing or damaged.
    """
    headers = [_header(path) for path in paths]
    sizes, modes = [size for size, _ in headers], [mode for _, mode in headers]
    is_grey = grey or (grey is None and all(mode in _GREY for mode in modes))
    dtypes = [np.dtype(_DEEP.get(mode, np.uint8) if is_grey else np.uint8) for mode in modes]
    shapes = [size if is_grey else (*size, 3) for size in sizes]
    return Each(lambda i: _read(paths[i], is_grey), Shapes(shapes, dtypes, names), where)


def _read(path: Path, grey: bool) -> npt.NDArray[Any]:
    image = open_image(path)
    if grey and image.mode in _DEEP:
        return np.asarray(image)
    image.info.pop("transparency", None)  # Pillow warns of palettes that have it
    if not grey:
        return np.asarray(image.convert("RGB"))
    # A palette's numbers are the mask; its colours are only how it is shown.
    return np.asarray(image if image.mode in ("L", "P") else image.convert("L"))


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """((H, W), Pillow's mode), without decoding."""
    from PIL import Image

    if not path.is_file():
        raise DataError(f"no image {path}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            return (image.height, image.width), image.mode
    except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them trip over
        raise DataError(f"{path} is not an image ({str(error) or type(error).__name__})") from error


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts x2 before x10."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"([0-9]+)", text) if p]


def _natural_path(folder: Path) -> Any:
    return lambda path: natural(path.relative_to(folder).as_posix())
