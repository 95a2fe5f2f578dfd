"""DeepSEA: which of 36 chromatin features a stretch of 1000 DNA bases carries (NAS-Bench-360)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import load_npz, stream_npz
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Modality, MultiLabel, PaperSettings, Split, Task, release_at
from pare_tune.tasks.metrics import MULTILABEL_AUROC_ERROR
from pare_tune.tasks.samples.motifs import FILE, LENGTH, NUM_BASES, NUM_LABELS, write_sample

HOMEPAGE: Final = "https://github.com/rtu715/NAS-Bench-360"

_SPLITS: tuple[Split, ...] = ("train", "val", "test")

Array = npt.NDArray[Any]


def read(root: Path, _seed: int) -> Mapping[Split, Iterator[Record]]:
    """The release's own splits: x (4, 125) uint8, eight bases' bits a byte; y (36,) uint8 in {0, 1}; streamed.

    The release spends a byte on every bit; packed, the training split takes 38 MB instead of 287.

    Raises:
        DataError: the file is missing or cut short, an array is missing, of another shape or type, holds anything but
            0 and 1, or two bases at one position.
    """
    path = root / FILE
    with release_at(HOMEPAGE):
        labels = {split: _labels(path, f"y_{split}") for split in _SPLITS}
        slabs = {
            split: stream_npz(path, f"x_{split}", shape=(len(labels[split]), LENGTH, NUM_BASES))
            for split in _SPLITS
        }
    return {split: _records(path, f"x_{split}", slabs[split], labels[split]) for split in _SPLITS}


def item(record: Record, _canvas: Canvas, _rng: np.random.Generator | None) -> dict[str, Array]:
    """x (4, 1000) float32, one 1 at each known base and none at an unknown one; y (36,) float32."""
    x = np.unpackbits(record["x"], axis=-1, count=LENGTH)
    return {"x": x.astype(np.float32), "y": record["y"].astype(np.float32)}


def _labels(path: Path, name: str) -> Array:
    array = load_npz(path, [name])[name]
    if array.ndim != 2 or array.shape[1] != NUM_LABELS:
        raise DataError(f"{path}: {name} must have shape (any, {NUM_LABELS}), found {array.shape}")
    _require_bits(array, name, path, 0)
    return array.astype(np.uint8)


def _records(path: Path, name: str, slabs: Iterator[Array], labels: Array) -> Iterator[Record]:
    start = 0
    with release_at(HOMEPAGE):
        for slab in slabs:
            _require_bits(slab, name, path, start)
            crowded = slab.sum(axis=-1, dtype=np.uint8) > 1
            if crowded.any():
                index, position = np.argwhere(crowded)[0]
                raise DataError(
                    f"{path}: {name} must hold one base a position at most, "
                    f"found {slab[index, position].tolist()} at index [{index + start}, {position}]"
                )
            packed = np.packbits(slab.transpose(0, 2, 1) != 0, axis=-1)
            for x, y in zip(packed, labels[start : start + len(slab)], strict=True):
                yield {"x": x, "y": y}
            start += len(slab)


def _require_bits(array: Array, name: str, path: Path, start: int) -> None:
    bad = (array != 0) & (array != 1)
    if bad.any():
        first, *rest = (int(i) for i in np.argwhere(bad)[0])
        at = ", ".join(map(str, (first + start, *rest)))
        raise DataError(
            f"{path}: {name} must hold 0 and 1 alone, found {array[first, *rest]} at index [{at}]"
        )


DEEPSEA = Task(
    name="deepsea",
    title="1000 DNA bases → 36 chromatin features of cell types, any number at once",
    modality=Modality.SEQUENCE_1D,
    input_shape=(NUM_BASES, LENGTH),
    output=MultiLabel(NUM_LABELS),
    loss="bce_with_logits",
    loss_options={"pos_weight": 4.0},
    metric=MULTILABEL_AUROC_ERROR,
    paper=PaperSettings.of("deepsea"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(FILE,),
    read=read,
    make=write_sample,
    item=item,
    # One filter for all four bases, as the pretrained start of a single channel gives, sees no base at all: their sum
    # is 1 everywhere.
    embedded={"train.epochs": 6, "input.embedder": "random"},
)
