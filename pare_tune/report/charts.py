"""The charts of the HTML report, as plotly figures in plain values: {"data": [...], "layout": {...}}.

States keep one colour, one symbol and one line style everywhere; the colours are Okabe and Ito's, which colour-blind
readers can tell apart.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pare_tune.report import words
from pare_tune.report.domains import Choice, Domain, Numeric
from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

BEST, DEFAULT = "#d55e00", "#1b1f24"
COLOURS: dict[TrialState, str] = {
    "complete": "#0072b2",
    "pruned": "#9aa3ad",
    "failed": "#cc79a7",
    "running": "#009e73",
    "waiting": "#9aa3ad",
}

_CURVE_ORDER: tuple[TrialState, ...] = ("complete", "pruned", "failed", "running")
"""The many lie below the few."""

Figure = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure and the sentence that says what to see in it."""

    key: str
    title: str
    caption: str
    figure: Figure
    height: int = 340


def incumbent_chart(s: Snapshot) -> Chart | None:
    """The best score so far over the epochs spent; None before a trial has finished."""
    points: list[tuple[int, float, int]] = []
    line: list[tuple[int, float]] = []
    spent = 0
    best: float | None = None
    for trial in sorted(s.trials, key=lambda t: t.number):
        spent += trial.epoch
        if trial.state != "complete" or trial.best_score is None or trial.repeats is not None:
            continue
        points.append((spent, trial.best_score, trial.number))
        if best is None or s.better(trial.best_score, best):
            best = trial.best_score
        line.append((spent, best))
    if not points or best is None:
        return None
    line.append((spent, best))
    data = [
        {
            "type": "scatter", "mode": "markers", "name": "finished trial",
            "x": [p[0] for p in points], "y": _round([p[1] for p in points]), "text": [str(p[2]) for p in points],
            "marker": {"color": COLOURS["complete"], "size": 6, "opacity": 0.55},
            "hovertemplate": f"trial %{{text}}<br>%{{y}}{_unit(s)}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "lines", "name": "best so far",
            "x": [p[0] for p in line], "y": _round([p[1] for p in line]),
            "line": {"color": BEST, "width": 2.5, "shape": "hv"}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    default = s.default
    if default is not None and default.state == "complete" and default.best_score is not None:
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": "paper's default",
                "x": [0, spent], "y": _round([default.best_score] * 2),
                "line": {"color": DEFAULT, "width": 1.5, "dash": "dash"}, "hoverinfo": "skip",
            }
        )  # fmt: skip
    y = {**_score_axis(s), **_window(s, [p[1] for p in points])}
    moves = "falls" if s.direction == "min" else "rises"
    caption = (
        f"Each dot is a finished trial; the line is the best score up to then ({_better(s)}). Where it still {moves} "
        "at the right, more budget is likely to help; where it has long been flat, it is not. Trials that were "
        "stopped early take epochs but have no dot. In order of trial number."
    )
    return Chart(
        "incumbent", "Best score over the budget", caption, _figure(data, "epochs trained, all trials", y)
    )


def curves_chart(s: Snapshot) -> Chart | None:
    """Every trial's validation score over its epochs; None before the first epoch."""
    seen = [t for t in s.trials if t.curve]
    if not seen:
        return None
    best = s.best
    special = {0} | ({best.number} if best is not None else set())
    data = [
        _curves(
            [t for t in seen if t.state == state and t.number not in special],
            words.STATES[state],
            COLOURS[state],
            s,
        )
        for state in _CURVE_ORDER
    ]
    if s.default is not None and s.default.curve:
        data.append(_curves([s.default], "paper's default", DEFAULT, s, width=2.2, dash="dash"))
    if best is not None and best.number != 0:
        data.append(_curves([best], f"best (trial {best.number})", BEST, s, width=2.8))
    late = [v for t in seen for v in words.scores(t)[1:] or words.scores(t) if math.isfinite(v)]
    window = _window(s, late)
    caption = (
        f"Validation score of every trial ({_better(s)}). Grey curves were stopped early because other trials were "
        "better at the same epoch."
    )
    if window:
        caption += " The axis leaves out the worst scores of the first epochs."
    figure = _figure([d for d in data if d["x"]], "epoch", {**_score_axis(s), **window})
    return Chart("curves", "Learning curves", caption, figure, height=380)


