"""Reads tables from CSV (also gzipped), Parquet and ARFF files; pandas never gets to repair one unseen.

What a CSV file is written like (its separator, decimal commas, `sep=;`, a byte-order mark) is seen from the file. Its
rows are counted field by field first: pandas shifts columns, or renames them, where fields or names are too many.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import weakref
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from pare_tune.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TABLES: Final = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq", ".arff")
"""How the names of files that are read as tables end."""
ROW_NUMBERS: Final = "Unnamed: 0"
"""pandas' name of a first column without one: the row numbers that `DataFrame.to_csv` writes unasked."""

_SEPARATORS: Final = (",", ";", "\t", "|")
_SAMPLE: Final = 1 << 16
_SAYS_SEPARATOR: Final = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
_DECIMAL_COMMA: Final = r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?"
_THOUSANDS: Final = r"[+-]?([1-9]\d{0,2}(,\d{3})+|\d+)(\.\d+)?([eE][+-]?\d+)?"
_WITH_SIGN: Final = r"[+-]?[$€£¥]? ?\d[\d.,eE+-]* ?[%$€£¥]?"
"""A number as spreadsheets write it: `$1,000`, `63 %`."""
_TRUTHS: Final = {"true": True, "false": False}
ABSENT: Final = frozenset({"NA", "N/A", "n/a", "na", "#N/A", "NULL", "null", "None", "none", "?", "-", "--"})
"""Words for a gap among numbers, dates or truth values. In a column of text they stay: names of classes somewhere."""
_MISSING: Final = ("", "nan", "NaN")
_BATCH: Final = 4096
"""Rows of a Parquet file that are decoded at a time."""


def is_table(path: Path) -> bool:
    """Whether the name of `path` is that of a table."""
    return path.name.lower().endswith(TABLES)


def read_frame(
    path: Path,
    *,
    rows: int | None = None,
    text: Collection[str] | None = (),
    missing: Sequence[str] = _MISSING,
) -> pd.DataFrame:
    """The table in `path`, with the names of its columns as text.

    Args:
        rows: read only so many; None for all. (ARFF files are read whole.)
        text: columns of a CSV file whose cells are left as they are written, but for blanks around them; None for
            all. Other columns whose cells are all numbers (or true and false) become such, `ABSENT` among them as
            missing.
        missing: what stands for a gap in every column of a CSV file.

    Raises:
        DataError: the file is missing or no such table, rows differ in their number of fields, or columns lack a name
            of their own.
    """
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    try:
        frame = _read_csv(path, rows, text, missing) if ending in _CSV else _READERS[ending](path, rows)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    frame.columns = frame.columns.map(str)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{path} has two columns {twice!r}; give each a name of its own")
    return frame


class Frames:
    """A table that is read some rows at a time, in bounded memory (an ARFF file whole).

    Each part is as `read_frame` would give it if the file held no other rows.
    """

    def __init__(self, path: Path, *, text: Collection[str] = ()) -> None:
        """Arguments and errors as `read_frame`."""
        self.path = path
        ending = Path(path.name.lower().removesuffix(".gz")).suffix
        self._open: Callable[[], _Parts]
        try:
            if ending in _CSV:
                with _told_as_csv(path):
                    form = _form_of(path, None)
                self._count, self._open = form.rows, partial(_CsvParts, path, form, text)
            elif ending in _PARQUET:
                self._count, self._open = _count_parquet(path), partial(_ParquetParts, path)
            else:
                whole = read_frame(path)
                self._count, self._open = len(whole), partial(_WholeParts, whole)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        self._parts: _Parts | None = None
        self._next = 0

    def __len__(self) -> int:
        return self._count

    def rows(self, rows: range) -> pd.DataFrame:
        """The rows `rows`; what lies before them is read again unless they follow those that were asked for last.

        Raises:
            DataError: they are damaged, or the file was changed.
        """
        if self._parts is None or rows.start < self._next:
            self._parts, self._next = self._open(), 0
        if rows.start > self._next:
            self._take(rows.start - self._next)
        return self._take(len(rows))

    def _take(self, count: int) -> pd.DataFrame:
        assert self._parts is not None
        try:
            frame = self._parts.take(count)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(frame) != count:
            raise DataError(f"{self.path} was changed while it was read; run the command again")
        self._next += count
        frame.columns = frame.columns.map(str)
        return frame.reset_index(drop=True)


class _Parts(Protocol):
    """A table from its beginning."""

    def take(self, count: int) -> pd.DataFrame:
        """The next rows, fewer where there are no more."""


