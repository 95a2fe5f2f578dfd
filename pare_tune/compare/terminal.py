"""A comparison on the terminal, in 80 columns: as many methods beside each other as fit, then the next ones below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table

from pare_tune.compare.comparison import Comparison
from pare_tune.compare.export import friedman_text, method_rows, pair_note, pair_rows, score_rows
from pare_tune.report.ink import GOOD, REST, Ink

_GAP = 2


def comparison_view(comparison: Comparison, console: Console) -> RenderableType:
    """Scores (the best of each task with a star), methods, the pairs of the first method, notes."""
    ink = Ink(console.encoding)
    parts: list[RenderableType] = [ink.wrapped(comparison.title, "bold"), ""]
    for table in score_tables(comparison, ink, console.width):
        parts += [table, ""]
    parts += [_table(ink, *method_rows(comparison)), ink.wrapped(friedman_text(comparison), REST), ""]
    first = comparison.names[0]
    head, rows = pair_rows(comparison, first)
    if rows:
        parts += [_table(ink, [f"{first} against", *head[1:]], [_short(row, first) for row in rows]), ""]
    parts += [ink.wrapped(note, REST) for note in _notes(comparison)]
    return Group(*parts)


def score_tables(comparison: Comparison, ink: Ink, width: int) -> Iterable[Table]:
    """The main table in pieces that fit; the first column is in all of them, the published value in the last."""
    head, rows = score_rows(comparison, best="{} *")
    # The metric and the kind of data are one column here.
    heads = [ink.clean(text) for text in (head[0], *head[3:])]
    cells = [[ink.clean(text) for text in (row[0], *row[3:])] for row in rows]
    widths = [max(len(line[i]) for line in (heads, *cells)) for i in range(len(heads))]
    start = 1
    while start < len(heads):
        end, used = start, widths[0]
        while end < len(heads) and (end == start or used + _GAP + widths[end] <= width):
            used += _GAP + widths[end]
            end += 1
        columns = [0, *range(start, end)]
        yield _table(ink, [heads[i] for i in columns], [[line[i] for i in columns] for line in cells])
        start = end


def _table(ink: Ink, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for i, name in enumerate(head):
        table.add_column(ink.clean(name), no_wrap=True, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(ink.text(cell, GOOD if cell.endswith("*") else "") for cell in row))
    return table


def _notes(comparison: Comparison) -> list[str]:
    tasks = ", ".join(f"{task.name} {task.metric} ({task.provenance})" for task in comparison.tasks)
    notes = [f"metrics: {tasks}", f"pairs: {pair_note(comparison)}", *comparison.notes]
    return ["* best mean of its task; all scores are of the test split", *(f"- {note}" for note in notes)]


def _short(row: Sequence[str], first: str) -> list[str]:
    return [row[0].removeprefix(f"{first} : "), *row[1:]]