def schedule_chart(s: Snapshot) -> Chart | None:
    """λ = k/N over the epochs, best against default; None when no curve is there to show."""
    shown = [(s.default, "paper's default", DEFAULT, "dash")]
    if s.best is not None and s.best.number != 0:
        shown.append((s.best, f"best (trial {s.best.number})", BEST, "solid"))
    data = []
    for trial, name, colour, dash in shown:
        if trial is None or not trial.curve:
            continue
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": name,
                "x": [r["epoch"] for r in trial.curve], "y": [round(100 * r["lam"], 2) for r in trial.curve],
                "text": [str(r["k"]) for r in trial.curve],
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
    return Chart(
        "schedule", "Patch replacement over training", caption, _figure(data, "epoch", y), height=300
    )


def importance_chart(importances: Mapping[str, float]) -> Chart:
    """Bars, the most important setting on top."""
    names = list(importances)[::-1]
    data = [
        {
            "type": "bar", "orientation": "h", "y": [_plain(n) for n in names],
            "x": [round(100 * importances[n], 1) for n in names], "marker": {"color": COLOURS["complete"]},
            "text": [f"{100 * importances[n]:.0f} %" for n in names], "textposition": "outside", "cliponaxis": False,
            "hoverinfo": "skip",
        }
    ]  # fmt: skip
    y = {"automargin": True, "showgrid": False, "ticksuffix": " "}
    figure = _figure(data, "share of importance, %", y)
    figure["layout"]["xaxis"] |= {"range": [0, 118 * max(importances.values())], "showgrid": False}
    caption = (
        "Which settings tell the best quarter of the finished trials from the rest (PED-ANOVA). A long bar is worth "
        "searching closely; a short one made little difference within the range searched. Few trials make it rough."
    )
    return Chart("importance", "What mattered", caption, figure, height=90 + 30 * len(names))


def slice_charts(s: Snapshot, domains: Mapping[str, Domain]) -> list[Chart]:
    """Score against each searched setting, one small chart each."""
    finished = [t for t in s.searched if t.state == "complete" and t.best_score is not None]
    window = _window(s, [t.best_score for t in finished if t.best_score is not None])
    charts: list[Chart] = []
    for name, domain in domains.items():
        trials = [t for t in finished if name in t.params]
        if domain.single or len(trials) < 2:
            continue
        y = {**_score_axis(s, title=False), **window}
        figure = _figure([_slice(s, t, name, domain) for t in _groups(s, trials)], _plain(name), y)
        figure["layout"] |= {"showlegend": False, "margin": {"l": 44, "r": 12, "t": 8, "b": 44}}
        figure["layout"]["xaxis"] |= _setting_axis(domain)
        charts.append(Chart(f"slice-{len(charts)}", name, "", figure, height=230))
    return charts


def _groups(s: Snapshot, trials: Sequence[TrialView]) -> list[list[TrialView]]:
    """The default and the best come last, to lie on top."""
    best = s.best.number if s.best is not None else 0
    plain = [t for t in trials if t.number not in (0, best)]
    return [
        g for g in (plain, [t for t in trials if t.number == 0], [t for t in trials if t.number == best]) if g
    ]


def _slice(s: Snapshot, trials: Sequence[TrialView], name: str, domain: Domain) -> dict[str, Any]:
    best = s.best.number if s.best is not None else -1
    first = trials[0].number
    marker: dict[str, Any] = {"color": COLOURS["complete"], "size": 6, "opacity": 0.55}
    if first == 0:
        marker = {"color": DEFAULT, "size": 9, "symbol": "diamond-open", "line": {"width": 2}}
    if first == best:
        marker = {"color": BEST, "size": 10, "symbol": "diamond"}
    values = [t.params[name] for t in trials]
    return {
        "type": "scatter", "mode": "markers", "marker": marker,
        "x": [_plain(words.setting(v)) for v in values] if isinstance(domain, Choice) else _round(values),
        "y": _round([t.best_score for t in trials]), "text": [str(t.number) for t in trials],
        "hovertemplate": f"trial %{{text}}: %{{x}}<br>%{{y}}{_unit(s)}<extra></extra>",
    }  # fmt: skip


