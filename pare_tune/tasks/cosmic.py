"""Cosmic rays in single frames of Hubble's ACS/WFC camera: which pixels they hit (NAS-Bench-360, data of deepCR).

deepCR: Zhang and Bloom 2020, https://arxiv.org/abs/1907.09500. Release: `cosmic/npy_{train,test}/f435w/<proposal>/
<visit>/<exposure>_<…>.npy`, each image, mask and (optionally) pixels to ignore, `sky.npy` beside them with the sky's
level of each exposure, and the indices `cosmic/{train,test}_dirs.npy`.
"""
# Shape suffixes: H, W = rows and columns of a stamp, C = canvas.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import load_npy, require_finite, require_range, to_float32
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import (
    Canvas,
    Dense,
    Modality,
    PaperSettings,
    Split,
    Task,
    first_of,
    release_at,
    require_files,
)
from pare_tune.tasks.metrics import PIXEL_AUROC_ERROR
from pare_tune.tasks.samples.stars import write_sample

HOMEPAGE = "https://github.com/rtu715/NAS-Bench-360"
SIDE: Final = 128
"""Pixels of a stamp that are used, from row and column 64 of the release's 256; smaller stamps are used whole."""
SKY_RANGE: Final = (-0.9, 3.0)
"""How much of its sky's level a training image is given on top: as if exposed for a tenth to four times as long."""

UNIT: Final = 100.0
"""Electrons that are 1 in the model's input."""

_RELEASED_SIDE, _FIRST = 256, 64
_VAL_SHARE = 10  # one in ten
_FEWEST = 20


def read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    """image (H, W) float32, mask and ignore (H, ⌈W/8⌉) uint8 (eight pixels a byte), sky () float32.

    Test is test_dirs.npy. Validation is a tenth of train_dirs.npy, cut by `seed` in whole visits, since a visit's
    exposures show the same stars (stamp by stamp only where all are of one visit). The release's images are kept in
    float32: a saturated pixel has more electrons than a float16 can hold.

    Args:
        root: the folder that holds `cosmic`, or `cosmic` itself.

    Raises:
        DataError: a file is missing, cut short, of another shape or type, or holds NaN or a mask beside 0 and 1.
        UnsafePickle: an index holds more than strings.
    """
    with release_at(HOMEPAGE):
        indices = [root / "cosmic" / "train_dirs.npy", root / "train_dirs.npy"]
        folder = first_of(
            indices, f"no file {indices[0]}; unpack the release's cosmic data there with its indices"
        ).parent
        test = _index(folder, "test_dirs.npy")
        tested = set(test)
        train = [path for path in _index(folder, "train_dirs.npy") if path not in tested]
        if len(train) < _FEWEST:
            raise DataError(
                f"{folder / 'train_dirs.npy'} must name at least {_FEWEST} stamps that test_dirs.npy does not, found "
                f"{len(train)}"
            )
        require_files((*train, *test), "the indices name it; unpack the release again")
    val = _validation(train, seed)
    kept = [path for path in train if path not in val]
    return {"train": _records(kept), "val": _records(sorted(val)), "test": _records(test)}


