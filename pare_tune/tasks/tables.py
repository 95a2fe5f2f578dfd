"""Tables with a class for every row: reading CSV, ARFF and Parquet, encoding features as tokens, splitting.

A feature is a column of numbers or of categories, either with gaps, and becomes ONE token: (C, F) arrays hold
in column j what is known of feature j. Encodings are fitted on training rows only. `encoding="official"` lays
the same table out as the code of ORCA and PaRe does, for comparison.
"""
# Shape suffixes: R = rows of the table, F = features, C = channels of a token, S = numbers a row is made of.

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_finite, to_float32
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Split, release_at

if TYPE_CHECKING:
    import pandas as pd

Encoding = Literal["tokens", "official"]
Indices: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

TARGET_ATTRIBUTE: Final = "target"
"""Key of a Parquet file's pandas attributes that names the column of classes."""
SUFFIXES: Final = (".parquet", ".pq", ".arff", ".csv")
"""Files that are read, those that declare the kinds of their columns first."""

_TARGETS = frozenset({"class", "target", "label"})
_VAL_SHARE = 0.2
_MOSTLY = 0.95  # share of numbers that makes a text column one of numbers with a mistake in it
_RARE = 2  # categories of fewer training rows share a slot, so that what is unseen meets weights that learned
_MOST_SLOTS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Where a table lies in its release, and what it must look like; None where that is not known."""

    stems: tuple[str, ...]
    """Names of its file without suffix; any case, `_` and `-` alike."""
    homepage: str
    target: str | None = None
    """The column of classes. Unknown: the only one called class, target or label, else the last."""
    ignored: tuple[str, ...] = ()
    """Columns that are neither features nor classes: row numbers and the like. They may be absent."""
    numbered: tuple[str, ...] = ()
    """Columns of categories that are called by numbers, which no CSV file tells."""
    rows: int | None = None
    features: int | None = None
    classes: int | None = None
    numeric: bool = False
    """Whether every feature is a number."""
    gaps: bool = True
    """Whether cells may be empty."""


@dataclass(frozen=True, slots=True)
class Column:
    """One feature."""

    name: str
    values: npt.NDArray[np.float64] | npt.NDArray[np.object_]
    """(R,): numbers, NaN where missing; or names of categories, None where missing."""

    @property
    def is_categorical(self) -> bool:
        """Whether the values are names."""
        return self.values.dtype == np.object_

    @property
    def is_missing(self) -> npt.NDArray[np.bool_]:
        """(R,)."""
        return np.array([v is None for v in self.values]) if self.is_categorical else np.isnan(self.values)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as read."""

    columns: tuple[Column, ...]
    y: Indices
    """(R,), position in `classes`."""
    classes: tuple[str, ...]


