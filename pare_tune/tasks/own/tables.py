"""CSV and Parquet tables: one row a sample, or one row a time step of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pare_tune.data.images import ImageFiles, is_image
from pare_tune.errors import DataError
from pare_tune.tasks.own.images import open_images
from pare_tune.tasks.own.samples import Array, Each, Samples, Whole, listed
from pare_tune.tasks.own.spec import At

if TYPE_CHECKING:
    import pandas as pd

# "NA" and "None" stay text: they are names of classes somewhere.
_MISSING = ["", "nan", "NaN"]
_SHOWN = 30


@dataclass(frozen=True)
class Table:
    """A table whose columns are asked for by name."""

    path: Path
    frame: pd.DataFrame

    def column(self, name: str) -> pd.Series:
        """Raises DataError, listing the columns, where there is none of that name."""
        if name not in self.frame.columns:
            columns = [str(c) for c in self.frame.columns]
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
        # What `DataFrame.to_csv` writes for the row numbers.
        names = [str(c) for c in self.frame.columns if str(c) not in served and str(c) != "Unnamed: 0"]
        if not names:
            raise DataError(f"{self.path}: no column is left for the inputs")
        return names


def read_table(path: Path, *, rows: int | None = None) -> Table:
    """A CSV (separated by comma, semicolon or tab) or Parquet file.

    Args:
        rows: read only so many; None for all.

    Raises:
        DataError: it is missing, empty or no such table.
    """
    read = _read_parquet if path.suffix.lower() in (".parquet", ".pq") else _read_csv
    frame = read(path, rows)
    if len(frame) == 0:
        raise DataError(f"{path} has no row")
    frame.columns = frame.columns.map(str)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{path} has two columns {twice!r}; give each a name of its own")
    return Table(path, frame)


def _read_csv(path: Path, rows: int | None) -> pd.DataFrame:
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        separator = max(",;\t", key=header.count)
        return pd.read_csv(
            path, sep=separator, keep_default_na=False, na_values=_MISSING, skipinitialspace=True, low_memory=False,
            encoding="utf-8-sig", nrows=rows,
        )  # fmt: skip
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is not a CSV table with a header in UTF-8 ({str(error).strip()})") from error


def _read_parquet(path: Path, rows: int | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            few = None if rows is None else islice(file.iter_batches(rows), 1)
            table = file.read() if few is None else pa.Table.from_batches(few, file.schema_arrow)
        frame: pd.DataFrame = table.to_pandas()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (pa.ArrowException, ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        # Beside Arrow's own errors, those of pandas at damaged notes that it left in the file.
        raise DataError(f"{path} is not a Parquet table ({error})") from error
    return frame


def wide_samples(table: Table, names: Sequence[str], *, grey: bool | None = None) -> Samples:
    """One row a sample: numbers, a column of lists (series), or a column of image files.

    Args:
        grey: read images in grey (True) or colour (False); None as they are.
    """
    where = str(At(file=table.path, columns=tuple(names)))
    first = table.column(names[0])
    if len(names) == 1 and is_image(first.iloc[0]):
        files = ImageFiles(image_files(table, names[0]), [str(v) for v in first])
        return open_images(files, where, grey=grey)
    if isinstance(first.iloc[0], list | tuple | np.ndarray):
        return _lists(table, names, where)
    return Whole(np.stack([numbers(table, name) for name in names], axis=1), where)


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
            parts = [np.asarray(v, dtype=np.float64) for v in values]
            series.append(parts[0] if len(parts) == 1 else np.stack(parts))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{where}: row {row + 1} must hold lists of numbers, as long in each column ({error})"
            ) from error
    return listed(series, [f"row {i + 1}" for i in range(len(series))], where)


def numbers(table: Table, name: str) -> npt.NDArray[np.float64]:
    """A column as float64, NaN where it is empty. Raises DataError where it holds text or dates."""
    import pandas as pd

    column = table.column(name)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    odd = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    found = (
        f", found {odd.iloc[0]!r} in row {int(np.flatnonzero(table.frame.index == odd.index[0])[0]) + 1}"
        if len(odd)
        else ""
    )
    raise DataError(
        f"{table.path}: input column {name!r} must hold numbers{found}; leave it out by naming the others under "
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
        """Raises DataError where a row has no id or no time."""
        ids = texts(table, id_column)
        order = np.arange(len(ids))
        if time is not None:
            stamps = table.column(time)
            if stamps.isna().any():
                raise DataError(f"{table.path}: row {int(np.argmax(stamps.isna())) + 1} has no {time}")
            order = np.argsort(stamps.to_numpy(), kind="stable")
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
        column = self.table.column(name)
        for sample, rows in zip(self.ids, self.rows, strict=True):
            kinds = column.iloc[rows].unique()
            if len(kinds) > 1:
                raise DataError(
                    f"{self.table.path}: {name} changes within sample {sample} ({kinds[0]}, {kinds[1]}); it needs one "
                    f"value a sample"
                )
        return [column.iloc[rows[0]] for rows in self.rows]


def texts(table: Table, name: str) -> list[str]:
    """A column as text. Raises DataError where it is empty."""
    column = table.column(name)
    if column.isna().any():
        raise DataError(f"{table.path}: column {name!r} is empty in row {int(np.argmax(column.isna())) + 1}")
    return [str(v) for v in column]
