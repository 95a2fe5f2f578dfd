"""The two pictures of a comparison: performance profiles (the paper's Figure 3) and average ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pare_tune.compare.comparison import Comparison
from pare_tune.compare.statistics import ALPHA, Ranking
from pare_tune.figures import profiles
from pare_tune.figures.sheet import BLACK, BLUE, VERMILION, Drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKS_STEM: Final = "critical-difference"
_ROW, _TOP = 0.16, 0.85
"""Inches of a method's line, and of what is above and below them."""


def drawings(comparison: Comparison) -> list[Drawing]:
    """Those that can be drawn: profiles of two methods and more, ranks where every method has a score of some task."""
    made = []
    profile = _profile(comparison)
    if profile is not None:
        made.append(profile)
    if comparison.ranking.tasks and len(comparison.names) > 1:
        made.append(rank_drawing(comparison.ranking))
    return made


def _profile(comparison: Comparison) -> Drawing | None:
    table = comparison.table()
    scored = table[table["score"].notna()]
    if scored["method"].nunique() < 2 or (scored["score"] < 0).any():
        return None
    # A method that is not for a task has not solved it, as one that failed on it.
    return profiles.make(table[["task", "method", "score", "direction"]], f"{scored['task'].nunique()} tasks")


def rank_drawing(ranking: Ranking) -> Drawing:
    """Demšar's diagram: methods at their average ranks, bars over those that are not told apart."""
    count = len(ranking.methods)
    order = sorted(range(count), key=lambda i: ranking.ranks[i])
    groups = ranking.groups()
    rows = (count + 1) // 2
    height = _TOP + _ROW * (rows + len(groups))
    subtitle = f"{ranking.tasks} tasks"
    if ranking.critical == ranking.critical:
        subtitle += f", critical difference {ranking.critical:.2f} at {ALPHA:.0%}"
    figure = new_figure(height, "Average ranks", subtitle)
    axes = figure.subplots()
    _axis(axes, count, rows + len(groups))
    for level, group in enumerate(groups):
        inside = [ranking.ranks[i] for i in group]
        y = -(level + 0.7)
        axes.plot(
            [min(inside) - 0.03, max(inside) + 0.03], [y, y], color=VERMILION, lw=2.5, solid_capstyle="butt"
        )
    left = order[:rows]
    for position, index in enumerate(order):
        on_left = index in left
        line = position if on_left else count - 1 - position
        _label(axes, ranking, index, -(len(groups) + line + 0.9), count, on_left=on_left)
    return Drawing(
        stem=RANKS_STEM,
        figure=figure,
        columns=("method", "average_rank", "tasks", "critical_difference"),
        rows=[(ranking.methods[i], ranking.ranks[i], ranking.tasks, ranking.critical) for i in order],
        caption=_caption(ranking),
    )


def _axis(axes: Axes, count: int, lines: int) -> None:
    axes.set_xlim(1 - 0.55 * count, count + 0.55 * count)
    axes.set_ylim(-(lines + 1.0), 1.2)
    axes.axis("off")
    axes.plot([1, count], [0, 0], color=BLACK, lw=0.8)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.25], color=BLACK, lw=0.8)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom")


def _label(axes: Axes, ranking: Ranking, index: int, y: float, count: int, *, on_left: bool) -> None:
    rank, name = ranking.ranks[index], ranking.methods[index]
    end = 0.95 if on_left else count + 0.05
    axes.plot([rank, rank, end], [0, y, y], color=BLUE, lw=0.7)
    text = f"{name} {rank:.2f}" if on_left else f"{rank:.2f} {name}"
    axes.text(end + (-0.06 if on_left else 0.06), y, text, ha="right" if on_left else "left", va="center")


def _caption(ranking: Ranking) -> str:
    if ranking.critical != ranking.critical:
        test = "Below three methods or two tasks there is no test."
    else:
        test = (
            f"Friedman's test (Iman and Davenport's F): chi-squared {ranking.chi2:.2f}, p = {ranking.p:.2g}. A bar "
            f"joins methods whose average ranks differ by less than the critical difference of Nemenyi's test, "
            f"{ranking.critical:.2f} at {ALPHA:.0%}: they are not told apart."
        )
    return (
        f"Average ranks of {len(ranking.methods)} methods over {ranking.tasks} tasks (Demšar, 2006); 1 is best, ties "
        f"share theirs. {test}"
    )