def read_splits(form: Form, encoding: Encoding, root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
    """x (C, F) float32 and y int64 for each row of the table in `root`; half of the rows are test.

    Raises:
        DataError: the file is missing, no table, or not of the form.
    """
    with release_at(form.homepage):
        path = find_table(root, form.stems)
        table = read_table(path, form)
        chosen = half_split(table.y, seed, path)
    layout = {"tokens": encode, "official": encode_official}[encoding](table, chosen["train"])
    return {split: _records(layout, table.y, rows) for split, rows in chosen.items()}


def find_table(root: Path, stems: Sequence[str]) -> Path:
    """The table's file in `root`: one of that name, else the only table there is.

    Raises:
        DataError: there is none, or several of other names.
    """
    files = sorted(
        (p for p in root.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES), key=_by_suffix
    )
    known = {_plain(stem) for stem in stems}
    named = [path for path in files if _plain(path.stem) in known]
    if named or len({path.stem for path in files}) == 1:
        return (named or files)[0]
    found = f", found {', '.join(path.name for path in files)}" if files else ""
    raise DataError(
        f"no table in {root}{found}: it must hold {stems[0]}.csv, {stems[0]}.arff or {stems[0]}.parquet, "
        "as OpenML serves it"
    )


def read_table(path: Path, form: Form) -> Table:
    """The features and classes of a CSV, ARFF or Parquet file; `?` and empty cells are missing values.

    Raises:
        DataError: the file cannot be read, or differs from `form`.
    """
    frame = _READERS[path.suffix.lower()](path)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{path} has two columns {twice}; get it again")
    target = _target(frame, form, path)
    left_out = {target, *form.ignored}
    names = [str(name) for name in frame.columns if str(name) not in left_out]
    if form.rows is not None and len(frame) != form.rows:
        raise DataError(f"{path} must have {form.rows} rows, found {len(frame)}")
    if not names or (form.features is not None and len(names) != form.features):
        wanted = "at least one feature" if form.features is None else f"{form.features} features"
        raise DataError(
            f"{path} must have {wanted} beside {target}, found {len(names)}: {_listed(names) or 'none'}"
        )
    y, classes = _classes(_names(frame[target]), form, target, path)
    may_parse = path.suffix.lower() == ".csv"
    columns = tuple(
        _column(frame[name], path, numbered=name in form.numbered, may_parse=may_parse) for name in names
    )
    _require_kinds(columns, form, path)
    return Table(columns, y, classes)


def half_split(y_R: Indices, seed: int, path: Path) -> dict[Split, Indices]:
    """Row numbers of each split: 40 % train, 10 % val, 50 % test, stratified by class, as TabPFN splits.

    Raises:
        DataError: a class has too few rows to be in every split.
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y_R))
    try:
        rest, test = train_test_split(rows, test_size=0.5, stratify=y_R, random_state=seed)
        train, val = train_test_split(rest, test_size=_VAL_SHARE, stratify=y_R[rest], random_state=seed)
    except ValueError as error:
        raise DataError(f"{path}: {len(y_R)} rows cannot be split by class: {error}") from error
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Encoded rows, as the numbers that may differ from 0 and where each of them stands in x."""

    numbers_RS: npt.NDArray[np.float32]
    place_S: tuple[Indices, Indices]
    shape: tuple[int, int]
    """Of x."""

    def x(self, row: int) -> npt.NDArray[np.float32]:
        """The model's input for one row."""
        x_CF = np.zeros(self.shape, dtype=np.float32)
        x_CF[self.place_S] = self.numbers_RS[row]
        return x_CF


def encode(table: Table, fit_on: Indices) -> Layout:
    """x (C, F): every feature is a token, whatever it holds.

    Numbers: channel 0 has mean 0 and variance 1 over the rows `fit_on`, or is 0 where they do not vary, and is 0
    where missing; channel 1 is 1 where missing, for columns with gaps in those rows. Categories: a channel each,
    and a last one for what is missing, was seen less than twice in those rows, or never. C is what the widest
    feature needs.
    """
    blocks = [_slots(c, fit_on) if c.is_categorical else _scaled(c, fit_on) for c in table.columns]
    return _laid_out(blocks, max(block.shape[1] for block in blocks))


def encode_official(table: Table, fit_on: Indices) -> Layout:
    """x as the official code has it: (M, F) with categories, (F, 1) without.

    With categories: columns of categories first, one-hot over observed values and one for missing, padded to
    the widest, M; numbers, 0 where missing, then standardised, in channel 0. Without: columns with gaps are
    left out, and the rest is one token of F channels. (There, scalers see the test rows too; here, they do not.)
    """
    categorical = [c for c in table.columns if c.is_categorical]
    numeric = [c for c in table.columns if not c.is_categorical]
    if categorical:
        blocks = [_slots(c, fit_on, rare=1, most=len(fit_on) + 1) for c in categorical]
        blocks += [_scaled(_filled(c), fit_on) for c in numeric]
        return _laid_out(blocks, max(block.shape[1] for block in blocks))
    whole = [_scaled(c, fit_on) for c in numeric if not c.is_missing.any()]
    numbers_RS = np.concatenate(whole or [np.zeros((len(table.y), 1), np.float32)], axis=1)
    places = np.arange(numbers_RS.shape[1])
    return Layout(numbers_RS, (places, np.zeros_like(places)), (len(places), 1))


def _scaled(column: Column, fit_on: Indices) -> npt.NDArray[np.float32]:
    """(R, 1) standardised, or (R, 2) with the flag of missing values."""
    values = column.values.astype(np.float64)
    known = values[fit_on][~np.isnan(values[fit_on])]
    if len(known) and known.min() < known.max():
        with np.errstate(over="ignore", invalid="ignore"):  # the gate before the store finds what comes of it
            parts = [np.nan_to_num((values - known.mean()) / known.std(), nan=0.0)]
    else:
        parts = [np.zeros_like(values)]  # whatever it holds elsewhere, nothing can be learned from it
    if len(known) < len(fit_on):
        parts.append(np.isnan(values))
    return to_float32(np.stack(parts, axis=1))


def _slots(
    column: Column, fit_on: Indices, *, rare: int = _RARE, most: int = _MOST_SLOTS
) -> npt.NDArray[np.float32]:
    """(R, kept categories + 1) one-hot; the last slot takes all the rest."""
    count = Counter(name for name in column.values[fit_on] if name is not None)
    frequent = sorted((name for name in count if count[name] >= rare), key=lambda name: (-count[name], name))
    slot = {name: i for i, name in enumerate(sorted(frequent[: most - 1], key=_natural))}
    one_hot_RS = np.zeros((len(column.values), len(slot) + 1), dtype=np.float32)
    one_hot_RS[np.arange(len(column.values)), [slot.get(name, len(slot)) for name in column.values]] = 1.0
    return one_hot_RS


def _filled(column: Column) -> Column:
    return Column(column.name, np.nan_to_num(column.values.astype(np.float64), nan=0.0))


def _laid_out(blocks: Sequence[npt.NDArray[np.float32]], channels: int) -> Layout:
    channel_S = np.concatenate([np.arange(block.shape[1]) for block in blocks])
    feature_S = np.concatenate([np.full(block.shape[1], i) for i, block in enumerate(blocks)])
    return Layout(np.concatenate(blocks, axis=1), (channel_S, feature_S), (channels, len(blocks)))


def _records(layout: Layout, y_R: Indices, rows: Indices) -> Iterator[Record]:
    for row in rows:
        yield {"x": layout.x(row), "y": np.asarray(y_R[row])}


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, na_values=["?", ""], keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is not a CSV table ({str(error).strip()}); get it again") from error


def _read_arff(path: Path) -> pd.DataFrame:
    import pandas as pd
    from scipy.io import arff

    try:
        rows, meta = arff.loadarff(path)
    except NotImplementedError as error:
        raise DataError(f"{path}: {error}; save the table as CSV or Parquet instead") from error
    except (OSError, ValueError, IndexError, StopIteration, arff.ArffError) as error:
        raise DataError(f"{path} is not an ARFF table ({error}); get it again") from error
    frame = pd.DataFrame(rows)
    for name, kind in zip(meta.names(), meta.types(), strict=True):
        if kind == "nominal":
            frame[name] = frame[name].str.decode("utf-8").replace("?", None).astype("category")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        # Beside Arrow's own errors, those of pandas at damaged notes that it left in the file.
        raise DataError(f"{path} is not a Parquet table ({error}); get it again") from error


_READERS: Final[Mapping[str, Callable[[Path], pd.DataFrame]]] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arff": _read_arff,
    ".csv": _read_csv,
}


