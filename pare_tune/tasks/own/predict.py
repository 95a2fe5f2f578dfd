"""New samples for a trained model, piece by piece; those of a user's own task are read, normalised and padded as the
training samples were."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.frames import Frames, is_table
from pare_tune.data.images import find_images
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Dense, Modality
from pare_tune.tasks.columns import Column, Token
from pare_tune.tasks.own.arrays import open_array
from pare_tune.tasks.own.images import open_images
from pare_tune.tasks.own.layout import Float32, Layout, resized_to
from pare_tune.tasks.own.samples import Array, Samples, Whole, said
from pare_tune.tasks.own.spec import At, written_short
from pare_tune.tasks.own.tables import (
    Cells,
    Long,
    Table,
    ids_of,
    new_cells,
    numbers,
    numeric_samples,
    read_table,
    text_columns,
)
from pare_tune.tasks.own.target import Target

if TYPE_CHECKING:
    import pandas as pd

Places = Sequence[tuple[int, ...]]
"""Of some samples: their sizes without channels."""

_SEQUENCES: Final = (Modality.SEQUENCE_1D, Modality.DENSE_1D)


@dataclass(frozen=True)
class Piece:
    """Some samples in a row as the model takes them, and how its outputs fit them."""

    x: Float32
    """(b, ...)"""
    restore: Callable[[Float32], Float32] = lambda outputs: outputs
    """Outputs (b, ...) → at the samples' own positions: cut or resized to their size, NaN where a series has ended."""
    names: Sequence[str] | None = None
    """Of the samples, where their file has some."""
    unseen: Mapping[str, int] = field(default_factory=dict)
    """Column → cells whose category has no weights of its own."""


