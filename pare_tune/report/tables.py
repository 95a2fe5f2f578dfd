"""Tables for people that are not about one search: `pare-tune tasks`, `sources` and `data status`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table

from pare_tune.report.ink import ACCENT, BAD, GOOD, Ink
from pare_tune.report.words import NONE, plural, size
from pare_tune.tasks.base import Direction

FOLD = 12
"""More tasks of a benchmark than this are named in a paragraph, and listed where they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task."""

    benchmark: str
    name: str
    modality: str
    input: str
    """Shape of one sample: "57×512×512"."""
    output: str
    """"18 classes", "128×128"."""
    metric: str
    unit: str
    """Empty where the metric has none."""
    direction: Direction
    paper: float | None
    """The paper's published result, in that unit."""
    data: str
    """real, sample or solved: what the data are when no release is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One source (proxy) data set."""

    name: str
    title: str
    kind: str
    classes: int | None
    """None where the user's files decide."""
    data: str
    """embedded, found, missing or your own."""
    path: str | None
    """Where it was found."""
    looks_for: tuple[str, ...]
    """Paths below the folder of sources, any of which will do."""
    homepage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRow:
    """The data of one task on this machine."""

    benchmark: str
    name: str
    data: str
    """real, sample, solved or missing: what a search would read."""
    prepared_bytes: int | None
    """Size of the store that a search would read; None where it is not made yet."""
    store: str | None
    files: tuple[str, ...]
    """Of the release, below the folder of data."""
    lacking: tuple[str, ...] | None
    """Of these, those that are not there; None where no folder was given."""
    homepage: str


def task_table(rows: Sequence[TaskRow], *, fold: bool = True) -> RenderableType:
    """The tasks by benchmark, one a row; cells wrap between words so that 80 columns are enough."""
    return _InkDrawn(lambda ink: _tasks(rows, ink, fold=fold))


def source_table(rows: Sequence[SourceRow]) -> RenderableType:
    """The sources, one a row."""
    return _InkDrawn(lambda ink: _sources(rows, ink))


def data_table(rows: Sequence[DataRow]) -> RenderableType:
    """What data each task has, one a row, by benchmark."""
    return _InkDrawn(lambda ink: _data(rows, ink))


@dataclass(frozen=True, slots=True)
class _InkDrawn:
    """Drawn when the encoding of the console is known."""

    draw: Callable[[Ink], Iterable[RenderableType]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.draw(Ink(options.encoding))


def _tasks(rows: Sequence[TaskRow], ink: Ink, *, fold: bool) -> Iterable[RenderableType]:
    groups = [(name, list(group)) for name, group in groupby(rows, key=lambda row: row.benchmark)]
    folded = [g for g in groups if fold and len(g[1]) > FOLD]
    table = _table("task", "modality", "input", "output", "metric", right=("paper",))
    for name, group in groups:
        if (name, group) in folded:
            continue
        _headed(table, name, ink)
        for row in group:
            metric = f"{row.metric}, {row.unit}" if row.unit else row.metric
            # A long name breaks between its words.
            metric = metric.replace("_", " ") if len(metric) > _LONG else metric
            paper = NONE if row.paper is None else f"{row.paper:g}"
            cells = (_MODALITIES.get(row.modality, row.modality), row.input, row.output, metric, paper)
            table.add_row(ink.text(row.name, "bold"), *(ink.wrapped(cell) for cell in cells))
    if table.row_count:
        yield table
    for name, group in folded:
        yield ""
        yield _folded(name, group, ink)


def _headed(table: Table, name: str, ink: Ink) -> None:
    """Begin a group of rows."""
    if table.row_count:
        table.add_row()
    table.add_row(ink.text(name, ACCENT))


def _folded(name: str, rows: Sequence[TaskRow], ink: Ink) -> RenderableType:
    modalities, metrics = (sorted({getattr(row, field) for row in rows}) for field in ("modality", "metric"))
    about = f"{', '.join(modalities)}; {', '.join(metrics)}"
    word = name.partition("-")[0].lower()
    return Group(
        ink.text(name, ACCENT),
        ink.wrapped(", ".join(row.name for row in rows), "bold"),
        ink.wrapped(f"{plural(len(rows), 'task')}: {about}. One a row: pare-tune tasks {word}", "dim"),
    )


def _sources(rows: Sequence[SourceRow], ink: Ink) -> Iterable[RenderableType]:
    table = _table("source", "kind", right=("classes",), last=("data", "where"))
    for row in rows:
        where = row.path or (row.looks_for[0] if row.data == "missing" else row.title)
        table.add_row(
            ink.text(row.name, "bold"),
            ink.text(row.kind.replace("_", " ")),
            ink.text(NONE if row.classes is None else str(row.classes)),
            ink.text(row.data, _STYLES.get(row.data, "")),
            ink.wrapped(where),
        )
    yield table
    missing = [row for row in rows if row.data == "missing"]
    if missing:
        yield ""
        yield ink.text("what is missing is found at", "dim")
    for row in missing:
        yield ink.wrapped(f"  {row.name}: {row.homepage}", "dim")


def _data(rows: Sequence[DataRow], ink: Ink) -> Iterable[RenderableType]:
    table = _table("task", "data", right=("prepared",), last=("release",))
    for name, group in groupby(rows, key=lambda row: row.benchmark):
        _headed(table, name, ink)
        for row in group:
            prepared = NONE if row.prepared_bytes is None else size(row.prepared_bytes)
            table.add_row(
                ink.text(row.name, "bold"),
                ink.text(row.data, _STYLES.get(row.data, "")),
                ink.text(prepared),
                ink.wrapped(_release(row)),
            )
    yield table


def _release(row: DataRow) -> str:
    files = row.lacking or row.files
    if not files:
        return row.homepage
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{'no ' if row.lacking else ''}{files[0]}{more}"


def stale_lines(cache: Path, folders: Sequence[tuple[Path, int, str]], *, dry_run: bool) -> list[str]:
    """What `data clean` did, or would do: (folder, bytes, why) a line, then the sum."""
    total = sum(count for _, count, _ in folders)
    did = "would free" if dry_run else "freed"
    lines = [f"{path.relative_to(cache)}  {size(count)}  ({why})" for path, count, why in folders]
    return [*lines, f"{did} {size(total)} in {plural(len(folders), 'folder')} of {cache}"]


_LONG = 14
_MODALITIES = {
    "grid_2d": "2D", "dense_2d": "2D dense", "sequence_1d": "1D", "dense_1d": "1D dense",
}  # fmt: skip
_STYLES = {"real": GOOD, "found": GOOD, "embedded": GOOD, "missing": BAD}


def _table(*left: str, right: Sequence[str] = (), last: Sequence[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in left:
        table.add_column(name, no_wrap=name in ("task", "source", "modality", "input", "kind", "data"))
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for name in last:
        table.add_column(name, no_wrap=name == "data")
    return table