def _target(frame: pd.DataFrame, form: Form, path: Path) -> str:
    names = [str(name) for name in frame.columns]
    if form.target is not None:
        exact = [name for name in names if name == form.target]
        found = exact or [name for name in names if name.lower() == form.target.lower()]
        if len(found) != 1:
            raise DataError(f"{path} must have a column {form.target}, the class; found {_listed(names)}")
        return found[0]
    if TARGET_ATTRIBUTE in frame.attrs:
        return str(frame.attrs[TARGET_ATTRIBUTE])
    likely = [name for name in names if name.lower() in _TARGETS]
    return likely[0] if len(likely) == 1 else names[-1]


def _classes(
    names_R: npt.NDArray[np.object_], form: Form, target: str, path: Path
) -> tuple[Indices, tuple[str, ...]]:
    for row, name in enumerate(names_R):
        if name is None:
            raise DataError(
                f"{path}: column {target}, the class, is empty in row {row + 1}; leave such rows out"
            )
    classes = tuple(sorted(set(names_R), key=_natural))
    if form.classes is not None and len(classes) != form.classes:
        raise DataError(
            f"{path}: column {target} must hold {form.classes} classes, found {len(classes)}: {_listed(classes)}"
        )
    if len(classes) < 2 or len(classes) > len(names_R) // 4:
        raise DataError(
            f"{path}: column {target} must hold classes, found {len(classes)} different values in "
            f"{len(names_R)} rows: {_listed(classes)}"
        )
    position = {name: i for i, name in enumerate(classes)}
    return np.array([position[name] for name in names_R], dtype=np.int64), classes


