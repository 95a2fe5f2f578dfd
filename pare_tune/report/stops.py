"""What was stopped early, when, and whether that was right as far as the finished trials can tell.

What a stopped trial would have ended with is not known. What is known are the trials that were no better at the same
epoch and went on all the same (trial 0 always does, and early ones do before there are rivals): if one of them ended
near the best, the stopped one might have, too.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pare_tune.report import words
from pare_tune.tasks.base import loss_sign
from pare_tune.tune.snapshot import Snapshot, TrialView

MIN_WITNESSES = 2
"""Finished trials that were no better at the same epoch, below which nothing is said."""

_NEAR = 2.0
"""Spreads within which two single scores may differ by their seeds alone."""

Verdict = Literal["right", "doubtful", "not known"]


@dataclass(frozen=True, slots=True)
class Stop:
    """One trial that was stopped because others were better."""

    number: int
    epoch: int
    score: float | None
    """Its best score by then, which is what was compared; None for NaN."""
    witnesses: int
    """Finished trials that were no better at that epoch."""
    near_best: int
    """Of these, those that ended near the best."""

    @property
    def verdict(self) -> Verdict:
        """Right when none of its witnesses ended near the best."""
        if self.score is None:
            return "right"
        if self.near_best:
            return "doubtful"
        return "right" if self.witnesses >= MIN_WITNESSES else "not known"


@dataclass(frozen=True, slots=True)
class Rung:
    """An epoch after which trials were stopped."""

    epoch: int
    reached: int
    """Trials of the search that got there."""
    stopped: int
    verdicts: Counter[Verdict]


@dataclass(frozen=True, slots=True)
class Stopping:
    """All of it."""

    stops: tuple[Stop, ...]
    rungs: tuple[Rung, ...]
    cut_by_budget: int
    """Trials that were running when the budget ended."""
    margin: float
    """Scores as close to the best as this count as near it."""

    @property
    def verdicts(self) -> Counter[Verdict]:
        """How many stops got which."""
        return Counter(stop.verdict for stop in self.stops)


def stopping(s: Snapshot) -> Stopping | None:
    """None where nothing was stopped."""
    pruned = [t for t in s.searched if t.state == "pruned"]
    if not pruned:
        return None
    finished = _finished(s)
    margin = _margin(s)
    judged = [t for t in pruned if t.stopped != "budget" and t.epoch]
    epochs = sorted({t.epoch for t in judged})
    witnesses = {epoch: _Witnesses(s, epoch, finished, margin) for epoch in epochs}
    rated = [witnesses[t.epoch].rate(t) for t in judged]
    rungs = tuple(_rung(s, epoch, rated) for epoch in epochs)
    return Stopping(tuple(rated), rungs, sum(t.stopped == "budget" for t in pruned), margin)


def stopping_lines(s: Snapshot, stopped: Stopping) -> list[str]:
    """What to say of it: the counts, the rule, and what else ended trials."""
    counts = stopped.verdicts
    lines = []
    if stopped.stops:
        told = [f"{counts[v]} {v}" for v in ("right", "doubtful", "not known") if counts[v]]
        lines.append(f"Of {words.plural(len(stopped.stops), 'trial')} stopped early: {', '.join(told)}.")
        lines.append(
            f"The rule: a stop was right if at least {MIN_WITNESSES} finished trials were no better at the same epoch "
            f"and none of them ended within {words.margin(s, stopped.margin)} of the best score of the search "
            f"({_margin_source(s)}); doubtful if one did; not known if there are fewer such trials."
        )
    if stopped.cut_by_budget:
        lines.append(
            f"{words.plural(stopped.cut_by_budget, 'trial')} more ended with the budget, which says nothing about them."
        )
    return lines


def _finished(s: Snapshot) -> list[TrialView]:
    return [t for t in s.searched if t.state == "complete" and t.best_score is not None]


class _Witnesses:
    """The finished trials at one epoch, sorted so that many stops are rated by looking up where each would stand."""

    def __init__(self, s: Snapshot, epoch: int, finished: Sequence[TrialView], margin: float) -> None:
        # Scores as if lower were better.
        self._sign = loss_sign(s.direction)
        best = min((self._sign * _end(t) for t in finished), default=math.nan)
        then = [(t, v) for t in finished if (v := _score_at(t, epoch)) is not None]
        self._all = sorted(self._sign * v for _, v in then)
        self._near = sorted(self._sign * v for t, v in then if abs(self._sign * _end(t) - best) <= margin)

    def rate(self, stopped: TrialView) -> Stop:
        score = _score_at(stopped, stopped.epoch)
        if score is None:
            return Stop(stopped.number, stopped.epoch, None, 0, 0)
        no_better, near = (
            len(scores) - bisect_left(scores, self._sign * score) for scores in (self._all, self._near)
        )
        return Stop(stopped.number, stopped.epoch, score, no_better, near)


def _rung(s: Snapshot, epoch: int, stops: Sequence[Stop]) -> Rung:
    here = [stop for stop in stops if stop.epoch == epoch]
    return Rung(
        epoch,
        sum(t.epoch >= epoch for t in s.searched),
        len(here),
        Counter(stop.verdict for stop in here),
    )


def _end(trial: TrialView) -> float:
    assert trial.best_score is not None
    return trial.best_score


def _score_at(trial: TrialView, epoch: int) -> float | None:
    """The best score by an epoch: what the pruner compared."""
    if not 0 < epoch <= trial.epoch:
        return None
    value = trial.curve[epoch - 1].get("best_score")
    return float(value) if value is not None and math.isfinite(value) else None


def _margin(s: Snapshot) -> float:
    if s.choice.spread is not None:
        return _NEAR * s.choice.spread
    leader = next((t for t in s.trials if t.number == s.choice.leader), None)
    return _NEAR * ((words.late_wobble(leader) if leader is not None else None) or 0.0)


def _margin_source(s: Snapshot) -> str:
    if s.choice.spread is not None:
        return "twice the spread over fresh seeds"
    return "twice what its score moves from epoch to epoch late in training"