def _setting_axis(domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Numeric):
        return {"type": "log", **_log_ticks(domain)} if domain.log else {"nticks": 6}
    # Given, so that choices that no finished trial has are seen too; without it "1" would become a number.
    values = [_plain(words.setting(v)) for v in domain.values]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": values,
        "range": [-0.5, len(values) - 0.5],
    }


def _log_ticks(domain: Numeric) -> dict[str, Any]:
    """Powers of ten; below two of them also twice and five times a power."""
    first, last = math.floor(math.log10(domain.low)), math.ceil(math.log10(domain.high))
    steps = (1,) if domain.high / domain.low >= 100 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    plain = domain.low >= 0.01 and domain.high <= 1e4
    return {
        "tickvals": ticks,
        "ticktext": [f"{t:g}" if plain else f"{t:.0e}".replace("e-0", "e-") for t in ticks],
    }


def _curves(
    trials: Sequence[TrialView],
    name: str,
    colour: str,
    s: Snapshot,
    *,
    width: float = 1.2,
    dash: str = "solid",
) -> dict[str, Any]:
    """Many trials as one trace, with gaps between them: a search has hundreds."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for trial in trials:
        x += [*(int(r["epoch"]) for r in trial.curve), None]
        y += [*_round(words.scores(trial)), None]
        text += [str(trial.number)] * (trial.epoch + 1)
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "text": text,
        "line": {"color": colour, "width": width, "dash": dash}, "opacity": 1.0 if width > 2 else 0.6,
        "hovertemplate": f"trial %{{text}}, epoch %{{x}}<br>%{{y}}{_unit(s)}<extra></extra>",
    }  # fmt: skip


def _figure(data: list[dict[str, Any]], x_title: str, y: Mapping[str, Any]) -> Figure:
    axis = {
        "gridcolor": "#e8ebee", "linecolor": "#c5cbd1", "ticks": "outside", "tickcolor": "#c5cbd1", "ticklen": 4,
        "zeroline": False, "automargin": True,
    }  # fmt: skip
    layout = {
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "#3d4650"},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48}, "dragmode": False, "hovermode": "closest",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": "#c5cbd1", "font": {"color": "#1b1f24"}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**axis, "title": {"text": x_title, "standoff": 8}}, "yaxis": {**axis, **y},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _score_axis(s: Snapshot, *, title: bool = True) -> dict[str, Any]:
    unit = "" if s.unit in ("", "1") else f" ({s.unit})"
    return {"title": {"text": _plain(f"{s.metric}{unit}")}} if title else {}


def _window(s: Snapshot, values: Sequence[float]) -> dict[str, Any]:
    """An axis range without far outliers on the bad side; empty where there are none."""
    finite = sorted(v for v in values if math.isfinite(v))
    if s.direction == "max":
        finite = [-v for v in reversed(finite)]
    if len(finite) < 8:
        return {}
    best, quarter, worst = finite[0], finite[(3 * len(finite)) // 4], finite[-1]
    limit = best + 2.5 * (quarter - best)
    if worst <= limit or quarter == best:
        return {}
    low, high = best - 0.06 * (limit - best), limit
    return {"range": [low, high] if s.direction == "min" else [-high, -low]}


def _better(s: Snapshot) -> str:
    return "lower is better" if s.direction == "min" else "higher is better"


def _unit(s: Snapshot) -> str:
    return "" if s.unit in ("", "1", "unit of y") else " " + _plain(s.unit)


def _plain(text: str) -> str:
    """Plotly reads a few HTML tags in its labels."""
    return html.escape(text, quote=False)


def _round(values: Sequence[Any]) -> list[float | None]:
    """Five significant digits, None for what is not a finite number: the page stays small."""
    return [float(f"{v:.5g}") if v is not None and math.isfinite(v) else None for v in values]
