"""Several settings at once: contours of pairs, and all of them side by side as parallel coordinates.

Optuna's own contour and parallel-coordinate plots are not used: they leave out every trial that lacks one of the
settings, which a space with conditions makes the most of them, their surfaces grow with the square of the trials, and
plotly's parallel coordinates compile code in the browser, which this page's policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from pare_tune.report import words
from pare_tune.report.domains import Choice, Domain, Numeric
from pare_tune.report.figure import (
    BEST,
    COLOURS,
    DEFAULT,
    GREY,
    SHADES,
    SKY,
    Chart,
    better,
    draw,
    metric,
    plain,
    rounded,
    setting_axis,
    window,
)
from pare_tune.tune.snapshot import Snapshot, TrialView

PAIRS = 4
MIN_TOGETHER = 10
"""Finished trials that have both settings of a pair."""

_GRID = 25
_SMOOTH = 0.13
"""Width of the kernel, as a share of a setting's range."""
_NEAR = 0.16
"""Farther than this from every trial, a surface would be made up."""
_LOWEST = -0.12
"""Where a line goes that has no value of a setting."""


def pair_charts(s: Snapshot, known: Mapping[str, Domain], shares: Mapping[str, float] | None) -> list[Chart]:
    """Score over the pairs of the settings that mattered most; none without importances."""
    finished = _finished(s)
    if not shares:
        return []
    top = [name for name, share in shares.items() if share > 0.02][:4]
    ranked = sorted(combinations(top, 2), key=lambda pair: -shares[pair[0]] * shares[pair[1]])
    charts: list[Chart] = []
    for x, y in ranked:
        trials = [t for t in finished if x in t.params and y in t.params]
        if len(trials) >= MIN_TOGETHER and len(charts) < PAIRS:
            charts.append(_pair(s, trials, (x, known[x]), (y, known[y]), len(charts)))
    return charts


def parallel_chart(
    s: Snapshot, known: Mapping[str, Domain], shares: Mapping[str, float] | None
) -> Chart | None:
    """One line a finished trial through all settings and its score; None with too few."""
    finished = _finished(s)
    varied = {name: domain for name, domain in known.items() if not domain.single}
    if len(finished) < 4 or not varied:
        return None
    names = [*(n for n in shares or {} if n in varied), *(n for n in varied if n not in (shares or {}))]
    axes = [*(_Axis.of(name, varied[name]) for name in names), _Axis.of_score(s, finished)]
    best = s.best.number if s.best is not None else -1
    data = []
    for shade, name, trials in _fifths(s, [t for t in finished if t.number not in (0, best)]):
        data.append(_lines(s, trials, axes, name, {"color": shade, "width": 1.3}, 0.65))
    for number, name, line in (
        (0, "paper's default", {"color": DEFAULT, "width": 2.2, "dash": "dash"}),
        (best, "best", {"color": BEST, "width": 3.0}),
    ):
        chosen = [t for t in finished if t.number == number]
        if chosen and not (number == 0 and best == 0):
            data.append(_lines(s, chosen, axes, name, line, 1.0))
    figure = draw(data, "", {"visible": False, "range": [_LOWEST - 0.06, 1.09], "fixedrange": True})
    figure["layout"] |= {
        "annotations": [note for i, axis in enumerate(axes) for note in axis.notes(i)],
        "shapes": [_post(i, axis) for i, axis in enumerate(axes)],
        "margin": {"l": 48, "r": 60, "t": 12, "b": 64},
    }
    figure["layout"]["xaxis"] = {
        "tickvals": list(range(len(axes))), "ticktext": [plain(a.name).replace(".", ".<br>", 1) for a in axes],
        "showgrid": False, "zeroline": False, "range": [-0.15, len(axes) - 0.85], "fixedrange": True,
    }  # fmt: skip
    caption = (
        "One line a finished trial, from setting to setting (the most important first) to its score at the right. "
        "Where the lines of the best fifth run together, a setting matters; where they fan out like all others, it "
        "does not. A line that dips below an axis belongs to a trial that does not have that setting."
    )
    return Chart(
        "parallel", "All settings together", caption, figure, height=420, min_width=104 * len(axes) + 60
    )


