"""The inputs of one part of a task, and one value a sample from wherever a task file says: target, group, split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pare_tune.data.frames import ROW_NUMBERS, TABLES
from pare_tune.data.images import ImageFiles, find_images, is_image
from pare_tune.errors import DataError
from pare_tune.tasks.own.arrays import open_array, read_labels
from pare_tune.tasks.own.images import open_images
from pare_tune.tasks.own.samples import Array, Samples, Whole
from pare_tune.tasks.own.spec import At, OwnData, Part
from pare_tune.tasks.own.tables import Cells, Long, Table, read_table, texts, wide_samples

_SHOWN = 30


class TableFiles:
    """Tables of one task, each read once."""

    def __init__(self, spec: OwnData) -> None:
        self._tables: dict[Path, Table] = {}
        # What tells samples or groups apart is kept as it is written: as numbers, 1.1 and 1.10 would be one.
        self._names: set[tuple[Path | None, str]] = set()
        for _, part in spec.parts():
            split = spec.split
            roles = (part.input, part.target, part.group, split.column, split.time)
            places = [at for at in roles if at is not None]
            ids = {at.id for at in places if at.id is not None}
            self._names |= {(at.file or part.input.file, name) for at in places for name in ids}
            if part.group is not None:
                file = part.group.file or part.input.file
                self._names |= {(file, name) for name in part.group.columns or ()}

    def table(self, path: Path) -> Table:
        """The table in `path`. Raises DataError where it is none."""
        if path not in self._tables:
            self._tables[path] = read_table(path, text=[name for file, name in self._names if file == path])
        return self._tables[path]


class Inputs:
    """The inputs of one part, and what else their file says of each sample."""

    def __init__(self, spec: OwnData, part: Part, files: TableFiles) -> None:
        self._at, self.files = part.input, files
        assert part.input.file is not None
        self.path = part.input.file
        if not self.path.exists():
            raise DataError(f"no file or folder {self.path}")
        others = (part.target, part.group, spec.split.column, spec.split.time)
        self._served = frozenset(
            name
            for at in others
            if at is not None and at.file in (None, self.path)
            for name in (*(at.columns or ()), *([at.id] if at.id else []))
        )
        if self._at.id is not None and not self._at.is_table:
            raise DataError(f"{self.path}: id goes with a table ({', '.join(TABLES)})")
        if self._at.time is not None and self._at.id is None:
            raise DataError(
                f"{self.path}: time ({self._at.time}) orders the rows of each sample, so it goes with id, the column "
                f"that tells samples apart; where each row is a sample leave it out"
            )

    @cached_property
    def table(self) -> Table | None:
        """The inputs' own table, where they are columns of one."""
        return self.files.table(self.path) if self._at.is_table else None

    @cached_property
    def ids(self) -> list[str] | None:
        """Of each row of the table; None where no column of ids is named."""
        return None if self.table is None or self._at.id is None else texts(self.table, self._at.id)

    @cached_property
    def long(self) -> Long | None:
        """The rows of each sample, where a row is a time step; None where each has an id of its own."""
        if self.table is None or self._at.id is None or self.ids is None:
            return None
        if self._at.time is None and len(set(self.ids)) == len(self.ids):
            return None
        return Long.of(self.table, self._at.id, self._at.time)

    @cached_property
    def images(self) -> ImageFiles | None:
        """The files of a folder of images."""
        return find_images(self.path) if self.path.is_dir() else None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Of the inputs, where they come from a table."""
        if self.table is None:
            return ()
        served = set(self._served)
        if self._at.columns is None:
            served |= {c for c in (self._at.id, self._at.time) if c is not None}
        return tuple(self.table.features(self._at, frozenset(served)))

    @cached_property
    def samples(self) -> Samples:
        """What is learned from."""
        if self.long is not None:
            return self.long.series(self.columns)
        if self.table is not None:
            return wide_samples(self.table, self.columns)
        if self.images is not None:
            return open_images(self.images, str(self.path))
        return open_array(self._at, "inputs")

    @property
    def is_images(self) -> bool:
        """Whether each sample is an image."""
        names = self.samples.names
        return self.images is not None or (
            self.table is not None and names is not None and is_image(names[0])
        )

    @property
    def features(self) -> Table | None:
        """The columns of a table whose rows are samples; None for series and images."""
        if self.table is None or not isinstance(self.samples, Whole | Cells):
            return None
        return Table(self.path, self.table.frame[[*self.columns]])

    def per_sample(self, at: At, role: str) -> Sequence[Any]:
        """One value a sample: of a column of the inputs' table, or of a file of its own."""
        if at.file is None or (at.file == self.path and at.is_table):
            return self._own_column(at, role)
        if at.is_table:
            table, at = self.beside(at)
            return self._aligned(table, at, only_column(table, at, role), role)
        values = self.labels(at, role)
        if values.ndim != 1:
            raise DataError(f"{at.file}: {role} is one value a sample, found shape {values.shape}")
        cells: list[Any] = values.tolist()
        return cells

    def labels(self, at: At, role: str) -> Array:
        """An array of its own, as long as there are samples; arrays of one sample each go by their keys."""
        labels = read_labels(at, role)
        require_as_many(self.samples, len(labels.values) if labels.values.ndim else 1, str(at), role)
        require_same(self.samples, labels.matched, str(at), role)
        return labels.values

    def beside(self, at: At) -> tuple[Table, At]:
        """The table of its own that `at` names; it goes by the inputs' id column where it has one of that name."""
        assert at.file is not None
        table = self.files.table(at.file)
        if at.id is None and self._at.id in table.frame.columns:
            return table, at.model_copy(update={"id": self._at.id})
        return table, at

    def each_column(self, at: At, role: str) -> list[Sequence[Any]]:
        """Several columns, as `per_sample`."""
        return [
            self.per_sample(at.model_copy(update={"columns": (name,)}), role) for name in at.columns or ()
        ]

    def _own_column(self, at: At, role: str) -> Sequence[Any]:
        if self.table is None or at.columns is None:
            raise DataError(f"{self.path} is no table, so {role} needs a file of its own, not {at.columns}")
        if self.long is not None:
            return _filled(self.long.constant(at.columns[0]), at, role)
        return _filled(self.table.cells(at.columns[0]), at, role)

    def _aligned(self, table: Table, at: At, name: str, role: str) -> Sequence[Any]:
        values = _filled(table.cells(name), at, role)
        if at.id is None:
            require_as_many(self.samples, len(values), str(at), role)
            self._require_one_order(table)
            return values
        names = self.long.ids if self.long is not None else self.ids or self.samples.names
        if names is None:
            raise DataError(
                f"{self.path}: its samples have no names, so the rows of {table.path} cannot go by {at.id}"
            )
        keys = texts(table, at.id)
        by_key = dict(zip(keys, values, strict=True))
        if len(by_key) < len(keys):
            raise DataError(
                f"{table.path}: {at.id} {next(k for k in keys if keys.count(k) > 1)} is there twice"
            )
        missing = [n for n in names if n not in by_key]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(names)} samples have no {role} in {table.path}; the first is {missing[0]}"
            )
        extra = by_key.keys() - set(names)
        if extra:
            raise DataError(
                f"{table.path} names {len(extra)} samples that {self.path} lacks; one is {min(extra)}"
            )
        return [by_key[n] for n in names]

    def _require_one_order(self, table: Table) -> None:
        """Raise DataError where a column that both tables have tells that row by row would mix samples up."""
        if self.table is None or self.long is not None:
            return
        for name in self.table.frame.columns.intersection(table.frame.columns):
            own, others = (t.frame[name].astype(str) for t in (self.table, table))
            if own.is_unique and set(own) == set(others) and own.tolist() != others.tolist():
                raise DataError(
                    f"{self.path} and {table.path} both have the column {name!r}, in another order; to go by it write "
                    f"input: {{file: {self.path.name}, id: {name!r}}}; to go row by row, take it out of one"
                )


