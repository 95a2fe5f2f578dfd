"""Many simulated searches, and what they say: epochs to a goal, scores at a budget, ranks, regret.

The goal on a task is the best validation score that so many full-length random trials reach, the median over seeds.
"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pare_tune.errors import ConfigError, UnknownName
from pare_tune.tasks.base import Direction, best_of, loss_sign
from simulate.replay import Trace, replay
from simulate.strategies import STRATEGIES, keep_journals_in, make_strategy, quick_folder
from simulate.surrogate import HeldOut, World, wrong_space_of
from simulate.tables import check_recorded, load_table

BASELINE = "random"
"""Sets the goal, so it always runs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate."""

    tasks: tuple[str, ...]
    strategies: tuple[str, ...]
    trials: int = 50
    """Budget, in whole trials' worth of epochs."""
    seeds: int = 20
    parallel: int = 1
    """Trials at a time."""
    tables: Path | None = None
    """Folder of the tables; None is that of the package, which may have none."""
    wrong_default: bool = False
    """Search around the worst recorded configuration instead of the paper's."""

    def __post_init__(self) -> None:
        check_recorded(self.tasks, self.tables)
        for name in self.strategies:
            if name not in STRATEGIES:
                raise UnknownName("strategy", name, STRATEGIES)
        for what, value in (("budget", self.trials), ("seeds", self.seeds), ("parallel", self.parallel)):
            if value < 1:
                raise ConfigError(f"a simulation needs {what} >= 1, got {value}")


@dataclass(frozen=True, slots=True)
class TaskResult:
    """All searches on one task."""

    task: str
    direction: Direction
    epochs: int
    """Of a whole trial."""
    trials: int
    held_out: HeldOut
    default: float
    """Score of the paper's configuration."""
    traces: Mapping[str, tuple[Trace, ...]]
    """Strategy → one search a seed."""

    @property
    def goal(self) -> float:
        """Median over seeds of what `trials` random trials reach."""
        return float(np.median([t.best[-1] for t in self.traces[BASELINE]]))

    def share_to_goal(self, strategy: str) -> npt.NDArray[np.float64]:
        """(seeds,) epochs until the goal as a share of those of `trials` whole trials; infinity if never."""
        spent = [t.epochs_to(self.goal, direction=self.direction) for t in self.traces[strategy]]
        return np.array(spent) / (self.trials * self.epochs)

    def scores(self, strategy: str, trials: float) -> npt.NDArray[np.float64]:
        """(seeds,) best scores after the epochs of so many whole trials; infinitely bad where no epoch ended."""
        scores = [t.at(round(trials * self.epochs)) for t in self.traces[strategy]]
        return np.array([self._worst if math.isnan(score) else score for score in scores])

    def ranks(self, trials: float) -> Mapping[str, float]:
        """Strategy → its rank at that budget, 1 is best; ties share theirs; mean over seeds."""
        from scipy.stats import rankdata

        names = list(self.traces)
        table = np.array([self._sign * self.scores(name, trials) for name in names])
        mean = rankdata(table, axis=0).mean(axis=1)
        return dict(zip(names, mean.tolist(), strict=True))

    def regret(self, strategy: str) -> npt.NDArray[np.float64]:
        """(seeds, epochs) distance to the best score that any search found, 1 being a typical single random trial's.

        Infinity where a search found nothing.
        """
        reached = np.array(
            [_padded(t, self.trials * self.epochs, self._worst) for t in self.traces[strategy]]
        )
        every = [t.best[-1] for traces in self.traces.values() for t in traces if len(t.best)]
        best = best_of(every, self.direction)
        typical = float(np.median(self.scores(BASELINE, 1)))
        regret: npt.NDArray[np.float64] = np.abs(reached - best) / (abs(typical - best) or 1.0)
        return regret

    def below_default(self, strategy: str) -> float:
        """Share of the searches that end worse than the paper's configuration."""
        final = self.scores(strategy, self.trials)
        return float((self._sign * final > self._sign * self.default).mean())

    @property
    def _sign(self) -> float:
        return loss_sign(self.direction)

    @property
    def _worst(self) -> float:
        """What a search has found whose trials all failed in their first epoch."""
        return self._sign * math.inf


