"""How long a search still takes: from the epochs it measured, the trials it stopped early, and its confirmation."""

from __future__ import annotations

import heapq
import math
import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pare_tune.config import Budget, SearchConfig
from pare_tune.tune.pruner import rungs
from pare_tune.tune.snapshot import OPEN, TrialView

_SLACK = 1.2
"""Full trials take so much longer than those seen, to be safe of a deadline."""
_RECENT = 30
"""Trials that tell how many run at a time: a resumed search may have fewer CPUs than before."""
_ASSUMED = 4.0
"""Trials that pruning is assumed to have ended as it does on the average, beside those seen."""
_IN_EPOCH = 0.9
"""A running epoch counts as done up to this share, however long it takes."""


def cost(budget: Budget, count: int, *, epochs: int, concurrency: int, trials: Sequence[TrialView]) -> float:
    """What `count` trials of full length take, in the budget's unit; infinity where that is not known yet."""
    lengths = [t.seconds for t in trials if t.state == "complete"]
    seconds = math.ceil(count / concurrency) * statistics.median(lengths) * _SLACK if lengths else math.inf
    return budget.measured(trials=count, epochs=count * epochs, seconds=seconds)


def affordable_seeds(budget: Budget, confirm: int, cost_of: Callable[[int], float]) -> int:
    """Fresh seeds of the confirmation, at most `confirm` and as many as a quarter of the budget pays for."""
    return next((s for s in range(confirm, 0, -1) if cost_of(3 * s) <= budget.amount / 4), 0)


def repeats_due(default_repeats: int, seeds: int) -> int:
    """Trials that confirming trial 0, repeated so often already, and two others still takes, at most."""
    return 3 * seeds - min(default_repeats, seeds)


def repeats_planned(search: SearchConfig, trials: Sequence[TrialView]) -> int:
    """Repeats of a confirmation that has begun: those there are and those to come. 0 before it begins."""
    begun = sum(t.repeats is not None for t in trials)
    budget = search.budget
    if not begun or budget.unit == "seconds":
        return begun
    seeds = affordable_seeds(budget, search.confirm, lambda n: _trials_cost(budget, n, trials))
    candidates = sum(t.state == "complete" and t.repeats is None for t in trials)
    spent = budget.measured(trials=len(trials), epochs=sum(t.epoch for t in trials), seconds=0.0)
    return max(begun, min(3, candidates) * seeds) if spent < budget.amount else begun


def _trials_cost(budget: Budget, count: int, trials: Sequence[TrialView]) -> float:
    return cost(budget, count, epochs=trials[0].epochs, concurrency=1, trials=trials)


def remaining(search: SearchConfig, trials: Sequence[TrialView], elapsed: float) -> float | None:
    """Seconds left; None before the first epoch, where nothing was measured.

    A running epoch is taken to end, so the estimate is above 0 as long as anything runs.

    Args:
        elapsed: wall time so far.
    """
    budget = search.budget
    pace = Pace.measured(trials, elapsed)
    if pace is None:
        return max(0.0, budget.amount - elapsed) if budget.unit == "seconds" else None
    going = [t for t in trials if t.state == "running"]
    epoch_end = max((pace.epoch_s * (1.0 - pace.share_done(t, elapsed)) for t in going), default=0.0)
    match budget.unit:
        case "seconds":
            return max(budget.amount - elapsed, epoch_end)
        case "epochs":
            done = sum(t.epoch + pace.share_done(t, elapsed) for t in trials)
            left = max(0.0, budget.amount - done)
            starts = left / Lengths.of(search, trials).new
            return max((left * pace.epoch_s + starts * pace.gap_s) / pace.slots, epoch_end)
        case "trials":
            return max(_trials_left(search, trials, elapsed, pace), epoch_end)


