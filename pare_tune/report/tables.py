"""Tables for people that are not about one search: `pare-tune tasks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

from pare_tune.report.ink import Ink


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task, in words."""

    name: str
    modality: str
    input: str
    """Shape of one sample: "57×512×512"."""
    output: str
    """"18 classes", "128×128"."""
    metric: str
    """With its unit: "error_rate, %"."""
    paper: str
    """The paper's published result, a dash where there is none."""
    data: str
    """real, sample or solved."""


def task_table(rows: Sequence[TaskRow]) -> RenderableType:
    """The tasks, one a row; cells wrap between words so that 80 columns are enough."""
    return _TaskTable(tuple(rows))


@dataclass(frozen=True, slots=True)
class _TaskTable:
    rows: tuple[TaskRow, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ink = Ink(options.encoding)
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        for name in ("task", "modality", "input"):
            table.add_column(name, no_wrap=True, style="bold" if name == "task" else "")
        for name in ("output", "metric"):
            table.add_column(name)
        table.add_column("paper", justify="right", no_wrap=True)
        table.add_column("data", no_wrap=True)
        for row in self.rows:
            # A long name breaks between its words.
            metric = row.metric.replace("_", " ") if len(row.metric) > 14 else row.metric
            cells = (row.name, row.modality, row.input, row.output, metric, row.paper, row.data)
            table.add_row(*(ink.wrapped(cell) for cell in cells))
        yield table
