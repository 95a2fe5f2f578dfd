"""PhysioNet 2017: normal, atrial fibrillation, other rhythm or noise in 3.3 s of ECG (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_array, require_finite, require_keys
from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Modality, PaperSettings, Point, Split, Task, release_at
from pare_tune.tasks.metrics import MACRO_F1_ERROR
from pare_tune.tasks.samples.heart import write_sample

HOMEPAGE = "https://github.com/rtu715/NAS-Bench-360"
FILE: Final = "challenge2017.pkl"

CLASSES: Final = ("N", "A", "O", "~")
WINDOW: Final = 1000
TRAIN_STRIDES: Final = {"N": 500, "A": 83, "O": 250, "~": 25}
"""Rare classes are cut more densely, so that training sees the classes about equally often."""
EVALUATION_STRIDE: Final = 500
"""One stride for all classes: oversampling would count the few noisy recordings twenty times in the score."""

_HELD_OUT = 0.1
_SMALL, _HELD_OUT_SMALL = 1000, 0.25

Signal = npt.NDArray[np.generic]


def read(root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
    """Windows of recordings, x (1, 1000) float16 standardised per recording, y class 0..3.

    Recordings are split 80/10/10, stratified by class and fixed by `seed`, and only then cut into windows, so
    that none is in two splits. (Below 1000 recordings 50/25/25: a tenth of them is too few to score four
    classes.) Half precision keeps a standardised signal to 1 part in 2000 at half the size.

    Raises:
        DataError: the file is missing, cut short or no such pickle; a label is unknown; a recording is
            shorter than a window, constant or not finite.
        UnsafePickle: the pickle holds more than arrays.
    """
    path = root / FILE
    with release_at(HOMEPAGE):
        signals, labels = _recordings(path)
        chosen = _split(labels, seed, path)
    return {
        "train": _windows(signals, labels, chosen["train"], TRAIN_STRIDES),
        "val": _windows(signals, labels, chosen["val"], dict.fromkeys(CLASSES, EVALUATION_STRIDE)),
        "test": _windows(signals, labels, chosen["test"], dict.fromkeys(CLASSES, EVALUATION_STRIDE)),
    }


def _recordings(path: Path) -> tuple[list[Signal], list[str]]:
    content = require_keys(load_pickle(path), ("data", "label"), path)
    data, label = (_rows(content[key], key, path) for key in ("data", "label"))
    if len(data) != len(label):
        raise DataError(
            f"{path} holds {len(data)} recordings and {len(label)} labels; there must be one label each"
        )
    signals = [_signal(signal, f"recording {i}", path) for i, signal in enumerate(data)]
    return signals, [_label(name, i, path) for i, name in enumerate(label)]


def _rows(value: object, key: str, path: Path) -> list[object]:
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return list(value)
    if not isinstance(value, list):
        raise DataError(f"{path}: {key} must be an array or a list, found {type(value).__name__}")
    return value


def _signal(value: object, name: str, path: Path) -> Signal:
    signal = require_array(value, name, path, shape=(None,), kinds="iuf")
    require_finite(signal, name, path)
    if len(signal) < WINDOW:
        raise DataError(f"{path}: {name} must have at least {WINDOW} samples, found {len(signal)}")
    if (signal == signal[0]).all():
        raise DataError(
            f"{path}: {name} is constant ({signal[0]}), so it cannot be standardised; leave it out"
        )
    return signal


def _label(value: object, index: int, path: Path) -> str:
    name = value.decode("latin1") if isinstance(value, bytes) else str(value)
    if name not in CLASSES:
        raise DataError(f"{path}: label {index} must be one of {', '.join(CLASSES)}, found {name!r}")
    return name


def _split(labels: Sequence[str], seed: int, path: Path) -> dict[Split, list[int]]:
    """Indices of the recordings of each split."""
    from sklearn.model_selection import train_test_split

    share = _HELD_OUT if len(labels) >= _SMALL else _HELD_OUT_SMALL
    held_out = round(share * len(labels))
    try:
        rest, test = train_test_split(
            range(len(labels)), test_size=held_out, stratify=labels, random_state=seed
        )
        train, val = train_test_split(
            rest, test_size=held_out, stratify=[labels[i] for i in rest], random_state=seed
        )
    except ValueError as error:
        raise DataError(f"{path}: {len(labels)} recordings cannot be split by class: {error}") from error
    return {"train": sorted(train), "val": sorted(val), "test": sorted(test)}


def _windows(
    signals: Sequence[Signal], labels: Sequence[str], chosen: Sequence[int], strides: Mapping[str, int]
) -> Iterator[Record]:
    for index in chosen:
        signal, label = signals[index].astype(np.float64), labels[index]
        standard = ((signal - signal.mean()) / signal.std()).astype(np.float16)
        y = np.asarray(CLASSES.index(label), dtype=np.int64)
        for start in range(0, len(standard) - WINDOW + 1, strides[label]):
            yield {"x": standard[None, start : start + WINDOW], "y": y}


ECG = Task(
    name="ecg",
    title="single-lead ECG, 3.3 s at 300 Hz → normal, atrial fibrillation, other rhythm, noise",
    modality=Modality.SEQUENCE_1D,
    input_shape=(1, WINDOW),
    output=Point(len(CLASSES)),
    loss="cross_entropy",
    metric=MACRO_F1_ERROR,
    paper=PaperSettings.of("ecg"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(FILE,),
    read=read,
    make=write_sample,
)