class NewSamples(ABC):
    """Samples that are read as they are needed, however many there are; abstract."""

    where: str
    """For messages."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def piece(self, rows: range) -> Piece:
        """The samples `rows`, which is quick where pieces are asked for in order.

        Raises:
            DataError: they are damaged, not finite, or not of the shape or columns that were trained on.
        """


def prepare(inputs: Path | Array | pd.DataFrame, raw: Mapping[str, Any], canvas: Canvas) -> NewSamples:
    """Open new samples for a model whose weights carry `raw` (`Task.raw`).

    Args:
        inputs: (n, *raw shape), or rows of a table, or a file or folder like the one that was trained on. Nothing in
            an array or in rows is ever taken for a path.

    Raises:
        DataError: they are missing, damaged, or not of the shape that was trained on.
    """
    layout, target, at = Layout.from_dict(raw["inputs"]), Target.from_dict(raw["target"]), raw["at"]
    if isinstance(inputs, np.ndarray):
        if layout.tokens:
            raise _needs_table(layout)
        return _Arrays(Whole(inputs, "inputs"), layout, target, at, canvas)
    if not isinstance(inputs, Path):
        return _of_rows(Table(Path("inputs"), inputs), layout, target, at, canvas)
    given = At.model_validate(written_short(str(inputs)))
    assert given.file is not None
    if layout.tokens and not is_table(given.file):
        raise _needs_table(layout)
    if given.is_table and _goes_row_by_row(layout, at):
        return _Rows(given.file, layout, target, at)
    if layout.tokens:
        id_column = at.get("id")
        table = read_table(given.file, text=text_columns(layout.tokens, id_column))
        return _AllRows(table, layout, id_column)
    return _Arrays(_read_new(given, at, layout), layout, target, at, canvas)


def _of_rows(
    table: Table, layout: Layout, target: Target, at: Mapping[str, Any], canvas: Canvas
) -> NewSamples:
    """Raises DataError unless the model was trained on rows of a table."""
    if layout.tokens:
        return _AllRows(table, layout, at.get("id"))
    if layout.modality is not Modality.TABLE or not at["columns"]:
        raise DataError(
            f"inputs: the model was not trained on rows of a table; give an array of shape (n, {said(layout.shape)})"
        )
    values = np.stack([numbers(table, name) for name in at["columns"]], axis=1)
    return _Arrays(Whole(values, "inputs"), layout, target, at, canvas)


def _needs_table(layout: Layout) -> DataError:
    names = ", ".join(dict.fromkeys(token.name for token in layout.tokens))
    return DataError(f"this model was trained on a table; give a table with the columns {names}")


def _goes_row_by_row(layout: Layout, at: Mapping[str, Any]) -> bool:
    """Whether some rows of a table can be read without the others."""
    if layout.modality.is_grid or layout.length is not None or not at["columns"]:
        return False
    is_long = at["id"] is not None and layout.modality in _SEQUENCES
    # A model of earlier versions does not know whether 01/02/2024 is in January: only other rows may tell.
    return not is_long and not any(token.part and not token.order for token in layout.tokens)


class _Rows(NewSamples):
    """Of a table whose rows are samples, read some rows at a time."""

    def __init__(self, path: Path, layout: Layout, target: Target, at: Mapping[str, Any]) -> None:
        self._layout, self._target, self._at = layout, target, at
        self._id = at.get("id")
        self._frames = Frames(path, text=text_columns(layout.tokens, self._id))
        self.where = path.name
        if len(self) == 0:
            raise DataError(f"{path} has no row")

    def __len__(self) -> int:
        return len(self._frames)

    def piece(self, rows: range) -> Piece:
        table = Table(self._frames.path, self._frames.rows(rows), rows.start)
        here = range(len(rows))
        if self._layout.tokens:
            cells = new_cells(table, self._layout.tokens, self._id)
            return _encoded(cells, self._layout.tokens, here, first=rows.start)
        samples = numeric_samples(table, self._at["columns"])
        samples.names = samples.names or ids_of(table, self._id)
        arrays = _Arrays(samples, self._layout, self._target, self._at, None, first=rows.start)
        return arrays.piece(here)


class _AllRows(NewSamples):
    """Of a table that lies in memory, or is read as a whole: one with dates, for a model of earlier versions."""

    def __init__(self, table: Table, layout: Layout, id_column: str | None) -> None:
        self._tokens = layout.tokens
        self._cells = new_cells(table, layout.tokens, id_column)
        self.where = self._cells.where

    def __len__(self) -> int:
        return len(self._cells)

    def piece(self, rows: range) -> Piece:
        return _encoded(self._cells, self._tokens, rows)


def _encoded(cells: Cells, tokens: Sequence[Token], rows: range, *, first: int = 0) -> Piece:
    """What training never saw counts as the rest, gaps as the mean.

    Args:
        first: the number of the first of `cells`, for messages.
    """
    chosen = np.arange(rows.start, rows.stop)
    x_nCF = np.stack(list(cells.encoded(tokens, chosen)))
    if not np.isfinite(x_nCF).all():
        row = int(np.flatnonzero(~np.isfinite(x_nCF).all(axis=(1, 2)))[0])
        raise DataError(f"{cells.where}: row {first + rows.start + row + 1} holds infinity")
    unseen: Counter[str] = Counter()
    for token, column in zip(tokens, cells.columns, strict=True):
        if token.categories is not None:
            named = Column(token.name, column.values[chosen])
            unseen[token.name] += int((~named.is_missing & ~np.isin(named.values, token.categories)).sum())
    names = None if cells.names is None else cells.names[rows.start : rows.stop]
    return Piece(x_nCF, names=names, unseen=+unseen)


class _Arrays(NewSamples):
    """Arrays, images and series."""

    def __init__(
        self,
        samples: Samples,
        layout: Layout,
        target: Target,
        at: Mapping[str, Any],
        canvas: Canvas,
        *,
        first: int = 0,
    ) -> None:
        """`first`: the number of the first sample, for messages."""
        self._samples, self._layout, self._target, self._canvas = samples, layout, target, canvas
        self._first, self.where = first, samples.where
        self._require_shape()
        # Models of earlier versions do not say what they were trained on.
        trained_on = at.get("dtype", str(samples.dtype))
        if samples.scale and str(samples.dtype) != trained_on:
            raise DataError(
                f"{samples.where}: images of {samples.scale} ({samples.dtype}), and the model was trained on "
                f"{trained_on}, another scale; convert them"
            )

    def __len__(self) -> int:
        return len(self._samples)

    def piece(self, rows: range) -> Piece:
        ready: list[Float32] = []
        places: list[tuple[int, ...]] = []
        for index, one in zip(rows, self._samples.each(np.arange(rows.start, rows.stop)), strict=True):
            if one.dtype.kind == "f" and not np.isfinite(one).all():
                raise DataError(f"{self.where}: sample {self._first + index} holds NaN or infinity")
            x_C = self._layout.channels_first(one[None])[0]
            places.append(x_C.shape[1:])
            ready.append(self._layout.ready(x_C, self._canvas))
            if not np.isfinite(ready[-1]).all():
                raise DataError(
                    f"{self.where}: sample {self._first + index} holds numbers beyond single precision, or far from "
                    f"all that training saw"
                )
        names = self._samples.names
        return Piece(
            np.stack(ready),
            lambda outputs: self._restored(outputs, places),
            None if names is None else names[rows.start : rows.stop],
        )

    def _require_shape(self) -> None:
        """Channels are as many as in training, and so is all else unless it is padded or resized."""
        samples, layout = self._samples, self._layout
        any_size = layout.length is not None or self._canvas is not None
        channels = {"none": None, "first": 0, "last": len(layout.shape) - 1}[layout.channels]
        fits = len(samples.shape) == len(layout.shape) and all(
            wanted is None or given == wanted or (any_size and place != channels)
            for place, (wanted, given) in enumerate(zip(layout.shape, samples.shape, strict=True))
        )
        if not fits or len(samples) == 0:
            raise DataError(
                f"{samples.where}: the model takes samples of {said(layout.shape)}, got {len(samples)} of "
                f"{said(samples.shape)}; the first axis counts samples"
            )

    def _restored(self, outputs: Float32, places: Places) -> Float32:
        layout, target = self._layout, self._target
        if target.output is not Dense:
            return outputs
        own = layout.places(self._samples.shape)
        if layout.modality.is_grid:
            size = own if None in target.shape else target.shape
            if None in size or size == outputs.shape[1:]:
                return outputs  # images of several sizes stay on the square they were laid on
            return resized_to(outputs, (int(size[0] or 0), int(size[1] or 0)))
        if layout.length is None or not target.is_as_long_as_input(layout):
            return outputs
        longest = layout.places(self._samples.longest)[0] or 0
        restored: npt.NDArray[np.float32] = np.full((len(outputs), longest), np.nan, np.float32)
        for row, (output, (steps,)) in enumerate(zip(outputs, places, strict=True)):
            kept = min(steps, layout.length)
            restored[row, :kept] = output[:kept]
        return restored


def _read_new(given: At, at: Mapping[str, Any], layout: Layout) -> Samples:
    assert given.file is not None
    grey = layout.channels == "none"
    if given.file.is_dir():
        return open_images(find_images(given.file), str(given.file), grey=grey)
    if not given.is_table:
        return open_array(given if given.key else given.model_copy(update={"key": _key(given, at)}), "inputs")
    if not at["columns"]:
        raise DataError(
            f"{given.file}: this model was not trained on a table; give an array of shape (n, {said(layout.shape)})"
        )
    table = read_table(given.file, text=[at["id"]])
    if at["id"] is not None and layout.modality in _SEQUENCES:
        return Long.of(table, at["id"], at["time"]).series(at["columns"])
    samples = numeric_samples(table, at["columns"], grey=grey)
    samples.names = samples.names or ids_of(table, at["id"])
    return samples


def _key(given: At, at: Mapping[str, Any]) -> str | None:
    """The key of the training file, where the new one is of a kind that has keys."""
    has_keys = given.file is not None and given.file.suffix.lower() != ".npy"
    return at["key"] if has_keys else None
