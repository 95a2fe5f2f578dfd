"""Cuts samples into train, validation and test: by shares of each class, never through a group.

Samples that are the same to the last bit count as one group, so that none is trained on and tested.
"""
# Shape suffixes: n = samples, U = groups, K = classes (1 where there are none), S = splits.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError
from pare_tune.tasks.base import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
Int64 = npt.NDArray[np.int64]


def cut(
    groups: Int64, classes: Int64 | None, shares: Sequence[float], *, names: Sequence[str], seed: int
) -> Int64:
    """Which share each sample falls into, (n,) of 0 … S − 1.

    Args:
        groups: (n,) samples of one number stay together.
        classes: (n,) codes whose proportions are kept; None for none.
        shares: S numbers that add up to 1.
        names: of the classes, for messages.

    Raises:
        DataError: there are too few groups, or a class has too few samples to be in every split.
    """
    _, unit = np.unique(groups, return_inverse=True)
    if unit.max() + 1 < len(shares):
        raise DataError(
            f"{len(shares)} splits need at least as many groups of samples that differ, found {unit.max() + 1}"
        )
    rng = np.random.default_rng(seed)
    if unit.max() + 1 == len(unit):
        return _cut_samples(np.zeros(len(unit), np.int64) if classes is None else classes, shares, names, rng)
    return _cut_groups(unit, classes, np.asarray(shares, np.float64), rng)


def _cut_samples(
    classes: Int64, shares: Sequence[float], names: Sequence[str], rng: np.random.Generator
) -> Int64:
    """Every class by its own shares, rounded, with at least one sample in each split.

    What one class loses by rounding the next one gains, so that the splits as a whole have their shares too.
    """
    chosen = np.zeros(len(classes), np.int64)
    owed = [0.0] * (len(shares) - 1)
    for code in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == code))
        if len(rows) < len(shares):
            raise DataError(
                f"class {names[code]!r} has {len(rows)} sample{'s' if len(rows) > 1 else ''}; to be in each of "
                f"{len(shares)} splits it needs {len(shares)}: add samples, or leave the class out"
            )
        exact = [share * len(rows) + debt for share, debt in zip(shares[1:], owed, strict=True)]
        held_out = [max(1, round(count)) for count in exact]
        while sum(held_out) >= len(rows):
            held_out[int(np.argmax(held_out))] -= 1
        owed = [min(0.5, max(-0.5, count - taken)) for count, taken in zip(exact, held_out, strict=True)]
        start = 0
        for split, count in enumerate(held_out, start=1):
            chosen[rows[start : start + count]] = split
            start += count
    return chosen


def _cut_groups(
    unit: Int64, classes: Int64 | None, shares: npt.NDArray[np.float64], rng: np.random.Generator
) -> Int64:
    """Groups, large ones first, each to the split that lacks its samples most."""
    codes = np.zeros(len(unit), np.int64) if classes is None else classes
    counts_UK = np.zeros((unit.max() + 1, codes.max() + 1), np.int64)
    np.add.at(counts_UK, (unit, codes), 1)
    wanted_SK = shares[:, None] * counts_UK.sum(axis=0)
    have_SK = np.zeros_like(wanted_SK)
    of_unit = np.zeros(len(counts_UK), np.int64)
    order = rng.permutation(len(counts_UK))
    order = order[np.argsort(-counts_UK[order].sum(axis=1), kind="stable")]
    for done, one in enumerate(order):
        lacks_SK = (wanted_SK - have_SK) / np.maximum(wanted_SK, 1e-9)
        need_S = (lacks_SK * counts_UK[one] / counts_UK.sum(axis=0).clip(min=1)).sum(axis=1)
        empty = have_SK.sum(axis=1) == 0
        if empty.sum() >= len(order) - done:
            need_S = np.where(empty, need_S, -np.inf)  # as many groups left as splits without one
        of_unit[one] = int(np.argmax(need_S))
        have_SK[of_unit[one]] += counts_UK[one]
    return of_unit[unit]


def assign(
    said: Sequence[Split | None] | None,
    groups: Sequence[str] | None,
    same: Int64,
    classes: Int64 | None,
    *,
    names: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
    times: npt.NDArray[Any] | None = None,
) -> Int64:
    """The split of each sample, (n,) of positions in `SPLITS`.

    Args:
        said: what files or a column say, None where a sample is still to be cut; None where nothing does.
        groups: (n,) whose equal values stay together.
        same: (n,) equal where samples are the same to the last bit.
        times: (n,) that cut the samples, where time does.

    Raises:
        DataError: a group is in two splits, a split stays empty, or there is too little to cut.
    """
    if times is not None:
        return cut_in_time(times, fractions)
    units = units_of(groups, same)
    if said is None:
        return cut(units, classes, fractions, names=names, seed=seed)
    chosen = np.array([SPLITS.index(s) if s is not None else 0 for s in said], np.int64)
    if "train" not in said and None not in said:
        raise DataError("no sample is in train")
    if "test" not in said:
        raise DataError(
            "no sample is in test; the final score is that of samples which nothing was chosen by"
        )
    if "val" not in said:
        open_rows = np.flatnonzero(chosen == 0)
        share = fractions[1] / (fractions[0] + fractions[1])
        parts = cut(
            units[open_rows],
            None if classes is None else classes[open_rows],
            (1 - share, share),
            names=names,
            seed=seed,
        )
        chosen[open_rows] = parts
    _refuse_torn_groups(groups, chosen)
    return chosen


def cut_in_time(times: npt.NDArray[Any], shares: Sequence[float]) -> Int64:
    """Which share each sample falls into, the earliest into the first; samples of one time stay together.

    Raises:
        DataError: there are fewer times than shares.
    """
    moments, moment = np.unique(times, return_inverse=True)
    if len(moments) < len(shares):
        raise DataError(f"{len(shares)} splits in time need at least as many times, found {len(moments)}")
    # By the last sample of each moment, so that one moment is in one split.
    done = np.cumsum(np.bincount(moment)) / len(times)
    ends = [int(np.argmin(np.abs(done - end))) + 1 for end in np.cumsum(shares)[:-1]]
    for split, end in enumerate(ends):
        first = ends[split - 1] + 1 if split else 1
        ends[split] = min(max(end, first), len(moments) - len(ends) + split)
    return np.searchsorted(ends, moment, side="right")


def units_of(groups: Sequence[str] | None, same: Int64) -> Int64:
    """(n,) equal where samples stay together: by group, or without groups where they are the same."""
    return same if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]


def _refuse_torn_groups(groups: Sequence[str] | None, chosen: Int64) -> None:
    if groups is None:
        return
    first: dict[str, int] = {}
    for sample, group in enumerate(groups):
        at = first.setdefault(group, sample)
        if chosen[at] != chosen[sample]:
            raise DataError(
                f"group {group!r} is in {SPLITS[chosen[at]]} (sample {at}) and in {SPLITS[chosen[sample]]} (sample "
                f"{sample}): what is learned of it would leak; move all its samples to one split"
            )
