"""What a comparison says, as plain rows: for JSON and for RESULTS.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simulate.compare import TaskResult, mean_ranks, median_share, quartile
from simulate.replay import Trace

BUDGETS = (5, 10, 25, 50)
"""Whole trials' worth of epochs at which searches are ranked."""


def budgets(results: Sequence[TaskResult]) -> tuple[int, ...]:
    """Those of BUDGETS that the searches had, and the whole one."""
    whole = results[0].trials
    return tuple(sorted({*(b for b in BUDGETS if b < whole), whole}))


def summarize(results: Sequence[TaskResult]) -> dict[str, Any]:
    """Everything as JSON values; what was never reached or cannot be told is null.

    Returns:
        {"strategies": rows over all tasks, "tasks": one row a task with its own strategies}.
    """
    at = budgets(results)
    ranks = {budget: mean_ranks(results, budget) for budget in at}
    return {
        "strategies": [
            {
                "strategy": name,
                "share_to_goal": _finite(median_share(results, name)),
                "ranks": {str(budget): ranks[budget][name] for budget in at},
                "worse_than_default": float(np.mean([r.below_default(name) for r in results])),
            }
            for name in results[0].traces
        ],
        "tasks": [_task(result, at) for result in results],
    }


def _task(result: TaskResult, at: Sequence[int]) -> dict[str, Any]:
    return {
        "task": result.task,
        "epochs": result.epochs,
        "direction": result.direction,
        "configurations": result.held_out.configurations,
        "held_out_error": result.held_out.error,
        "held_out_tau": _finite(result.held_out.tau),
        "default": _finite(result.default),
        "goal": result.goal,
        "strategies": [
            {
                "strategy": name,
                "share_to_goal": _quartiles(result.share_to_goal(name)),
                "scores": {str(b): _quartiles(result.scores(name, b)) for b in at},
                "runs": float(np.median([t.runs for t in traces])),
                "complete": float(np.median([t.complete for t in traces])),
                "seconds": _finite(float(np.median([_seconds(t) for t in traces]))),
            }
            for name, traces in result.traces.items()
        ],
    }


def percent(share: float | None) -> str:
    """A share of the budget; "never" where it was not reached."""
    return "never" if share is None else f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """A score."""
    return "–" if value is None else f"{value:.4g}"


def two_digits(value: float | None) -> str:
    """A correlation."""
    return "–" if value is None else f"{value:.2f}"


def with_spread(quartiles: Sequence[float | None], shown: Any) -> str:
    """Median (lower quartile – upper quartile)."""
    low, middle, high = (shown(value) for value in quartiles)
    return f"{middle} ({low} – {high})"


def _seconds(trace: Trace) -> float:
    """Simulated wall time of a search; NaN if no epoch ended."""
    return float(trace.seconds[-1]) if len(trace.seconds) else math.nan


def _quartiles(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [_finite(quartile(values, share)) for share in (0.25, 0.5, 0.75)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
