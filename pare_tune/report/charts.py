"""The charts of one search's report over its epochs: curves, confirmation and schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pare_tune.report import words
from pare_tune.report.figure import (
    BEST,
    COLOURS,
    DEFAULT,
    MAX_POINTS,
    Chart,
    draw,
    plain,
    rounded,
    score_axis,
    unit,
    window,
)
from pare_tune.tasks.base import loss_sign
from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

_CURVE_ORDER: tuple[TrialState, ...] = ("complete", "pruned", "failed", "running")
"""The many lie below the few."""
_CURVE_DASHES: dict[TrialState, str] = {"failed": "dot", "running": "dashdot"}


def curves_chart(s: Snapshot) -> Chart | None:
    """The validation score of every trial of the search over its epochs; None before the first epoch."""
    seen = [t for t in s.searched if t.curve]
    if not seen:
        return None
    best = s.best
    special = {0} | ({best.number} if best is not None else set())
    stride = math.ceil(sum(t.epoch for t in seen) / MAX_POINTS)
    data = [
        _curves(
            [t for t in seen if t.state == state and t.number not in special],
            words.STATES[state],
            COLOURS[state],
            s,
            dash=_CURVE_DASHES.get(state, "solid"),
            stride=stride,
        )
        for state in _CURVE_ORDER
    ]
    if s.default is not None and s.default.curve:
        data.append(_curves([s.default], "default", DEFAULT, s, width=2.2, dash="dash"))
    if best is not None and best.number != 0:
        data.append(_curves([best], f"best (trial {best.number})", BEST, s, width=2.8))
    shown = window(s, [v for t in seen for v in words.scores(t)[1:] or words.scores(t) if math.isfinite(v)])
    caption = f"Validation score of every trial of the search ({words.better(s.direction)} is better)."
    if any(t.state == "pruned" for t in seen):
        caption += " Grey curves were stopped early because other trials were better at the same epoch."
    if any(t.folds > 1 for t in seen):
        caption += " Each point is over all the folds that have come to this epoch."
    if shown:
        caption += " The axis leaves out the worst scores of the first epochs."
    if len(seen) < len([t for t in s.trials if t.curve]):
        caption += " Trials that repeat one with a fresh seed have a chart of their own."
    figure = draw([d for d in data if d["x"]], "epoch", {**score_axis(s), **shown})
    return Chart("curves", "Learning curves", caption, figure, height=380)


def confirmation_chart(s: Snapshot) -> Chart | None:
    """Scores with fresh seeds beside the one that the search saw; None before such a trial has finished."""
    repeated = _repeated(s)
    if not repeated:
        return None
    names = [_repeated_name(s, n) for n in repeated]
    dots = [(name, v) for name, scores in zip(names, repeated.values(), strict=True) for v in scores]
    means = [sum(v) / len(v) for v in repeated.values()]
    confirmed = {n: s.confirmed(n) for n in repeated}
    spreads = [0.0 if c is None else c.spread or 0.0 for c in confirmed.values()]
    blue = COLOURS["complete"]
    searched = [t.best_score for n in repeated for t in s.trials if t.number == n]
    data = [
        {
            "type": "scatter", "mode": "markers", "name": "mean ± spread", "x": rounded(means), "y": names,
            "error_x": {"type": "data", "array": rounded(spreads), "color": blue, "thickness": 2, "width": 7},
            "marker": {"color": blue, "size": 11, "symbol": "line-ns", "line": {"width": 3, "color": blue}},
            "hovertemplate": f"mean %{{x}}{unit(s)}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "markers", "name": "a fresh seed", "x": rounded([v for _, v in dots]),
            "y": [name for name, _ in dots], "marker": {"color": blue, "size": 8, "opacity": 0.6},
            "hovertemplate": f"%{{x}}{unit(s)}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "markers", "name": "in the search", "x": rounded(searched), "y": names,
            "marker": {"color": DEFAULT, "size": 9, "symbol": "diamond-open", "line": {"width": 2}},
            "hovertemplate": f"in the search %{{x}}{unit(s)}<extra></extra>",
        },
    ]  # fmt: skip
    y = {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names[::-1],
        "range": [-0.6, len(names) - 0.4],
        "showgrid": False,
        "ticksuffix": " ",
    }
    figure = draw(data, plain(score_axis(s)["title"]["text"]), y)
    caption = (
        f"The best trials and the default, trained again with seeds they were not chosen by "
        f"({words.better(s.direction)} is better). "
        "A ◇ far on the good side of its dots was luck of its seed. Where the bars of two overlap, there is no telling "
        "which is better."
    )
    if not s.choice.confirmed:
        caption += " The confirmation is not complete, so it decides nothing yet."
    return Chart(
        "confirmation", "Confirmation with fresh seeds", caption, figure, height=130 + 46 * len(names)
    )


def _repeated(s: Snapshot) -> dict[int, list[float]]:
    """Trial → its scores with fresh seeds, best mean first."""
    scores: dict[int, list[float]] = {}
    for t in s.trials:
        if t.repeats is not None and t.state == "complete" and t.best_score is not None:
            scores.setdefault(t.repeats, []).append(t.best_score)
    sign = loss_sign(s.direction)
    return dict(sorted(scores.items(), key=lambda item: sign * sum(item[1]) / len(item[1])))


def _repeated_name(s: Snapshot, number: int) -> str:
    what = "the default" if number == 0 else f"trial {number}"
    return f"{what}, chosen" if s.best is not None and s.best.number == number else what


def schedule_chart(s: Snapshot) -> Chart | None:
    """λ = k/N over the epochs, best against default; None when no curve is there to show."""
    shown = [(s.default, "default", DEFAULT, "dash")]
    if s.best is not None and s.best.number != 0:
        shown.append((s.best, f"best (trial {s.best.number})", BEST, "solid"))
    data = []
    for trial, name, colour, dash in shown:
        if trial is None or not trial.curve:
            continue
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": name,
                "x": _epochs(trial), "y": [round(100 * r["lam"], 2) for r in trial.training],
                "text": [str(r["k"]) for r in trial.training],
                "line": {"color": colour, "width": 2.2, "dash": dash, "shape": "hv"}, "marker": {"size": 5},
                "hovertemplate": "epoch %{x}: k = %{text}, λ = %{y} %<extra></extra>",
            }
        )  # fmt: skip
    if not data:
        return None
    y = {"title": {"text": "patches replaced, % of N"}, "range": [-2, 102]}
    caption = (
        "How many of the N target patches were replaced by source patches in each epoch. High at the left is the easy, "
        "source-like start; 0 is pure target data."
    )
    return Chart("schedule", "Patch replacement over training", caption, draw(data, "epoch", y), height=300)


def _curves(
    trials: Sequence[TrialView],
    name: str,
    colour: str,
    s: Snapshot,
    *,
    width: float = 1.2,
    dash: str = "solid",
    stride: int = 1,
) -> dict[str, Any]:
    """Many trials as one trace, with gaps between them: a search has hundreds."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for trial in trials:
        points = list(_thinned(list(zip(_epochs(trial), words.scores(trial), strict=True)), stride))
        x += [*(epoch for epoch, _ in points), None]
        y += [*rounded([v for _, v in points]), None]
        text += [str(trial.number)] * (len(points) + 1)
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "text": text,
        "line": {"color": colour, "width": width, "dash": dash}, "opacity": 1.0 if width > 2 else 0.6,
        "hovertemplate": f"trial %{{text}}, epoch %{{x}}<br>%{{y}}{unit(s)}<extra></extra>",
    }  # fmt: skip


def _epochs(trial: TrialView) -> list[int]:
    """1, 2, … of one training."""
    return list(range(1, len(trial.training) + 1))


def _thinned(points: Sequence[Any], stride: int) -> Iterator[Any]:
    """Every `stride`-th point, and the last."""
    last = len(points) - 1
    return (p for i, p in enumerate(points) if i % stride == 0 or i == last)