class _Axis:
    """Where the values of one setting stand on its axis: 0 at the bottom, 1 at the top."""

    def __init__(self, name: str, ticks: Sequence[tuple[float, str]], place: Any) -> None:
        self.name, self.ticks, self._place = name, ticks, place

    @classmethod
    def of(cls, name: str, domain: Domain) -> _Axis:
        if isinstance(domain, Choice):
            values = list(domain.values)
            places = {repr(v): (i + 0.5) / len(values) for i, v in enumerate(values)}
            return cls(
                name, [(places[repr(v)], words.setting(v)) for v in values], lambda v: places.get(repr(v))
            )
        ends = (domain.low, domain.high)
        middle = math.sqrt(domain.low * domain.high) if domain.log else (domain.low + domain.high) / 2
        marks = [*ends] if domain.whole else [domain.low, middle, domain.high]
        return cls(
            name,
            [(_unit_place(v, domain), words.setting(v)) for v in marks],
            lambda v: _unit_place(v, domain),
        )

    @classmethod
    def of_score(cls, s: Snapshot, finished: Sequence[TrialView]) -> _Axis:
        known = [t.best_score for t in finished if t.best_score is not None]
        low, high = window(s, known).get("range", (min(known), max(known)))
        domain = Numeric(min(low, high), max(low, high), log=False, whole=False)
        ticks = [(_unit_place(v, domain), words.number(v)) for v in (domain.low, domain.high)]
        return cls(metric(s), ticks, lambda v: None if v is None else _unit_place(v, domain))

    def place(self, value: Any) -> float:
        """Below the axis for a value that it does not have."""
        found = self._place(value)
        return _LOWEST if found is None else min(max(found, 0.0), 1.0)

    def notes(self, index: int) -> list[dict[str, Any]]:
        return [
            {
                "x": index, "y": place, "text": plain(text), "showarrow": False, "xanchor": "left", "xshift": 4,
                "font": {"size": 10.5}, "bgcolor": "rgba(255,255,255,0.72)", "borderpad": 1,
            }
            for place, text in self.ticks
        ]  # fmt: skip


def _lines(
    s: Snapshot,
    trials: Sequence[TrialView],
    axes: Sequence[_Axis],
    name: str,
    line: Mapping[str, Any],
    opacity: float,
) -> dict[str, Any]:
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for t in trials:
        values = [a.place(t.params[a.name]) if a.name in t.params else _LOWEST for a in axes[:-1]]
        x += [*range(len(axes)), None]
        y += [*(round(v, 4) for v in [*values, axes[-1].place(t.best_score)]), None]
        text += [f"{t.number}: {words.score(t.best_score, s.unit)}"] * (len(axes) + 1)
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "text": [plain(v) for v in text],
        "line": dict(line), "opacity": opacity, "hovertemplate": "trial %{text}<extra></extra>",
    }  # fmt: skip


def _post(index: int, axis: _Axis) -> dict[str, Any]:
    return {
        "type": "line", "x0": index, "x1": index, "y0": 0, "y1": 1, "line": {"color": "#c5cbd1", "width": 1},
        "layer": "below",
    }  # fmt: skip


def _fifths(s: Snapshot, trials: Sequence[TrialView]) -> list[tuple[str, str, list[TrialView]]]:
    """(colour, name, trials), the best last, to lie on top."""
    sign = 1 if s.direction == "min" else -1
    ranked = sorted(trials, key=lambda t: sign * (t.best_score or 0.0))
    first, second = round(len(ranked) / 5), round(2 * len(ranked) / 5)
    groups = [
        (GREY, "others", ranked[second:]),
        (SKY, "second fifth", ranked[first:second]),
        (COLOURS["complete"], "best fifth", ranked[:first]),
    ]
    return [g for g in groups if g[2]]


def _pair(
    s: Snapshot, trials: Sequence[TrialView], x: tuple[str, Domain], y: tuple[str, Domain], index: int
) -> Chart:
    scores = [t.best_score for t in trials if t.best_score is not None]
    low, high = window(s, scores).get("range", (min(scores), max(scores)))
    shade = {
        "colorscale": [[i / 4, c] for i, c in enumerate(SHADES if s.direction == "min" else SHADES[::-1])],
        "zmin": low, "zmax": high,
    }  # fmt: skip
    data: list[dict[str, Any]] = []
    if isinstance(x[1], Numeric) and isinstance(y[1], Numeric):
        data.append(_surface(trials, (x[0], x[1]), (y[0], y[1]), shade, _bar(s)))
    data += _points(s, trials, x, y, shade, bar=not data)
    figure = draw(data, plain(x[0]), {"title": {"text": plain(y[0])}})
    figure["layout"] |= {"showlegend": False, "margin": {"l": 56, "r": 12, "t": 8, "b": 46}}
    for name, (_, domain) in (("xaxis", x), ("yaxis", y)):
        figure["layout"][name] |= setting_axis(domain) | {"showgrid": False}
    return Chart(f"pair-{index}", f"{x[0]} and {y[0]}", "", figure, height=320)


