"""Asynchronous successive halving that decides from learning curves alone.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), https://arxiv.org/abs/1810.05934, in
the stopping variant that Ray's ASHA and Optuna's SuccessiveHalvingPruner use: nothing is paused, the worst are stopped.

Optuna's own pruner marks a rung as decided in the study BEFORE its verdict is known, so a process killed in between
lets the trial live on after a resume. This one writes nothing: asked again, it gives the same answer.
"""

from __future__ import annotations

import math

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial


class RungPruner(BasePruner):
    """Stops a trial at a rung unless it is among the best 1/`reduction` of those that got there.

    Trial 0 is never stopped: what the search is worth is measured against its score. Nor are trials that repeat one to
    confirm it, and they are nobody's rivals.

    Args:
        epochs: full length of a trial; the last epoch is no rung.
        first_rung: share of `epochs` before the first decision.
        reduction: one in so many goes on.
    """

    def __init__(self, *, epochs: int, first_rung: float, reduction: int) -> None:
        self.rungs = rungs(epochs, first_rung, reduction)
        self._reduction = reduction

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether `trial` should stop after its last reported epoch."""
        step = trial.last_step
        if step not in self.rungs or trial.number == 0 or "repeats" in trial.user_attrs:
            return False
        value = trial.intermediate_values[step]
        if math.isnan(value):
            return True
        rivals = [
            t.intermediate_values[step]
            for t in study.get_trials(deepcopy=False)
            if step in t.intermediate_values and t.number != trial.number and "repeats" not in t.user_attrs
        ]
        return not _among_best([*rivals, value], value, self._reduction, study.direction)


def rungs(epochs: int, first_rung: float, reduction: int) -> tuple[int, ...]:
    """Epochs after which trials are compared: 18 and 54 of 60 with 0.3 and 3."""
    rung = max(1, math.ceil(first_rung * epochs - 1e-9))
    found: list[int] = []
    while rung < epochs:
        found.append(rung)
        rung *= reduction
    return tuple(found)


def _among_best(values: list[float], value: float, reduction: int, direction: StudyDirection) -> bool:
    # The first ones at a rung have too few rivals for a share: the best so far goes on.
    places = max(1, len(values) // reduction)
    ranked = sorted(values, reverse=direction == StudyDirection.MAXIMIZE)
    worst_kept = ranked[places - 1]
    return value >= worst_kept if direction == StudyDirection.MAXIMIZE else value <= worst_kept
