"""Tables of a user's own: one row a sample, or one row a time step of one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from pare_tune.data.frames import ROW_NUMBERS, read_frame
from pare_tune.data.images import ImageFiles, is_image
from pare_tune.errors import DataError
from pare_tune.tasks.columns import Column, Float32, Float64, Token, encode, names_of, read_column
from pare_tune.tasks.own.dates import (
    WRITE_DATES,
    DateOrder,
    date_order,
    date_parts,
    passes_midnight,
    time_order,
)
from pare_tune.tasks.own.images import open_images
from pare_tune.tasks.own.samples import Array, Each, Rows, Samples, Whole, listed
from pare_tune.tasks.own.spec import At

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 30


@dataclass(frozen=True)
class Table:
    """A table whose columns are asked for by name."""

    path: Path
    frame: pd.DataFrame
    first: int = 0
    """The number of its first row in the file."""

    def column(self, name: str) -> pd.Series:
        """Raises DataError, listing the columns, where there is none of that name."""
        if name not in self.frame.columns:
            columns = list(self.frame.columns)
            more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
            raise DataError(
                f"{self.path} has no column {name!r}; its columns: {', '.join(columns[:_SHOWN])}{more}"
            )
        return self.frame[name]

    def features(self, at: At, served: frozenset[str]) -> list[str]:
        """The columns that `at` names, else all that serve for nothing else."""
        if at.columns is not None:
            twice = sorted(set(at.columns) & served)
            if twice:
                raise DataError(
                    f"{self.path}: column {twice[0]!r} is among the inputs and says the target, split or group"
                )
            return list(at.columns)
        names = [name for name in self.frame.columns if name not in served and name != ROW_NUMBERS]
        if not names:
            raise DataError(f"{self.path}: no column is left for the inputs")
        return names

    def cells(self, name: str) -> list[Any]:
        """A column's values, None where missing."""
        column = self.column(name)
        return [v if given else None for v, given in zip(column.tolist(), column.notna(), strict=True)]


def read_table(path: Path, *, rows: int | None = None, text: Collection[str | None] = ()) -> Table:
    """A CSV, Parquet or ARFF file.

    Args:
        rows: read only so many; None for all.
        text: columns of a CSV file that are kept as they are written.

    Raises:
        DataError: it is missing, empty or no such table.
    """
    frame = read_frame(path, rows=rows, text=[name for name in text if name is not None])
    if len(frame) == 0:
        raise DataError(f"{path} has no row")
    return Table(path, frame)


class Cells(Samples):
    """Rows of a table that holds more than numbers: text, categories, dates or gaps.

    Attributes:
        columns: what becomes a token each.

    `blocks` gives numbers that are equal where cells are: categories by their place, gaps as a number of their own.
    """

    def __init__(self, columns: Sequence[Column], where: str) -> None:
        self.columns, self.where = tuple(columns), where
        self.shape, self.dtype = (len(columns),), np.dtype(np.float64)

    def __len__(self) -> int:
        return len(self.columns[0].values)

    def blocks(self, rows: Rows) -> Iterator[Array]:
        yield np.stack([_distinct(column)[rows] for column in self.columns], axis=1)

    def encoded(self, tokens: Sequence[Token], rows: Rows) -> Iterator[Float32]:
        """x (C, F) of each of `rows`."""
        return encode(tokens, self.columns, rows)

    def summary(self) -> str:
        """What the columns hold, for people."""
        kinds = [
            ("categories" if c.is_categorical else "dates" if c.part else "numbers") for c in self.columns
        ]
        gaps = sum(int(column.is_missing.sum()) for column in self.columns)
        counts = ", ".join(
            f"{kinds.count(k)} of {k}" for k in ("numbers", "categories", "dates") if k in kinds
        )
        return f"columns ({counts}), empty cells: {gaps:,}"


def _distinct(column: Column) -> Float64:
    if column.is_categorical:
        import pandas as pd

        return pd.factorize(column.values)[0].astype(np.float64)
    missing = np.isnan(column.values.astype(np.float64))
    given = column.values[~missing]
    return np.where(missing, given.max() + 1.0 if len(given) else 0.0, column.values).astype(np.float64)


def wide_samples(table: Table, names: Sequence[str]) -> Samples:
    """One row a sample: features, columns of lists (series), or a column of image files."""
    where = str(At(file=table.path, columns=tuple(names)))
    if (special := _images_or_lists(table, names, where, grey=None)) is not None:
        return special
    cells = read_cells(table, names)
    if all(not c.is_categorical and not c.part and not c.is_missing.any() for c in cells.columns):
        return Whole(np.stack([c.values.astype(np.float64) for c in cells.columns], axis=1), where)
    return cells