def require_as_many(inputs: Samples, others: int, where: str, role: str) -> None:
    """Raise DataError unless there is one of the `others` in `where` for each input."""
    if len(inputs) != others:
        raise DataError(
            f"{inputs.where} holds {len(inputs):,} samples and {where} {others:,} {role}s; each sample needs one"
        )


def require_same(inputs: Samples, matched: Sequence[str] | None, where: str, role: str) -> None:
    """Raise DataError where the patterns of inputs and others stand for different samples.

    Where they have no name in common (`x0` and `y0`) they go by their order.
    """
    if inputs.matched is None or matched is None or not set(inputs.matched) & set(matched):
        return
    for one, other in zip(inputs.matched, matched, strict=True):
        if one != other:
            raise DataError(
                f"{inputs.where} holds sample {one!r} where {where} holds the {role} of {other!r}"
            )


def only_column(table: Table, at: At, role: str) -> str:
    """The column that `at` names, or the only one there is beside ids and row numbers; else a DataError."""
    if at.columns is not None and len(at.columns) == 1:
        return at.columns[0]
    names = [name for name in table.frame.columns if name not in (at.id, ROW_NUMBERS)]
    if at.columns is None and len(names) == 1:
        return names[0]
    raise DataError(
        f"{table.path} has the columns {', '.join(names[:_SHOWN])}; say which one is the {role}: "
        f"{role}: {table.path.name}:COLUMN"
    )


def _filled(values: Sequence[Any], at: At, role: str) -> Sequence[Any]:
    """Raise DataError where a value is missing."""
    empty = [row for row, value in enumerate(values) if value is None]
    if len(empty) == len(values):
        raise DataError(f"{at} is empty throughout; it cannot be the {role}")
    if empty:
        others = f" (nor have {len(empty) - 1:,} others)" if len(empty) > 1 else ""
        raise DataError(f"sample {empty[0]} has no {role} ({at}){others}; leave such samples out")
    return values
