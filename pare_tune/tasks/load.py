"""From a task's name to model-ready data: prepare once, then open the splits of the store.

The search opens train and validation through `load_task`. The test split is opened by `open_test` alone, which only
the final training and its evaluation call.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import pare_tune.data
from pare_tune.data.cache import prepared
from pare_tune.data.store import Record, Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Dense, MultiLabel, Output, Point, Provenance, Split, Task
from pare_tune.tasks.losses import LossFn, build_loss

DATA_SEED = 0
"""Splits and samples are the same for every run, whatever seed the training takes."""

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SCALE_ITEMS = 64


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """What the search may see of a task: its train and validation splits."""

    task: Task
    provenance: Provenance
    canvas: Canvas
    train: TaskDataset
    val: TaskDataset
    input_shape: tuple[int, ...]
    """One sample as the embedder gets it."""
    output: Output
    """As the head must produce it on this canvas."""
    target_scale: tuple[float, float]
    """(mean, spread) of the training targets for dense regression, (0, 1) elsewhere."""
    loss: LossFn


def default_cache() -> Path:
    """Where prepared data go: $PARE_TUNE_CACHE, else $XDG_CACHE_HOME/pare-tune, else ~/.cache/pare-tune."""
    chosen = os.environ.get("PARE_TUNE_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "pare-tune"


def load_task(
    task: Task, *, data: Path | None = None, canvas: Canvas = None, cache: Path | None = None
) -> TaskData:
    """Prepare `task` if that was not done before, and open its train and validation splits.

    Args:
        data: folder of the public release; None for the data that the task brings itself.
        canvas: side of the square for tasks that have one; None for the task's own size.

    Raises:
        DataError: the release is not as it should be.
        StorageError: the cache folder cannot be written.
    """
    folder = _prepare(task, data, cache or default_cache())
    canvas = canvas or task.canvas["embedded" if data is None else "paper"]
    train = TaskDataset(task, Store(folder / "train.arrow"), canvas)
    first = train.item(0)
    return TaskData(
        task=task,
        provenance=provenance_of(task, data),
        canvas=canvas,
        train=train,
        val=TaskDataset(task, Store(folder / "val.arrow"), canvas),
        input_shape=tuple(first["x"].shape),
        output=_output_of(task, first["y"]),
        target_scale=_target_scale(train) if task.scale_target else (0.0, 1.0),
        loss=build_loss(task, Store(folder / "train.arrow")),
    )


def open_test(
    task: Task, *, data: Path | None = None, canvas: Canvas = None, cache: Path | None = None
) -> TaskDataset:
    """The test split, for the final training alone. Arguments and errors as `load_task`."""
    folder = _prepare(task, data, cache or default_cache())
    canvas = canvas or task.canvas["embedded" if data is None else "paper"]
    return TaskDataset(task, Store(folder / "test.arrow"), canvas)


def provenance_of(task: Task, data: Path | None) -> Provenance:
    """What the data are: the release's, or what the task brings itself."""
    return "real" if data is not None else task.embedded_provenance


def sample_folder(task: Task, cache: Path | None = None) -> Path:
    """The task's own data in the release's format, made on first use.

    Raises:
        DataError: the task has none; a release must be given.
    """
    if task.make is None:
        raise DataError(
            f"{task.name} has no data of its own; get the release from {task.homepage} and give it with --data FOLDER"
        )
    make = task.make
    key = f"{task.name}-release-{_digest(_sources_of(make), task.version)}"
    return prepared((cache or default_cache()) / "samples", key, lambda folder: make(folder, DATA_SEED))


def _prepare(task: Task, data: Path | None, cache: Path) -> Path:
    if data is not None and not data.is_dir():
        raise DataError(
            f"no folder {data}; --data takes the folder of the public release of {task.name} ({task.homepage})"
        )
    code = _digest(_sources_of(task.read), _sources_of_data(), task.version, sorted(task.ragged))
    if data is None:
        key = f"{task.name}-{task.embedded_provenance}-{code}"
        if task.make is not None:
            key += f"-{_digest(_sources_of(task.make))}"
    else:
        key = f"{task.name}-real-{code}-{_digest(str(data.resolve()), *_inventory(task, data))}"

    def make(folder: Path) -> None:
        root = data
        if root is None:
            root = sample_folder(task, cache)
        splits = task.read(root, DATA_SEED)
        for split in _SPLITS:
            records = _checked(task, split, splits[split])
            write_store(folder / f"{split}.arrow", records, ragged=task.ragged)

    return prepared(cache / "prepared", key, make)


def _checked(task: Task, split: Split, records: Iterable[Record]) -> Iterator[Record]:
    """The last gate before the store: no NaN, no label out of range, whatever a loader let pass."""
    for index, record in enumerate(records):
        for name, value in record.items():
            if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all():
                raise DataError(
                    f"{task.name}, {split} sample {index}: {name} holds NaN or infinity; clean the file"
                )
        if isinstance(task.output, Point) and "y" in record:
            label = int(record["y"])
            if not 0 <= label < task.output.num_classes:
                raise DataError(
                    f"{task.name}, {split} sample {index}: label {label} is outside 0..{task.output.num_classes - 1}"
                )
        yield record


def _output_of(task: Task, y: Tensor) -> Output:
    match task.output:
        case Dense():
            return replace(task.output, shape=tuple(y.shape))
        case MultiLabel() | Point():
            return task.output


def _target_scale(train: TaskDataset) -> tuple[float, float]:
    step = max(1, len(train) // _SCALE_ITEMS)
    values = torch.cat(
        [train.item(i, np.random.default_rng(i))["y"].reshape(-1) for i in range(0, len(train), step)]
    ).double()
    spread = float(values.std(correction=0))
    return float(values.mean()), spread if spread > 0 else 1.0


def _tensor(value: npt.NDArray[Any]) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.dtype != np.float32:
        array = array.astype(np.float32)
    if not array.flags.writeable:
        array = array.copy()  # the store's pages are read-only, tensors are not
    return torch.from_numpy(array) if array.ndim else torch.tensor(array.item())


def _inventory(task: Task, root: Path) -> list[str]:
    """Names, sizes and times of the release's files: a changed release is prepared anew."""
    named = [root / name for name in task.files]
    entries: list[str] = []
    # A loader may accept other names for a folder of the release; then everything under the root counts.
    for top in named if named and all(path.exists() for path in named) else [root]:
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                stat = path.stat()
                entries.append(f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}")
    return entries


def _sources_of(function: Callable[..., Any]) -> str:
    module = sys.modules[function.__module__]
    return inspect.getsource(module)


def _sources_of_data() -> str:
    """The readers and the store: what a loader is built on."""
    return "".join(
        path.read_text(encoding="utf-8") for path in sorted(Path(pare_tune.data.__path__[0]).glob("*.py"))
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12]
