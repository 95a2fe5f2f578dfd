"""Optuna's TPE, with random numbers that depend on what is drawn and not on what was drawn before.

Optuna keeps no generator state in its storages, so a search that is interrupted and resumed would go on with other
numbers. Here every draw is seeded by (search seed, trial number, parameter): an interrupted search asks for the same
trials as an undisturbed one, even when it was killed between two parameters of one trial.

Which trials are random is a matter of their number, too, and not of how many have ended: however many run at a time,
no more than the configured number are.
"""

from __future__ import annotations

import bisect
import hashlib
import warnings
from collections.abc import Container, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import (
    _get_infeasible_trial_score,
    _get_pruned_trial_score,
    default_gamma,
)
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pare_tune.tune.prior import Extra, Prior, Ranked, earlier_observations, pseudo_observations

_GOOD = 25
"""TPE's own limit on the trials that its density of good settings is made of."""
_WINDOW = 100
"""Trials that TPE looks at: the good ones and the newest of the others. It weighs old ones down to nothing anyway, and
so an ask costs the same after a thousand trials as after a hundred."""

_LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


class RepeatableTPE(BaseSampler):
    """Multivariate TPE on groups of parameters that occur together (so conditions are understood).

    Running trials are counted as bad ones (constant liar), so that trials asked for in parallel differ.

    Args:
        startup_trials: the first so many (trial 0 among them) are drawn at random, where they are not given.
        first: values of categories that the first of those take instead, in order, from trial 1 on (trial 0 is not
            drawn). What is not among the choices is passed over.
        priors: parameter → where good values are expected before anything is known.
        earlier: trials of earlier searches.
    """

    def __init__(
        self,
        *,
        seed: int,
        startup_trials: int,
        first: Mapping[str, Sequence[Any]] | None = None,
        priors: Mapping[str, Prior] | None = None,
        earlier: Sequence[Ranked] = (),
    ) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._first = {name: tuple(values) for name, values in (first or {}).items()}
        self._priors, self._earlier = dict(priors or {}), tuple(earlier)
        self._relative: _InformedTPE | None = None
        self._history: _History | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters sampled together; none while trials are random."""
        if trial.number < self._startup_trials:
            self._relative = None
            return {}
        history = self._updated(study)
        self._relative = self._tpe(history, trial.number, "")
        return self._relative.infer_relative_search_space(
            _only(study, list(history.one_of_each.values())), trial
        )

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of `search_space`."""
        if self._relative is None:
            return {}
        return self._relative.sample_relative(_only(study, []), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of one parameter: random at first, later TPE on this parameter alone."""
        if isinstance(param_distribution, CategoricalDistribution) and trial.number <= self._startup_trials:
            known = [v for v in self._first.get(param_name, ()) if v in param_distribution.choices]
            if 1 <= trial.number <= len(known):
                return known[trial.number - 1]
        if trial.number < self._startup_trials:
            return self._startup(study, trial, param_name, param_distribution)
        tpe = self._tpe(self._updated(study), trial.number, param_name)
        return tpe.sample_independent(_only(study, []), trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Nothing to note down: the study is the only record."""

    def reseed_rng(self) -> None:
        """Nothing to do: there is no generator to share between processes."""

    def _startup(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """Near trial 0 or anywhere: one coin for all of a trial's parameters, so that some stay near as a whole."""
        prior = self._priors.get(name)
        if prior is not None and self._rng(trial.number, "prior").random() < prior.share(trial.number):
            return distribution.to_external_repr(prior.draw(distribution, self._rng(trial.number, name)))
        sampler = RandomSampler(seed=self._number_of(trial.number, name))
        return sampler.sample_independent(study, trial, name, distribution)

    def _updated(self, study: Study) -> _History:
        if self._history is None or not self._history.is_of(study):
            self._history = _History(study)
        self._history.update()
        return self._history

    def _tpe(self, history: _History, number: int, draw: str) -> _InformedTPE:
        with warnings.catch_warnings():
            # `group` has been experimental since Optuna 2.8, and the journal pins what it gave.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return _InformedTPE(
                history.split(number, _WINDOW),
                self._priors,
                self._earlier,
                finished=history.finished,
                rng=self._rng(number, f"{draw} extra"),
                seed=self._number_of(number, draw),
            )

    def _rng(self, number: int, draw: str) -> np.random.Generator:
        return np.random.default_rng(self._number_of(number, draw))

    def _number_of(self, number: int, draw: str) -> int:
        digest = hashlib.sha256(f"{self._seed}:{number}:{draw}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


class _InformedTPE(TPESampler):
    """TPE on the trials that it is given, whose two densities also hold what was known before."""

    def __init__(
        self,
        split: tuple[list[FrozenTrial], list[FrozenTrial]],
        priors: Mapping[str, Prior],
        earlier: Sequence[Ranked],
        *,
        finished: int,
        rng: np.random.Generator,
        seed: int,
    ) -> None:
        super().__init__(seed=seed, n_startup_trials=0, multivariate=True, group=True, constant_liar=True)
        self._below, self._above = split
        self._priors, self._earlier, self._finished, self._extra_rng = priors, earlier, finished, rng

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        good, finished = max(1, len(self._below)), self._finished
        prior = pseudo_observations(
            self._priors, search_space, trials=finished, good=good, rng=self._extra_rng
        )
        better, worse = earlier_observations(self._earlier, search_space, trials=finished)
        density_below = self._density(study, search_space, self._below, [prior, better])
        density_above = self._density(study, search_space, self._above, [worse])
        samples = density_below.sample(self._rng.rng, self._n_ei_candidates)
        gain = density_below.log_pdf(samples) - density_above.log_pdf(samples)
        best = TPESampler._compare(samples, gain)
        return {name: d.to_external_repr(best[name]) for name, d in search_space.items()}

    def _density(
        self,
        study: Study,
        space: dict[str, BaseDistribution],
        trials: list[FrozenTrial],
        extras: Sequence[Extra | None],
    ) -> _ParzenEstimator:
        observations = self._get_internal_repr(trials, space, study)
        parameters = self._parzen_estimator_parameters
        weights = [np.asarray(parameters.weights(len(next(iter(observations.values())))), dtype=float)]
        for extra in extras:
            if extra is not None:
                observations = {name: np.append(v, extra.values[name]) for name, v in observations.items()}
                weights.append(extra.weights)
        return _ParzenEstimator(observations, space, parameters, np.concatenate(weights))


class _History:
    """The finished trials of a study, each looked at once: what TPE orders them by never changes."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._ranked: list[tuple[tuple[float, ...], int]] = []
        self._numbers: list[int] = []
        self._known: set[int] = set()
        self._trials: list[FrozenTrial] = []
        self.one_of_each: dict[frozenset[str], FrozenTrial] = {}
        """The first trial of each set of parameters that occurred: all that TPE's groups are made of."""

    def is_of(self, study: Study) -> bool:
        """Whether these are the trials of `study`."""
        return self._study._storage is study._storage and self._study._study_id == study._study_id

    @property
    def finished(self) -> int:
        """Trials to learn from."""
        return len(self._ranked)

    def update(self) -> None:
        """Look at the trials that ended since the last time."""
        self._trials = self._study._storage.get_all_trials(self._study._study_id, deepcopy=False)
        for trial in self._trials:
            if trial.number not in self._known and trial.state in _LEARNED_FROM and not _is_repeat(trial):
                self._known.add(trial.number)
                bisect.insort(self._ranked, (self._rank(trial), trial.number))
                bisect.insort(self._numbers, trial.number)
                self.one_of_each.setdefault(frozenset(trial.distributions), trial)

    def split(self, asked: int, size: int) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The good trials and the others, as TPE splits at most `size` of them; running ones are among the others."""
        count = default_gamma(min(len(self._ranked), size))
        below = {number for _, number in self._ranked[:count]}
        if len(self._ranked) <= size:
            above = [n for n in self._numbers if n not in below]
        else:
            good = {number for _, number in self._ranked[:_GOOD]}
            newest = (n for n in reversed(self._numbers) if n not in good)
            above = sorted((good - below) | set(islice(newest, size - _GOOD)))
        running = (t for t in self._trials if t.state == TrialState.RUNNING and t.number != asked)
        others = [self._trials[n] for n in above] + [t for t in running if not _is_repeat(t)]
        return [self._trials[n] for n in sorted(below)], sorted(others, key=lambda t: t.number)

    def _rank(self, trial: FrozenTrial) -> tuple[float, ...]:
        """Optuna's order: complete ones by value, stopped ones by how far they got, infeasible ones last."""
        infeasible = _get_infeasible_trial_score(trial)
        if infeasible > 0:
            return (2.0, infeasible)
        if trial.state == TrialState.PRUNED:
            return (1.0, *_get_pruned_trial_score(trial, self._study))
        assert trial.value is not None
        minimize = self._study.direction == StudyDirection.MINIMIZE
        return (0.0, trial.value if minimize else -trial.value)


def _is_repeat(trial: FrozenTrial) -> bool:
    """Whether it only confirms another one, whose settings TPE must not weigh twice."""
    return "repeats" in trial.user_attrs


class _Window:
    """A study of which only some trials can be seen."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [t for t in self._trials if states is None or t.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def _only(study: Study, trials: list[FrozenTrial]) -> Study:
    return cast("Study", _Window(study, trials))
