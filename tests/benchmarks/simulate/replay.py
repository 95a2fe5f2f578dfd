"""A search replayed on a simulated task: a discrete-event simulation of trials that run side by side.

Nothing trains and nobody waits; every epoch takes the seconds that it took when it was recorded. A strategy sees what
it would see of a real search, in the order in which it would see it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pare_tune.tasks.base import Direction, loss_sign
from simulate.surrogate import Curve, World

Outcome = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Run:
    """Epochs that a strategy wants trained."""

    key: str
    """The strategy's own name of them."""
    settings: Mapping[str, Any]
    begin: int = 0
    """Epochs that an earlier run of the same settings has done: they cost nothing and are not reported again."""
    end: int | None = None
    """Epoch after which it ends by itself; None is the whole curriculum."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a training tells after an epoch."""

    key: str
    epoch: int
    """1 after the first."""
    epochs: int
    score: float
    best_score: float
    """Of the curve so far."""
    seconds: float


class Strategy(Protocol):
    """How to search. All methods are called in the order of simulated time."""

    def ask(self) -> Run | None:
        """What to run in a free place; None while there is nothing, or never again."""
        ...

    def report(self, report: Report) -> bool:
        """Take in an epoch; whether the run must stop."""
        ...

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        """The run has left its place."""
        ...


@dataclass(frozen=True, slots=True)
class Trace:
    """What a search had reached after every epoch that it spent."""

    best: npt.NDArray[np.float64]
    """(n,) best validation score of any trial in the first n + 1 epochs."""
    seconds: npt.NDArray[np.float64]
    """(n,) simulated wall time."""
    runs: int
    """Begun."""
    complete: int
    stopped: int
    failed: int

    def at(self, epochs: int) -> float:
        """The best score after so many epochs; NaN after none."""
        return (
            float(self.best[min(epochs, len(self.best)) - 1]) if epochs > 0 and len(self.best) else math.nan
        )

    def epochs_to(self, target: float, *, direction: Direction) -> float:
        """Epochs spent when `target` was reached; infinity if it was not."""
        sign = loss_sign(direction)
        reached = sign * self.best <= sign * target
        return float(np.argmax(reached) + 1) if reached.any() else math.inf


@dataclass(order=True, slots=True)
class _Event:
    """An epoch that ends."""

    time: float
    order: int
    """Of two at the same time, the one that was begun first."""
    run: Run
    curve: Curve
    epoch: int


def replay(strategy: Strategy, world: World, *, epochs: int, parallel: int = 1) -> Trace:
    """Let `strategy` search in `world` until `epochs` are spent or it has nothing more to run.

    Args:
        epochs: of all trials together.
        parallel: trials at a time.
    """
    return _Replay(strategy, world, epochs, parallel).run()


class _Replay:
    def __init__(self, strategy: Strategy, world: World, epochs: int, parallel: int) -> None:
        self.strategy, self.world = strategy, world
        self.epochs, self.parallel = epochs, parallel
        self.running: list[_Event] = []
        self.now = 0.0
        self.begun = 0
        self.order = 0
        self.best: list[float] = []
        self.seconds: list[float] = []
        self.ended: dict[Outcome, int] = {"complete": 0, "stopped": 0, "failed": 0}

    def run(self) -> Trace:
        self._fill()
        while self.running and len(self.best) < self.epochs:
            event = heapq.heappop(self.running)
            self.now = event.time
            self._step(event)
            self._fill()
        return Trace(
            np.array(self.best),
            np.array(self.seconds),
            runs=self.begun,
            complete=self.ended["complete"],
            stopped=self.ended["stopped"],
            failed=self.ended["failed"],
        )

    def _fill(self) -> None:
        """Begin runs while there are places and the strategy has something for them."""
        while len(self.running) < self.parallel and len(self.best) < self.epochs:
            run = self.strategy.ask()
            if run is None:
                return
            self.begun += 1
            self._schedule(run, self.world.curve(run.settings), run.begin + 1)

    def _schedule(self, run: Run, curve: Curve, epoch: int) -> None:
        self.order += 1
        ends = self.now + curve.seconds[epoch - 1]
        heapq.heappush(self.running, _Event(ends, self.order, run, curve, epoch))

    def _step(self, event: _Event) -> None:
        run, curve, epoch = event.run, event.curve, event.epoch
        if epoch > len(curve.scores):
            self._end(run, "failed", curve.cause)
            return
        report = self._report(run, curve, epoch)
        self._note(report.score)
        if self.strategy.report(report):
            self._end(run, "complete" if epoch == self.world.epochs else "stopped", None)
        elif epoch == (run.end or self.world.epochs):
            self._end(run, "complete", None)
        else:
            self._schedule(run, curve, epoch + 1)

    def _report(self, run: Run, curve: Curve, epoch: int) -> Report:
        return Report(
            key=run.key,
            epoch=epoch,
            epochs=self.world.epochs,
            score=curve.scores[epoch - 1],
            best_score=self.world.table.best(curve.scores[:epoch]),
            seconds=curve.seconds[epoch - 1],
        )

    def _note(self, score: float) -> None:
        self.best.append(self.world.table.best([*self.best[-1:], score]))
        self.seconds.append(self.now)

    def _end(self, run: Run, outcome: Outcome, cause: str | None) -> None:
        self.ended[outcome] += 1
        self.strategy.end(run.key, outcome, cause)
