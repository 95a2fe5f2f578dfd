"""One page about several runs: what each found, at what cost, and how their winners differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pare_tune.data.files import write_text
from pare_tune.report import words
from pare_tune.report.facts import Facts, device_time, run_name, settings_of
from pare_tune.report.figure import Chart
from pare_tune.report.history import overlaid_charts
from pare_tune.report.render import render_page
from pare_tune.tune.snapshot import Snapshot

_PLACES = frozenset({"runs", "trial.data", "trial.source.data"})
"""Where things lie, which changes no result."""


def write_comparison(runs: Sequence[Snapshot], path: Path) -> Path:
    """Write a page that compares `runs` and return its path.

    Raises:
        StorageError: the page could not be written.
    """
    write_text(path, render_comparison(runs, path))
    return path


def render_comparison(runs: Sequence[Snapshot], path: Path) -> str:
    """The page as text; links to the runs' own reports are relative to `path`."""
    facts = [Facts.read(s.run) for s in runs]
    names = _names(runs)
    same = _comparable(runs)
    charts = [
        replace(chart, key=f"{chart.key}-{i}", title=_chart_title(chart, group, runs))
        for i, group in enumerate(same)
        for chart in overlaid_charts([(names[j], runs[j]) for j in group])
    ]
    return render_page(
        "several.html.j2",
        charts,
        title=f"{len(runs)} searches compared",
        names=names,
        runs=[_run(s, f, n, path.parent) for s, f, n in zip(runs, facts, names, strict=True)],
        alone=_alone(runs, same),
        overlays=charts,
        winners=settings_of(*(_winner(s, f) for s, f in zip(runs, facts, strict=True))),
        searched=settings_of(*(_search(f) for f in facts)),
        provenance={s.provenance: words.PROVENANCE.get(s.provenance, "") for s in runs},
    )


@dataclass(frozen=True, slots=True)
class RunRow:
    """One row of the table of runs."""

    name: str
    report: str | None
    """Where its report is, as a link of this page; None where there is none."""
    task: str
    data: str
    metric: str
    setup: str
    default: str
    best: str
    gain: str
    trials: str
    cost: str
    state: str


def _run(s: Snapshot, facts: Facts, name: str, folder: Path) -> RunRow:
    best, default, gained = s.best, s.default, words.compare(s)
    report = s.run / "report.html"
    gain = words.NONE if gained is None else gained.text + (" (may be noise)" if gained.may_be_noise else "")
    method = facts.settings.get("trial.method")
    return RunRow(
        name=name,
        report=Path(os.path.relpath(report, folder)).as_posix() if report.is_file() else None,
        task=s.task,
        data=s.provenance,
        metric=words.metric_line(s),
        setup=", ".join([f"{s.preset} preset", s.backbone, *([str(method)] if method else [])]),
        default=words.judged(s, default) if default and default.state == "complete" else words.NONE,
        best=f"{words.judged(s, best)}, trial {best.number}" if best else words.NONE,
        gain="the default is the best" if best is not None and best.number == 0 else gain,
        trials=words.counts(s),
        cost=f"{words.plural(sum(t.epoch for t in s.trials), 'epoch')}, {words.duration(s.elapsed_s)}, "
        f"{device_time(s, facts)}",
        state=s.budget if s.finished else f"{100 * s.spent:.0f} % of {s.budget}",
    )


def _names(runs: Sequence[Snapshot]) -> list[str]:
    """Folder names, with the folder above where two are the same."""
    names = [run_name(s.run) for s in runs]
    return [
        n if names.count(n) == 1 else f"{s.run.parent.name}/{n}" for n, s in zip(names, runs, strict=True)
    ]


def _comparable(runs: Sequence[Snapshot]) -> list[list[int]]:
    """Runs whose scores mean the same: one task, metric, unit and kind of data; only groups of two and more."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, s in enumerate(runs):
        groups.setdefault((s.task, s.metric, s.unit, s.direction, s.provenance), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _alone(runs: Sequence[Snapshot], groups: Sequence[Sequence[int]]) -> bool:
    """Whether some run has no other to be drawn with."""
    return sum(map(len, groups)) < len(runs)


def _chart_title(chart: Chart, group: Sequence[int], runs: Sequence[Snapshot]) -> str:
    several = len({s.task for s in runs}) > 1
    return f"{runs[group[0]].task}: {chart.title[0].lower()}{chart.title[1:]}" if several else chart.title


def _winner(s: Snapshot, facts: Facts) -> Mapping[str, Any]:
    """Every setting of the best trial: those of best.yaml where it is there, else the searched ones."""
    if s.best is None:
        return {}
    return {**{k: v for k, v in facts.best.items() if k not in ("data", "source.data")}, **s.best.params}


def _search(facts: Facts) -> Mapping[str, Any]:
    return {k: v for k, v in facts.settings.items() if k not in _PLACES}
