"""NinaPro DB5: which of 18 hand gestures a 260 ms window of forearm sEMG shows (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import load_npy, require_finite, to_float32, whole_numbers
from pare_tune.data.store import Record
from pare_tune.tasks.base import Modality, PaperSettings, Point, Split, Task, first_of, release_at
from pare_tune.tasks.metrics import ERROR_RATE
from pare_tune.tasks.samples.emg import NUM_ELECTRODES, NUM_GESTURES, NUM_STEPS, write_sample

HOMEPAGE = "https://github.com/rtu715/NAS-Bench-360"

# The benchmark's loaders and its download scripts spell the folder differently.
_FOLDERS = ("ninaPro", "ninapro")
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


def read(root: Path, _seed: int) -> Mapping[Split, Iterator[Record]]:
    """The release's own train, val and test files: x (1, 16 electrodes, 52 steps) float32, y class 0..17.

    Raises:
        DataError: a file is missing, cut short, of the wrong shape or type, or holds NaN or another class.
    """
    with release_at(HOMEPAGE):
        folder = first_of(
            [root / name for name in _FOLDERS],
            f"no folder {root / _FOLDERS[0]}; it holds ninapro_train.npy, label_train.npy and their like",
        )
        arrays = {split: _load(folder, split) for split in _SPLITS}
    return {split: _records(*pair) for split, pair in arrays.items()}


def _load(folder: Path, split: Split) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]:
    data_path, label_path = folder / f"ninapro_{split}.npy", folder / f"label_{split}.npy"
    data = load_npy(data_path, shape=(None, NUM_STEPS, NUM_ELECTRODES), kinds="iuf", name="sEMG windows")
    label = load_npy(label_path, shape=(len(data),), kinds="iuf", name="labels")
    require_finite(data, "sEMG windows", data_path)
    return data, whole_numbers(label, "labels", label_path, low=0, high=NUM_GESTURES - 1)


def _records(data: npt.NDArray[np.generic], label: npt.NDArray[np.int64]) -> Iterator[Record]:
    for window, y in zip(data, label, strict=True):
        yield {"x": np.ascontiguousarray(to_float32(window.T[None])), "y": np.asarray(y)}


NINAPRO = Task(
    name="ninapro",
    title="forearm sEMG, 16 electrodes × 52 steps → hand gesture, 18 classes",
    modality=Modality.GRID_2D,
    input_shape=(1, NUM_ELECTRODES, NUM_STEPS),
    output=Point(NUM_GESTURES),
    loss="cross_entropy",
    metric=ERROR_RATE,
    paper=PaperSettings.of("ninapro"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=("ninaPro",),
    read=read,
    make=write_sample,
)