class _CsvParts:
    def __init__(self, path: Path, form: _Form, text: Collection[str]) -> None:
        self._path, self._form, self._text = path, form, text
        with _told_as_csv(path):
            self._reader = _opened_csv(path, form, text, _MISSING, iterator=True)
        weakref.finalize(self, self._reader.close)

    def take(self, count: int) -> pd.DataFrame:
        with _told_as_csv(self._path):
            return _mended(self._reader.get_chunk(count), self._form, self._text)


class _ParquetParts:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._batches = self._read()
        self._left: list[pa.RecordBatch] = []

    def take(self, count: int) -> pd.DataFrame:
        import pyarrow as pa

        with _told_as_parquet(self._path):
            while sum(map(len, self._left)) < count and (batch := next(self._batches, None)) is not None:
                self._left.append(batch)
            table = pa.Table.from_batches(self._left)
            self._left = table.slice(count).to_batches()
            return _of_arrow(table.slice(0, count))

    def _read(self) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._path) as file:
            yield from file.iter_batches(_BATCH)


class _WholeParts:
    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def take(self, count: int) -> pd.DataFrame:
        first, self._frame = self._frame.iloc[:count], self._frame.iloc[count:]
        return first


@dataclass(frozen=True)
class _Form:
    """How a CSV file is written."""

    separator: str
    names: list[str]
    width: int
    """Fields of its longest row: those beyond the names are all empty."""
    skipped: int
    """Lines before the header."""
    rows: int


def _read_csv(
    path: Path, rows: int | None, text: Collection[str] | None, missing: Sequence[str]
) -> pd.DataFrame:
    with _told_as_csv(path):
        form = _form_of(path, rows)
        text = form.names if text is None else text
        return _mended(_opened_csv(path, form, text, missing, nrows=rows), form, text)


@contextmanager
def _told_as_csv(path: Path) -> Iterator[None]:
    import pandas as pd

    try:
        yield
    except (EOFError, ValueError, csv.Error, pd.errors.ParserError, zlib.error) as error:
        raise DataError(f"{path} is not a CSV table with a header in UTF-8 ({str(error).strip()})") from error


def _opened_csv(
    path: Path, form: _Form, text: Collection[str], missing: Sequence[str], **options: Any
) -> Any:
    """The whole frame, or with `iterator` what reads it in parts."""
    import pandas as pd

    return pd.read_csv(
        path, sep=form.separator, header=0, skiprows=form.skipped, index_col=False,
        names=[*form.names, *(f"\0{i}" for i in range(len(form.names), form.width))], encoding="utf-8-sig",
        dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=list(missing), skipinitialspace=True,
        low_memory=False, **options,
    )  # fmt: skip


def _mended(frame: pd.DataFrame, form: _Form, text: Collection[str]) -> pd.DataFrame:
    """Without the fields that no name stands for; text stripped, and columns of numbers or truth values as such."""
    import pandas as pd

    frame = frame[form.names].copy()
    for name in form.names:
        if pd.api.types.infer_dtype(frame[name]) == "string":
            frame[name] = frame[name].str.strip().replace("", None)
        if name not in text:
            frame[name] = _typed(frame[name], commas=form.separator != ",")
    return frame


def _form_of(path: Path, rows: int | None) -> _Form:
    csv.field_size_limit(sys.maxsize)  # a cell may hold a whole text
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
        sample = stream.read(_SAMPLE)
        said = _SAYS_SEPARATOR.match(sample)
        start = 0 if said is None else said.end()
        separator = said[1] if said is not None else _separator(sample, whole=len(sample) < _SAMPLE)
        stream.seek(0)
        stream.read(start)
        records = _records(stream, separator)
        line, header = next(records, (0, []))
        names = _names(header, path)
        width, count = len(header), 0
        for line, record in islice(records, rows):
            count += 1
            if len(record) < len(names) or any(record[len(names) :]):
                raise DataError(
                    f"{path} is not a CSV table (line {line + (start > 0)} has {len(record)} fields, the header "
                    f"{len(names)}): cells that hold {separator!r} need quotes, empty cells their separator"
                )
            width = max(width, len(record))
    return _Form(separator, names, width, skipped=int(start > 0), rows=count)


def _names(header: Sequence[str], path: Path) -> list[str]:
    """The names of the columns: a header may end in separators, and its first name may be missing."""
    names = list(header)
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ValueError("it has no header")
    if not names[0]:
        names[0] = ROW_NUMBERS
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} has no name in the header; give it one")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two columns {twice!r}; give each a name of its own")
    return names


