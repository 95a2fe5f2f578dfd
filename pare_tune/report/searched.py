"""The charts of one search's report over its settings: which mattered, each one's scores, and the pairs that did.

Parallel coordinates are left out: Optuna's drop every trial that lacks one of the settings, which a space with
conditions makes the most of them, and plotly compiles them in the browser, which this page's policy forbids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pare_tune.report import words
from pare_tune.report.domains import finished_trials, is_number, quiet_optuna, study_of
from pare_tune.report.figure import (
    BEST,
    COLOURS,
    DEFAULT,
    GREY,
    Chart,
    draw,
    plain,
    rounded,
    score_axis,
    setting_axis,
    unit,
    window,
)
from pare_tune.tune.snapshot import Snapshot, TrialView

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

PAIRS = 4
MIN_TOGETHER = 10
"""Finished trials that have both settings of a pair."""


def importance_chart(importances: Mapping[str, float]) -> Chart:
    """Bars, the most important setting on top."""
    names = list(importances)[::-1]
    data = [
        {
            "type": "bar", "orientation": "h", "y": [plain(n) for n in names],
            "x": [round(100 * importances[n], 1) for n in names], "marker": {"color": COLOURS["complete"]},
            "text": [f"{100 * importances[n]:.0f} %" for n in names], "textposition": "outside", "cliponaxis": False,
            "hoverinfo": "skip",
        }
    ]  # fmt: skip
    y = {"automargin": True, "showgrid": False, "ticksuffix": " "}
    figure = draw(data, "share of importance, %", y)
    figure["layout"]["xaxis"] |= {"range": [0, 118 * max(importances.values())], "showgrid": False}
    caption = (
        "Which settings tell the best quarter of the finished trials from the rest (PED-ANOVA; a setting that only "
        "some trials have counts for these, arXiv:2601.20800). A long bar is worth searching closely; a short one made "
        "little difference within the range searched. Few trials make it rough."
    )
    return Chart("importance", "What mattered", caption, figure, height=90 + 30 * len(names))


def slice_charts(s: Snapshot, space: Mapping[str, BaseDistribution]) -> list[Chart]:
    """Score against each searched setting, one small chart each."""
    finished = finished_trials(s)
    shown = window(s, [t.best_score for t in finished if t.best_score is not None])
    charts: list[Chart] = []
    for name, domain in space.items():
        trials = [t for t in finished if name in t.params]
        if domain.single() or len(trials) < 2:
            continue
        values = [t.params[name] for t in trials]
        trace = {
            "type": "scatter", "mode": "markers", "marker": _markers(s, trials),
            "x": rounded(values) if is_number(domain) else [plain(words.setting(v)) for v in values],
            "y": rounded([t.best_score for t in trials]), "text": [str(t.number) for t in trials],
            "hovertemplate": f"trial %{{text}}: %{{x}}<br>%{{y}}{unit(s)}<extra></extra>",
        }  # fmt: skip
        figure = draw([trace], plain(name), {**score_axis(s, title=False), **shown})
        figure["layout"] |= {"showlegend": False, "margin": {"l": 44, "r": 12, "t": 8, "b": 44}}
        figure["layout"]["xaxis"] |= setting_axis(domain)
        charts.append(Chart(f"slice-{len(charts)}", name, "", figure, height=230))
    return charts


def pair_charts(
    s: Snapshot, space: Mapping[str, BaseDistribution], shares: Mapping[str, float] | None
) -> list[Chart]:
    """Optuna's rank plots of the pairs of the settings that mattered most; none without importances."""
    finished = finished_trials(s)
    top = [name for name, share in (shares or {}).items() if share > 0.02][:4]
    charts: list[Chart] = []
    for x, y in sorted(
        combinations(top, 2), key=lambda pair: -(shares or {})[pair[0]] * (shares or {})[pair[1]]
    ):
        trials = [t for t in finished if x in t.params and y in t.params]
        if len(trials) >= MIN_TOGETHER and len(charts) < PAIRS:
            charts.append(_pair(s, trials, x, y, space, f"pair-{len(charts)}"))
    return charts


def _pair(
    s: Snapshot, trials: Sequence[TrialView], x: str, y: str, space: Mapping[str, BaseDistribution], key: str
) -> Chart:
    from optuna.visualization import plot_rank

    with quiet_optuna():
        ranked = plot_rank(study_of(s, trials, {x: space[x], y: space[y]}), params=[x, y])
    points, scale = json.loads(ranked.to_json())["data"]
    look = _markers(s, trials)
    # Coloured by rank as all others, so an open shape would lose its colour.
    points["marker"] = {
        "color": points["marker"]["color"], "size": look["size"], "opacity": 1.0,
        "line": {"width": 0.8, "color": GREY},
        "symbol": ["square" if symbol == "diamond-open" else symbol for symbol in look["symbol"]],
    }  # fmt: skip
    points |= {
        "hovertext": [f"trial {t.number}: {plain(words.score(t.best_score, s.unit))}" for t in trials],
        "hovertemplate": "%{hovertext}<br>%{x}, %{y}<extra></extra>",
    }
    for axis, name in (("x", x), ("y", y)):
        if not is_number(space[name]):
            points[axis] = [plain(words.setting(t.params[name])) for t in trials]
    figure = draw([points, scale], plain(x), {"title": {"text": plain(y)}, **setting_axis(space[y])})
    figure["layout"]["xaxis"] |= setting_axis(space[x])
    figure["layout"]["showlegend"] = False
    return Chart(key, f"{x} and {y}", "", figure, height=300)


def _markers(s: Snapshot, trials: Sequence[TrialView]) -> dict[str, Any]:
    """One look a trial: ◆ the best, ◇ the default, dots the others."""
    best = s.best.number if s.best is not None else -1
    special = {
        0: {"color": DEFAULT, "size": 9, "symbol": "diamond-open", "opacity": 1.0, "width": 2},
        best: {"color": BEST, "size": 10, "symbol": "diamond", "opacity": 1.0, "width": 0},
    }
    other = {"color": COLOURS["complete"], "size": 6, "symbol": "circle", "opacity": 0.55, "width": 0}
    looks = [special.get(t.number, other) for t in trials]
    marker: dict[str, Any] = {name: [look[name] for look in looks] for name in other}
    widths = marker.pop("width")
    return {**marker, "line": {"width": widths}}
