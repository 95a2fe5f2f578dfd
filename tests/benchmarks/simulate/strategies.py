"""Ways to search, for the simulator. Each one drives the real code of what it is named after, not a copy of it."""

from __future__ import annotations

import importlib.util
import math
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from pare_tune.config import Budget, SearchConfig
from pare_tune.errors import ConfigError, UnknownName
from pare_tune.tune.journal import study_direction
from pare_tune.tune.recorded import recorded_start
from pare_tune.tune.warm import Start, most_first
from simulate.replay import Outcome, Report, Run, Strategy
from simulate.surrogate import World

STRATEGIES: Mapping[str, str] = {
    "ours": "this package's search, which knows the default and the tables of other tasks, without its confirmation",
    "ours-alone": "the same without those tables",
    "random": "random configurations, every one trained whole; does not know the default",
    "random+default": "the same after the default",
    "ray-asha": "Ray Tune's ASHAScheduler and OptunaSearch, as people join them, the default first",
    "optuna-hyperband": "Optuna's TPE with its HyperbandPruner, the default first",
    "priorband": "PriorBand of NePS, which knows the default (needs neural-pipeline-search)",
    "default": "the default alone",
}
"""Name → what it is. The default is the paper's configuration, trial 0 of a run."""

_SHARED_MEMORY = Path("/dev/shm")
_journals: Path | None = None
"""Where the searches of this process keep their journals; None is the quickest place."""


def quick_folder() -> Path | None:
    """Memory, for journals wait for their disk at every epoch; None where there is none to write to."""
    return _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None


def keep_journals_in(folder: Path | None) -> None:
    """Set where the later searches of this process keep their journals, so that their owner can remove all of them."""
    global _journals
    _journals = folder


def make_strategy(
    name: str, world: World, *, seed: int, epochs: int, parallel: int = 1, tables: Path | None = None
) -> Strategy:
    """A fresh search.

    Args:
        epochs: budget over all trials, for strategies that plan with it.
        parallel: trials at a time, likewise.
        tables: folder of the tables of other tasks, for those that know them; None is the package's.

    Raises:
        UnknownName: there is no such strategy.
        ConfigError: it needs a library that is not installed.
    """
    if name not in _FACTORIES:
        raise UnknownName("strategy", name, STRATEGIES)
    return _FACTORIES[name](_Setting(world, seed, epochs, parallel, tables))


def installed() -> tuple[str, ...]:
    """Strategies whose libraries are there."""
    has_neps = importlib.util.find_spec("neps") is not None
    return tuple(name for name in STRATEGIES if name != "priorband" or has_neps)


@dataclass(frozen=True, slots=True)
class _Setting:
    """Of a search."""

    world: World
    seed: int
    epochs: int
    parallel: int
    tables: Path | None


class Ours:
    """The product: its study, sampler and pruner, asked by the desk that Ray Tune asks otherwise.

    The study's journal lies in a temporary folder. The default is trial 0. Nothing is confirmed with fresh seeds, since
    none were recorded; the others do not confirm either.

    Args:
        start: what earlier searches found.
        search: fields of `SearchConfig` that differ from what ships.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        epochs: int,
        parallel: int = 1,
        *,
        start: Start | None = None,
        **search: Any,
    ) -> None:
        # Ray is slow to import.
        from pare_tune.train.loop import EpochReport
        from pare_tune.tune.bridge import Desk
        from pare_tune.tune.folder import RunFolder
        from pare_tune.tune.snapshot import TaskFacts
        from pare_tune.tune.study import Study

        folder = Path(tempfile.mkdtemp(prefix="pare-tune-simulate-", dir=_journals or quick_folder()))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        run = RunFolder(folder)
        config = SearchConfig.model_validate(
            {"budget": f"{epochs}ep", "seed": seed, "confirm": 0, "max_concurrent": parallel, **search}
        )
        self.study = Study(
            run.journal,
            world.space,
            config,
            epochs=world.epochs,
            facts=TaskFacts(task=world.table.task, direction=world.table.direction),
            first=[] if start is None else start.tested(world.space),
            earlier=[] if start is None else start.ranked(world.space, seed),
        )
        self._desk = Desk(
            self.study,
            run,
            config.budget,
            ended=lambda number: None,
            tick=lambda: None,
            confirm=config.confirm,
            concurrency=parallel,
        )
        self._blank = {f.name: math.nan if f.default is MISSING else f.default for f in fields(EpochReport)}
        self._asked = 0

    def ask(self) -> Run | None:
        """The study's next trial."""
        key = f"run-{self._asked}"
        assignment = self._desk.next(key)
        if assignment is None or assignment == "later":
            return None
        self._asked += 1
        return Run(key, self.study.settings(assignment["number"]))

    def report(self, report: Report) -> bool:
        """As the worker's report travels through Ray Tune."""
        told = {name: getattr(report, name) for name in ("epoch", "epochs", "score", "best_score", "seconds")}
        return self._desk.result(report.key, {**self._blank, **told, "k": 0})

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        """A failure is one more report, as on a worker."""
        if outcome == "failed":
            why = {"cause": cause, "message": f"{cause}, as it was recorded"}
            self._desk.result(key, {**self._blank, "epoch": 0, **why})
        self._desk.finish(key)


