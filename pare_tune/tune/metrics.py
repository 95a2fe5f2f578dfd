"""A search in numbers for Ray's metrics: Prometheus reads them, Grafana draws them (`jobs/grafana-dashboard.json`).

Gauges of the driver, tagged with the run and its task and nothing else: a tag for every trial would make a thousand
series of a long search. Ray puts `ray_` before each name and serves them at every node's metrics port.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Mapping

from ray.util.metrics import Gauge

from pare_tune.tune.snapshot import Snapshot, TrialState

TAGS = ("run", "task")

_STATES: Mapping[TrialState, str] = {
    "waiting": "Trials that wait for a worker.",
    "running": "Trials that run now.",
    "complete": "Trials that were trained in full.",
    "pruned": "Trials that were stopped early.",
    "failed": "Trials that diverged, collapsed, ran out of memory or crashed.",
}

GAUGES: Mapping[str, str] = {
    "pare_tune_best_score": "Validation score of the best complete trial, in the metric's unit.",
    "pare_tune_default_score": "Validation score of trial 0, the paper's configuration, once it is complete.",
    **{f"pare_tune_trials_{state}": text for state, text in _STATES.items()},
    "pare_tune_epochs": "Epochs trained, over all trials.",
    "pare_tune_epochs_per_second": "Epochs a second of wall time, over the last epochs of all trials.",
    "pare_tune_k": "Target patches replaced by source patches, mean over the running trials.",
    "pare_tune_k_share": "The same as a share of a sample's patches, from 0 to 1.",
    "pare_tune_budget_spent": "Share of the budget that is spent, from 0 to 1.",
    "pare_tune_elapsed_seconds": "Wall time of the search, over all its sessions.",
    "pare_tune_remaining_seconds": "Estimated wall time that is left, from measured epochs.",
}
"""Name → what it is."""

_WINDOW = 20
"""Epochs that the rate is taken over: a time window would have to know how long an epoch lasts."""


class SearchMetrics:
    """The gauges of one search; needs a connected Ray."""

    def __init__(self, run: str, task: str) -> None:
        tags = {"run": run, "task": task}
        self._gauges = {
            name: Gauge(name, description=text, tag_keys=TAGS).set_default_tags(tags)
            for name, text in GAUGES.items()
        }

    def update(self, snapshot: Snapshot) -> None:
        """Tell Ray how the search stands; it sends the numbers on every few seconds."""
        for name, value in measured(snapshot).items():
            self._gauges[name].set(value)


def measured(snapshot: Snapshot) -> dict[str, float]:
    """Gauge → value, for those that are known."""
    s = snapshot
    default = s.default if s.default is not None and s.default.state == "complete" else None
    last = [t.curve[-1] for t in s.trials if t.state == "running" and t.curve]
    values: dict[str, float | None] = {
        "pare_tune_best_score": None if s.best is None else s.best.best_score,
        "pare_tune_default_score": None if default is None else default.best_score,
        **{f"pare_tune_trials_{state}": s.count(state) for state in _STATES},
        "pare_tune_epochs": sum(t.epoch for t in s.trials),
        "pare_tune_epochs_per_second": _epochs_per_second(s),
        "pare_tune_k": statistics.fmean(r["k"] for r in last) if last else None,
        "pare_tune_k_share": statistics.fmean(r["lam"] for r in last) if last else None,
        "pare_tune_budget_spent": s.spent,
        "pare_tune_elapsed_seconds": s.elapsed_s,
        "pare_tune_remaining_seconds": s.remaining_s,
    }
    return {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}


def _epochs_per_second(s: Snapshot) -> float:
    """Falls towards 0 while nothing ends, and is 0 once the search has ended."""
    if s.finished:
        return 0.0
    latest = heapq.nlargest(_WINDOW + 1, (r["elapsed"] for t in s.trials for r in t.curve))
    if not latest:
        return 0.0
    whole = len(latest) > _WINDOW
    count, since = (_WINDOW, latest[-1]) if whole else (len(latest), 0.0)
    return count / max(s.elapsed_s - since, 1e-3)
