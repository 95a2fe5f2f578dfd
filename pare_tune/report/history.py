"""The best score so far: over the epochs that were spent, and over the wall time."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pare_tune.report import words
from pare_tune.report.figure import (
    BEST,
    COLOURS,
    DASHES,
    DEFAULT,
    SERIES,
    Chart,
    draw,
    plain,
    rounded,
    score_axis,
    time_scale,
    unit,
    window,
)
from pare_tune.tasks.base import best_of
from pare_tune.tune.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Finish:
    """A trial of the search that finished."""

    number: int
    score: float
    epochs: int
    """That all trials had taken by then."""
    seconds: float | None
    """Wall time by then; None where the journal does not say."""


def finishes(s: Snapshot) -> list[Finish]:
    """Finished trials of the search, in the order in which they finished (of their numbers, without times)."""
    trials = sorted(s.trials, key=lambda t: t.number)
    timed = all("elapsed" in r for t in trials for r in t.curve)
    reports = sorted(float(r["elapsed"]) for t in trials for r in t.curve) if timed else []
    ended: list[Finish] = []
    spent = 0
    for t in trials:
        spent += t.epoch
        if t.state != "complete" or t.best_score is None or t.repeats is not None:
            continue
        if timed and t.curve:
            end = float(t.curve[-1]["elapsed"])
            ended.append(Finish(t.number, t.best_score, bisect.bisect_right(reports, end), end))
        else:
            ended.append(Finish(t.number, t.best_score, spent, None))
    return sorted(ended, key=lambda f: f.epochs)


def confirmation_start(s: Snapshot) -> tuple[int, float | None] | None:
    """(epochs, seconds) spent when the confirmation began; None without one."""
    repeats = [t for t in s.trials if t.repeats is not None and t.curve]
    if not repeats:
        return None
    if not all("elapsed" in r for t in s.trials for r in t.curve):
        return sum(t.epoch for t in s.searched), None
    begin = min(float(t.curve[0]["elapsed"]) - float(t.curve[0]["seconds"]) for t in repeats)
    return sum(float(r["elapsed"]) <= begin for t in s.trials for r in t.curve), begin


def incumbent_charts(s: Snapshot) -> list[Chart]:
    """Over epochs and, where it is known, over time; none before a trial has finished."""
    ended = finishes(s)
    if not ended:
        return []
    spent = sum(t.epoch for t in s.trials)
    starts = confirmation_start(s)
    by_epochs = _chart(
        s, ended, [f.epochs for f in ended], spent, "epochs trained, all trials", None if starts is None else starts[0]
    )  # fmt: skip
    charts = [Chart("incumbent", "Best score over the epochs", _caption(s, starts is not None), by_epochs)]
    seconds = [f.seconds for f in ended if f.seconds is not None]
    if len(seconds) == len(ended):
        end = max(s.elapsed_s, seconds[-1])
        scale, name = time_scale(end)
        begin = starts[1] if starts is not None else None
        figure = _chart(
            s, ended, [v / scale for v in seconds], end / scale, f"wall time, {name}", begin and begin / scale
        )
        caption = (
            "The same over the wall time. Flat stretches that are longer here than above are trials that took longer, "
            "not more epochs; the gap at the left is the time before the first trial had finished."
        )
        charts.append(Chart("incumbent-time", "Best score over the wall time", caption, figure))
    return charts


def overlaid_charts(runs: Sequence[tuple[str, Snapshot]]) -> list[Chart]:
    """The best score so far of several runs of one task, over epochs and over time."""
    s = runs[0][1]
    drawn = [(name, run, ended) for name, run in runs if (ended := finishes(run))]
    if not drawn:
        return []
    y = {**score_axis(s), **window(s, [f.score for _, _, ended in drawn for f in ended])}

    def chart(key: str, title: str, caption: str, x_title: str, lines: list[dict[str, Any]]) -> Chart:
        figure = draw(lines, x_title, y)
        figure["layout"]["xaxis"]["rangemode"] = "tozero"
        return Chart(key, title, caption, figure)

    caption = (
        f"The best score of each search's trials up to then, one seed a trial. The {words.better(s.direction)} "
        "curve at the same number of epochs searched better; differences as small as the seeds' spread mean nothing."
    )
    by_epochs = [
        _line(run, [f.epochs for f in ended], ended, sum(t.epoch for t in run.trials), name, i)
        for i, (name, run, ended) in enumerate(drawn)
    ]
    charts = [
        chart("overlaid", "Best score over the epochs", caption, "epochs trained, all trials", by_epochs)
    ]
    if all(f.seconds is not None for _, _, ended in drawn for f in ended):
        scale, unit_name = time_scale(max(run.elapsed_s for _, run in runs))
        caption = (
            "The same over the wall time: how fast each got there on its machine, with as many trials at a time as it "
            "had."
        )
        by_time = [
            _line(run, [(f.seconds or 0.0) / scale for f in ended], ended, run.elapsed_s / scale, name, i)
            for i, (name, run, ended) in enumerate(drawn)
        ]
        title = "Best score over the wall time"
        charts.append(chart("overlaid-time", title, caption, f"wall time, {unit_name}", by_time))
    return charts


def _line(
    s: Snapshot, x: Sequence[float], ended: Sequence[Finish], end: float, name: str, index: int
) -> dict[str, Any]:
    best = _so_far(s, ended)
    colour = SERIES[index % len(SERIES)]
    return {
        "type": "scatter", "mode": "lines+markers", "name": plain(name),
        "x": [*rounded(x), *rounded([max(end, x[-1])])], "y": rounded([*best, best[-1]]),
        "line": {"color": colour, "dash": DASHES[index % len(DASHES)], "width": 2.4, "shape": "hv"},
        # Where its first trial ended: a search of one trial has no line.
        "marker": {"color": colour, "size": [8, *(0 for _ in x)]},
        "hovertemplate": f"{plain(name)}<br>%{{y}}{unit(s)}<extra></extra>",
    }  # fmt: skip


def _so_far(s: Snapshot, ended: Sequence[Finish]) -> list[float]:
    return list(accumulate((f.score for f in ended), lambda *pair: best_of(pair, s.direction)))


def _chart(
    s: Snapshot,
    ended: Sequence[Finish],
    x: Sequence[float],
    end: float,
    x_title: str,
    confirmed: float | None,
) -> dict[str, Any]:
    best = _so_far(s, ended)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers", "name": "finished trial", "x": rounded(x),
            "y": rounded([f.score for f in ended]), "text": [str(f.number) for f in ended],
            "marker": {"color": COLOURS["complete"], "size": 6, "opacity": 0.55},
            "hovertemplate": f"trial %{{text}}<br>%{{y}}{unit(s)}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "lines", "name": "best so far", "x": rounded([*x, max(end, x[-1])]),
            "y": rounded([*best, best[-1]]), "line": {"color": BEST, "width": 2.5, "shape": "hv"}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    default = s.default
    if default is not None and default.state == "complete" and default.best_score is not None:
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": "default", "x": rounded([0, end]),
                "y": rounded([default.best_score] * 2),
                "line": {"color": DEFAULT, "width": 1.5, "dash": "dash"}, "hoverinfo": "skip",
            }
        )  # fmt: skip
    layout: dict[str, Any] = {}
    if confirmed is not None:
        layout["shapes"] = [
            {
                "type": "rect", "xref": "x", "yref": "paper", "x0": confirmed, "x1": end, "y0": 0, "y1": 1,
                "fillcolor": "rgba(86,180,233,0.16)", "line": {"width": 0}, "layer": "below",
                "label": {"text": "confirmation", "textposition": "top right", "font": {"size": 11}},
            }
        ]  # fmt: skip
    return draw(data, x_title, {**score_axis(s), **window(s, [f.score for f in ended])}, **layout)


def _caption(s: Snapshot, confirmed: bool) -> str:
    text = (
        f"Each dot is a finished trial of the search; the line is the best score up to then. Where it still "
        f"gets {words.better(s.direction)} at the right, more budget is likely to help; where it has long been "
        "flat, it is not. Trials that were stopped early take epochs but have no dot."
    )
    return text + (" The shaded end went to fresh seeds." if confirmed else "")