def read_cells(table: Table, names: Sequence[str]) -> Cells:
    """One row a sample, of numbers, categories and dates."""
    where = str(At(file=table.path, columns=tuple(names)))
    return Cells([feature for name in names for feature in _features(table, name)], where)


def numeric_samples(table: Table, names: Sequence[str], *, grey: bool | None = None) -> Samples:
    """As `wide_samples`, of columns that must hold numbers (or lists or images).

    Args:
        grey: read images in grey (True) or colour (False); None as they are.
    """
    where = str(At(file=table.path, columns=tuple(names)))
    special = _images_or_lists(table, names, where, grey=grey)
    if special is not None:
        return special
    return Whole(np.stack([numbers(table, name) for name in names], axis=1), where)


def text_columns(tokens: Sequence[Token], id_column: str | None) -> list[str]:
    """The columns of new rows that are kept as they are written: ids and categories."""
    ids = [] if id_column is None else [id_column]
    return [*ids, *(token.name for token in tokens if token.categories is not None)]


def new_cells(table: Table, tokens: Sequence[Token], id_column: str | None) -> Cells:
    """New rows for a model whose columns were fitted as `tokens`, called as in their column of ids if they have one.

    Raises:
        DataError: a column is missing, or of another kind.
    """
    names = dict.fromkeys(token.name for token in tokens)
    where = str(At(file=table.path, columns=tuple(names)))
    cells = Cells([_as_trained(table, token) for token in tokens], where)
    cells.names = ids_of(table, id_column)
    return cells


def ids_of(table: Table, id_column: str | None) -> list[str] | None:
    """What new rows are called; None where the table has no such column, which new rows need not have."""
    if id_column is None or id_column not in table.frame.columns:
        return None
    return texts(table, id_column)


def _as_trained(table: Table, token: Token) -> Column:
    values = table.column(token.name)
    if token.categories is not None:
        return Column(token.name, names_of(values))
    if not token.part:
        return Column(token.name, numbers(table, token.name, may_be_empty=True))
    if values.isna().all():
        return Column(token.name, np.full(len(values), np.nan), token.part)
    where = f"{table.path}: column {token.name}"
    parts = date_parts(values, where, cast("DateOrder", token.order)) or {}
    if token.part not in parts:
        cell = values.dropna().iloc[0]
        raise DataError(
            f"{table.path}: column {token.name!r} held dates in training, found {cell!r}; {WRITE_DATES}"
        )
    return Column(token.name, parts[token.part], token.part)


def _features(table: Table, name: str) -> list[Column]:
    """A column as numbers or categories; of dates those parts that differ."""
    import pandas as pd

    values = table.column(name)
    odd = next((v for v in values if isinstance(v, list | tuple | dict | bytes | np.ndarray)), None)
    if odd is not None:
        raise DataError(
            f"{table.path}: input column {name!r} must hold numbers, text or dates, found {type(odd).__name__}; leave "
            f"it out by naming the others under columns"
        )
    parts = date_parts(values, f"{table.path}: column {name}")
    if parts is None:
        return [read_column(values, table.path, may_parse=not isinstance(values.dtype, pd.CategoricalDtype))]
    order = date_order(values, f"{table.path}: column {name}")
    first, *others = parts
    differ = [part for part in others if len(np.unique(parts[part][~np.isnan(parts[part])])) > 1]
    return [Column(name, parts[part], part, order) for part in (first, *differ)]


def _images_or_lists(table: Table, names: Sequence[str], where: str, *, grey: bool | None) -> Samples | None:
    first = _first(table.column(names[0]))
    if len(names) == 1 and is_image(first):
        files = ImageFiles(image_files(table, names[0]), [str(v) for v in table.column(names[0])])
        return open_images(files, where, grey=grey)
    return _lists(table, names, where) if isinstance(first, list | tuple | np.ndarray) else None


def _first(column: pd.Series) -> Any:
    """The first value that is there; None for a column without any."""
    return column.dropna().iloc[0] if column.notna().any() else None


def names_images(column: pd.Series) -> bool:
    """Whether a column holds names of image files."""
    return is_image(_first(column))


def image_files(table: Table, name: str) -> list[Path]:
    """The files that a column names, from the table's own folder."""
    column = table.column(name)
    odd = next((i for i, v in enumerate(column) if not is_image(v)), None)
    if odd is not None:
        raise DataError(
            f"{table.path}: column {name!r} names images, found {column.iloc[odd]!r} in row {odd + 1}"
        )
    return [(table.path.parent / str(v)).absolute() for v in column]


