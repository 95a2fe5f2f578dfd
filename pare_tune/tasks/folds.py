"""Folds: every development sample (train and val) is held out once, so that all of them tell trials apart. Folds that
go forward in time hold out all but the first.

A fold is a task whose train and val are others: what is fitted on the training split (scales of targets, weights of
classes, and the normalisation and encoding of a user's own data) is fitted on the fold's. Benchmarks keep the
normalisation that their protocol fits on its own training split. The test split is no part of any fold.
"""
# Shape suffixes: n = development samples.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pare_tune.data.store import Record, Store
from pare_tune.errors import DataError
from pare_tune.tasks.base import Numbers, Point, Split, Task

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Folds:
    """How the development samples are cut."""

    count: int
    draw: int = 0
    """Which of the many ways to draw them; each fresh seed of a confirmation takes one of its own."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One of `Folds`."""

    folds: Folds
    number: int
    """0 … count − 1."""

    def __str__(self) -> str:
        return f"fold{self.number + 1}of{self.folds.count}-draw{self.folds.draw}"


def draw_folds(
    folds: Folds,
    units_n: Int64,
    targets: npt.NDArray[Any] | None = None,
    *,
    names: Sequence[str] = (),
) -> Int64:
    """The fold that holds out each sample, (n,) of 0 … count − 1: classes keep their shares, small and large numbers
    as well, groups stay together.

    Args:
        units_n: equal where samples must not be torn apart.
        targets: (n,) classes as integers, or (n, R) numbers, of which one a sample has an order to cut it by; None
            for others.
        names: of the classes, for messages.

    Raises:
        DataError: there are too few groups, or a class would have no training sample in one of the folds.
    """
    from sklearn import model_selection

    num_units = len(np.unique(units_n))
    if num_units < folds.count:
        raise DataError(
            f"{folds.count} folds need as many groups of samples that differ, train and val have {num_units}; "
            f"{_instead(num_units)}"
        )
    alone = num_units == len(units_n)
    classes_n = targets if targets is not None and targets.ndim == 1 else None
    strata_n = classes_n
    if targets is not None and targets.shape[1:] == (1,):
        strata_n = _quantiles(targets[:, 0], folds.count)
    kind = f"{'Stratified' if strata_n is not None else ''}{'' if alone else 'Group'}KFold"
    if alone and classes_n is not None:
        _check_rarest(folds.count, classes_n, names)
    splitter = getattr(model_selection, kind)(n_splits=folds.count, shuffle=True, random_state=folds.draw)
    fold_n = np.full(len(units_n), -1, np.int64)
    for number, (_, held_out) in enumerate(splitter.split(units_n, strata_n, None if alone else units_n)):
        fold_n[held_out] = number
    _check_drawn(folds.count, fold_n, classes_n, names)
    return fold_n


def _quantiles(numbers_n: npt.NDArray[Any], count: int) -> Int64:
    """Codes of at most ten ranges of targets, as full as each other, with enough samples for every fold."""
    ranges = max(1, min(10, len(numbers_n) // count))
    return np.argsort(np.argsort(numbers_n, kind="stable"), kind="stable") * ranges // len(numbers_n)


def forward(
    fold: Fold,
    times_n: npt.NDArray[Any],
    targets: npt.NDArray[Any] | None = None,
    *,
    names: Sequence[str] = (),
) -> Int64:
    """A fold in time, (n,): 0 for samples before those that are held out, which are 1; −1 for samples after these.

    Samples of one time stay together; those of the first times are never held out. Arguments as `draw_folds`.

    Raises:
        DataError: there are too few times, or one of the folds would hold out a class that did not come before.
    """
    from sklearn.model_selection import TimeSeriesSplit

    moments, moment_n = np.unique(times_n, return_inverse=True)
    count = fold.folds.count
    if len(moments) <= count:
        raise DataError(
            f"{count} folds that go forward in time need more than {count} times, train and val have {len(moments)}; "
            f"{_instead(len(moments) - 1)}"
        )
    parts = []
    for before, held_out in TimeSeriesSplit(count).split(moments):
        part = np.full(len(moments), -1)
        part[before], part[held_out] = 0, 1
        parts.append(part[moment_n])
    if targets is not None and targets.ndim == 1:
        _check_came_before(parts, targets, names)
    return parts[fold.number]


def _check_came_before(parts: Sequence[Int64], classes_n: Int64, names: Sequence[str]) -> None:
    for number, part_n in enumerate(parts):
        new = np.setdiff1d(classes_n[part_n == 1], classes_n[part_n == 0])
        if len(new):
            raise DataError(
                f"class {_called(new[0], names)} comes only after the times that fold {number + 1} of {len(parts)} is "
                f"trained on; {_instead(0)}"
            )


def _instead(most: int) -> str:
    fewer = f"take fewer (--set search.folds={most}), or " if most >= 2 else ""
    return f"{fewer}one split (--set search.validation=split)"


def _check_rarest(count: int, classes_n: Int64, names: Sequence[str]) -> None:
    codes, counts = np.unique(classes_n, return_counts=True)
    if counts.min() < count:
        raise DataError(
            f"{count} folds need {count} samples of each class, class {_called(codes[counts.argmin()], names)} has "
            f"{counts.min()} in train and val; {_instead(int(counts.min()))}"
        )


def _called(code: int, names: Sequence[str]) -> str:
    return repr(names[code]) if names else f"number {code}"


def _check_drawn(count: int, fold_n: Int64, classes_n: Int64 | None, names: Sequence[str]) -> None:
    sizes = np.bincount(fold_n, minlength=count)
    if sizes.min() == 0:
        raise DataError(
            f"groups of such different sizes cannot be cut into {count} folds: one would be empty; "
            f"{_instead(count - 1)}"
        )
    for code in [] if classes_n is None else np.unique(classes_n):
        if len(np.unique(fold_n[classes_n == code])) < 2:
            raise DataError(
                f"class {_called(code, names)} is in one group only, so the fold that holds it out would be trained "
                f"without it; {_instead(0)}"
            )


@dataclass(frozen=True)
class Refolded:
    """Reads a fold's train and val from the stores of the task's own splits."""

    folder: Path
    """Of the prepared task: train.arrow and val.arrow."""
    fold: Fold
    held_out_n: tuple[bool, ...]

    def read(self, root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
        """Records as they are stored; `root` and `seed` have decided already."""
        return {"train": self._records(False), "val": self._records(True)}

    def _records(self, held_out: bool) -> Iterator[Record]:
        place = 0
        for split in ("train", "val"):
            store = Store(self.folder / f"{split}.arrow")
            for index in range(len(store)):
                if self.held_out_n[place + index] == held_out:
                    yield store[index]
            place += len(store)

    def __repr__(self) -> str:
        """Names the stores of this fold: whatever is read is in the folder's name."""
        return f"Refolded({self.folder.name}, {self.fold})"


def cut_from(task: Task, folder: Path, fold: Fold) -> tuple[Task, Int64]:
    """The task with a fold's train and val, cut from those prepared in `folder`; the places of the latter among both.

    Raises:
        DataError: see `draw_folds`.
    """
    stores = [Store(folder / f"{split}.arrow") for split in ("train", "val")]
    units_n = np.arange(sum(map(len, stores)))
    targets = (
        np.concatenate([s.column("y") for s in stores]) if isinstance(task.output, Point | Numbers) else None
    )
    held_out_n = draw_folds(fold.folds, units_n, targets) == fold.number
    read = Refolded(folder, fold, tuple(held_out_n.tolist())).read
    return replace(task, read=read), np.flatnonzero(held_out_n)
