"""What a search looks like at one moment: plain values that the live view, `status` and the report draw from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

from pare_tune.tasks.base import Direction, is_better, loss_sign
from pare_tune.train.simple.scores import SimpleScore
from pare_tune.tune.paired import Interval, interval

TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]
OPEN: Final[frozenset[TrialState]] = frozenset({"waiting", "running"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What a search is about, for readers that know no tasks; the study keeps it under `about`."""

    task: str
    direction: Direction
    """Of the metric."""
    title: str = ""
    modality: str = ""
    metric: str = ""
    unit: str = ""
    provenance: str = ""
    """real, sample or solved."""
    preset: str = ""
    backbone: str = ""
    method: str = ""
    samples: int = 0
    """That trials are judged by: of validation or, with folds, of train and val. 0 where a study does not say."""

    @classmethod
    def read(cls, about: Mapping[str, Any]) -> Self:
        """What a study keeps; other versions may have kept more or less."""
        return cls(**{f.name: about[f.name] for f in fields(cls) if f.name in about})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialView:
    """One trial as people see it."""

    number: int
    state: TrialState
    params: Mapping[str, Any]
    """Dotted setting → value, the searched ones only."""
    curve: tuple[Mapping[str, Any], ...] = ()
    """One `EpochReport` dict an epoch, in order; never with holes."""
    epochs: int
    """Full length."""
    best_score: float | None = None
    """Best validation score so far; the trial's value when it is complete."""
    best_epoch: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    """Why it was stopped early: "rung" (others were better) or "budget" (nothing was left)."""
    cause: str | None = None
    """Why it failed: "diverged", "collapsed", "out_of_memory", "crashed", or "invalid" (settings that do not go
    together)."""
    message: str | None = None
    retries: int = 0
    repeats: int | None = None
    """Number of the trial that this one repeats with a fresh seed, to confirm it; None for trials of the search."""

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.curve)

    @property
    def folds(self) -> int:
        """Trainings of the trial, one with a validation split."""
        return int(self.curve[-1].get("folds", 1)) if self.curve else 1

    @property
    def length(self) -> int:
        """Epochs of one training, which `best_epoch` is one of."""
        return self.epochs // self.folds

    @property
    def training(self) -> tuple[Mapping[str, Any], ...]:
        """One report an epoch of one training; of several folds the last that came so far, whose score is over all of
        them."""
        by_epoch = {place % self.length: report for place, report in enumerate(self.curve)}
        return tuple(by_epoch.values())

    @property
    def influences(self) -> tuple[float, ...]:
        """What blocks of held-out samples contribute to the score of a finished trial, see `train.judge`."""
        return tuple(self.curve[-1].get("influences", ())) if self.curve else ()

    @property
    def k(self) -> int | None:
        """Patches replaced in the last epoch."""
        return int(self.curve[-1]["k"]) if self.curve else None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A trial of the search, trained again at full length with seeds that it was not chosen by."""

    number: int
    fresh: tuple[float, ...]
    """Scores, one a fresh seed; the search's own is not among them, since it was the luckiest of many."""
    missing: int = 0
    """Fresh seeds that another trial got and this one did not, because the budget had ended."""
    own: float | None = None
    """Trial 0's score in the search where fresh ones are missing: it was not chosen for that score, so it counts."""

    @property
    def scores(self) -> tuple[float, ...]:
        """All that count."""
        return self.fresh if self.own is None else (self.own, *self.fresh)

    @property
    def mean(self) -> float:
        """Over `scores`."""
        return statistics.fmean(self.scores)

    @property
    def spread(self) -> float | None:
        """Standard deviation over `scores`; None for a single one, which says nothing of it."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a search ends with."""

    number: int | None
    """The trial that is exported; None before one is complete."""
    leader: int | None
    """The trial of the best single score."""
    confirmed: tuple[Confirmed, ...] = ()
    """Best mean first; empty while the leader is not confirmed."""
    spread: float | None = None
    """Seeds' spread, pooled over `confirmed`; a gain that is not larger is none. None with a single seed."""

    @property
    def seeds(self) -> int:
        """Fresh seeds of the confirmation; 0 before one."""
        return max((len(c.fresh) for c in self.confirmed), default=0)


def choose(trials: Sequence[TrialView], direction: Direction) -> Choice:
    """The best trial: by its mean over fresh seeds once these are in, by its own score until then.

    Where the budget ended in the middle of the confirmation, each trial counts with the scores that it has. A winner
    that beats trial 0, the default, by no more than the seeds' spread gives way to it. A trial that fails with
    a fresh seed is out.
    """
    complete = [t for t in trials if t.state == "complete" and t.best_score is not None]
    broken = {t.repeats for t in trials if t.state == "failed" and t.repeats is not None}
    leader = None
    for trial in (t for t in complete if t.repeats is None and t.number not in broken):
        if leader is None or is_better(_score(trial), _score(leader), direction):
            leader = trial
    if leader is None:
        return Choice(None, None)
    is_open = any(t.repeats is not None and t.state in OPEN for t in trials)
    confirmed = _confirmed(complete, broken)
    if is_open or not any(c.number == leader.number and c.fresh for c in confirmed):
        return Choice(leader.number, leader.number)
    ranked = sorted(confirmed, key=lambda c: loss_sign(direction) * c.mean)
    spreads = [c.spread for c in ranked if c.spread is not None]
    spread = math.sqrt(statistics.fmean(x**2 for x in spreads)) if spreads else None
    winner, default = ranked[0], next((c for c in ranked if c.number == 0), None)
    if default is not None and abs(winner.mean - default.mean) <= (spread or 0.0):
        winner = default
    return Choice(winner.number, leader.number, tuple(ranked), spread)