def _trials_left(search: SearchConfig, trials: Sequence[TrialView], elapsed: float, pace: Pace) -> float:
    """Wall time until the last trial ends, as the places at which trials run become free one by one."""
    lengths = Lengths.of(search, trials)
    begun = [t for t in trials if t.state in OPEN]
    waiting = [t for t in begun if t.state == "waiting"]
    unbegun = max(0, round(search.budget.amount) - len(trials))
    seeds = affordable_seeds(search.budget, search.confirm, float)
    repeats = min(unbegun, repeats_due(sum(t.repeats == 0 for t in trials), seeds))
    free = [
        pace.epoch_s * (lengths.left(t) - pace.share_done(t, elapsed)) for t in begun if t.state == "running"
    ]
    free += [0.0] * (pace.slots - len(free))
    heapq.heapify(free)
    for epochs in [*map(lengths.left, waiting), *[lengths.new] * (unbegun - repeats)]:
        heapq.heappush(free, heapq.heappop(free) + pace.gap_s + epochs * pace.epoch_s)
    if unbegun > repeats or any(t.repeats is None for t in begun):
        # The confirmation waits for the search: who is the best may still change.
        free = [max(free)] * len(free)
    for _ in range(repeats):
        heapq.heappush(free, heapq.heappop(free) + pace.gap_s + lengths.full * pace.epoch_s)
    return max(free)


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured."""

    epoch_s: float
    """Wall time of an epoch of one trial."""
    gap_s: float
    """From the end of a trial to the start of the next one in its place."""
    slots: int
    """Trials at a time."""
    last_end: float
    """When a trial last ended, in seconds since the search began."""

    @classmethod
    def measured(cls, trials: Sequence[TrialView], elapsed: float) -> Pace | None:
        """From all epochs so far; None without one."""
        spans = {t.number: _span(t) for t in trials if t.curve}
        timed = {n: s for n, s in spans.items() if s is not None}
        num_epochs = sum(t.epoch for t in trials)
        if not num_epochs:
            return None
        if len(timed) < len(spans):  # a journal that does not say when
            return cls(elapsed / num_epochs, 0.0, 1, elapsed)
        recent = sorted(timed.values())[-_RECENT:]
        slots = max(_most_at_once(recent), sum(t.state == "running" for t in trials))
        ended = sorted(timed[t.number][1] for t in trials if t.curve and t.state not in OPEN)
        gaps = [a - b for a, b in zip(sorted(s for s, _ in timed.values())[slots:], ended, strict=False)]
        return cls(
            epoch_s=sum(end - start for start, end in timed.values()) / num_epochs,
            gap_s=max(0.0, statistics.median(gaps)) if gaps else 0.0,
            slots=slots,
            last_end=ended[-1] if ended else 0.0,
        )

    def share_done(self, trial: TrialView, elapsed: float) -> float:
        """How much of its current epoch a running trial has behind it."""
        if trial.state != "running":
            return 0.0
        span = _span(trial)
        since = elapsed - (self.last_end + self.gap_s if span is None else span[1])
        return min(max(since, 0.0) / self.epoch_s, _IN_EPOCH) if self.epoch_s > 0 else _IN_EPOCH


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many epochs trials take."""

    full: int
    goes_on: tuple[float, ...]
    """Share of the trials with 0, 1, … finished epochs that take one more."""

    @classmethod
    def of(cls, search: SearchConfig, trials: Sequence[TrialView]) -> Lengths:
        """From the trials so far, the open ones included (Kaplan and Meier 1958): the first ones to end are those that
        were stopped, and alone they would say that all are short. `_ASSUMED` trials of successive halving's average
        are counted with those seen."""
        full = trials[0].epochs
        seen = [(t.epoch, t.state in OPEN) for t in trials if t.repeats is None and t.number != 0]
        halved = tuple(_halving(search, full))
        shares: list[float] = []
        for done in range(full):
            there = sum(n >= done for n, _ in seen) + sum(w for n, w in halved if n >= done)
            over = sum(n == done and not is_open for n, is_open in seen) + sum(
                w for n, w in halved if n == done
            )
            shares.append(1.0 - over / there)
        return cls(full, tuple(shares))

    @property
    def new(self) -> float:
        """Expected epochs of a trial that has not begun."""
        return self._beyond(0)

    def left(self, trial: TrialView) -> float:
        """Expected epochs that an open trial has before it: the one that it is in, and what comes after that."""
        done = min(trial.epoch, self.full - 1)
        if trial.number == 0 or trial.repeats is not None:
            return float(self.full - done)
        return 1.0 + self._beyond(done + 1)

    def _beyond(self, done: int) -> float:
        return math.fsum(accumulate(self.goes_on[done:], operator.mul))


def _halving(search: SearchConfig, full: int) -> Iterator[tuple[int, float]]:
    """(epochs, trials) under successive halving, where one in `reduction` passes each rung."""
    going = _ASSUMED
    for rung in (
        rungs(full // search.num_folds, search.first_rung, search.reduction) if search.pruning else ()
    ):
        yield rung, going * (1 - 1 / search.reduction)
        going /= search.reduction
    yield full, going


def _span(trial: TrialView) -> tuple[float, float] | None:
    """When its first epoch began and its last one ended, in seconds since the search began."""
    if not trial.curve or not all(
        "elapsed" in r and "seconds" in r for r in (trial.curve[0], trial.curve[-1])
    ):
        return None
    end = float(trial.curve[-1]["elapsed"])
    return min(float(trial.curve[0]["elapsed"]) - float(trial.curve[0]["seconds"]), end), end


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return max(most, 1)
