"""Performance profiles of methods over tasks, the paper's figure 3.

Dolan and Moré, Mathematical Programming 2002, https://arxiv.org/abs/cs/0102001. With r(t, m) the score of method m on
task t over the best of all methods there, ρ_m(τ) is the share of tasks with r(t, m) ≤ τ. Where higher scores are better
the ratio is the best over the method's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from pare_tune.compare.comparison import Comparison
from pare_tune.figures.sheet import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Drawing, new_figure

if TYPE_CHECKING:
    import pandas as pd

STEM: Final = "3-performance-profiles"
_INKS: Final = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
_LINES: Final = ("-", "--", ":")
"""The next seven methods are told from the first by their lines."""
_SAME = 1 + 1e-12
"""Scores are rounded before they are divided, so that equal ones may differ in the last bits."""


def profiles(comparison: Comparison) -> Drawing | None:
    """The profiles of a comparison; None below two methods with scores, and where a negative score has no ratio.

    A method that is not for a task has not solved it, as one that failed on it.
    """
    table = comparison.table()
    scored = table[table["score"].notna()]
    if scored["method"].nunique() < 2 or (scored["score"] < 0).any():
        return None
    return draw(performance_ratios(table)[list(dict.fromkeys(table["method"]))])


def performance_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Columns task, method, score, direction → a row a task, a column a method: the ratio to the best.

    1 for the best, infinite where there is no score. Several scores of one method on one task (seeds) count by their
    mean.
    """
    wide = table.pivot_table(index="task", columns="method", values="score", aggfunc="mean", dropna=False)
    best_is_max = table.groupby("task")["direction"].first().reindex(wide.index) == "max"
    best = wide.max(axis=1).where(best_is_max, wide.min(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = wide.rdiv(best, axis=0).where(best_is_max, wide.div(best, axis=0), axis=0)
    # 0/0 is a method that is as good as the best, which is perfect; a ratio to nothing is no solution.
    return ratios.mask(wide.eq(best, axis=0), 1.0).fillna(math.inf)


def draw(ratios: pd.DataFrame) -> Drawing:
    """A curve a method, from `performance_ratios`."""
    tasks = len(ratios)
    solved = {method: sorted(r for r in ratios[method] if math.isfinite(r)) for method in ratios.columns}
    figure = new_figure(2.6, "Performance profiles", f"{tasks} tasks")
    axes = figure.subplots()
    last = max(1.05 * max(taus[-1] for taus in solved.values() if taus), 1.1)
    for i, method in enumerate(ratios.columns):
        # What is not solved rises beyond the edge.
        axes.ecdf(ratios[method].clip(upper=2 * last), label=method, color=_INKS[i % len(_INKS)],
                  ls=_LINES[i // len(_INKS) % len(_LINES)])  # fmt: skip
    if last > 8:
        axes.set_xscale("log", subs=(2, 5))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlim(1, last)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("τ, ratio to the best method's score (no unit)")
    axes.set_ylabel("share of tasks within τ")
    axes.grid(lw=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    wins = (ratios <= _SAME).mean()
    return Drawing(
        stem=STEM,
        figure=figure,
        columns=("method", "tau", "share"),
        rows=[(m, tau, (i + 1) / tasks) for m, taus in solved.items() for i, tau in enumerate(taus)],
        caption=(
            f"Performance profiles (Dolan and Moré, 2002) of {len(solved)} methods over {tasks} tasks: the share of "
            f"tasks on which a method's score is within a factor τ of the best one there. To see: the nearer a curve "
            f"is to the upper left corner, the better; its height at τ = 1 is the share of tasks on which "
            f"the method is the best. A task without a score counts as not solved. At τ = 1: "
            + ", ".join(f"{m} {wins[m]:.0%}" for m in solved)
            + "."
        ),
    )
