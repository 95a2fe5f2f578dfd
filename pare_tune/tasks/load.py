"""From a task's name to model-ready data: prepare once, then open the splits of the store.

The search opens train and validation through `load_task`. The test split is opened by `open_test` alone, which only
the final training and its evaluation call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pare_tune.data.cache import prepared
from pare_tune.data.files import write_json
from pare_tune.data.store import Record, Store, write_store
from pare_tune.errors import DataError, StorageError
from pare_tune.steps import Count, step
from pare_tune.tasks.base import Canvas, Dense, MultiLabel, Numbers, Output, Point, Provenance, Split, Task
from pare_tune.tasks.folds import Fold, cut_from
from pare_tune.tasks.losses import LossFn, build_loss, number_scale
from pare_tune.tasks.stores import (
    PREPARED,
    SAMPLES,
    default_cache,
    provenance_of,
    sample_key,
    store_key,
    write_mark,
)

DATA_SEED = 0
"""Splits and samples are the same for every run, whatever seed the training takes."""

TargetScaling: TypeAlias = tuple[Tensor, Tensor]
"""Mean and spread, float32; each () for all positions, or of a target's shape; (R,) for R numbers a sample."""

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_CONTENTS = "contents.json"
_SCALE_ITEMS = 64
_POINTWISE_ITEMS = 1024
_SPREAD_FLOOR = 1e-3


