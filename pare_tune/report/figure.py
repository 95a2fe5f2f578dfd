"""What all charts of the HTML pages share: plotly figures in plain values, {"data": [...], "layout": {...}}.

States keep one colour, one symbol and one line style everywhere; the colours are Okabe and Ito's, which colour-blind
readers can tell apart. The page's script exchanges them for lighter ones on a dark page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pare_tune.report import words
from pare_tune.tasks.base import loss_sign
from pare_tune.tune.snapshot import Snapshot, TrialState

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

BEST, DEFAULT = "#d55e00", "#1b1f24"
GREY, PINK = "#8b959f", "#cc79a7"
COLOURS: dict[TrialState, str] = {
    "complete": "#0072b2",
    "pruned": GREY,
    "failed": PINK,
    "running": "#009e73",
    "waiting": GREY,
}
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8b959f", "#1b1f24")
"""Of things without an order, such as runs."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MAX_POINTS = 12_000
"""Points of one chart; beyond, curves are thinned so that a page of a thousand trials stays small."""

Figure = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure and the sentence that says what to see in it."""

    key: str
    title: str
    caption: str
    figure: Figure
    height: int = 340


def draw(data: list[dict[str, Any]], x_title: str, y: Mapping[str, Any], **layout: Any) -> Figure:
    """Traces in the common layout."""
    axis = {
        "gridcolor": "#e8ebee", "linecolor": "#c5cbd1", "ticks": "outside", "tickcolor": "#c5cbd1", "ticklen": 4,
        "zeroline": False, "automargin": True,
    }  # fmt: skip
    common = {
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "#3d4650"},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48}, "dragmode": False, "hovermode": "closest",
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": "#c5cbd1", "font": {"color": "#1b1f24"}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "xaxis": {**axis, "title": {"text": x_title, "standoff": 8}}, "yaxis": {**axis, **y},
    }  # fmt: skip
    return {"data": data, "layout": {**common, **layout}}


def score_axis(s: Snapshot, *, title: bool = True) -> dict[str, Any]:
    """The metric and its unit as an axis' title."""
    return {"title": {"text": plain(metric(s))}} if title else {}


def metric(s: Snapshot) -> str:
    """`mae_8 (Å)`."""
    return s.metric if s.unit in ("", "1") else f"{s.metric} ({s.unit})"


def window(s: Snapshot, values: Sequence[float]) -> dict[str, Any]:
    """An axis range without far outliers on the bad side; empty where there are none."""
    sign = loss_sign(s.direction)
    finite = sorted(sign * v for v in values if math.isfinite(v))
    if len(finite) < 8:
        return {}
    best, quarter, worst = finite[0], finite[(3 * len(finite)) // 4], finite[-1]
    limit = best + 2.5 * (quarter - best)
    if worst <= limit or quarter == best:
        return {}
    return {"range": sorted((sign * (best - 0.06 * (limit - best)), sign * limit))}


def unit(s: Snapshot) -> str:
    """As it follows a number; empty where there is none."""
    return "" if s.unit in ("", "1", "unit of y") else " " + plain(s.unit)


def plain(text: str) -> str:
    """Plotly reads a few HTML tags in its labels."""
    return html.escape(text, quote=False)


def rounded(values: Sequence[Any]) -> list[float | None]:
    """Five significant digits, None for what is not a finite number: the page stays small."""
    return [float(f"{v:.5g}") if v is not None and math.isfinite(v) else None for v in values]


def setting_axis(domain: BaseDistribution) -> dict[str, Any]:
    """An axis of a searched setting's values."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(domain, FloatDistribution | IntDistribution):
        # The whole range that was searched, so that an edge is seen to be one.
        low, high = (
            (math.log10(domain.low), math.log10(domain.high)) if domain.log else (domain.low, domain.high)
        )
        room = 0.05 * (high - low)
        scale = {"type": "log", "dtick": 1 if high - low >= 2 else "D2", "exponentformat": "e"}
        return {**(scale if domain.log else {"nticks": 6}), "range": [low - room, high + room]}
    # Given, so that choices that no finished trial has are seen too; without it "1" would become a number.
    values = [plain(words.setting(v)) for v in domain.choices]  # type: ignore[attr-defined]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": values,
        "range": [-0.5, len(values) - 0.5],
    }


def time_scale(seconds: float) -> tuple[float, str]:
    """(seconds of a unit, its name) in which a length of time is read with ease."""
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")
