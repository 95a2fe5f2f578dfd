"""A peer's own search: its library's defaults first, then Optuna's TPE around them, by validation alone.

The study is a journal in the cell's folder: a search that was killed goes on, and repeats at most the trial that ran.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from pare_tune.compare.peers.base import Array, Examples, Fitted, Peer, Problem
from pare_tune.errors import PareTuneError, TrialFailed
from pare_tune.tune.journal import reopened, repair, study_direction

JOURNAL = "study.journal"
_NAME = "peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a peer's search ended with."""

    fitted: Fitted
    """The best trial's."""
    settings: Mapping[str, Any]
    """What departs from the library's defaults."""
    validation: float
    trials: int
    epochs: int | None
    """Over all trials; None where the peer has none."""
    seconds: float
    """Over all trials, and over the repetition of the best one where a search was resumed after it."""


def search_peer(
    peer: Peer, problem: Problem, folder: Path, *, budget: int, startup_trials: int, seed: int
) -> Found:
    """Fit `peer` so often and keep the best by validation; trial 0 is the library's defaults.

    Args:
        folder: keeps the record; the caller owns it.
        budget: trials, those of earlier sessions included.
        startup_trials: random ones before the model-based ones, trial 0 among them.

    Raises:
        TrialFailed: no trial gave a score.
    """
    return _Search(peer, problem, folder, startup_trials, seed).run(budget)


def score_outputs(problem: Problem, examples: Examples, outputs: Array) -> float:
    """The task's metric of raw outputs; NaN where they are not finite."""
    import torch

    if outputs.dtype != np.float32 or len(outputs) != len(examples):
        raise TrialFailed(
            f"gave {outputs.dtype} {outputs.shape} for {len(examples)} samples", cause="crashed"
        )
    return float(problem.data.task.metric.score(torch.from_numpy(outputs), examples.targets))


class _NoLock:
    """The cell's folder is locked already; Optuna's own lock outlives a killed process by 30 s."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Search:
    def __init__(self, peer: Peer, problem: Problem, folder: Path, startup_trials: int, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = folder / JOURNAL
        repair(journal)
        self._peer, self._problem, self._seed = peer, problem, seed
        self._startup_trials = startup_trials
        self._metric = problem.data.task.metric
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=cast("Any", _NoLock()))),
            study_name=_NAME,
            direction=study_direction(self._metric.direction),
            load_if_exists=True,
        )
        self._best: tuple[int, Fitted] | None = None
        """Of this session."""

    def run(self, budget: int) -> Found:
        while len(self._ended()) < (budget if self._peer.has_choices else 1):
            self._one(self._ask())
        best = self._leader()
        if best is None:
            last = self._ended()[-1].user_attrs.get("message", "no trial gave a score")
            raise TrialFailed(str(last), cause="crashed")
        seconds = sum(float(t.user_attrs["seconds"]) for t in self._ended())
        epochs = [int(t.user_attrs["epochs"]) for t in self._ended() if "epochs" in t.user_attrs]
        settings = best.user_attrs["settings"]
        if self._best is None or self._best[0] != best.number:
            started = time.perf_counter()
            fitted = self._peer.fit(self._problem, settings, self._seed)
            seconds += time.perf_counter() - started
            epochs += [] if fitted.epochs is None else [fitted.epochs]
        else:
            fitted = self._best[1]
        return Found(
            fitted=fitted,
            settings=settings,
            validation=float(cast("float", best.value)),
            trials=len(self._ended()),
            epochs=sum(epochs) if epochs else None,
            seconds=seconds,
        )

    def _ask(self) -> Trial:
        """A trial that a killed session left, or a new one; seeded by its number, so that both get what they would."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        number = running[0].number if running else len(self._study.get_trials(deepcopy=False))
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=self._startup_trials)
        return reopened(self._study, number) if running else self._study.ask()

    def _one(self, trial: Trial) -> None:
        started = time.perf_counter()
        score = float("nan")
        try:
            settings = {} if trial.number == 0 else self._peer.suggest(trial, self._problem)
            trial.set_user_attr("settings", settings)
            fitted = self._peer.fit(self._problem, settings, self._seed)
            if fitted.epochs is not None:
                trial.set_user_attr("epochs", fitted.epochs)
            val = self._problem.val
            score = score_outputs(self._problem, val, fitted.predict(val.x))
            message = f"the validation score is {score}"
        except (OSError, PareTuneError) as error:
            if not isinstance(error, TrialFailed):
                raise  # a full disk or missing weights: no other trial would fare better
            message = str(error)
        except Exception as error:
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
        trial.set_user_attr("seconds", time.perf_counter() - started)
        if score != score:
            trial.set_user_attr("message", message)
            self._study.tell(trial, state=TrialState.FAIL)
            return
        self._study.tell(trial, score)
        leader = self._leader()
        if leader is not None and leader.number == trial.number:
            self._best = (trial.number, fitted)

    def _ended(self) -> list[FrozenTrial]:
        return [t for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()]

    def _leader(self) -> FrozenTrial | None:
        """The best by validation; of equals the first."""
        best: FrozenTrial | None = None
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if best is None or self._metric.better(cast("float", trial.value), cast("float", best.value)):
                best = trial
        return best
