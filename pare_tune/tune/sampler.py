"""Optuna's TPE, with random numbers that depend on what is drawn and not on what was drawn before.

Optuna keeps no generator state in its storages, so a search that is interrupted and resumed would go on with other
numbers. Here every draw is seeded by (search seed, trial number, parameter): an interrupted search asks for the same
trials as an undisturbed one, even when it was killed between two parameters of one trial.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class RepeatableTPE(BaseSampler):
    """Multivariate TPE on groups of parameters that occur together (so conditions are understood).

    Running trials are counted as bad ones (constant liar), so that trials asked for in parallel differ.
    """

    def __init__(self, *, seed: int, startup_trials: int) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._relative: TPESampler | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters sampled together."""
        self._relative = self._tpe(trial.number, "")
        return self._relative.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of `search_space`; none while there are too few trials to learn from."""
        assert self._relative is not None
        return self._relative.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of one parameter: random at first, later TPE on this parameter alone."""
        return self._tpe(trial.number, param_name).sample_independent(
            study, trial, param_name, param_distribution
        )

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing to note down: the study is the only record."""

    def reseed_rng(self) -> None:
        """Nothing to do: there is no generator to share between processes."""

    def _tpe(self, number: int, draw: str) -> TPESampler:
        digest = hashlib.sha256(f"{self._seed}:{number}:{draw}".encode()).digest()
        with warnings.catch_warnings():
            # `group` has been experimental since Optuna 2.8, and the journal pins what it gave.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                seed=int.from_bytes(digest[:4], "big"),
                n_startup_trials=self._startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