def _lists(table: Table, names: Sequence[str], where: str) -> Samples:
    series: list[Array] = []
    for row, values in enumerate(zip(*(table.column(n) for n in names), strict=True)):
        try:
            # Arrow's lists of lists come as arrays of arrays.
            parts = [np.asarray([*v] if np.ndim(v) else v, dtype=np.float64) for v in values]
            series.append(parts[0] if len(parts) == 1 else np.stack(parts))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{where}: row {table.first + row + 1} must hold lists of numbers, as long in each column ({error})"
            ) from error
    return listed(series, [f"row {i + 1}" for i in range(len(series))], where)


def numbers(table: Table, name: str, *, may_be_empty: bool = False) -> Float64:
    """A column as float64, NaN where it is empty.

    Raises:
        DataError: it holds text or dates, or (unless `may_be_empty`) nothing at all.
    """
    import pandas as pd

    column = table.column(name)
    if column.isna().all():
        if may_be_empty:
            return np.full(len(column), np.nan)
        raise DataError(
            f"{table.path}: input column {name!r} is empty in every row; leave it out by naming the others under "
            f"columns"
        )
    # Also text and objects that stand for numbers or truth values throughout, as columns of training rows may.
    parsed = pd.to_numeric(column, errors="coerce")
    odd = np.flatnonzero(parsed.isna() & column.notna())
    if column.dtype.kind not in "mM" and not isinstance(column.dtype, pd.CategoricalDtype) and not len(odd):
        return parsed.to_numpy(np.float64, na_value=np.nan)
    place = f", found {column.iloc[odd[0]]!r} in row {table.first + odd[0] + 1}" if len(odd) else ""
    raise DataError(
        f"{table.path}: input column {name!r} must hold numbers{place}; leave it out by naming the others under "
        f"columns, or replace text by numbers"
    )


@dataclass(frozen=True)
class Long:
    """A table with one row a time step: the rows of each sample, in time."""

    table: Table
    ids: tuple[str, ...]
    """In order of first appearance."""
    rows: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def of(cls, table: Table, id_column: str, time: str | None) -> Long:
        """Raises DataError where a row has no id or no time, or times do not say which step is which."""
        ids = texts(table, id_column)
        order = np.arange(len(ids))
        if time is not None:
            stamps, where = table.column(time), f"{table.path}: column {time}"
            if stamps.isna().any():
                raise DataError(f"{table.path}: row {int(np.argmax(stamps.isna())) + 1} has no {time}")
            times = time_order(stamps, where)
            for name, rows in stamps.reset_index(drop=True).groupby(np.array(ids), sort=False):
                if passes_midnight(rows):
                    raise DataError(f"{where}: the clock times of {name} pass midnight; {WRITE_DATES}")
                if len(np.unique(times[rows.index])) < len(rows):
                    raise DataError(
                        f"{where}: two rows of {name} have one time; leave out `time:` to keep the order of the file"
                    )
            order = np.argsort(times, kind="stable")
        first = {name: i for i, name in enumerate(dict.fromkeys(ids))}
        codes = np.array([first[name] for name in ids])[order]
        by_id = order[np.argsort(codes, kind="stable")]
        ends = np.cumsum(np.bincount(codes, minlength=len(first)))
        return cls(table, tuple(first), tuple(np.split(by_id, ends[:-1])))

    def series(self, names: Sequence[str]) -> Each:
        """Series (L,), or (C, L) of several columns."""
        values = np.stack([numbers(self.table, name) for name in names])
        one = len(names) == 1
        where = str(At(file=self.table.path, columns=tuple(names)))
        return listed([values[0, r] if one else values[:, r] for r in self.rows], self.ids, where)

    def constant(self, name: str) -> list[Any]:
        """A column's value of each sample. Raises DataError where it changes within one."""
        cells = np.array(self.table.cells(name), dtype=object)
        for sample, rows in zip(self.ids, self.rows, strict=True):
            kinds = list(dict.fromkeys(cells[rows]))
            if len(kinds) > 1:
                raise DataError(
                    f"{self.table.path}: {name} changes within sample {sample} ({kinds[0]}, {kinds[1]}); it needs one "
                    f"value a sample"
                )
        return [cells[rows[0]] for rows in self.rows]


def texts(table: Table, name: str) -> list[str]:
    """A column as text. Raises DataError where it is empty."""
    column = table.column(name)
    if column.isna().any():
        row = table.first + int(np.argmax(column.isna())) + 1
        raise DataError(f"{table.path}: column {name!r} is empty in row {row}")
    return [str(v) for v in column]