def _records(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line it ends in, its fields) of every row that is not blank."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for record in reader:
        if len(record) > 1 or any(record):
            yield reader.line_num, [field.strip() for field in record]


def _separator(sample: str, *, whole: bool) -> str:
    """The sign that cuts the header into most fields, and every row into as many."""

    def fit(separator: str) -> tuple[bool, bool, bool, int]:
        records = [record for _, record in _records(io.StringIO(sample, newline=""), separator)]
        if not whole:
            records = records[:-1]  # the sample may end within a row
        width = len(records[0]) if records else 0
        agree = all(len(r) >= width and not any(r[width:]) for r in records)
        # One column is what a sign leaves that does not occur; where none fits every row, one that occurs is meant.
        return agree and width > 1, width > 1, agree, width

    return max(_SEPARATORS, key=fit)


def _typed(column: pd.Series, *, commas: bool) -> pd.Series:
    """Text as numbers or truth values where all of it, but for gaps, is such.

    Args:
        commas: read `1,5` as 1.5; else `1,500` as 1500. A cell is read as it would be among others, so that parts of
            a file are read as the whole is.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column
    given = column.where(~column.isin(ABSENT))
    texts = given.dropna().astype(str)
    if texts.empty:
        return pd.Series(np.nan, column.index)
    if texts.str.lower().isin(_TRUTHS).all():
        return given.map(lambda v: v if pd.isna(v) else _TRUTHS[str(v).lower()]).astype("boolean")
    if texts.str.fullmatch(_WITH_SIGN).all():
        bare = texts.str.replace("[$€£¥% ]", "", regex=True)
        written, instead = (_DECIMAL_COMMA, ".") if commas else (_THOUSANDS, "")
        if bare.str.fullmatch(written).all():
            bare = bare.str.replace(",", instead)
        given = bare.reindex(column.index)
    numbers = pd.to_numeric(given, errors="coerce")
    return numbers if numbers.notna().sum() == len(texts) else column


def _read_parquet(path: Path, rows: int | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _told_as_parquet(path), pq.ParquetFile(path) as file:
        few = None if rows is None else islice(file.iter_batches(rows), 1)
        table = file.read() if few is None else pa.Table.from_batches(few, file.schema_arrow)
        return _of_arrow(table)


def _count_parquet(path: Path) -> int:
    import pyarrow.parquet as pq

    with _told_as_parquet(path), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _told_as_parquet(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (pa.ArrowException, ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        # Beside Arrow's own errors, those of pandas at damaged notes that it left in the file.
        raise DataError(f"{path} is not a Parquet table ({error})") from error


def _of_arrow(table: pa.Table) -> pd.DataFrame:
    """Columns as numbers, text, dates or lists; decimals become floats, and tensors arrays of their own shape."""
    import pyarrow as pa

    tensors: dict[str, list[Any]] = {}
    for place, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
        elif isinstance(field.type, pa.FixedShapeTensorType):
            tensors[field.name] = list(table.column(place).combine_chunks().to_numpy_ndarray())
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    for name, arrays in tensors.items():
        column = np.empty(len(arrays), object)
        column[:] = arrays
        frame[name] = column
    # As `pandas.read_parquet` does, which reads no rows at a time.
    frame.attrs = json.loads((table.schema.metadata or {}).get(b"PANDAS_ATTRS", b"{}"))
    return frame


def _read_arff(path: Path, rows: int | None) -> pd.DataFrame:
    import pandas as pd
    from scipy.io import arff

    try:
        values, meta = arff.loadarff(path)
    except NotImplementedError as error:
        raise DataError(f"{path}: {error}; save the table as CSV or Parquet instead") from error
    except (OSError, ValueError, IndexError, StopIteration, arff.ArffError) as error:
        raise DataError(f"{path} is not an ARFF table ({error})") from error
    frame = pd.DataFrame(values)
    for name, kind in zip(meta.names(), meta.types(), strict=True):
        if kind == "nominal":
            frame[name] = frame[name].str.decode("utf-8").replace("?", None).astype("category")
    return frame.head(rows) if rows is not None else frame


_CSV: Final = (".csv", ".tsv")
_PARQUET: Final = (".parquet", ".pq")
_READERS: Final[Mapping[str, Callable[[Path, int | None], pd.DataFrame]]] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arff": _read_arff,
}