class OptunaStrategy:
    """An Optuna study with any sampler and pruner, driven by ask and tell as in Optuna's documentation.

    Args:
        name: of the study.
        default_first: enqueue the default as the first trial.
    """

    def __init__(
        self,
        world: World,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
        *,
        name: str,
        default_first: bool,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = world.space
        self._study = optuna.create_study(
            study_name=name,  # Hyperband's brackets depend on it
            sampler=sampler,
            pruner=pruner,
            direction=study_direction(world.table.direction),
        )
        self._default_first = default_first
        if default_first:
            self._study.enqueue_trial(world.space.base_params())
        self._live: dict[str, Trial] = {}
        self._best: dict[str, float] = {}

    def ask(self) -> Run:
        """Always something more."""
        trial = self._study.ask()
        key = str(trial.number)
        self._live[key] = trial
        is_default = self._default_first and trial.number == 0
        return Run(key, self._space.suggest_base(trial) if is_default else self._space.suggest(trial))

    def report(self, report: Report) -> bool:
        """Intermediate values are what validation said last, the trial's value is its best."""
        trial = self._live[report.key]
        self._best[report.key] = report.best_score
        trial.report(report.score, report.epoch)
        return report.epoch < report.epochs and trial.should_prune()

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        """Tell the study."""
        trial = self._live.pop(key)
        match outcome:
            case "complete":
                self._study.tell(trial, self._best[key])
            case "stopped":
                self._study.tell(trial, state=TrialState.PRUNED)
            case "failed":
                self._study.tell(trial, state=TrialState.FAIL)


class RayAsha:
    """Ray Tune's own ASHAScheduler and OptunaSearch with their defaults, called as Ray Tune's controller calls them.

    The paper's configuration is the point to evaluate first.

    A trial that the scheduler stops is told to the searcher as complete with the score of its rung, and its last result
    is not reported before: so `tune_controller.py` of Ray 2.60 does it.
    """

    def __init__(self, world: World, seed: int) -> None:
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        mode = world.table.direction
        self._space, self._asked = world.space, 0
        self._settings: Mapping[str, Any] = {}
        self._scheduler = ASHAScheduler(metric="score", mode=mode, max_t=world.epochs)
        self._searcher = OptunaSearch(
            space=self._suggest,
            metric="score",
            mode=mode,
            seed=seed,
            points_to_evaluate=[world.space.base_params()],
        )
        self._trials: dict[str, SimpleNamespace] = {}

    def ask(self) -> Run:
        """Always something more."""
        key = str(self._asked)
        self._asked += 1
        with warnings.catch_warnings():
            # Ray Tune minds a suggestion that takes a second, as it may where many simulations share a processor.
            warnings.filterwarnings("ignore", "Define-by-run function")
            self._searcher.suggest(key)
        self._trials[key] = SimpleNamespace(trial_id=key)
        self._scheduler.on_trial_add(None, self._trials[key])
        return Run(key, self._settings)

    def report(self, report: Report) -> bool:
        """A result of Ray Tune's."""
        trial = self._trials[report.key]
        result = {"score": report.score, "training_iteration": report.epoch}
        if self._scheduler.on_trial_result(None, trial, result) == self._scheduler.STOP:
            self._scheduler.on_trial_complete(None, trial, result)
            self._searcher.on_trial_complete(report.key, result)
            return True
        self._searcher.on_trial_result(report.key, result)
        return False

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        """Ray Tune hears of a failure from the process that raised."""
        trial = self._trials.pop(key)
        if outcome == "failed":
            self._scheduler.on_trial_error(None, trial)
            self._searcher.on_trial_complete(key, error=True)

    def _suggest(self, trial: Any) -> None:
        """The space, define-by-run: Ray Tune's own kind knows no conditions."""
        is_default = self._asked == 1
        self._settings = self._space.suggest_base(trial) if is_default else self._space.suggest(trial)


class DefaultAlone:
    """Trial 0 and nothing else."""

    def __init__(self, world: World) -> None:
        self._runs = [Run("0", world.space.base_settings())]

    def ask(self) -> Run | None:
        """Once."""
        return self._runs.pop() if self._runs else None

    def report(self, report: Report) -> bool:
        """Never stopped."""
        return False

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        """Nothing follows."""


def _random(world: World, seed: int, *, default_first: bool) -> Strategy:
    sampler, pruner = optuna.samplers.RandomSampler(seed=seed), optuna.pruners.NopPruner()
    return OptunaStrategy(world, sampler, pruner, name=f"random-{seed}", default_first=default_first)


def _hyperband(s: _Setting) -> Strategy:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=s.world.epochs, reduction_factor=3)
    sampler = optuna.samplers.TPESampler(seed=s.seed)
    return OptunaStrategy(s.world, sampler, pruner, name=f"hyperband-{s.seed}", default_first=True)


def _priorband(s: _Setting) -> Strategy:
    try:
        from simulate.priorband import PriorBand
    except ImportError as error:
        raise ConfigError(
            f"strategy priorband needs NePS ({error}); pip install neural-pipeline-search, or leave it out"
        ) from error
    return PriorBand(s.world, s.seed)


def _ours(s: _Setting, *, portfolio: bool) -> Strategy:
    start = None
    if portfolio:
        budget = Budget(amount=s.epochs, unit="epochs")
        start = recorded_start(s.world.table.task, most_first(budget, s.world.epochs), s.tables)
    return Ours(s.world, s.seed, s.epochs, s.parallel, start=start)


_FACTORIES: Mapping[str, Callable[[_Setting], Strategy]] = {
    "ours": lambda s: _ours(s, portfolio=True),
    "ours-alone": lambda s: _ours(s, portfolio=False),
    "random": lambda s: _random(s.world, s.seed, default_first=False),
    "random+default": lambda s: _random(s.world, s.seed, default_first=True),
    "ray-asha": lambda s: RayAsha(s.world, s.seed),
    "optuna-hyperband": _hyperband,
    "priorband": _priorband,
    "default": lambda s: DefaultAlone(s.world),
}
