"""Opens what a task file names: inputs, targets, groups and splits, sample by sample in one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pare_tune.data.frames import ROW_NUMBERS
from pare_tune.data.images import ImageFiles, find_images
from pare_tune.errors import DataError
from pare_tune.tasks.base import Dense, Point, Split
from pare_tune.tasks.own.arrays import linked_files, open_array
from pare_tune.tasks.own.dates import time_order
from pare_tune.tasks.own.images import class_of, open_images, pair_masks
from pare_tune.tasks.own.inputs import Inputs, TableFiles, only_column, require_as_many, require_same
from pare_tune.tasks.own.samples import Array, Joined, Samples
from pare_tune.tasks.own.spec import HDF5, At, OwnData, Part
from pare_tune.tasks.own.tables import (
    Cells,
    Table,
    image_files,
    names_images,
    numeric_samples,
    read_table,
    wide_samples,
)

_SHOWN = 30
_WORDS: Final[dict[str, Split]] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """All samples of a task, in one order."""

    inputs: Samples
    table: Table | None
    """Where a sample is a row of features, whose order means nothing: their columns."""
    is_images: bool
    columns: tuple[str, ...]
    """Of the inputs, where they come from a table; of dates one a part."""
    labels: Array | None
    """(n,), (n, labels) or (n, numbers), as they stand in the file; None for dense targets."""
    label_names: tuple[str, ...]
    """Column names of multilabel and regression targets."""
    dense: Samples | None
    masks_are_images: bool
    groups: list[str] | None
    split: list[Split | None] | None
    """What column or files say; None where nothing does, an entry None where val is to be cut from train."""
    times: Array | None = None
    """(n,) that sort as the samples were taken, where time cuts them."""

    @property
    def is_table(self) -> bool:
        """Whether a sample is a row of features."""
        return self.table is not None


def open_data(spec: OwnData) -> Opened:
    """Open every file of `spec`; headers and tables are read, arrays are not.

    Raises:
        DataError: a file, key, column or image is missing or damaged, or inputs and targets differ in number.
    """
    files = TableFiles(spec)
    parts = [(split, _open_part(spec, part, files)) for split, part in spec.parts()]
    if len(parts) == 1:
        return parts[0][1]
    return _joined([split for split, _ in parts if split is not None], [part for _, part in parts])


def files_of(spec: OwnData) -> Iterator[Path]:
    """Every file that the data are read from."""
    for _, part in spec.parts():
        refs = (part.input, part.target, part.group, spec.split.column, spec.split.time)
        for at in refs:
            if at is None or at.file is None:
                continue
            yield from find_images(at.file).paths if at.file.is_dir() else [at.file]
            if at.file.suffix.lower() in HDF5 and at.file.is_file():
                yield from linked_files(at)
            if at.is_table and at.file.is_file():
                yield from _listed_images(at.file, at.columns)


def _listed_images(path: Path, columns: Sequence[str] | None) -> Iterator[Path]:
    """The images that a table names; one that names none may be large, and is not read for that."""
    first = read_table(path, rows=1).frame
    names = [n for n in columns or first.columns if n in first.columns and names_images(first[n])]
    if names:
        table = read_table(path)
        for name in names:
            yield from image_files(table, name)


def _open_part(spec: OwnData, part: Part, files: TableFiles) -> Opened:
    source = Inputs(spec, part, files)
    labels, names, dense, are_masks = _targets(spec, part, source)
    group, column = part.group, spec.split.column
    inputs = source.samples
    return Opened(
        inputs=inputs,
        table=source.features,
        is_images=source.is_images,
        columns=_titles(inputs, source.columns),
        labels=labels,
        label_names=names,
        dense=dense,
        masks_are_images=are_masks,
        groups=None if group is None else [str(v) for v in source.per_sample(group, "group")],
        split=None
        if column is None
        else [_split(v, column, i) for i, v in enumerate(source.per_sample(column, "split"))],
        times=None if spec.split.time is None else _times(source, spec.split.time),
    )


def _times(source: Inputs, at: At) -> Array:
    import pandas as pd

    return np.asarray(time_order(pd.Series(list(source.per_sample(at, "time"))), str(at)))


def _titles(inputs: Samples, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(c.title for c in inputs.columns) if isinstance(inputs, Cells) else tuple(columns)


def _stacked(tables: Sequence[Table]) -> Table:
    """One below the other: what a column holds is seen from all of its rows."""
    import pandas as pd

    first = tables[0]
    for table in tables[1:]:
        if differ := set(first.frame.columns) ^ set(table.frame.columns):
            raise DataError(
                f"inputs of all splits have the same columns, {sorted(differ)[0]!r} is only in one of {first.path} and "
                f"{table.path}; name them, as input: {{file: FILE, columns: [A, B]}}"
            )
    return Table(first.path, pd.concat([t.frame for t in tables], ignore_index=True))


def _joined(splits: Sequence[Split], parts: Sequence[Opened]) -> Opened:
    first = parts[0]
    if len({p.groups is None for p in parts}) > 1:
        raise DataError("give group in each of train, val and test, or in none")
    said: list[Split | None] = []
    for split, part in zip(splits, parts, strict=True):
        # Without val, every sample of train may become one of val.
        said += [None if split == "train" and "val" not in splits else split] * len(part.inputs)
    dense = [p.dense for p in parts if p.dense is not None]
    labels = [p.labels for p in parts if p.labels is not None]
    if len({a.shape[1:] for a in labels}) > 1:
        raise DataError(
            f"targets of all splits have one shape, found {', '.join(str(a.shape) for a in labels)}"
        )
    if len({p.label_names for p in parts}) > 1:
        raise DataError(
            f"target columns of all splits are the same, in one order, found "
            f"{' and '.join(', '.join(p.label_names) for p in parts)}; name them, as target: {{file: FILE, columns: "
            f"[A, B]}}"
        )
    tables = [p.table for p in parts if p.table is not None]
    table = _stacked(tables) if len(tables) == len(parts) else None
    inputs = (
        Joined([p.inputs for p in parts]) if table is None else wide_samples(table, [*table.frame.columns])
    )
    return Opened(
        inputs=inputs,
        table=table,
        is_images=first.is_images,
        columns=first.columns if table is None else _titles(inputs, [*table.frame.columns]),
        labels=np.concatenate(labels) if labels else None,
        label_names=first.label_names,
        dense=Joined(dense) if dense else None,
        masks_are_images=first.masks_are_images,
        groups=None if first.groups is None else [g for p in parts for g in p.groups or []],
        split=said,
    )


def _targets(
    spec: OwnData, part: Part, source: Inputs
) -> tuple[Array | None, tuple[str, ...], Samples | None, bool]:
    """(labels, names of label columns, dense targets, whether those are images)."""
    at = part.target
    if at is None:
        if source.images is None or spec.output is not Point:
            raise DataError(f"target is missing: what to learn of the samples in {source.path}")
        return np.array(class_of(source.path, source.images)), (), None, False
    if spec.output is Dense:
        dense, are_masks = _dense_target(at, source)
        require_as_many(source.samples, len(dense), dense.where, "target")
        require_same(source.samples, dense.matched, dense.where, "target")
        return None, (), dense, are_masks
    if at.is_table or at.file is None:
        columns = _label_columns(spec, at, source)
        values = [_as_labels(v) for v in source.each_column(columns, "target")]
        if spec.output is Point and len(values) > 1:
            raise DataError(f"kind point has one target column, got {', '.join(columns.columns or ())}")
        if spec.output is Point:
            return values[0], (), None, False
        return np.stack(values, axis=1), columns.columns or (), None, False
    labels = source.labels(at, "target")
    if labels.ndim == 2 and labels.shape[1] == 1 and spec.output is Point:
        labels = labels[:, 0]
    return labels, (), None, False


def _label_columns(spec: OwnData, at: At, source: Inputs) -> At:
    if at.columns is not None or at.file is None:
        return at
    table, at = source.beside(at)
    if spec.output is Point:
        return at.model_copy(update={"columns": (only_column(table, at, "target"),)})
    if at.file == source.path:
        raise DataError(
            f"{at.file}: inputs and target are one table; say which of its columns are the target, as target: "
            f"{{columns: [A, B]}}"
        )
    # Row numbers, which `DataFrame.to_csv` writes unasked, are no target.
    kept = (name for name in table.frame.columns if name not in (at.id, ROW_NUMBERS))
    return at.model_copy(update={"columns": tuple(kept)})


def _dense_target(at: At, source: Inputs) -> tuple[Samples, bool]:
    if at.file is not None and at.file.is_dir():
        names = [] if source.images is None else source.images.names
        masks = pair_masks(at.file, names, str(source.path))
        return open_images(masks, str(at.file), are_masks=True), True
    if at.file is not None and not at.is_table:
        return open_array(at, "target"), False
    table = source.table if at.file in (None, source.path) else source.files.table(at.file)
    if table is None:
        raise DataError(f"{source.path} is no table, so the target needs a file of its own, not {at.columns}")
    names = table.features(at, frozenset() if at.id is None else frozenset({at.id}))
    if source.long is not None and table is source.table:
        return source.long.series(names), False
    if source.long is not None:
        raise DataError("series of one row a time step have a dense target in a column of the same table")
    if len(names) == 1 and names_images(table.column(names[0])):
        paths = image_files(table, names[0])
        files = ImageFiles(paths, [p.name for p in paths])
        return open_images(files, str(table.path), are_masks=True), True
    return numeric_samples(table, names), False


def _as_labels(values: Sequence[Any]) -> Array:
    array = np.asarray(values)
    return np.array([str(v) for v in values]) if array.dtype.kind == "O" else array


def _split(value: Any, at: At, index: int) -> Split:
    word = _WORDS.get(str(value).strip().lower())
    if word is None:
        raise DataError(f"{at}: a split is train, val or test, found {value!r} for sample {index}")
    return word
