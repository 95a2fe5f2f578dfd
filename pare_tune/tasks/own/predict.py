"""New samples for a trained model of a user's own task: read, normalised and padded as the training samples were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pare_tune.data.frames import is_table
from pare_tune.data.images import find_images
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Dense, Modality
from pare_tune.tasks.own.arrays import open_array
from pare_tune.tasks.own.images import open_images
from pare_tune.tasks.own.layout import Float32, Layout, resized_to
from pare_tune.tasks.own.samples import Array, Samples, Whole, said
from pare_tune.tasks.own.spec import At, written_short
from pare_tune.tasks.own.tables import Long, ids_of, new_cells, numeric_samples, read_table
from pare_tune.tasks.own.target import Target


@dataclass(frozen=True)
class Prepared:
    """Samples as the model takes them, and how its outputs fit the samples."""

    x: Float32
    """(n, ...)"""
    restore: Callable[[Float32], Float32]
    """Outputs (n, ...) → at the samples' own positions: cut or resized to their size, NaN where a series has ended."""
    names: Sequence[str] | None = None
    """Of the samples, where their file has some."""


def prepare(inputs: Path | Array, raw: Mapping[str, Any], canvas: Canvas) -> Prepared:
    """Prepare new samples for a model whose weights carry `raw` (`Task.raw`).

    Args:
        inputs: (n, *raw shape), or a file or folder like the one that was trained on.

    Raises:
        DataError: they are missing, damaged, not finite, or not of the shape that was trained on.
    """
    layout, target = Layout.from_dict(raw["inputs"]), Target.from_dict(raw["target"])
    if layout.tokens:
        return _rows(inputs, layout, raw["at"].get("id"))
    samples = (
        Whole(inputs, "inputs") if isinstance(inputs, np.ndarray) else _read_new(inputs, raw["at"], layout)
    )
    _require_shape(samples, layout, canvas)
    # Models of earlier versions do not say what they were trained on.
    trained_on = raw["at"].get("dtype", str(samples.dtype))
    if samples.scale and str(samples.dtype) != trained_on:
        raise DataError(
            f"{samples.where}: images of {samples.scale} ({samples.dtype}), and the model was trained on {trained_on}, "
            f"another scale; convert them"
        )
    ready: list[Float32] = []
    places: list[tuple[int, ...]] = []
    for index, one in enumerate(samples.each(np.arange(len(samples)))):
        if one.dtype.kind == "f" and not np.isfinite(one).all():
            raise DataError(f"{samples.where}: sample {index} holds NaN or infinity")
        x_C = layout.channels_first(one[None])[0]
        places.append(x_C.shape[1:])
        ready.append(layout.ready(x_C, canvas))
    return Prepared(
        np.stack(ready), lambda outputs: _restored(outputs, places, layout, target), samples.names
    )


def _rows(inputs: Path | Array, layout: Layout, id_column: str | None) -> Prepared:
    """Of a table that holds more than numbers: what training never saw counts as the rest, gaps as the mean."""
    names = ", ".join(dict.fromkeys(token.name for token in layout.tokens))
    if isinstance(inputs, np.ndarray) or not is_table(inputs):
        raise DataError(f"this model was trained on a table; give a table with the columns {names}")
    cells = new_cells(inputs, layout.tokens, id_column)
    x_nCF = np.stack(list(cells.encoded(layout.tokens, np.arange(len(cells)))))
    if not np.isfinite(x_nCF).all():
        row = int(np.flatnonzero(~np.isfinite(x_nCF).all(axis=(1, 2)))[0])
        raise DataError(f"{cells.where}: row {row + 1} holds infinity")
    return Prepared(x_nCF, lambda outputs: outputs, cells.names)


def _read_new(path: Path, at: Mapping[str, Any], layout: Layout) -> Samples:
    given = At.model_validate(written_short(str(path)))
    assert given.file is not None
    grey = layout.channels == "none"
    if given.file.is_dir():
        return open_images(find_images(given.file), str(given.file), grey=grey)
    if not given.is_table:
        return open_array(given if given.key else given.model_copy(update={"key": _key(given, at)}), "inputs")
    if not at["columns"]:
        raise DataError(
            f"{path}: this model was not trained on a table; give an array of shape (n, {said(layout.shape)})"
        )
    table = read_table(given.file, text=[at["id"]])
    if at["id"] is not None and layout.modality in (Modality.SEQUENCE_1D, Modality.DENSE_1D):
        return Long.of(table, at["id"], at["time"]).series(at["columns"])
    samples = numeric_samples(table, at["columns"], grey=grey)
    samples.names = samples.names or ids_of(table, at["id"])
    return samples


def _key(given: At, at: Mapping[str, Any]) -> str | None:
    """The key of the training file, where the new one is of a kind that has keys."""
    has_keys = given.file is not None and given.file.suffix.lower() != ".npy"
    return at["key"] if has_keys else None


def _require_shape(samples: Samples, layout: Layout, canvas: Canvas) -> None:
    """Channels are as many as in training, and so is all else unless it is padded or resized."""
    any_size = layout.length is not None or canvas is not None
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


def _restored(outputs: Float32, places: Sequence[tuple[int, ...]], layout: Layout, target: Target) -> Float32:
    if target.output is not Dense:
        return outputs
    if layout.modality.is_grid:
        sizes = {target.shape} if None not in target.shape else set(places)
        size = sizes.pop()
        if sizes or size == outputs.shape[1:]:
            return outputs  # images of several sizes stay on the square they were laid on
        return resized_to(outputs, (int(size[0] or 0), int(size[1] or 0)))
    if layout.length is None or not target.is_as_long_as_input(layout):
        return outputs
    own: npt.NDArray[np.float32] = np.full((len(outputs), max(p[0] for p in places)), np.nan, np.float32)
    for row, (output, (steps,)) in enumerate(zip(outputs, places, strict=True)):
        kept = min(steps, layout.length)
        own[row, :kept] = output[:kept]
    return own