def _confirmed(complete: Sequence[TrialView], broken: Collection[int | None]) -> list[Confirmed]:
    """What is known of the trials that were repeated, and of trial 0, which all are measured against."""
    fresh: dict[int, list[float]] = {}
    for trial in complete:
        if trial.repeats is not None and trial.repeats not in broken:
            fresh.setdefault(trial.repeats, []).append(_score(trial))
    seeds = max(map(len, fresh.values()), default=0)
    default = next((_score(t) for t in complete if t.number == 0 and 0 not in broken), None)
    if default is not None:
        fresh.setdefault(0, [])
    return [
        Confirmed(n, tuple(s), seeds - len(s), default if n == 0 and len(s) < seeds else None)
        for n, s in fresh.items()
    ]


def _score(trial: TrialView) -> float:
    assert trial.best_score is not None
    return trial.best_score


@dataclass(frozen=True, slots=True)
class Gain:
    """What a confirmed trial gained over trial 0."""

    value: float
    """Difference of means; positive is better."""
    interval: Interval | None
    """None where held-out outputs or the seeds' spread are not known."""


def _gain(s: Snapshot, winner: Confirmed, default: Confirmed) -> Gain:
    sign = loss_sign(s.direction)
    value = sign * (default.mean - winner.mean)
    a_G, b_G = (_influences(s, c) for c in (winner, default))
    if len(a_G) != len(b_G):
        return Gain(value, None)
    own = {t.number: t.best_score for t in s.searched}
    others = [c for c in s.choice.confirmed if c not in (winner, default)]
    seeds = [list(c.scores) for c in (winner, default, *others)]
    if max(map(len, seeds)) < 2:
        # One fresh seed: the scores that the search chose by make the spread larger than it is, never smaller.
        for scores, trial in zip(seeds, (winner, default, *others), strict=True):
            scores += [] if trial.own is not None else [own[trial.number] or 0.0]
    looks = sum(t.number != 0 and t.epoch > 0 for t in s.searched)
    return Gain(
        value, interval(value, [sign * (b - a) for a, b in zip(a_G, b_G, strict=True)], seeds, max(looks, 1))
    )


def _influences(s: Snapshot, trial: Confirmed) -> list[float]:
    """Mean over the seeds that count; empty where one of them has none."""
    own = [] if trial.own is None else [trial.number]
    fresh = [t.number for t in s.trials if t.repeats == trial.number and t.state == "complete"]
    told = [t.influences for t in s.trials if t.number in (*own, *fresh)]
    return (
        [statistics.fmean(block) for block in zip(*told, strict=True)]
        if len(set(map(len, told))) == 1
        else []
    )


@dataclass(frozen=True, kw_only=True)  # no slots: `choice` is kept once it is known
class Snapshot:
    """A whole search."""

    run: Path
    task: str
    metric: str
    unit: str
    direction: Direction
    provenance: str
    """real, sample or solved."""
    preset: str
    backbone: str
    budget: str
    """With its unit: "50 trials"."""
    spent: float
    """Share of the budget used, 0 to 1."""
    elapsed_s: float
    """Wall time, summed over resumed sessions."""
    remaining_s: float | None
    """From measured epochs, confirmation included; None before there is one, and where nothing runs."""
    trials: tuple[TrialView, ...]
    repeats: int = 0
    """Trials of a confirmation that has begun, those to come included."""
    finished: bool = False
    is_running: bool = True
    """Whether a process searches; False where it ended, was interrupted or killed."""
    dashboard_url: str | None = None
    samples: int = 0
    """That trials are judged by; 0 where that is not known."""
    simple: tuple[SimpleScore, ...] = ()
    """What simple models get on the same held-out samples; empty until the search has ended."""

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` beats `b`."""
        return is_better(a, b, self.direction)

    @property
    def searched(self) -> tuple[TrialView, ...]:
        """Trials of the search, without those that only repeat one."""
        return tuple(t for t in self.trials if t.repeats is None)

    @cached_property
    def choice(self) -> Choice:
        """Which trial is the best, and how sure that is."""
        return choose(self.trials, self.direction)

    @property
    def best(self) -> TrialView | None:
        """The best complete trial: what `best.yaml` holds."""
        number = self.choice.number
        return next((t for t in self.trials if t.number == number), None)

    def confirmed(self, number: int) -> Confirmed | None:
        """How trial `number` did with fresh seeds; None if it was not confirmed."""
        return next((c for c in self.choice.confirmed if c.number == number), None)

    def gain(self, number: int) -> Gain | None:
        """How much trial `number` beats trial 0 with fresh seeds; None where one of them was not confirmed."""
        a, b = self.confirmed(number), self.confirmed(0)
        return None if a is None or b is None or not a.fresh else _gain(self, a, b)

    @property
    def default(self) -> TrialView | None:
        """Trial 0: the paper's configuration."""
        return next((t for t in self.trials if t.number == 0), None)

    def count(self, state: TrialState) -> int:
        """Trials in a state."""
        return sum(t.state == state for t in self.trials)
