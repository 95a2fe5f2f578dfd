"""Satellite: which of 24 land covers a pixel's year of vegetation, 46 images, shows (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import load_npy, require_array, require_finite, require_keys, whole_numbers
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Modality, PaperSettings, Point, Split, Task, release_at
from pare_tune.tasks.metrics import ERROR_RATE
from pare_tune.tasks.samples.seasons import NUM_CLASSES, NUM_DATES, TEST_FILE, TRAIN_FILE, write_sample

HOMEPAGE: Final = "https://github.com/rtu715/NAS-Bench-360"

_VAL_SHARE = 1 / 9  # 100,000 of the release's 900,000, as many as its test split has
_SMALL, _VAL_SHARE_SMALL = 10_000, 1 / 5
_READ_AT_ONCE = 1 << 16

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def read(root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
    """x (1, 46) float32 standardised, y class 0..23 (the files count from 1).

    A ninth of the training file, chosen by `seed`, is val; a fifth where it has fewer than 10,000 series. All series
    are shifted and scaled by the one mean and spread of the training split: the unit of the release is then of no
    matter, while the level, which a series' own standardisation would remove (as the benchmark's loader does), stays.

    Raises:
        DataError: a file is missing or cut short, is no such pickle, has another shape or type, holds NaN or another
            class, or has too few series to be split.
        UnsafePickle: a pickle holds more than arrays.
    """
    with release_at(HOMEPAGE):
        data, label = _load(root / TRAIN_FILE)
        test = _load(root / TEST_FILE)
        train_rows, val_rows = _split(len(data), seed, root / TRAIN_FILE)
        mean, spread = _statistics(data, train_rows, root / TRAIN_FILE)
    rows: dict[Split, tuple[Array, Array, Indices]] = {
        "train": (data, label, train_rows),
        "val": (data, label, val_rows),
        "test": (*test, np.arange(len(test[0]))),
    }
    return {split: _records(*chosen, mean, spread) for split, chosen in rows.items()}


def _load(path: Path) -> tuple[Array, Array]:
    content = load_npy(path, shape=(), kinds="O", name="the saved dict").item()
    content = require_keys(content, ("data", "label"), path)
    data = require_array(content["data"], "data", path, shape=(None, NUM_DATES), kinds="iuf")
    label = require_array(content["label"], "label", path, shape=(len(data),), kinds="iuf")
    require_finite(data, "data", path)
    return data, whole_numbers(label, "label", path, low=1, high=NUM_CLASSES) - 1


def _split(count: int, seed: int, path: Path) -> tuple[Indices, Indices]:
    num_val = round(count * (_VAL_SHARE if count >= _SMALL else _VAL_SHARE_SMALL))
    if num_val == 0:
        raise DataError(f"{path} must hold at least 3 series to be split, found {count}")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[num_val:]), np.sort(order[:num_val])


def _statistics(data: Array, rows: Indices, path: Path) -> tuple[float, float]:
    """Mean and standard deviation over all values of `rows`, part by part so that no copy of them is made."""
    total = square = 0.0
    centre = float(data[rows[0]].mean())  # near the mean, so that squares lose no digits
    for start in range(0, len(rows), _READ_AT_ONCE):
        part = data[rows[start : start + _READ_AT_ONCE]] - centre
        total += float(part.sum(dtype=np.float64))
        square += float(np.square(part, dtype=np.float64).sum())
    count = len(rows) * NUM_DATES
    variance = square / count - (total / count) ** 2
    if not variance > 0:
        raise DataError(f"{path}: data are constant ({centre:g}), so there is nothing to learn from")
    return centre + total / count, variance**0.5


def _records(data: Array, label: Array, rows: Indices, mean: float, spread: float) -> Iterator[Record]:
    for row in rows:
        x = (data[row] - mean) / spread
        yield {"x": x.astype(np.float32)[None], "y": np.asarray(label[row])}


SATELLITE = Task(
    name="satellite",
    title="a pixel's vegetation index in 46 satellite images of one year → land cover, 24 classes",
    modality=Modality.SEQUENCE_1D,
    input_shape=(1, NUM_DATES),
    output=Point(NUM_CLASSES),
    loss="cross_entropy",
    metric=ERROR_RATE,
    paper=PaperSettings.of("satellite"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(TRAIN_FILE, TEST_FILE),
    read=read,
    make=write_sample,
    # 46 dates are few enough for a token each, but two of them have a slope, which a norm of one number has not.
    embedded={"train.epochs": 12, "input.max_tokens": 23},
)