class TaskDataset:
    """Items of one split: {"x": (C, ...) float32, "y": ..., ...}; pickles as a path."""

    def __init__(self, task: Task, store: Store, canvas: Canvas) -> None:
        self._task, self._store, self._canvas = task, store, canvas

    def __len__(self) -> int:
        return len(self._store)

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Sample `index`; `rng` makes it a training item (crops, augmentation), None the deterministic one."""
        arrays = self._task.item(self._store[index], self._canvas, rng)
        return {name: _tensor(value) for name, value in arrays.items()}


class JoinedDataset:
    """Several datasets in a row (train + val for the final training)."""

    def __init__(self, parts: Sequence[TaskDataset]) -> None:
        self._parts = tuple(parts)

    def __len__(self) -> int:
        return sum(len(p) for p in self._parts)

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        for part in self._parts:
            if index < len(part):
                return part.item(index, rng)
            index -= len(part)
        raise IndexError(index)


class ChosenSamples:
    """Some samples of a dataset (those that a fold trains on)."""

    def __init__(self, dataset: TaskDataset | JoinedDataset, index_n: npt.NDArray[np.int64]) -> None:
        self._dataset, self._index_n = dataset, index_n

    def __len__(self) -> int:
        return len(self._index_n)

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        return self._dataset.item(int(self._index_n[index]), rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """What the search may see of a task: its train and validation splits."""

    task: Task
    provenance: Provenance
    canvas: Canvas
    train: TaskDataset
    val: TaskDataset
    val_index: npt.NDArray[np.int64]
    """Place of each validation sample in the development set: all training samples, then those of validation."""
    input_shape: tuple[int, ...]
    """One sample as the embedder gets it."""
    output: Output
    """As the head must produce it on this canvas."""
    target_scale: TargetScaling | None
    """(mean, spread) of the training targets, in their unit; None where the task does not scale them."""
    loss: LossFn


def load_task(
    task: Task,
    *,
    data: Path | None = None,
    canvas: Canvas = None,
    share: float = 1.0,
    cache: Path | None = None,
) -> TaskData:
    """Prepare `task` if that was not done before, and open its train and validation splits.

    Args:
        data: folder of the public release; None for the data that the task brings itself.
        canvas: side of the square for tasks that have one; None for the task's own size.
        share: of the training split, see `Store`.

    Raises:
        DataError: the release is not as it should be.
        StorageError: the cache folder cannot be written.
    """
    folder = _prepare(task, data, cache or default_cache())
    canvas = canvas or task.canvas["embedded" if data is None else "paper"]
    whole, val = Store(folder / "train.arrow"), Store(folder / "val.arrow")
    task = _with_classes(task, whole)
    store = Store(folder / "train.arrow", share=share)
    train = TaskDataset(task, store, canvas)
    first = train.item(0)
    return TaskData(
        task=task,
        provenance=provenance_of(task, data),
        canvas=canvas,
        train=train,
        val=TaskDataset(task, val, canvas),
        val_index=np.arange(len(whole), len(whole) + len(val)),
        input_shape=tuple(first["x"].shape),
        output=_output_of(task, first["y"]),
        target_scale=_target_scale(task, train, store),
        loss=build_loss(task, store),
    )


def load_fold(
    task: Task,
    fold: Fold,
    *,
    data: Path | None = None,
    canvas: Canvas = None,
    share: float = 1.0,
    cache: Path | None = None,
) -> TaskData:
    """`load_task` with a fold's train and val. Arguments and errors as there.

    Raises:
        DataError: the samples cannot be cut into so many folds.
    """
    if task.refold is not None:
        refolded, index = task.refold(fold)
    else:
        refolded, index = cut_from(task, _prepare(task, data, cache or default_cache()), fold)
    opened = load_task(refolded, data=data, canvas=canvas, share=share, cache=cache)
    return replace(opened, val_index=index)


def open_test(
    task: Task, *, data: Path | None = None, canvas: Canvas = None, cache: Path | None = None
) -> TaskDataset:
    """The test split, for the final training alone. Arguments and errors as `load_task`."""
    folder = _prepare(task, data, cache or default_cache())
    canvas = canvas or task.canvas["embedded" if data is None else "paper"]
    return TaskDataset(task, Store(folder / "test.arrow"), canvas)


def contents_of(
    task: Task, *, data: Path | None = None, cache: Path | None = None
) -> dict[str, dict[str, int | str]]:
    """How many samples each split has and a digest of them: {"train": {"samples": 60, "content": "8f3a…"}, ...}.

    The samples are read once and what was seen is kept beside them. Arguments and errors as `load_task`.
    """
    folder = _prepare(task, data, cache or default_cache())
    path = folder / _CONTENTS
    if not path.is_file():
        stores = {split: Store(folder / f"{split}.arrow") for split in _SPLITS}
        with step(f"taking the fingerprint of the data of {task.name}"):
            seen: dict[str, dict[str, int | str]] = {
                split: {"samples": len(s), "content": s.digest()} for split, s in stores.items()
            }
        # Prepared data may have been handed over read-only.
        with suppress(StorageError):
            write_json(path, seen)
        return seen
    kept: dict[str, dict[str, int | str]] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def sample_folder(task: Task, cache: Path | None = None, *, full: bool = False) -> Path:
    """The task's own data in the release's format, made on first use; as many as the release holds if `full`.

    Raises:
        DataError: the task has none; a release must be given. Or they are not solved, and `full` has no meaning.
    """
    if task.make is None:
        raise DataError(
            f"{task.name} has no data of its own; get the release from {task.homepage} and give it with --data FOLDER"
        )
    if full and not task.release_size:
        raise DataError(
            f"the data of {task.name} are not solved but {task.embedded_provenance}, of one size; for more, get the "
            f"release from {task.homepage} and give it with --data FOLDER"
        )
    write = task.make
    size = task.release_size if full else {}

    def make(folder: Path) -> None:
        with step(f"making the data of {task.name}"):
            write(folder, DATA_SEED, **size)
        write_mark(folder, task.embedded_provenance)

    return prepared((cache or default_cache()) / SAMPLES, sample_key(task, full=full), make)


def _prepare(task: Task, data: Path | None, cache: Path) -> Path:
    if data is not None and not data.is_dir():
        raise DataError(
            f"no folder {data}; --data takes the folder of the public release of {task.name} ({task.homepage})"
        )

    def make(folder: Path) -> None:
        root = data
        if root is None:
            root = sample_folder(task, cache)
        with step(f"preparing the data of {task.name}, samples") as count:
            splits = task.read(root, DATA_SEED)
            for split in (name for name in _SPLITS if name in splits):  # a fold has no test
                records = _checked(task, split, splits[split], count)
                write_store(folder / f"{split}.arrow", records, ragged=task.ragged)

    return prepared(cache / PREPARED, store_key(task, data), make)


def _checked(task: Task, split: Split, records: Iterable[Record], count: Count) -> Iterator[Record]:
    """The last gate before the store: no NaN, no label out of range, whatever a loader let pass."""
    for index, record in enumerate(records):
        for name, value in record.items():
            if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all():
                raise DataError(
                    f"{task.name}, {split} sample {index}: {name} holds NaN or infinity; clean the file"
                )
        if isinstance(task.output, Point) and "y" in record:
            label, limit = int(record["y"]), task.output.num_classes or math.inf
            if not 0 <= label < limit:
                raise DataError(
                    f"{task.name}, {split} sample {index}: label {label} is outside 0..{limit - 1}"
                )
        if isinstance(task.output, Numbers) and (shape := np.shape(record["y"])) != (task.output.num,):
            raise DataError(
                f"{task.name}, {split} sample {index}: y has shape {shape}, not ({task.output.num},)"
            )
        yield record
        count()


def _with_classes(task: Task, train: Store) -> Task:
    """`task`, which counts its classes in the data if it does not know them."""
    if task.output != Point(0):
        return task
    return replace(task, output=Point(int(train.column("y").max()) + 1))


def _output_of(task: Task, y: Tensor) -> Output:
    match task.output:
        case Dense():
            return replace(task.output, shape=tuple(y.shape))
        case MultiLabel() | Point() | Numbers():
            return task.output


def _target_scale(task: Task, train: TaskDataset, store: Store) -> TargetScaling | None:
    if not task.scale_target:
        return None
    if isinstance(task.output, Numbers):
        return number_scale(store)
    if task.scale_target == "pointwise":
        return _pointwise_scale(train)
    step = max(1, len(train) // _SCALE_ITEMS)
    values = torch.cat([_target(train, i).reshape(-1) for i in range(0, len(train), step)])
    spread = values.std(correction=0)
    return values.mean().float(), (spread if spread > 0 else torch.ones(())).float()


def _pointwise_scale(train: TaskDataset) -> TargetScaling:
    mean = squares = torch.zeros_like(_target(train, 0))
    step = math.ceil(len(train) / _POINTWISE_ITEMS)
    for count, i in enumerate(range(0, len(train), step), start=1):
        y = _target(train, i)
        before = y - mean
        mean = mean + before / count  # Welford 1962: one pass, no difference of large sums
        squares = squares + before * (y - mean)
    spread = (squares / max(1, len(range(0, len(train), step)) - 1)).sqrt()
    # Where targets never vary, as on a fixed boundary, predictions should hardly vary either. (Published normalisers
    # add 1e-5, whose effect depends on the unit.)
    floor = _SPREAD_FLOOR * float(spread.max())
    return mean.float(), (spread.clamp_min(floor) if floor > 0 else torch.ones_like(spread)).float()


def _target(train: TaskDataset, index: int) -> Tensor:
    return train.item(index, np.random.default_rng(index))["y"].double()


def _tensor(value: npt.NDArray[Any]) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.dtype != np.float32:
        array = array.astype(np.float32)
    if not array.flags.writeable:
        array = array.copy()  # the store's pages are read-only, tensors are not
    return torch.from_numpy(array) if array.ndim else torch.tensor(array.item())
