"""Columns of a table as tokens: numbers, categories and dates, any with gaps; fitted on training rows alone.

Benchmark tables and users' own go through here. What is fitted is plain values (`Token`), which lie in the metadata of
a model's weights and prepare new rows for `pare-tune predict`.
"""
# Shape suffixes: R = rows of the table, F = features, C = channels of a token, S = slots of one column.

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_finite, to_float32
from pare_tune.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Indices: TypeAlias = npt.NDArray[np.int64]
Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]

_MOSTLY: Final = 0.95
"""Share of numbers that makes a text column one of numbers with a mistake in it."""
_RARE: Final = 2
"""Categories of fewer training rows share a slot, so that what is unseen meets weights that learned."""
_MOST_SLOTS: Final = 128
_BLOCK: Final = 256
"""Rows encoded at a time."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature."""

    name: str
    values: Float64 | npt.NDArray[np.object_]
    """(R,): numbers, NaN where missing; or names of categories, None where missing."""
    part: str = ""
    """Of dates: which part of them the numbers are."""
    order: str = ""
    """Of dates: what tells their days from their months (`own.dates.DateOrder`)."""

    @property
    def title(self) -> str:
        """Name and part, for people."""
        return f"{self.name} {self.part}".rstrip()

    @property
    def is_categorical(self) -> bool:
        """Whether the values are names."""
        return self.values.dtype == np.object_

    @property
    def is_missing(self) -> npt.NDArray[np.bool_]:
        """(R,)."""
        return np.array([v is None for v in self.values]) if self.is_categorical else np.isnan(self.values)


def read_column(values: pd.Series, path: Path, *, numbered: bool = False, may_parse: bool = True) -> Column:
    """The feature that a column holds.

    Args:
        path: of the table, for messages.
        numbered: its categories are called by numbers.
        may_parse: text that is all numbers stands for numbers.

    Raises:
        DataError: a number is infinite, or nearly all of its text is numbers.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    name = str(values.name)
    numbers: Float64 | None = None
    if numbered:
        return Column(name, names_of(values))
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
    elif may_parse:
        numbers = _parsed(values, path)
    if numbers is None:
        return Column(name, names_of(values))
    require_finite(numbers[~np.isnan(numbers)], f"column {name}", path)
    return Column(name, numbers)


def _parsed(values: pd.Series, path: Path) -> Float64 | None:
    """The numbers that a column of text stands for; None if they are names of categories."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    given = values.notna().to_numpy()
    text = given & np.isnan(numbers)
    if not text.any():
        return numbers
    if text.sum() < (1 - _MOSTLY) * given.sum():
        row = int(np.flatnonzero(text)[0])
        raise DataError(
            f"{path}: column {values.name} must hold numbers, found {values.iloc[row]!r} in row {row + 1}; if it "
            "holds categories, give the table as ARFF or Parquet, which tell; else mend the cell, or leave it empty"
        )
    return None


def names_of(values: pd.Series) -> npt.NDArray[np.object_]:
    """(R,) str, None where missing; whole numbers without their point, words without the quotes of ARFF."""
    names = np.empty(len(values), dtype=np.object_)
    for row, (value, missing) in enumerate(zip(values.tolist(), values.isna().tolist(), strict=True)):
        whole = isinstance(value, float) and value.is_integer()
        text = str(int(value) if whole else value)
        # OpenML's CSV files keep them: '<0','no checking'.
        names[row] = None if missing else text[1:-1] if re.fullmatch("'.*'", text) else text
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """How one column becomes one token.

    Numbers: slot 0 has mean 0 and variance 1 over the training rows, or is 0 where they do not vary, and is 0 where
    missing; slot 1 is 1 where missing, for columns with gaps in those rows, unless they are empty there. Categories: a
    slot each, and a last one for what is missing, was seen in too few of those rows, or never.
    """

    name: str
    part: str = ""
    mean: float = 0.0
    std: float = 0.0
    """0 where the training rows do not vary."""
    gaps: bool = False
    categories: tuple[str, ...] | None = None
    """Those with a slot of their own; None for numbers."""
    order: str = ""
    """As `Column` has it; models of earlier versions do not know."""

    @classmethod
    def fit(cls, column: Column, train: Indices, *, rare: int = _RARE, most: int = _MOST_SLOTS) -> Token:
        """What the rows `train` of `column` show.

        Args:
            rare: categories of fewer rows get no slot.
            most: slots of a column of categories, the last one included.
        """
        values = column.values[train]
        if column.is_categorical:
            count = Counter(name for name in values if name is not None)
            frequent = sorted((n for n in count if count[n] >= rare), key=lambda n: (-count[n], n))
            kept = tuple(sorted(frequent[: most - 1], key=natural))
            return cls(name=column.name, part=column.part, categories=kept)
        numbers = values.astype(np.float64)
        numbers = numbers[~np.isnan(numbers)]
        gaps = 0 < len(numbers) < len(values)
        if not len(numbers) or numbers.min() == numbers.max():
            return cls(name=column.name, part=column.part, order=column.order, gaps=gaps)
        with np.errstate(over="ignore", invalid="ignore"):  # the gate before the store finds what comes of it
            # Not scikit-learn's scaler: its running sums differ in the last digit from what was recorded.
            mean, std = float(numbers.mean()), float(numbers.std())
        return cls(name=column.name, part=column.part, order=column.order, mean=mean, std=std, gaps=gaps)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Token:
        """From JSON."""
        categories = tree["categories"]
        return cls(**{**tree, "categories": None if categories is None else tuple(categories)})

    @property
    def num_slots(self) -> int:
        """S."""
        return 1 + (int(self.gaps) if self.categories is None else len(self.categories))

    @property
    def tells(self) -> bool:
        """Whether training rows differ in it."""
        return bool(self.categories) or self.gaps or self.std > 0.0

    def slots(self, values_R: Float64 | npt.NDArray[np.object_]) -> Float32:
        """(R, S)."""
        if self.categories is not None:
            return _one_hot(values_R, self.categories)
        values = values_R.astype(np.float64)
        if self.std == 0.0:
            parts = [np.zeros_like(values)]  # whatever it holds here, nothing could be learned from it
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                parts = [np.nan_to_num((values - self.mean) / self.std, nan=0.0)]
        if self.gaps:
            parts.append(np.isnan(values))
        return to_float32(np.stack(parts, axis=1))


def _one_hot(names_R: npt.NDArray[Any], categories: Sequence[str]) -> Float32:
    """(R, categories + 1), the last for all the rest."""
    from sklearn.preprocessing import OneHotEncoder

    if not categories:
        return np.ones((len(names_R), 1), np.float32)
    encoder = OneHotEncoder(
        categories=[list(categories)], handle_unknown="ignore", sparse_output=False, dtype=np.float32
    )
    named = encoder.fit_transform(names_R[:, None])
    return np.concatenate([named, 1 - named.sum(axis=1, keepdims=True)], axis=1)


def encode(
    tokens: Sequence[Token], columns: Sequence[Column], rows: Indices, *, channels: int | None = None
) -> Iterator[Float32]:
    """x (C, F) of each of `rows`.

    Args:
        columns: one a token.
        channels: C; None for what the widest token needs.
    """
    widest = channels or max(token.num_slots for token in tokens)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        x_RCF = np.zeros((len(block), widest, len(tokens)), np.float32)
        for place, (token, column) in enumerate(zip(tokens, columns, strict=True)):
            slots = token.slots(column.values[block])
            x_RCF[:, : slots.shape[1], place] = slots
        yield from x_RCF


def natural(name: str) -> tuple[int, float, str]:
    """Sorts numbers in their order, before words in theirs."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)
