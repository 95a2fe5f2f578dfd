from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simulate.replay import Outcome, Report, Run, Trace, replay
from simulate.surrogate import Curve


def world_of(curves: Mapping[str, Curve], epochs: int = 3) -> Any:
    """Settings are {"name": ...}."""
    return SimpleNamespace(
        epochs=epochs, table=SimpleNamespace(best=min), curve=lambda settings: curves[settings["name"]]
    )


class Scripted:
    """Runs a list; stops runs after the epochs that it was told."""

    def __init__(self, runs: Sequence[Run], stop: Mapping[str, int] | None = None) -> None:
        self.runs, self.stop = list(runs), stop or {}
        self.heard: list[tuple[str, int]] = []
        self.ends: list[tuple[str, Outcome, str | None]] = []

    def ask(self) -> Run | None:
        return self.runs.pop(0) if self.runs else None

    def report(self, report: Report) -> bool:
        self.heard.append((report.key, report.epoch))
        return self.stop.get(report.key) == report.epoch

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        self.ends.append((key, outcome, cause))


A = Curve((5.0, 4.0, 3.0), (2.0, 2.0, 2.0))
B = Curve((6.0, 2.0, 9.0), (3.0, 3.0, 3.0))
C = Curve((1.0, 1.5, 0.5), (1.0, 1.0, 1.0))
RUNS = [Run(name, {"name": name}) for name in "ABC"]


def test_one_at_a_time_takes_the_sum_of_the_epochs() -> None:
    strategy = Scripted(RUNS)
    trace = replay(strategy, world_of({"A": A, "B": B, "C": C}), epochs=100)
    assert trace.seconds.tolist() == [2, 4, 6, 9, 12, 15, 16, 17, 18]
    assert trace.best.tolist() == [5, 4, 3, 3, 2, 2, 1, 1, 0.5]
    assert strategy.ends == [(name, "complete", None) for name in "ABC"]
    assert (trace.runs, trace.complete, trace.stopped, trace.failed) == (3, 3, 0, 0)


def test_two_at_a_time_overlap() -> None:
    # A ends epochs at 2, 4, 6; B at 3, 6, 9; C starts where A ends: 7, 8, 9. At equal times the one begun first.
    strategy = Scripted(RUNS)
    trace = replay(strategy, world_of({"A": A, "B": B, "C": C}), epochs=100, parallel=2)
    assert trace.seconds.tolist() == [2, 3, 4, 6, 6, 7, 8, 9, 9]
    assert strategy.heard == [
        ("A", 1), ("B", 1), ("A", 2), ("B", 2), ("A", 3), ("C", 1), ("C", 2), ("B", 3), ("C", 3),
    ]  # fmt: skip
    assert trace.best.tolist() == [5, 5, 4, 2, 2, 1, 1, 1, 0.5]


def test_a_stopped_run_frees_its_place() -> None:
    strategy = Scripted(RUNS, stop={"A": 1, "B": 2})
    trace = replay(strategy, world_of({"A": A, "B": B, "C": C}), epochs=100)
    assert trace.seconds.tolist() == [2, 5, 8, 9, 10, 11]
    assert strategy.ends == [("A", "stopped", None), ("B", "stopped", None), ("C", "complete", None)]


def test_a_failing_epoch_takes_its_time_and_counts_as_none() -> None:
    failing = Curve((5.0,), (2.0, 7.0), "diverged")
    strategy = Scripted(RUNS[:1] + RUNS[2:])
    trace = replay(strategy, world_of({"A": failing, "C": C}), epochs=100)
    assert trace.seconds.tolist() == [2, 10, 11, 12]
    assert strategy.ends[0] == ("A", "failed", "diverged")
    assert trace.failed == 1


def test_the_budget_ends_a_search_in_the_middle_of_a_trial() -> None:
    strategy = Scripted(RUNS)
    trace = replay(strategy, world_of({"A": A, "B": B, "C": C}), epochs=4)
    assert trace.seconds.tolist() == [2, 4, 6, 9]
    assert (trace.runs, trace.complete) == (2, 1)


def test_a_continued_run_pays_for_its_new_epochs_only() -> None:
    runs = [Run("first", {"name": "A"}, end=1), Run("again", {"name": "A"}, begin=1)]
    strategy = Scripted(runs)
    trace = replay(strategy, world_of({"A": A}), epochs=100)
    assert strategy.heard == [("first", 1), ("again", 2), ("again", 3)]
    assert trace.seconds.tolist() == [2, 4, 6]


def test_reports_carry_the_running_best() -> None:
    heard: list[float] = []

    class Listening(Scripted):
        def report(self, report: Report) -> bool:
            heard.append(report.best_score)
            return False

    replay(Listening(RUNS[1:2]), world_of({"B": B}), epochs=100)
    assert heard == [6, 2, 2]


def test_a_trace_tells_when_a_goal_was_reached() -> None:
    trace = Trace(np.array([5.0, 4.0, 4.0, 1.0]), np.arange(4.0), runs=1, complete=1, stopped=0, failed=0)
    assert trace.epochs_to(4.0, direction="min") == 2
    assert trace.epochs_to(0.5, direction="min") == math.inf
    assert trace.epochs_to(5.0, direction="max") == 1
    assert [trace.at(n) for n in (1, 3, 4, 99)] == [5, 4, 1, 1]
    assert math.isnan(trace.at(0))


@pytest.mark.parametrize("parallel", [1, 3, 7])
def test_every_report_is_in_the_order_of_time(parallel: int) -> None:
    rng = np.random.default_rng(0)
    curves = {str(i): Curve((1.0,) * 3, tuple(rng.uniform(1, 5, 3).tolist())) for i in range(20)}
    trace = replay(
        Scripted([Run(n, {"name": n}) for n in curves]), world_of(curves), epochs=1000, parallel=parallel
    )
    assert (np.diff(trace.seconds) >= 0).all()
    assert len(trace.seconds) == 60
    assert trace.seconds[-1] >= sum(sum(c.seconds) for c in curves.values()) / parallel
