"""PriorBand as NePS has it, asked and told through its own interface; trials continue from rung to rung.

Mallik et al., "PriorBand: Practical Hyperparameter Optimization in the Age of Deep Learning" (NeurIPS 2023).
NePS is no dependency of this package: pip install neural-pipeline-search.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import neps
import numpy as np
import optuna
import torch

from pare_tune.tune.parameter import ChoiceParameter, Parameter
from simulate.replay import Outcome, Report, Run
from simulate.surrogate import World

_FIDELITY = "epochs"


class PriorBand:
    """NePS's `priorband` with its defaults, around trial 0 with medium confidence.

    NePS knows no conditions, so it draws every setting and those that are not asked for are left out.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._space, self._epochs, self._seed = world.space, world.epochs, seed
        self._sign = world.table.sign
        default = world.space.base_params()
        elements = {p.name: _element(p, default.get(p.name)) for p in world.space.parameters}
        elements[_FIDELITY] = neps.HPOInteger(1, world.epochs, is_fidelity=True)
        self._optimizer = neps.AskAndTell(neps.algorithms.priorband(neps.SearchSpace(elements)))
        self._asked = 0
        self._scores: dict[str, float] = {}

    def ask(self) -> Run:
        """A new configuration, or one that goes on."""
        self._seed_everything()
        trial = self._optimizer.ask()
        before = trial.metadata.previous_trial_id
        begin = 0 if before is None else int(self._optimizer.trials[before].config[_FIDELITY])
        return Run(trial.id, self._settings(trial.config), begin, int(trial.config[_FIDELITY]))

    def report(self, report: Report) -> bool:
        """NePS hears of whole runs only."""
        self._scores[report.key] = report.best_score
        return False

    def end(self, key: str, outcome: Outcome, cause: str | None) -> None:
        """A number, or what was raised."""
        failed = RuntimeError(cause or "failed")
        self._optimizer.tell(key, failed if outcome == "failed" else self._sign * self._scores.pop(key))

    def _settings(self, config: Any) -> dict[str, Any]:
        params = {p.name: _clipped(p, config[p.name]) for p in self._space.parameters}
        return self._space.suggest(optuna.trial.FixedTrial(params))

    def _seed_everything(self) -> None:
        """NePS draws from the process's global generators."""
        digest = hashlib.sha256(f"{self._seed}:{self._asked}".encode()).digest()
        number = int.from_bytes(digest[:4], "big")
        self._asked += 1
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)


def _element(parameter: Parameter, default: Any) -> Any:
    confidence = {"prior": default, "prior_confidence": "medium"}
    if isinstance(parameter, ChoiceParameter):
        if len(parameter.choices) == 1:
            return neps.HPOConstant(parameter.choices[0])
        return neps.HPOCategorical(list(parameter.choices), **confidence)
    kind = neps.HPOFloat if parameter.kind == "float" else neps.HPOInteger
    return kind(parameter.low, parameter.high, log=parameter.log, **confidence)


def _clipped(parameter: Parameter, value: Any) -> Any:
    """Back inside the bounds, which a change of scale may miss by a rounding."""
    if isinstance(parameter, ChoiceParameter):
        return value
    inside = min(max(value, parameter.low), parameter.high)
    return int(inside) if parameter.kind == "int" else float(inside)
