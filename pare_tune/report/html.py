"""report.html: one self-contained page that explains a search, readable offline, on a phone and on paper."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pare_tune.data.files import write_text
from pare_tune.report import charts, simple, words
from pare_tune.report.domains import MIN_TRIALS, domains, importances, is_number
from pare_tune.report.facts import Facts, device_time, measured, uses
from pare_tune.report.figure import Chart
from pare_tune.report.history import incumbent_charts
from pare_tune.report.outcome import cost, settings
from pare_tune.report.render import render_page
from pare_tune.report.searched import importance_chart, pair_charts, slice_charts
from pare_tune.report.stops import stopping, stopping_lines
from pare_tune.shell import command
from pare_tune.tune.snapshot import Snapshot, TrialView

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG_LINES = 20
EXCERPTS_PER_CAUSE = 5


def write_report(run: Path, snapshot: Snapshot) -> Path:
    """Write `run`/report.html and return its path.

    Everything that the run folder lacks is left out or said to be missing: an empty, a running and a failed search
    have a report too.

    Raises:
        StorageError: the page could not be written.
    """
    path = run / "report.html"
    write_text(path, render(run, snapshot))
    return path


def render(run: Path, snapshot: Snapshot) -> str:
    """The page as text."""
    space = domains(run, snapshot)
    facts = Facts.read(run)
    stops = stopping(snapshot)
    drawn = _charts(snapshot, space)
    return render_page(
        "report.html.j2",
        drawn.all,
        s=snapshot,
        title=f"{snapshot.task} (data: {snapshot.provenance}): search report",
        tiles=tiles(snapshot, facts),
        verdict=words.verdict(snapshot),
        not_beaten=simple.not_beaten(snapshot),
        simple=simple.table(snapshot),
        meaning=words.PROVENANCE.get(snapshot.provenance, ""),
        how_scored=how_scored(snapshot),
        metric_line=words.metric_line(snapshot),
        counts=words.counts(snapshot),
        cost=f"{cost(snapshot)}, {device_time(snapshot, facts)}",
        gpu=facts.gpu,
        settings=settings(snapshot),
        drawn=drawn,
        stops=stops,
        stopping_lines=stopping_lines(snapshot, stops) if stops is not None else [],
        min_trials=MIN_TRIALS,
        columns=_columns(space),
        states=_states(snapshot),
        rows=_rows(snapshot, space),
        failures=failures(run, snapshot),
        uses=uses(snapshot),
        measured=measured(snapshot),
        duration=words.duration,
        commands=_commands(run, snapshot),
        files=_files(run),
        environment=facts.environment,
        final=facts.final,
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """A number to see first."""

    label: str
    value: str
    note: str
    kind: str = ""


def tiles(s: Snapshot, facts: Facts) -> list[Tile]:
    """Best, default, gain and cost."""
    best, default = s.best, s.default
    finished = default is not None and default.state == "complete"
    default_note = (
        "trial 0" if finished else f"trial 0: {words.STATES[default.state]}" if default else "not started"
    )
    epochs = words.plural(sum(t.epoch for t in s.trials), "epoch")
    return [
        Tile("Best", words.judged(s, best) if best else words.NONE, _best_note(s, best), "best"),
        Tile("Default", words.judged(s, default) if default and finished else words.NONE, default_note),
        _gain(s),
        Tile(
            "Cost",
            words.duration(s.elapsed_s),
            f"{epochs} in {words.plural(len(s.trials), 'trial')}, {device_time(s, facts)}",
        ),
    ]


def _best_note(s: Snapshot, best: TrialView | None) -> str:
    if best is None:
        return "no trial has finished"
    again = s.confirmed(best.number)
    if again is not None:
        return f"trial {best.number}, {words.plural(len(again.scores), 'fresh seed')}"
    return f"trial {best.number}, epoch {best.best_epoch} of {best.length}, one seed"


def _gain(s: Snapshot) -> Tile:
    comparison = words.compare(s)
    if comparison is None:
        is_default = s.best is not None and s.best.number == 0
        return Tile("Gain", words.NONE, "the default is the best" if is_default else "unknown")
    share = f"{comparison.percent} of the default's score" if comparison.percent else "over the default"
    return Tile("Gain", comparison.absolute, "may be noise, see below" if comparison.may_be_noise else share)


def how_scored(s: Snapshot) -> str:
    """On which data, and how often."""
    if s.choice.confirmed:
        again = words.seeds_of_a_mean(s.choice.seeds)
        how = f"one seed a trial in the search, {again} for what was confirmed"
    else:
        how = "one seed a trial"
    return f"Scores are on validation data, {how}; the search never reads the test split."


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed trial."""

    number: int
    message: str
    log: str
    """The last lines of the trial's log; empty where there is none or enough were shown."""


