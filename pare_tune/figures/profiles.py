"""Figure 3: performance profiles of methods over tasks.

Dolan and Moré, Mathematical Programming 2002, https://arxiv.org/abs/cs/0102001. With r(t, m) the score of method m on
task t over the best of all methods there, ρ_m(τ) is the share of tasks with r(t, m) ≤ τ. Where higher scores are better
the ratio is the best over the method's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pare_tune.errors import DataError
from pare_tune.figures.sheet import (
    BLACK,
    BLUE,
    GREEN,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Drawing,
    new_figure,
)

if TYPE_CHECKING:
    import pandas as pd

STEM = "3-performance-profiles"
COLUMNS: Final = ("task", "method", "score", "direction")

_INKS: Final = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
_LINES: Final = ("-", "--", ":")
"""The next seven methods are told from the first by their lines."""


def read_table(path: Path) -> pd.DataFrame:
    """Scores from CSV or Parquet: columns task, method, score and direction (min or max); others are left aside.

    Raises:
        DataError: the file is missing or damaged, lacks a column, or holds what is no score.
    """
    import pandas as pd

    read = pd.read_parquet if path.suffix.lower() in (".parquet", ".pq") else pd.read_csv
    try:
        table = read(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as a table: {error}") from error
    return _checked(table, str(path))


def performance_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """One row a task, one column a method: the ratio to the best, 1 for the best, infinite where there is no score.

    Several scores of one method on one task (seeds) count by their mean.

    Raises:
        DataError: see `read_table`; or a score is negative, of which no ratio can be made.
    """
    import numpy as np

    table = _checked(table, "the table")
    negative = table[table["score"] < 0]
    if len(negative):
        row = negative.iloc[0]
        raise DataError(
            f"performance profiles need scores of 0 or more, since they compare ratios; {row['method']} on "
            f"{row['task']} has {row['score']:g}"
        )
    wide = table.pivot_table(index="task", columns="method", values="score", aggfunc="mean", dropna=False)
    best_is_max = table.groupby("task")["direction"].first().reindex(wide.index) == "max"
    best = wide.max(axis=1).where(best_is_max, wide.min(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = wide.rdiv(best, axis=0).where(best_is_max, wide.div(best, axis=0), axis=0)
    # 0/0 is a method that is as good as the best, which is perfect; a ratio to nothing is no solution.
    return ratios.mask(wide.eq(best, axis=0), 1.0).fillna(math.inf)


def performance_profile(table: pd.DataFrame) -> pd.DataFrame:
    """The steps of every method's curve: columns method, tau (from 1 up) and share (of the tasks, 0 to 1).

    A curve has a row where it begins, at τ = 1, and one where it rises; a task that a method has no score for never
    counts.

    Raises:
        DataError: see `performance_ratios`.
    """
    import pandas as pd

    ratios = performance_ratios(table)
    rows = []
    for method in ratios.columns:
        mine = ratios[method].to_numpy()
        for tau in sorted({1.0, *(r for r in mine.tolist() if math.isfinite(r))}):
            # Scores are rounded before they are divided, so that equal ones may differ in the last bits.
            rows.append((str(method), tau, float((mine <= tau * (1 + 1e-12)).mean())))
    return pd.DataFrame(rows, columns=["method", "tau", "share"])


def make(table: pd.DataFrame, subtitle: str) -> Drawing:
    """Draw the profiles of a table of scores.

    Raises:
        DataError: see `performance_ratios`.
    """
    profile = performance_profile(table)
    tasks = table["task"].nunique()
    drawn = set(profile["method"])
    methods = [method for method in map(str, dict.fromkeys(table["method"])) if method in drawn]
    figure = new_figure(2.6, "Performance profiles", subtitle)
    axes = figure.subplots()
    last = max(float(profile["tau"].max()) * 1.05, 1.1)
    for i, method in enumerate(methods):
        mine = profile[profile["method"] == method]
        tau, share = [*mine["tau"], last], [*mine["share"], mine["share"].iloc[-1]]
        look: dict[str, Any] = {
            "color": _INKS[i % len(_INKS)],
            "marker": MARKERS[i % len(MARKERS)],
            "ls": _LINES[i // len(_INKS) % 3],
        }
        axes.step(tau, share, where="post", markevery=range(len(mine)), label=method, markersize=2.5, **look)
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
    return Drawing(
        stem=STEM,
        figure=figure,
        columns=("method", "tau", "share"),
        rows=[tuple(row) for row in profile.itertuples(index=False)],
        caption=_caption(profile, methods, tasks),
    )


def _caption(profile: pd.DataFrame, methods: Sequence[str], tasks: int) -> str:
    wins = profile[profile["tau"] == 1.0].set_index("method")["share"]
    return (
        f"Performance profiles (Dolan and Moré, 2002) of {len(methods)} methods over {tasks} tasks: the share of tasks "
        f"on which a method's score is within a factor τ of the best one there. To see: the nearer a curve is to the "
        f"upper left corner, the better; its height at τ = 1 is the share of tasks on which the method is the best, a "
        f"line at 1 is a method that always is. A task without a score counts as not solved. At τ = 1: "
        + ", ".join(f"{m} {wins[m]:.0%}" for m in methods)
        + "."
    )


def _checked(table: pd.DataFrame, where: str) -> pd.DataFrame:
    import pandas as pd

    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        has = ", ".join(map(str, table.columns)) or "none"
        raise DataError(
            f"{where}: a table of scores has columns {', '.join(COLUMNS)}; {missing[0]!r} is missing (found: {has})"
        )
    if table.empty:
        raise DataError(f"{where}: a table of scores needs at least one row")
    wrong = table[~table["direction"].isin(["min", "max"])]
    if len(wrong):
        raise DataError(f"{where}: direction is min or max, found {wrong['direction'].iloc[0]!r}")
    mixed = table.groupby("task")["direction"].nunique()
    if (mixed > 1).any():
        raise DataError(f"{where}: task {mixed.idxmax()} has scores of both directions; it can have one")
    scores = pd.to_numeric(table["score"], errors="coerce")
    unread = table[scores.isna() & table["score"].notna()]
    if len(unread):
        raise DataError(f"{where}: score must be a number, found {unread['score'].iloc[0]!r}")
    return table.assign(score=scores)
