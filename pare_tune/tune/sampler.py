"""Optuna's TPE, with random numbers that depend on what is drawn and not on what was drawn before.

Optuna keeps no generator state in its storages, so a search that is interrupted and resumed would go on with other
numbers. Here every draw is seeded by (search seed, trial number, parameter): an interrupted search asks for the same
trials as an undisturbed one, even when it was killed between two parameters of one trial.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Container, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

_GOOD = 25
"""TPE's own limit on the trials that its density of good settings is made of."""
_WINDOW = 150
"""Trials that TPE looks at: the good ones and the newest of the others. It weighs old ones down to nothing anyway, and
so an ask costs the same after a thousand trials as after a hundred."""

_LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


class RepeatableTPE(BaseSampler):
    """Multivariate TPE on groups of parameters that occur together (so conditions are understood).

    Running trials are counted as bad ones (constant liar), so that trials asked for in parallel differ.
    """

    def __init__(self, *, seed: int, startup_trials: int) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._relative: TPESampler | None = None
        self._window: Study | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters sampled together."""
        trials = study.get_trials(deepcopy=False)
        self._relative, self._window = self._tpe(trial.number, ""), self._seen(study, trials)
        return self._relative.infer_relative_search_space(_one_of_each(study, trials), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of `search_space`; none while there are too few trials to learn from."""
        assert self._relative is not None
        assert self._window is not None
        return self._relative.sample_relative(self._window, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of one parameter: random at first, later TPE on this parameter alone."""
        return self._tpe(trial.number, param_name).sample_independent(
            self._seen(study, study.get_trials(deepcopy=False)), trial, param_name, param_distribution
        )

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing to note down: the study is the only record."""

    def reseed_rng(self) -> None:
        """Nothing to do: there is no generator to share between processes."""

    def _seen(self, study: Study, trials: list[FrozenTrial]) -> Study:
        return _window(study, trials, max(_WINDOW, self._startup_trials))

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


class _Window:
    """A study as TPE reads it: everything of the real one, but only the trials given."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [t for t in self._trials if states is None or t.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def _window(study: Study, trials: list[FrozenTrial], size: int) -> Study:
    finished = [t for t in trials if t.state in _LEARNED_FROM]
    running = [t for t in trials if t.state == TrialState.RUNNING]
    if len(finished) > size:
        good, others = _split_trials(study, finished, _GOOD)
        finished = sorted(good + others[-(size - len(good)) :], key=lambda t: t.number)
    return cast("Study", _Window(study, finished + running))


def _one_of_each(study: Study, trials: list[FrozenTrial]) -> Study:
    """With the first trial of each set of parameters that occurred: all that TPE's groups are made of."""
    first: dict[frozenset[str], FrozenTrial] = {}
    for trial in trials:
        if trial.state in _LEARNED_FROM:
            first.setdefault(frozenset(trial.distributions), trial)
    return cast("Study", _Window(study, list(first.values())))
