"""What the splits of a user's data show, and what is fitted on the training samples: layout and target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pare_tune.tasks.base import Modality, Numbers, Point, Split
from pare_tune.tasks.columns import Token
from pare_tune.tasks.own.layout import Layout
from pare_tune.tasks.own.samples import Array, Samples
from pare_tune.tasks.own.scan import moments
from pare_tune.tasks.own.split import SPLITS, Int64
from pare_tune.tasks.own.tables import Cells
from pare_tune.tasks.own.target import Target


def constant_in_train(names: Sequence[str], values: Array) -> list[str]:
    """What is wrong with target columns that do not vary over the training samples."""
    return [
        f"target {name!r} is {values[0, i]:g} for all {len(values):,} training samples, so nothing of it can be "
        f"learned; add samples, or split them otherwise"
        for i, name in enumerate(names)
        if len(values) and (values[:, i] == values[0, i]).all()
    ]


def class_counts(target: Target, codes: Array, split: Int64) -> dict[str, dict[Split, int]]:
    """Samples of each class, or with each label, in each split."""

    def has(code: int) -> npt.NDArray[np.bool_]:
        return np.asarray(codes == code if target.output is Point else codes[:, code] == 1)

    return {
        name: {s: int((has(code) & (split == i)).sum()) for i, s in enumerate(SPLITS)}
        for code, name in enumerate(target.names)
    }


def contradictions(same: Int64, codes: Array) -> int:
    """Samples that equal one with another target."""
    told = np.unique(codes.reshape(len(codes), -1), axis=0, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([same, told]), axis=1)
    both = np.flatnonzero(np.bincount(pairs[0]) > 1)
    return int(np.isin(same, both).sum())


def repeats(same: Int64, split: Int64) -> tuple[int, Split | None]:
    """(samples of val that are in train, and of test that are in either; a split of which all are)."""
    inside = {
        name: np.isin(same[split == i], same[split < i]) for i, name in enumerate(SPLITS) if name != "train"
    }
    whole: Sequence[Split] = [name for name, hits in inside.items() if len(hits) and hits.all()]
    return sum(int(hits.sum()) for hits in inside.values()), whole[0] if whole else None


def spread_thin(tokens: Sequence[Token], cells: Cells, train: Int64) -> list[str]:
    """Text of which most is rare says little: names, addresses, remarks."""
    rare = {
        token.name: sum(v is not None and v not in token.categories for v in column.values[train].tolist())
        for token, column in zip(tokens, cells.columns, strict=True)
        if token.categories is not None
    }
    return [
        f"column {name!r} of {count:,} of {len(train):,} training rows holds text that hardly any other row holds; all "
        f"of it counts as one category; if it is numbers, write them as 1234.5"
        for name, count in rare.items()
        if count > len(train) / 2
    ]


def empty_in_train(cells: Cells, train: Int64) -> list[str]:
    """Columns that nothing is learned of, whatever other splits hold."""
    return [
        f"column {column.name!r} is empty in all {len(train):,} training rows: the model sees nothing of it, and what "
        f"other rows hold there is left out"
        for column in cells.columns
        if column.is_missing[train].all()
    ]


def fit_layout(layout: Layout, inputs: Samples, train: Int64) -> Layout:
    """`layout` with what the training samples show: mean and spread, or the tokens of a table's columns."""
    if isinstance(inputs, Cells):
        return replace(layout, tokens=tuple(Token.fit(column, train) for column in inputs.columns))
    if layout.normalise != "channel":
        return layout
    axis = 2 if layout.modality is Modality.TABLE else 1
    mean, std = moments(inputs, train, lambda block: layout.channels_first(block), axis)
    return replace(layout, mean=tuple(mean.tolist()), std=tuple(np.where(std > 0, std, 1.0).tolist()))


def fit_target(
    target: Target, dense: Samples | None, codes: Array | None, train: Int64
) -> tuple[Target, float]:
    """(target with the mean of its numbers or the spread of its values, background per foreground of masks)."""
    if target.output is Numbers and codes is not None:
        return replace(target, spread=tuple(codes[train].std(axis=0).tolist())), 1.0
    if dense is None:
        return target, 1.0
    if target.levels is not None:
        places = positive = 0
        for block in dense.blocks(train):
            places, positive = places + block.size, positive + int((block == target.levels[1]).sum())
        return target, (places - positive) / positive if positive else 1.0
    mean, _ = moments(dense, train, lambda block: block.reshape(1, -1), 0)
    return replace(target, mean=float(mean[0])), 1.0