def _column(values: pd.Series, path: Path, *, numbered: bool, may_parse: bool) -> Column:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    name = str(values.name)
    numbers: Floats | None = None
    if numbered:
        return Column(name, _names(values))
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
    elif may_parse:
        numbers = _parsed(values, path)
    if numbers is None:
        return Column(name, _names(values))
    require_finite(numbers[~np.isnan(numbers)], f"column {name}", path)
    return Column(name, numbers)


def _parsed(values: pd.Series, path: Path) -> Floats | None:
    """The numbers that a column of text stands for; None if they are names of categories."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    known = values.notna().to_numpy()
    text = known & np.isnan(numbers)
    if not text.any():
        return numbers
    if text.sum() < (1 - _MOSTLY) * known.sum():
        row = int(np.flatnonzero(text)[0])
        raise DataError(
            f"{path}: column {values.name} must hold numbers, found {values.iloc[row]!r} in row {row + 1}; if it "
            "holds categories, give the table as ARFF or Parquet, which tell"
        )
    return None


def _names(values: pd.Series) -> npt.NDArray[np.object_]:
    """(R,) str, None where missing; whole numbers without their point, words without the quotes of ARFF."""
    names = np.empty(len(values), dtype=np.object_)
    for row, (value, missing) in enumerate(zip(values.tolist(), values.isna().tolist(), strict=True)):
        whole = isinstance(value, float) and value.is_integer()
        text = str(int(value) if whole else value)
        # OpenML's CSV files keep them: '<0','no checking'.
        names[row] = None if missing else text[1:-1] if re.fullmatch("'.*'", text) else text
    return names


def _require_kinds(columns: Sequence[Column], form: Form, path: Path) -> None:
    for column in columns:
        if form.numeric and column.is_categorical:
            row = next(row for row, name in enumerate(column.values) if name is not None)
            raise DataError(
                f"{path}: column {column.name} must hold numbers, found {column.values[row]!r} in row {row + 1}"
            )
        if not form.gaps and column.is_missing.any():
            row = int(np.flatnonzero(column.is_missing)[0])
            raise DataError(f"{path}: column {column.name} is empty in row {row + 1}; this table has no gaps")


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers in their order, before words in theirs."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)


def _by_suffix(path: Path) -> tuple[int, str]:
    return SUFFIXES.index(path.suffix.lower()), path.name


def _plain(stem: str) -> str:
    return stem.lower().replace("_", "-")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