@dataclass(frozen=True, slots=True)
class _Cell:
    """One search."""

    plan: Plan
    task: str
    strategy: str
    seed: int


def compare(
    plan: Plan, *, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[TaskResult]:
    """Simulate everything that is planned, and the random baseline with it.

    Args:
        jobs: processes.
        progress: called with (searches done, searches in all).

    Raises:
        DataError: a table is damaged, too short, or of another space.
        ConfigError: a strategy needs a library that is not installed.
    """
    names = tuple(dict.fromkeys((*plan.strategies, BASELINE)))
    cells = [
        _Cell(plan, task, name, seed) for task in plan.tasks for name in names for seed in range(plan.seeds)
    ]
    traces_of: dict[tuple[str, str], list[Trace]] = {}
    # Journals outlive the processes that are interrupted, so these end first, and the folder of all goes after them.
    with (
        tempfile.TemporaryDirectory(prefix="pare-tune-simulate-", dir=quick_folder()) as journals,
        closing(_run_all(cells, jobs, Path(journals))) as traces,
    ):
        for done, (cell, trace) in enumerate(traces, start=1):
            traces_of.setdefault((cell.task, cell.strategy), []).append(trace)
            if progress is not None:
                progress(done, len(cells))
    return [
        _result(plan, task, {name: tuple(traces_of[task, name]) for name in names}) for task in plan.tasks
    ]


def mean_ranks(results: Sequence[TaskResult], trials: float) -> Mapping[str, float]:
    """Strategy → its rank at a budget, mean over tasks."""
    ranks = [result.ranks(trials) for result in results]
    return {name: float(np.mean([r[name] for r in ranks])) for name in ranks[0]}


def median_share(results: Sequence[TaskResult], strategy: str) -> float:
    """Median over tasks of the median share of epochs until the goal; infinity where most never reach it."""
    return quartile([quartile(r.share_to_goal(strategy), 0.5) for r in results], 0.5)


def quartile(values: Sequence[float] | npt.NDArray[np.float64], share: float) -> float:
    """A quantile that is one of the values: between a number and infinity there is no mean."""
    return float(np.quantile(values, share, method="inverted_cdf"))


def _run_all(cells: Sequence[_Cell], jobs: int, journals: Path) -> Generator[tuple[_Cell, Trace], None, None]:
    if jobs == 1:
        keep_journals_in(journals)
        try:
            yield from map(_run, cells)
        finally:
            keep_journals_in(None)
        return
    # Cells of a task lie side by side, and a process keeps the task that it opened last.
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=keep_journals_in, initargs=(journals,)) as pool:
        yield from pool.imap(_run, cells, chunksize=4)


def _run(cell: _Cell) -> tuple[_Cell, Trace]:
    world = _world(cell.plan.tables, cell.task, cell.plan.wrong_default)
    epochs = cell.plan.trials * world.epochs
    parallel = cell.plan.parallel
    strategy = make_strategy(
        cell.strategy, world, seed=cell.seed, epochs=epochs, parallel=parallel, tables=cell.plan.tables
    )
    return cell, replay(strategy, world, epochs=epochs, parallel=parallel)


@lru_cache(maxsize=1)
def _world(tables: Path | None, task: str, wrong_default: bool) -> World:
    table = load_table(task, tables)
    return World(table, space=wrong_space_of(table) if wrong_default else None)


def _result(plan: Plan, task: str, traces: Mapping[str, tuple[Trace, ...]]) -> TaskResult:
    world = _world(plan.tables, task, plan.wrong_default)
    default = world.curve(world.space.base_settings()).scores
    return TaskResult(
        task=task,
        direction=world.table.direction,
        epochs=world.epochs,
        trials=plan.trials,
        held_out=world.held_out,
        default=world.table.best(default) if default else math.nan,
        traces=traces,
    )


def _padded(trace: Trace, length: int, worst: float) -> npt.NDArray[np.float64]:
    """A search that ended early keeps what it had, which is the worst where it had nothing."""
    if not len(trace.best):
        return np.full(length, worst)
    return np.pad(trace.best, (0, max(0, length - len(trace.best))), mode="edge")[:length]
