"""OpenML's tables with a class for every row: found in a folder, checked against what is known of them, split in half.

Every feature becomes ONE token: (C, F) arrays hold in column j what is known of feature j (`tasks.columns`).
`encoding="official"` lays the same table out as the code of ORCA and PaRe does, for comparison.
"""
# Shape suffixes: R = rows of the table, F = features, C = channels of a token.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from pare_tune.data.frames import read_frame
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Split, release_at
from pare_tune.tasks.columns import Column, Float32, Indices, Token, encode, names_of, natural, read_column

if TYPE_CHECKING:
    import pandas as pd

Encoding = Literal["tokens", "official"]

TARGET_ATTRIBUTE: Final = "target"
"""Key of a Parquet file's pandas attributes that names the column of classes."""
SUFFIXES: Final = (".parquet", ".pq", ".arff", ".csv")
"""Files that are read, those that declare the kinds of their columns first."""

_TARGETS = frozenset({"class", "target", "label"})
_VAL_SHARE = 0.2


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
    prepare = {"tokens": encode_rows, "official": encode_official}[encoding]
    return {
        split: _records(prepare(table, chosen["train"], rows), table.y[rows])
        for split, rows in chosen.items()
    }


def find_table(root: Path, stems: Sequence[str]) -> Path:
    """The table's file in `root`: one of that name, else the only table there is.

    Raises:
        DataError: there is none, or several of other names.
    """
    files = sorted(
        (p for p in root.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES), key=_by_suffix
    )
    spelled = {_spelled(stem) for stem in stems}
    named = [path for path in files if _spelled(path.stem) in spelled]
    if named or len({path.stem for path in files}) == 1:
        return (named or files)[0]
    there = f", found {', '.join(path.name for path in files)}" if files else ""
    raise DataError(
        f"no table in {root}{there}: it must hold {stems[0]}.csv, {stems[0]}.arff or {stems[0]}.parquet, "
        "as OpenML serves it"
    )


def read_table(path: Path, form: Form) -> Table:
    """The features and classes of a CSV, ARFF or Parquet file; `?` and empty cells are missing values.

    Raises:
        DataError: the file cannot be read, or differs from `form`.
    """
    try:
        frame = read_frame(path, text=None, missing=("?", ""))
    except DataError as error:
        raise DataError(f"{error}; get it again") from error
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
    y, classes = _classes(names_of(frame[target]), form, target, path)
    may_parse = path.suffix.lower() == ".csv"
    columns = tuple(
        read_column(frame[name], path, numbered=name in form.numbered, may_parse=may_parse) for name in names
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


def encode_rows(table: Table, train: Indices, rows: Indices) -> Iterator[Float32]:
    """x (C, F) of each of `rows`: every feature is a token, whatever it holds; C is what the widest needs."""
    yield from encode([Token.fit(column, train) for column in table.columns], table.columns, rows)


def encode_official(table: Table, train: Indices, rows: Indices) -> Iterator[Float32]:
    """x as the official code has it: (M, F) with categories, (F, 1) without.

    With categories: columns of categories first, one-hot over observed values and one for missing, padded to
    the widest, M; numbers, 0 where missing, then standardised, in channel 0. Without: columns with gaps are
    left out, and the rest is one token of F channels. (There, scalers see the test rows too; here, they do not.)
    """
    categorical = [c for c in table.columns if c.is_categorical]
    numeric = [c for c in table.columns if not c.is_categorical]
    if categorical:
        columns = categorical + [
            Column(c.name, np.nan_to_num(c.values.astype(np.float64), nan=0.0)) for c in numeric
        ]
        tokens = [Token.fit(c, train, rare=1, most=len(train) + 1) for c in columns]
        yield from encode(tokens, columns, rows)
        return
    columns = [c for c in numeric if not c.is_missing.any()]
    columns = columns or [Column("", np.zeros(len(table.y)))]
    for x_1F in encode([Token.fit(c, train) for c in columns], columns, rows):
        yield np.ascontiguousarray(x_1F.T)


def _records(xs: Iterator[Float32], ys: Indices) -> Iterator[Record]:
    for x, y in zip(xs, ys, strict=True):
        yield {"x": x, "y": np.asarray(y)}


def _target(frame: pd.DataFrame, form: Form, path: Path) -> str:
    names = [str(name) for name in frame.columns]
    if form.target is not None:
        exact = [name for name in names if name == form.target]
        matching = exact or [name for name in names if name.lower() == form.target.lower()]
        if len(matching) != 1:
            raise DataError(f"{path} must have a column {form.target}, the class; found {_listed(names)}")
        return matching[0]
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
    classes = tuple(sorted(set(names_R), key=natural))
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


def _by_suffix(path: Path) -> tuple[int, str]:
    return SUFFIXES.index(path.suffix.lower()), path.name


def _spelled(stem: str) -> str:
    return stem.lower().replace("_", "-")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
