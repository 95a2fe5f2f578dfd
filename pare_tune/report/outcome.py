"""What is printed when a search ends, and by `pare-tune status`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pare_tune.report import simple, words
from pare_tune.report.facts import Setting, settings_of
from pare_tune.report.ink import GOOD, Ink
from pare_tune.report.view import SearchView, counts_line, header, score_lines
from pare_tune.shell import command
from pare_tune.tune.snapshot import Snapshot

MAX_WIDTH = 100


def summary(snapshot: Snapshot, *, best_yaml: Path | None, next_command: str | None) -> RenderableType:
    """The end of a search: its best configuration beside the default, what it cost, and what to type next.

    Lines keep to the console's width; a longer command is broken so that a shell joins it again.
    """
    return _Summary(snapshot, best_yaml, next_command)


def status_text(snapshot: Snapshot) -> RenderableType:
    """The search as it stands, drawn once."""
    return SearchView(snapshot)


def resume_command(snapshot: Snapshot) -> str | None:
    """How to go on with a search that stopped before its budget was spent; None while it runs, and once it ended."""
    if snapshot.is_running or snapshot.finished:
        return None
    return command("resume", snapshot.run)


def settings(snapshot: Snapshot) -> list[Setting]:
    """Every searched setting of the default and of the best trial, in the order of the space."""
    return settings_of(*({} if t is None else t.params for t in (snapshot.default, snapshot.best)))


def cost(snapshot: Snapshot) -> str:
    """`50 trials, 312 epochs, 21 min of wall time, 38 min of training` (trials side by side add up)."""
    epochs = sum(t.epoch for t in snapshot.trials)
    training = sum(t.seconds for t in snapshot.trials)
    return (
        f"{words.plural(len(snapshot.trials), 'trial')}, {words.plural(epochs, 'epoch')}, "
        f"{words.duration(snapshot.elapsed_s)} of wall time, {words.duration(training)} of training"
    )


@dataclass(frozen=True, slots=True)
class _Summary:
    snapshot: Snapshot
    best_yaml: Path | None
    next_command: str | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ink, s = Ink(options.encoding), self.snapshot
        width = min(options.max_width, MAX_WIDTH)
        yield Text("")
        yield header(ink, s, width)
        yield Text("")
        yield score_lines(ink, s, compared=False)
        yield Text("")
        if (first := simple.not_beaten(s)) is not None:
            yield Padding(ink.wrapped(first, "bold"), (0, 1), expand=False)
        yield Padding(ink.wrapped(words.verdict(s)), (0, 1), expand=False)
        if s.best is not None:
            yield Text("")
            yield _settings_table(ink, s)
        yield Text("")
        yield counts_line(ink, s)
        yield from self._facts(ink, width)
        if self.next_command:
            yield Text("")
            yield from _command(ink, self.next_command, width)
        yield Text("")

    def _facts(self, ink: Ink, width: int) -> Iterator[RenderableType]:
        s = self.snapshot
        facts = [("Cost", cost(s)), ("Data", f"{s.provenance}: {words.PROVENANCE.get(s.provenance, '')}")]
        if s.best is not None:
            seeds = s.choice.seeds
            how = words.seeds_of_a_mean(seeds) if seeds else "one seed a trial"
            facts.append(("Score", f"on validation data, {how}; the test split was not read"))
        if (known := simple.told(s)) is not None:
            facts.append(("Peers", f"{known}: simple models on the same validation data"))
        if self.best_yaml is not None and s.best is not None:
            facts.append(("File", str(self.best_yaml)))
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=6, no_wrap=True)
        grid.add_column(max_width=width - 9)
        for name, fact in facts:
            grid.add_row(ink.text(f" {name}", "dim"), ink.wrapped(fact))
        yield grid


def _command(ink: Ink, command: str, width: int) -> Iterator[Text]:
    """On one line, or broken the way a shell joins again, from the first column on: it is there to be copied."""
    command = ink.clean(command)
    if len(" Next: ") + cell_len(command) <= width:
        yield ink.text(" Next: ", "dim").append(command, "bold not dim")
        return
    yield ink.text(" Next:", "dim")
    lines = chop_cells(command, width - 1)
    for line in lines[:-1]:
        yield Text(line + "\\", "bold", no_wrap=True)
    yield Text(lines[-1], "bold", no_wrap=True)


def _settings_table(ink: Ink, s: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="")
    table.add_column(ink.text("setting", "dim"), no_wrap=True)
    table.add_column(ink.text("default", "dim"), justify="right", no_wrap=True)
    table.add_column(ink.text("best", "dim"), justify="right", no_wrap=True)
    table.add_column()
    for row in settings(s):
        default, best = row.values
        table.add_row(
            ink.text(row.name, "" if row.differs else "dim"),
            ink.text(default, "dim"),
            ink.text(best, "bold" if row.differs else "dim"),
            ink.text("●" if row.differs else "", GOOD),
        )
    return table
