"""miniDomainNet: which of 126 classes of object a picture shows, in four domains that are a task each.

Zhou et al., Domain Adaptive Ensemble Learning, 2021, https://arxiv.org/abs/2003.07325: a less noisy part of DomainNet
(Peng et al. 2019). Here every domain is trained and tested on its own, as in the paper's Table 16.
"""
# Shapes: H, W = rows and columns of a stored picture, S = side of a model-ready one.

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import read_text
from pare_tune.data.images import open_rgb
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Modality, PaperSettings, Point, Split, Task, first_of, release_at
from pare_tune.tasks.metrics import ERROR_RATE
from pare_tune.tasks.samples.pictures import write_domain

HOMEPAGE: Final = "https://github.com/KaiyangZhou/Dassl.pytorch/blob/master/DATASETS.md#minidomainnet"
FOLDER: Final = "domainnet"
NUM_CLASSES: Final = 126
SIDE: Final = 224
STORED: Final = 256
"""Most rows and columns of a stored picture: training crops 7/8 of each, 224 of 256 in the official code."""
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""ImageNet's, RGB, in units of 255."""

# miniDomainNet's own lists, or those that ORCA's and PaRe's code reads. (Its download script gets a selection of 40
# classes under the latter names.)
_LISTS = ("splits_mini/{domain}_{part}.txt", "{domain}_{part}_mini.txt")
_VAL_EVERY = 5

Labels = Mapping[str, int]
"""Path of a picture, relative to the folder of the lists → class."""


def read(root: Path, seed: int, *, domain: str) -> Mapping[Split, Iterator[Record]]:
    """x (H, W, 3) uint8, H and W at most 256; y class 0..125.

    A picture larger than 256×256 is squashed to that, whatever its proportions, as in the official code; 64,000
    pictures take 13 GB at most. A fifth of each class of the training list, chosen by `seed`, is validation.
    Pictures that are also in the test list are left out of both.

    Raises:
        DataError: a list or a picture is missing, or is not as it should be.
    """
    with release_at(HOMEPAGE):
        folder = root / FOLDER
        rest, test = (_listed(_find(folder, domain, part)) for part in ("train", "test"))
    rest = {name: label for name, label in rest.items() if name not in test}
    in_val = _every_fifth(np.array(list(rest.values()), dtype=np.int64), seed)
    chosen: dict[Split, Iterable[tuple[str, int]]] = {
        "train": [row for row, held_out in zip(rest.items(), in_val, strict=True) if not held_out],
        "val": [row for row, held_out in zip(rest.items(), in_val, strict=True) if held_out],
        "test": test.items(),
    }
    return {split: _records(folder, rows) for split, rows in chosen.items()}


def _find(folder: Path, domain: str, part: str) -> Path:
    paths = [folder / pattern.format(domain=domain, part=part) for pattern in _LISTS]
    return first_of(paths, f"no list of pictures {paths[0]}, nor {paths[1]}")


def _listed(path: Path) -> Labels:
    labels: dict[str, int] = {}
    for number, line in enumerate(read_text(path, "get it again").splitlines(), start=1):
        if not line.strip():
            continue
        row = re.fullmatch(r"\s*(\S.*?)\s+(\d{1,3})\s*", line)
        if row is None or int(row[2]) >= NUM_CLASSES or not _is_below(row[1]):
            raise DataError(
                f"{path}:{number}: a line must be a picture's path below the folder, a space and a class 0 to "
                f"{NUM_CLASSES - 1}, found {line!r}"
            )
        if labels.setdefault(row[1], int(row[2])) != int(row[2]):
            raise DataError(f"{path}:{number}: {row[1]} is listed with two classes; keep one of its lines")
    if not labels:
        raise DataError(f"{path} lists no picture; get it again")
    return labels


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _every_fifth(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.bool_]:
    """One in five of each class, in an order shuffled by `seed`; none of a class with fewer than five."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, start, count = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(start, count)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    chosen[by_class[rank % _VAL_EVERY == _VAL_EVERY - 1]] = True
    return chosen


def _records(folder: Path, rows: Iterable[tuple[str, int]]) -> Iterator[Record]:
    with release_at(HOMEPAGE):
        for name, label in rows:
            yield {"x": _picture(folder / name), "y": np.asarray(label, dtype=np.int64)}


def _picture(path: Path) -> npt.NDArray[np.uint8]:
    from PIL import Image

    image = open_rgb(path, near=STORED)
    size = min(image.width, STORED), min(image.height, STORED)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def item(record: Record, canvas: Canvas, rng: np.random.Generator | None) -> dict[str, npt.NDArray[Any]]:
    """x (3, S, S) float32, normalised by ImageNet's mean and deviation; S is `canvas`.

    The whole picture squashed to the square; in training 7/8 of its rows and columns anywhere in it, mirrored half
    of the time.
    """
    from PIL import Image

    image, side = Image.fromarray(record["x"]), canvas or SIDE
    width, height = image.size
    share = 1.0 if rng is None else SIDE / STORED
    left, top = (0.0, 0.0) if rng is None else (1 - share) * rng.random(2) * (width, height)
    box = (left, top, left + share * width, top + share * height)
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box), dtype=np.float32)
    if rng is not None and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    mean, std = (255 * np.array(values, dtype=np.float32) for values in (MEAN, STD))
    return {**record, "x": np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))}


def _task(domain: str, title: str, score: float) -> Task:
    return Task(
        name=domain,
        title=f"{title}, 224×224 → object, 126 classes (miniDomainNet)",
        modality=Modality.GRID_2D,
        input_shape=(3, SIDE, SIDE),
        output=Point(NUM_CLASSES),
        loss="cross_entropy",
        metric=ERROR_RATE,
        paper=replace(PaperSettings.of("domainnet"), score=score),
        embedded_provenance="sample",
        homepage=HOMEPAGE,
        # Not the pictures: looking at each of them would take seconds every time a trial begins.
        files=tuple(f"{FOLDER}/splits_mini/{domain}_{part}.txt" for part in ("train", "test")),
        read=partial(read, domain=domain),
        make=partial(write_domain, domain=domain),
        item=item,
        ragged=frozenset({"x"}),
        canvas={"paper": SIDE, "embedded": 64},
    )


CLIPART = _task("clipart", "clip art", 9.21)
PAINTING = _task("painting", "painting", 11.75)
REAL = _task("real", "photograph", 5.08)
SKETCH = _task("sketch", "sketch", 14.13)
