"""Optuna's TPE, with random numbers that depend on what is drawn and not on what was drawn before.

Optuna keeps no generator state in its storages, so a search that is interrupted and resumed would go on with other
numbers. Here every draw is seeded by (search seed, trial number, parameter): an interrupted search asks for the same
trials as an undisturbed one, even when it was killed between two parameters of one trial.

Which trials are random is a matter of their number, too, and not of how many have ended: however many run at a time,
no more than the configured number are.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pare_tune.tune.journal import Densities, num_good, order_of
from pare_tune.tune.prior import Extra, Prior, Ranked, earlier_observations, pseudo_observations, seed_of

_GOOD = 25
"""TPE's own limit on the trials that its density of good settings is made of."""
_WINDOW = 100
"""Trials that TPE looks at: the good ones and the newest of the others. It weighs old ones down to nothing anyway, and
so an ask costs the same after a thousand trials as after a hundred."""

_LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


class RepeatableTPE(BaseSampler):
    """TPE on each parameter alone.

    Joint densities of all parameters, as Optuna's `multivariate` and `group` make them, need more trials than a search
    of fifty has: simulated on recorded curves, they find less.

    Running trials are counted as bad ones (constant liar), so that trials asked for in parallel differ.

    Args:
        startup_trials: the first so many (trial 0 among them) are drawn at random, where they are not given.
        priors: parameter → where good values are expected before anything is known.
        earlier: trials of earlier searches.
    """

    def __init__(
        self,
        *,
        seed: int,
        startup_trials: int,
        priors: Mapping[str, Prior] | None = None,
        earlier: Sequence[Ranked] = (),
    ) -> None:
        self._seed, self._startup_trials = seed, startup_trials
        self._priors, self._earlier = dict(priors or {}), tuple(earlier)
        self._history: _History | None = None
        self._tpe: _InformedTPE | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """No parameters are sampled together. Optuna asks once a trial, before its first parameter."""
        self._tpe = None
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of one parameter: random at first, later TPE's."""
        if trial.number < self._startup_trials:
            return self._startup(study, trial, param_name, param_distribution)
        if self._tpe is None:
            self._tpe = self._look(study, trial.number)
        return self._tpe.value(
            param_name,
            param_distribution,
            self._priors.get(param_name),
            seed=seed_of(self._seed, trial.number, param_name),
            rng=self._rng(trial.number, f"{param_name} extra"),
        )

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
        sampler = RandomSampler(seed=seed_of(self._seed, trial.number, name))
        return sampler.sample_independent(study, trial, name, distribution)

    def _look(self, study: Study, number: int) -> _InformedTPE:
        if self._history is None or not self._history.is_of(study):
            self._history = _History(study)
        self._history.update()
        below, above = self._history.split(number, _WINDOW)
        return _InformedTPE(below, above, self._earlier, finished=self._history.finished)

    def _rng(self, number: int, draw: str) -> np.random.Generator:
        return np.random.default_rng(seed_of(self._seed, number, draw))


class _InformedTPE:
    """TPE on the trials that it is given, whose two densities also hold what was known before.

    Args:
        below: the good trials.
        above: the others.
        earlier: trials of earlier searches.
        finished: trials to learn from, those that are not shown too.
    """

    def __init__(
        self, below: list[FrozenTrial], above: list[FrozenTrial], earlier: Sequence[Ranked], *, finished: int
    ) -> None:
        self._densities = Densities()
        self._below, self._above, self._earlier, self._finished = below, above, earlier, finished

    def value(
        self,
        name: str,
        distribution: BaseDistribution,
        prior: Prior | None,
        *,
        seed: int,
        rng: np.random.Generator,
    ) -> Any:
        """Of one parameter, drawn with `seed`; `rng` draws what stands for the prior."""
        good = max(1, len(self._below))
        pseudo = pseudo_observations(prior, distribution, trials=self._finished, good=good, rng=rng)
        better, worse = earlier_observations(self._earlier, name, distribution, trials=self._finished)

        def density(trials: list[FrozenTrial], *extras: Extra | None) -> Any:
            further = [(e.values, e.weights) for e in extras if e is not None]
            return self._densities.made_of(name, distribution, trials, further)

        below, above = density(self._below, pseudo, better), density(self._above, worse)
        return distribution.to_external_repr(self._densities.most_promising(below, above, name, seed))


class _History:
    """The finished trials of a study, each looked at once: what TPE orders them by never changes."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._ranked: list[tuple[tuple[float, ...], int]] = []
        self._numbers: list[int] = []
        self._open: list[int] = []
        self._trials: list[FrozenTrial] = []

    def is_of(self, study: Study) -> bool:
        """Whether these are the trials of `study`."""
        return self._study is study

    @property
    def finished(self) -> int:
        """Trials to learn from."""
        return len(self._ranked)

    def update(self) -> None:
        """Look at the trials that ended since the last time."""
        seen = len(self._trials)
        self._trials = self._study.get_trials(deepcopy=False)
        looked_at = [*self._open, *range(seen, len(self._trials))]
        self._open = [n for n in looked_at if not self._trials[n].state.is_finished()]
        for number in looked_at:
            trial = self._trials[number]
            if trial.state in _LEARNED_FROM and not _is_repeat(trial):
                bisect.insort(self._ranked, (order_of(trial, self._study), number))
                bisect.insort(self._numbers, number)

    def split(self, asked: int, size: int) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The good trials and the others, as TPE splits at most `size` of them; running ones are among the others."""
        count = num_good(min(len(self._ranked), size))
        below = {number for _, number in self._ranked[:count]}
        if len(self._ranked) <= size:
            above = [n for n in self._numbers if n not in below]
        else:
            good = {number for _, number in self._ranked[:_GOOD]}
            newest = (n for n in reversed(self._numbers) if n not in good)
            above = sorted((good - below) | set(islice(newest, size - _GOOD)))
        live = (self._trials[n] for n in self._open if n != asked)
        running = [t for t in live if t.state == TrialState.RUNNING and not _is_repeat(t)]
        others = [*(self._trials[n] for n in above), *running]
        return [self._trials[n] for n in sorted(below)], sorted(others, key=lambda t: t.number)


def _is_repeat(trial: FrozenTrial) -> bool:
    """Whether it only confirms another one, whose settings TPE must not weigh twice."""
    return "repeats" in trial.user_attrs
