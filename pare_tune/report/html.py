"""report.html: one self-contained page that explains a search, readable offline, on a phone and on paper."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shlex
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pare_tune.errors import StorageError
from pare_tune.report import charts, words
from pare_tune.report.charts import Chart
from pare_tune.report.domains import MIN_TRIALS, Domain, Numeric, domains, importances
from pare_tune.report.summary import cost, settings
from pare_tune.tune.snapshot import Snapshot, TrialView

LOG_LINES = 20
EXCERPTS_PER_CAUSE = 5

_PACKAGES = ("pare-tune", "torch", "torchvision", "timm", "transformers", "ray", "optuna", "numpy", "pyarrow")


def write_report(run: Path, snapshot: Snapshot) -> Path:
    """Write `run`/report.html and return its path.

    Everything that the run folder lacks is left out or said to be missing: an empty, a running and a failed search
    have a report too.

    Raises:
        StorageError: the page could not be written.
    """
    page = render(run, snapshot)
    path = run / "report.html"
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; free some space or make the folder writable"
        ) from error
    return path


def render(run: Path, snapshot: Snapshot) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("pare_tune.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known = domains(run, snapshot)
    overview, mattered, slices = _charts(snapshot, known)
    figures = {c.key: c.figure for c in [*overview, *mattered, *slices]}
    return environment.get_template("report.html.j2").render(
        s=snapshot,
        tiles=tiles(snapshot),
        verdict=words.verdict(snapshot),
        meaning=words.PROVENANCE.get(snapshot.provenance, ""),
        metric_line=words.metric_line(snapshot),
        counts=_counts(snapshot),
        cost=cost(snapshot),
        settings=settings(snapshot),
        overview=overview,
        mattered=mattered,
        slices=slices,
        min_trials=MIN_TRIALS,
        columns=_columns(known),
        rows=[_row(snapshot, t, known) for t in snapshot.trials],
        failures=failures(run, snapshot),
        commands=_commands(run, snapshot),
        files=_files(run),
        environment=_environment(run),
        css=Markup(_page_file("report.css")),
        js=Markup(_page_file("report.js")),
        # Not read where there is nothing to draw: it is most of the page.
        plotly=Markup(get_plotlyjs()) if figures else "",
        figures=Markup(_script_json(figures)),
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """A number to see first."""

    label: str
    value: str
    note: str
    kind: str = ""


def tiles(s: Snapshot) -> list[Tile]:
    """Best, default, gain and cost."""
    best, default, found = s.best, s.default, words.compare(s)
    best_note = (
        "no trial has finished"
        if best is None
        else f"trial {best.number}, epoch {best.best_epoch} of {best.epochs}"
    )
    finished = default is not None and default.state == "complete"
    default_note = (
        "trial 0" if finished else f"trial 0: {words.STATES[default.state]}" if default else "not started"
    )
    if found is not None:
        share = f"{found.percent} of the default's score" if found.percent else "over the paper's default"
        gain = Tile("Gain", found.absolute, "may be noise, see below" if found.may_be_noise else share)
    else:
        gain = Tile(
            "Gain",
            words.NONE,
            "the default is the best" if best is not None and best.number == 0 else "unknown",
        )
    epochs = sum(t.epoch for t in s.trials)
    return [
        Tile("Best", words.judged(s, best) if best else words.NONE, best_note, "best"),
        Tile(
            "Paper's default", words.judged(s, default) if default and finished else words.NONE, default_note
        ),
        gain,
        Tile(
            "Cost",
            words.duration(s.elapsed_s),
            f"{words.plural(epochs, 'epoch')} in {words.plural(len(s.trials), 'trial')}",
        ),
    ]


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


def _charts(s: Snapshot, known: Mapping[str, Domain]) -> tuple[list[Chart], list[Chart], list[Chart]]:
    overview = [charts.incumbent_chart(s), charts.curves_chart(s), charts.schedule_chart(s)]
    shares = importances(s, known)
    mattered = [charts.importance_chart(shares)] if shares else []
    return [c for c in overview if c is not None], mattered, charts.slice_charts(s, known)


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: what is shown, and what it is sorted by."""

    text: str
    key: str | float
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """A heading of the trials table."""

    name: str
    numeric: bool = True


def _columns(known: Mapping[str, Domain]) -> list[Column]:
    fixed = [Column(n, n != "State") for n in ("Trial", "State", "Score", "Best epoch", "Epochs", "Time")]
    return fixed + [Column(name, isinstance(domain, Numeric)) for name, domain in known.items()]


def _row(s: Snapshot, trial: TrialView, known: Mapping[str, Domain]) -> tuple[str, list[Cell]]:
    """(marker of the row, its cells)."""
    state = words.STATES[trial.state] + (f": {words.cause(trial)}" if trial.state == "failed" else "")
    state += f" (repeats {trial.repeats})" if trial.repeats is not None else ""
    cells = [
        Cell(str(trial.number), trial.number),
        Cell(state, state, numeric=False),
        _number_cell(trial.best_score, words.score(trial.best_score, s.unit)),
        _number_cell(trial.best_epoch or None, str(trial.best_epoch or words.NONE)),
        Cell(f"{trial.epoch}/{trial.epochs}", trial.epoch),
        _number_cell(trial.seconds, words.duration(trial.seconds)),
    ]
    for name, domain in known.items():
        value = trial.params.get(name)
        shown = words.setting(value) if name in trial.params else words.NONE
        if isinstance(domain, Numeric):
            cells.append(_number_cell(value, shown))
        else:
            cells.append(Cell(shown, shown if name in trial.params else "", numeric=False))
    best = s.best is not None and s.best.number == trial.number
    return ("best" if best else "default" if trial.number == 0 else trial.state), cells


def _number_cell(value: float | None, text: str) -> Cell:
    return Cell(text, value if value is not None and math.isfinite(value) else "")


def _counts(s: Snapshot) -> str:
    return (
        ", ".join(f"{s.count(state)} {name}" for state, name in words.STATES.items() if s.count(state))
        or "no trials"
    )


def _commands(run: Path, s: Snapshot) -> list[tuple[str, str]]:
    folder = shlex.quote(str(run))
    commands = [
        ("Search again from the start, same seed and space", f"pare-tune --config {folder}/run.yaml"),
        ("Go on with this search", f"pare-tune resume {folder}"),
    ]
    if s.best is not None:
        commands.append(
            (
                "Train the best configuration and score it on the test split",
                f"pare-tune train {folder}/best.yaml",
            )
        )
    return commands


def _files(run: Path) -> list[tuple[str, str]]:
    """(name, text) of the run's YAML files."""
    names = ("best.yaml", "run.yaml", "space.yaml")
    return [
        (n, (run / n).read_text(encoding="utf-8", errors="replace")) for n in names if (run / n).is_file()
    ]


def _environment(run: Path) -> tuple[str, str]:
    """(whose versions, the versions): the run's own record, else what is installed now."""
    for path in (run / "best" / "environment.txt", run / "environment.txt"):
        if path.is_file():
            return "as recorded by the run", path.read_text(encoding="utf-8", errors="replace").strip()
    lines = [f"python=={platform.python_version()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "as installed when this page was made", "\n".join(lines)


def _page_file(name: str) -> str:
    return (resources.files("pare_tune.report") / "page" / name).read_text(encoding="utf-8")


def _script_json(value: Any) -> str:
    # "</script>" in a string would end the element, "<!--" change how the rest is read.
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
