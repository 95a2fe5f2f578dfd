"""Arrays and data frames that lie in memory as a `Task`: all samples are trained on, and no file is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pare_tune.tasks.base import Modality, Numbers, Output, Point, Split, Task
from pare_tune.tasks.own.fit import fit_layout, fit_target
from pare_tune.tasks.own.layout import Layout, find_layout, friendly_length
from pare_tune.tasks.own.samples import Array, Samples, Whole
from pare_tune.tasks.own.score import find_metric
from pare_tune.tasks.own.survey import canvas_of
from pare_tune.tasks.own.tables import Cells, Table, read_cells
from pare_tune.tasks.own.target import Target
from pare_tune.tasks.own.task import Item, input_shape, leave_where_they_are, paper_of, short_training

if TYPE_CHECKING:
    import pandas as pd

    from pare_tune.data.store import Record

_MODALITIES: Final = {2: Modality.SEQUENCE_1D, 3: Modality.GRID_2D}
"""Of the axes of a sample, channels first."""


def task_in_memory(
    name: str, inputs: Array | pd.DataFrame, targets: Array, *, output: type[Output], names: Sequence[str]
) -> Task:
    """A task whose training split is all of these samples; it has no test split, and validation is never read.

    Args:
        name: letters, digits, - and _.
        inputs: a table, or an array (n, channels, length) or (n, channels, height, width).
        targets: codes (n,) of classes, or numbers (n, len(names)).
        names: of the classes or numbers.

    Raises:
        DataError: the samples cannot be trained on.
    """
    samples: Samples
    if isinstance(inputs, np.ndarray):
        samples, columns = Whole(inputs, "X"), None
    else:
        samples, columns = read_cells(Table(Path("X"), inputs), list(inputs.columns)), list(inputs.columns)
    every = np.arange(len(samples))
    layout = fit_layout(_layout(samples, output), samples, every)
    target, _ = fit_target(Target(output=output, names=tuple(names)), None, targets, every)
    canvas = canvas_of(layout, max(s or 0 for s in layout.places(layout.shape)))
    return Task(
        name=name,
        title=f"{len(samples):,} samples in memory",
        modality=layout.modality,
        input_shape=input_shape(layout, canvas["paper"]),
        output=target.output_of(()),
        loss="cross_entropy" if output is Point else "scaled_mse",
        metric=find_metric(None, target),
        paper=paper_of(layout),
        embedded_provenance="real",
        homepage="",
        read=_Reader(samples, targets, layout).read,
        make=leave_where_they_are,
        item=Item(layout, target),
        canvas=canvas,  # type: ignore[arg-type]
        embedded=short_training(layout, len(samples)),
        scale_target=output is Numbers,
        raw={
            "inputs": layout.to_dict(),
            "target": target.to_dict(),
            "at": {"key": None, "columns": columns, "id": None, "time": None, "dtype": str(samples.dtype)},
        },
    )


def _layout(samples: Samples, output: type[Output]) -> Layout:
    is_table = isinstance(samples, Cells)
    modality = Modality.TABLE if is_table else _MODALITIES[len(samples.shape)]
    layout = find_layout(
        samples.shape,
        output,
        target=None,
        modality=modality,
        channels=None if is_table else "first",
        normalise="channel",
        is_table=is_table,
        is_images=False,
    )
    if modality is not Modality.SEQUENCE_1D:
        return layout
    longest = samples.shape[-1] or 0
    length = friendly_length(longest)
    return layout if length == longest else replace(layout, length=length)


@dataclass(frozen=True, eq=False)
class _Reader:
    samples: Samples
    targets: Array
    layout: Layout

    def read(self, root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
        every = np.arange(len(self.samples))
        # A store has to hold something: the one sample of validation is not looked at.
        return {"train": self._records(every), "val": self._records(every[:1])}

    def _records(self, rows: Any) -> Iterator[Record]:
        samples, layout = self.samples, self.layout
        if isinstance(samples, Cells):
            xs: Iterator[Array] = samples.encoded(layout.tokens, rows)
        else:
            xs = (np.ascontiguousarray(layout.channels_first(x[None])[0]) for x in samples.each(rows))
        for x, y in zip(xs, self.targets[rows], strict=True):
            yield {"x": x, "y": np.asarray(y)}