def _points(
    s: Snapshot, trials: Sequence[TrialView], x: tuple[str, Domain], y: tuple[str, Domain], shade: Mapping[str, Any],
    *, bar: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    best = s.best.number if s.best is not None else -1
    symbols = ["diamond" if t.number == best else "square" if t.number == 0 else "circle" for t in trials]
    marker: dict[str, Any] = {
        "color": rounded([t.best_score for t in trials]), "colorscale": shade["colorscale"], "cmin": shade["zmin"],
        "cmax": shade["zmax"], "symbol": symbols, "size": [13 if s != "circle" else 8 for s in symbols],
        "line": {"color": ["#d55e00" if t.number == best else "#ffffff" for t in trials],
                 "width": [2.5 if t.number == best else 1 for t in trials]},
    }  # fmt: skip
    if bar:
        marker |= {"showscale": True, "colorbar": _bar(s)}
    return [
        {
            "type": "scatter", "mode": "markers", "x": _values(trials, x), "y": _values(trials, y), "marker": marker,
            "text": [f"{t.number}: {plain(words.score(t.best_score, s.unit))}" for t in trials],
            "hovertemplate": "trial %{text}<br>%{x}, %{y}<extra></extra>",
        }
    ]  # fmt: skip


def _bar(s: Snapshot) -> dict[str, Any]:
    return {
        "thickness": 10,
        "outlinewidth": 0,
        "title": {"text": plain(metric(s)), "side": "right", "font": {"size": 11}},
    }


def _values(trials: Sequence[TrialView], setting: tuple[str, Domain]) -> list[Any]:
    name, domain = setting
    values = [t.params[name] for t in trials]
    return [plain(words.setting(v)) for v in values] if isinstance(domain, Choice) else rounded(values)


def _surface(
    trials: Sequence[TrialView],
    x: tuple[str, Numeric],
    y: tuple[str, Numeric],
    shade: Mapping[str, Any],
    bar: Mapping[str, Any],
) -> dict[str, Any]:
    """Kernel means of the scores, and nothing where no trial is near."""
    import numpy as np

    at = np.array([[_unit_place(t.params[n], d) for n, d in (x, y)] for t in trials])
    scores = np.array([t.best_score for t in trials], float)
    limits = sorted((shade["zmin"], shade["zmax"]))
    scores = scores.clip(*limits)  # one diverged trial must not colour its whole neighbourhood
    ticks = np.linspace(0.0, 1.0, _GRID)
    squared = ((ticks[None, :, None] - at[:, 0]) ** 2) + ((ticks[:, None, None] - at[:, 1]) ** 2)
    weights = np.exp(-0.5 * squared / _SMOOTH**2)
    means = (weights * scores).sum(-1) / weights.sum(-1).clip(1e-12)
    means[squared.min(-1) > _NEAR**2] = np.nan
    return {
        "type": "contour", "x": rounded([_value_at(v, x[1]) for v in ticks]),
        "y": rounded([_value_at(v, y[1]) for v in ticks]), "z": [rounded(row) for row in means.tolist()], **shade,
        "ncontours": 12, "line": {"width": 0.4, "color": "rgba(255,255,255,0.5)"}, "connectgaps": False,
        "hoverinfo": "skip", "opacity": 0.75, "colorbar": bar,
    }  # fmt: skip


def _unit_place(value: Any, domain: Numeric) -> float:
    if domain.single:
        return 0.5
    if domain.log:
        return math.log(value / domain.low) / math.log(domain.high / domain.low)
    return float((value - domain.low) / (domain.high - domain.low))


def _value_at(place: float, domain: Numeric) -> float:
    if domain.log:
        return float(domain.low * (domain.high / domain.low) ** place)
    return float(domain.low + place * (domain.high - domain.low))


def _finished(s: Snapshot) -> list[TrialView]:
    return [t for t in s.searched if t.state == "complete" and t.best_score is not None]


def pairs_caption(s: Snapshot) -> str:
    """What to see in the contours."""
    return (
        f"Finished trials by two settings, coloured by score ({better(s)}; the colours end where far outliers begin). "
        " ◆ with an orange edge is the best, ■ the paper's default. The shade between numbers is a "
        f"smoothed mean, empty where no trial is near. A slanted valley says that the two settings go together."
    )