def item(record: Record, canvas: Canvas, rng: np.random.Generator | None) -> dict[str, npt.NDArray[Any]]:
    """x (1, C, C) float32 in hundreds of electrons, y (C, C) float32 and ignore (C, C) uint8, each 0 or 1.

    With `canvas` a window of that side: at random in training, else the middle one. In training the sky is brightened
    or darkened at random; at evaluation it is as it was. (The official code changes it there too, so that its scores
    are random.)

    Raises:
        DataError: the canvas is larger than the stamps.
    """
    image = record["image"]
    side = canvas or len(image)
    if side > len(image):
        raise DataError(
            f"input.canvas of cosmic must be at most the side of the stamps, {len(image)}, got {side}"
        )
    excess = len(image) - side
    top, left = (excess // 2, excess // 2) if rng is None else rng.integers(0, excess + 1, 2).tolist()
    window = slice(top, top + side), slice(left, left + side)
    x = image[window].astype(np.float32)
    if rng is not None:
        x += record["sky"] * np.float32(rng.uniform(*SKY_RANGE))
    # The official code feeds electrons. Against hundreds of them an embedder's bias is nothing, so that the LayerNorm
    # after it makes a faint patch and a bright one the same token.
    x /= np.float32(UNIT)
    mask, ignore = (np.unpackbits(record[name], axis=1)[window] for name in ("mask", "ignore"))
    return {"x": x[None], "y": mask.astype(np.float32), "ignore": ignore}


def _index(folder: Path, name: str) -> list[Path]:
    """The stamps that an index names, each once, sorted: the release has them in the order of some disk."""
    path = folder / name
    entries = load_npy(path, shape=(None,), kinds="OU", name="paths of stamps").tolist()
    stamps: set[Path] = set()
    for entry in entries:
        parts = PurePosixPath(entry).parts if isinstance(entry, str) else ()
        if len(parts) < 2 or parts[0] != "cosmic" or ".." in parts:
            raise DataError(
                f"{path}: every entry must be a path like './cosmic/npy_train/…', found {entry!r}"
            )
        stamps.add(folder.joinpath(*parts[1:]))
    if not stamps:
        raise DataError(f"{path} names no stamp")
    return sorted(stamps)


def _validation(train: Sequence[Path], seed: int) -> set[Path]:
    visits = Counter(path.parent for path in train)
    names, most = sorted(visits), len(train) // _VAL_SHARE
    rng = np.random.default_rng(seed)
    if len(names) == 1:
        return {train[i] for i in rng.permutation(len(train))[:most]}
    chosen: set[Path] = set()
    size = 0
    for i in rng.permutation(len(names)):
        if size + visits[names[i]] <= most:
            chosen.add(names[i])
            size += visits[names[i]]
    if not chosen:
        chosen = {min(names, key=lambda name: (visits[name], name))}
    return {path for path in train if path.parent in chosen}


def _records(stamps: Sequence[Path]) -> Iterator[Record]:
    skies: dict[Path, npt.NDArray[Any] | None] = {}
    side: int | None = None
    with release_at(HOMEPAGE):
        for path in stamps:
            visit = path.parent
            if visit not in skies:
                skies[visit] = _read_skies(visit / "sky.npy")
            record = _read_stamp(path)
            side = side or len(record["image"])
            if len(record["image"]) != side:
                raise DataError(
                    f"{path}: all stamps must have one side, found {len(record['image'])} after {side}"
                )
            yield {**record, "sky": _sky_of(path, skies[visit])}


def _read_stamp(path: Path) -> dict[str, npt.NDArray[Any]]:
    stack = load_npy(path, shape=(None, None, None), kinds="biuf", name="image, mask and pixels to ignore")
    planes, rows, cols = stack.shape
    if planes not in (2, 3) or rows != cols or not (rows == _RELEASED_SIDE or 0 < rows <= SIDE):
        raise DataError(
            f"{path}: a stamp must have shape (3, {_RELEASED_SIDE}, {_RELEASED_SIDE}), or fewer than {SIDE + 1} rows "
            f"and as many columns, found {stack.shape}"
        )
    if rows == _RELEASED_SIDE:
        stack = stack[:, _FIRST : _FIRST + SIDE, _FIRST : _FIRST + SIDE]
    image = to_float32(stack[0])
    require_finite(image, "image", path)
    masks: dict[str, npt.NDArray[Any]] = {}
    for name, plane in (("mask", stack[1]), ("ignore", stack[2] if planes == 3 else np.zeros_like(stack[1]))):
        require_range(plane, name, path, low=0, high=1)
        if ((plane != 0) & (plane != 1)).any():
            raise DataError(f"{path}: {name} must be 0 or 1, found {plane[(plane != 0) & (plane != 1)][0]}")
        masks[name] = np.packbits(plane != 0, axis=1)
    return {"image": image, **masks}


def _read_skies(path: Path) -> npt.NDArray[Any] | None:
    if not path.is_file():
        return None
    skies = load_npy(path, shape=(None,), kinds="iuf", name="sky levels")
    require_finite(skies, "sky levels", path)
    return skies


def _sky_of(path: Path, skies: npt.NDArray[Any] | None) -> npt.NDArray[np.float32]:
    """The sky's level on the exposure that a stamp's name begins with; 0 for a visit without levels."""
    if skies is None:
        return np.array(0.0, np.float32)
    exposure = path.name.split("_")[0]
    if not (exposure.isascii() and exposure.isdigit() and 1 <= int(exposure) <= len(skies)):
        raise DataError(
            f"{path}: its name must begin with the number of its exposure, 1 to {len(skies)} as there are levels in "
            f"sky.npy, and '_'"
        )
    return to_float32(skies[int(exposure) - 1])


COSMIC = Task(
    name="cosmic",
    title="Hubble frame of 128×128 pixels → which of them cosmic rays hit",
    modality=Modality.DENSE_2D,
    input_shape=(1, SIDE, SIDE),
    output=Dense((SIDE, SIDE)),
    loss="bce_with_logits",
    loss_options={"ignore": "ignore"},
    metric=PIXEL_AUROC_ERROR,
    paper=PaperSettings.of("cosmic"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=("cosmic",),
    read=read,
    make=write_sample,
    item=item,
    canvas={"paper": None, "embedded": 32},
    # At the modality's rate of 2e-3 it says "nowhere" for half of the training and longer.
    embedded={"optimizer.lr": 5e-4, "train.epochs": 12},
)