def failures(run: Path, s: Snapshot) -> dict[str, list[Failure]]:
    """Failed trials by cause, in words; the first few of each with the end of their log."""
    grouped: dict[str, list[Failure]] = {}
    for trial in s.trials:
        if trial.state != "failed":
            continue
        group = grouped.setdefault(words.cause(trial), [])
        log = log_excerpt(run, trial.number) if len(group) < EXCERPTS_PER_CAUSE else ""
        group.append(Failure(trial.number, trial.message or "no message was recorded", log))
    return grouped


def log_excerpt(run: Path, number: int) -> str:
    """The last lines of a trial's log; empty where there is none."""
    folder = run / "trials" / f"{number:04d}"
    for path in sorted([*folder.glob("*.log"), *folder.glob("log*")]):
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                return "".join(deque(lines, LOG_LINES)).rstrip()
        except OSError:
            continue
    return ""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The charts of the page, by section."""

    overview: list[Chart]
    importance: Chart | None
    pairs: list[Chart]
    slices: list[Chart]

    @property
    def all(self) -> list[Chart]:
        single = [] if self.importance is None else [self.importance]
        return [*self.overview, *single, *self.pairs, *self.slices]


def _charts(s: Snapshot, space: Mapping[str, BaseDistribution]) -> _Drawn:
    overview = [
        *incumbent_charts(s),
        charts.confirmation_chart(s),
        charts.curves_chart(s),
        charts.schedule_chart(s),
    ]
    shares = importances(s, space)
    return _Drawn(
        overview=[c for c in overview if c is not None],
        importance=importance_chart(shares) if shares else None,
        pairs=pair_charts(s, space, shares),
        slices=slice_charts(s, space),
    )


@dataclass(frozen=True, slots=True)
class TableCell:
    """A table cell: what is shown, and what it is sorted by."""

    text: str
    key: str | float
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A heading of the trials table."""

    name: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class TableRow:
    """A trial of the table."""

    marker: str
    state: str
    """What the table is filtered by."""
    cells: list[TableCell]


def _columns(space: Mapping[str, BaseDistribution]) -> list[TableColumn]:
    fixed = [
        TableColumn(n, n != "State") for n in ("Trial", "State", "Score", "Best epoch", "Epochs", "Time")
    ]
    return fixed + [TableColumn(name, is_number(domain)) for name, domain in space.items()]


def _rows(s: Snapshot, space: Mapping[str, BaseDistribution]) -> list[TableRow]:
    best = s.best
    return [_row(s, t, space, is_best=best is not None and best.number == t.number) for t in s.trials]


def _row(s: Snapshot, trial: TrialView, space: Mapping[str, BaseDistribution], *, is_best: bool) -> TableRow:
    state = words.STATES[trial.state] + (f": {words.cause(trial)}" if trial.state == "failed" else "")
    state += f" (repeats {trial.repeats})" if trial.repeats is not None else ""
    cells = [
        TableCell(str(trial.number), trial.number),
        TableCell(state, state, numeric=False),
        _number_cell(trial.best_score, words.score(trial.best_score, s.unit)),
        _number_cell(trial.best_epoch or None, str(trial.best_epoch or words.NONE)),
        TableCell(f"{trial.epoch}/{trial.epochs}", trial.epoch),
        _number_cell(trial.seconds, words.duration(trial.seconds)),
    ]
    for name, domain in space.items():
        value = trial.params.get(name)
        shown = words.setting(value) if name in trial.params else words.NONE
        if is_number(domain):
            cells.append(_number_cell(value, shown))
        else:
            cells.append(TableCell(shown, shown if name in trial.params else "", numeric=False))
    marker = "best" if is_best else "default" if trial.number == 0 else trial.state
    return TableRow(marker, _kind(trial), cells)


def _kind(trial: TrialView) -> str:
    return "confirmation" if trial.repeats is not None else words.STATES[trial.state]


def _states(s: Snapshot) -> list[str]:
    """What the trials table can be filtered by."""
    kinds = {_kind(t) for t in s.trials}
    return [name for name in (*words.STATES.values(), "confirmation") if name in kinds]


def _number_cell(value: float | None, text: str) -> TableCell:
    return TableCell(text, value if value is not None and math.isfinite(value) else "")


def _commands(run: Path, s: Snapshot) -> list[tuple[str, str]]:
    # As strings, whole: the page is read from anywhere.
    commands = [
        ("Search again from the start, same seed and space", command("--config", str(run / "run.yaml"))),
        ("Go on with this search", command("resume", str(run))),
    ]
    if s.best is not None:
        train = command("train", str(run / "best.yaml"))
        commands.append(("Train the best configuration and score it on the test split", train))
    return commands


def _files(run: Path) -> list[tuple[str, str]]:
    """(name, text) of the run's YAML files."""
    names = ("best.yaml", "run.yaml", "space.yaml")
    return [
        (n, (run / n).read_text(encoding="utf-8", errors="replace")) for n in names if (run / n).is_file()
    ]
