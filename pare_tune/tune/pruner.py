"""Asynchronous successive halving that decides from learning curves alone.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), https://arxiv.org/abs/1810.05934, in
the stopping variant that Ray's ASHA and Optuna's SuccessiveHalvingPruner use: nothing is paused, the worst are stopped.

Optuna's own pruner marks a rung as decided in the study BEFORE its verdict is known, so a process killed in between
lets the trial live on after a resume. This one writes nothing: asked again, it gives the same answer.

A trial over folds passes the rungs within its first fold. After each fold it is stopped where a paired test over blocks
of held-out samples says that it is worse than the best complete trial was on the same folds, as Optuna's WilcoxonPruner
does with single samples.

Trials are compared at a rung by their best score so far: from a third of the epochs on no other way is better
(tests/benchmarks/RESULTS.md). The k of all trials falls with progress, so trials compared at the same epoch have come
equally far in their curricula.

A trial over folds passes the rungs within its first fold. After each fold it is stopped where a paired test over blocks
of held-out samples says that it is worse than the best complete trial was on the same folds, as Optuna's WilcoxonPruner
does with single samples.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pare_tune.tune.paired import is_more

Floats = npt.NDArray[np.float64]


class RungPruner(BasePruner):
    """Stops a trial at a rung unless it is among the best 1/`reduction` of those that got there.

    Trial 0 is never stopped: what the search is worth is measured against its score. Nor are trials that repeat one to
    confirm it, and they are nobody's rivals.

    Args:
        epochs: of one training; the last epoch is no rung.
        first_rung: share of `epochs` before the first decision.
        reduction: one in so many goes on.
    """

    def __init__(self, *, epochs: int, first_rung: float, reduction: int) -> None:
        self.rungs = rungs(epochs, first_rung, reduction)
        self._epochs, self._reduction = epochs, reduction
        self._at: dict[int, _Rung] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether `trial` should stop after its last reported epoch."""
        step = trial.last_step
        if step is None or trial.number == 0 or "repeats" in trial.user_attrs:
            return False
        if step % self._epochs == 0:
            return self._is_worse_than_the_best(study, trial, step)
        if step not in self.rungs:
            return False
        if math.isnan(trial.intermediate_values[step]):
            return True
        if step not in self._at or self._at[step].study is not study:
            self._at[step] = _Rung(study, step)
        others = self._at[step].scores()
        others.pop(trial.number, None)
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        losses = sign * np.array([*others.values(), trial.intermediate_values[step]])
        return not _is_among_best(losses, self._reduction)

    def _is_worse_than_the_best(self, study: Study, trial: FrozenTrial, step: int) -> bool:
        """Whether, on the folds so far, the samples say that the best complete trial is better."""
        complete = [
            t
            for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if "repeats" not in t.user_attrs
        ]
        if not complete:
            return False
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        best = min(complete, key=lambda t: sign * (t.value or 0.0))
        mine, others = (t.user_attrs[f"epoch {step}"].get("influences", ()) for t in (trial, best))
        if not len(mine) == len(others) > 1:
            return False
        return is_more([sign * value for value in mine], [sign * value for value in others])


class _Rung:
    """The scores of a study's trials at one rung, each trial looked at until it is there or has ended."""

    def __init__(self, study: Study, step: int) -> None:
        self.study, self._step = study, step
        self._scores: dict[int, float] = {}
        self._open: list[int] = []
        self._seen = 0

    def scores(self) -> dict[int, float]:
        """By the trials' numbers, without those that repeat one."""
        trials = self.study.get_trials(deepcopy=False)
        looked_at = [*self._open, *range(self._seen, len(trials))]
        self._open, self._seen = [], len(trials)
        for number in looked_at:
            trial = trials[number]
            if self._step in trial.intermediate_values:
                if "repeats" not in trial.user_attrs:
                    self._scores[number] = trial.intermediate_values[self._step]
            elif not trial.state.is_finished():
                self._open.append(number)
        return dict(self._scores)


def rungs(epochs: int, first_rung: float, reduction: int) -> tuple[int, ...]:
    """Epochs after which trials are compared: 21 and 42 of 60 with 0.34 and 2, 18 and 54 with 0.3 and 3."""
    rung = max(1, math.ceil(first_rung * epochs - 1e-9))
    epochs_of_rungs: list[int] = []
    while rung < epochs:
        epochs_of_rungs.append(rung)
        rung *= reduction
    return tuple(epochs_of_rungs)


def _is_among_best(judged: Floats, reduction: int) -> bool:
    """Whether the last one is."""
    # The first ones at a rung have too few rivals for a share: the best so far goes on.
    places = max(1, len(judged) // reduction)
    return bool(judged[-1] <= np.sort(judged)[places - 1])
