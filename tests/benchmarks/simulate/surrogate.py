"""A simulated task: every setting of its space has a learning curve, as if it had been trained.

Recorded settings give their recorded curve to the last bit. For all others a forest of extremely randomised trees,
fitted to the recorded curves, predicts the whole curve at once, and the error that such a prediction makes is put back:
the residual curve of a recorded configuration with a similar prediction, chosen by a hash of the settings. So the
simulated curves are as rough and as hard to foresee as real ones, and the same settings always give the same curve.

Scores are predicted as normal scores of their rank among all recorded ones, so that a loss that spans decades counts as
evenly as an error rate. Trees do not extrapolate: nothing is predicted to be better than the best that was recorded,
and simulated curves get beyond it by their residuals alone. A real search may find more than a simulated one. No score
is one that the metric cannot have: none is below 0 where 0 was recorded, nor, where large is good, above the best
recorded one.

Geurts, Ernst, Wehenkel, "Extremely randomized trees" (Machine Learning 2006). Surrogates in place of training:
Eggensperger et al., "Efficient benchmarking of hyperparameter optimizers via surrogates" (AAAI 2015).
"""
# Shape suffixes: C = recorded configurations, F = features, E = epochs.

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError
from pare_tune.recorded.table import Configuration, Table
from pare_tune.tasks.base import Direction
from pare_tune.tune.parameter import ChoiceParameter, Parameter
from pare_tune.tune.recorded import space_of
from pare_tune.tune.space import BoundSpace

Floats = npt.NDArray[np.float64]

_TREES = 100
_LEAF = 2
"""Fewest configurations in a leaf: single ones would hand their noise on."""
_FOLDS = 5
_DONORS = 15
"""Recorded configurations of similar prediction, one of which lends its residual."""
_FEWEST = 20
"""Below this many complete configurations nothing can be said about the others."""
_ABSENT = -1.0
_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Curve:
    """A training, as it would go."""

    scores: tuple[float, ...]
    """Validation after every epoch."""
    seconds: tuple[float, ...]
    """Of every epoch; one longer than `scores` where the trial fails in the next one."""
    cause: str | None = None
    """Why it ends before its last epoch."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well curves are predicted of configurations that the model has not seen."""

    configurations: int
    error: float
    """Mean absolute error of the best score, as a share of what predicting the median would make; 1 is useless."""
    tau: float
    """Kendall's rank correlation of predicted and recorded best scores."""


class World:
    """One task to search in.

    Args:
        table: recorded curves.
        space: that settings come from; None is the shipped one around the table's trial 0.
        seed: of the residuals; another seed is another task of the same kind.

    Raises:
        DataError: there are too few complete configurations, or they were recorded around another space.
    """

    def __init__(self, table: Table, *, space: BoundSpace | None = None, seed: int = 0) -> None:
        if len(table.complete) < _FEWEST:
            raise DataError(
                f"{table.task} has {len(table.complete)} complete configurations, a simulation needs {_FEWEST}; "
                f"record more with record_curves.py"
            )
        self.table, self.space = table, space or space_of(table)
        self._seed = seed
        self._recorded = {_key(c.settings): c for c in table.configurations}
        self._check_default()
        self._features = Features(self.space)
        self._known: dict[str, Curve] = {}
        whole = table.complete
        self._ranks = _Ranks(np.array([c.scores for c in whole]), direction=table.direction)
        self._x_CF = np.array([self._features.of(c.settings) for c in whole])
        self._y_CE = self._ranks.to_normal(np.array([c.scores for c in whole]))
        self._forest = _Forest(self._x_CF, self._y_CE)
        seconds = np.array([c.seconds for c in whole])
        self._cost = _Forest(self._x_CF, np.log(np.maximum(seconds, 1e-4)), trees=_TREES // 2)

    def _check_default(self) -> None:
        """A recorded default must be replayed: with a setting more or less it would silently be simulated."""
        is_recorded = any(c.number == 0 for c in self.table.configurations)
        if not is_recorded or self.space.base != self.table.base:
            return
        if _key(self.space.base_settings()) not in self._recorded:
            raise DataError(
                f"{self.table.task} was recorded around another space: no record has trial 0's settings "
                f"{', '.join(self.space.base_settings())}; record again with record_curves.py"
            )

    @property
    def epochs(self) -> int:
        """Of a whole trial."""
        return self.table.epochs

    def curve(self, settings: Mapping[str, Any]) -> Curve:
        """How a training with `settings` goes. A fresh `seed` among them changes nothing: it was not recorded."""
        key = _key(settings)
        if key not in self._known:
            recorded = self._recorded.get(key)
            self._known[key] = (
                self._simulated(settings, key) if recorded is None else self._replayed(recorded)
            )
        return self._known[key]

    def expected(self, settings: Sequence[Mapping[str, Any]]) -> Floats:
        """(n, epochs) scores as the forest predicts them, before the chance that `curve` adds."""
        rows = np.array([self._features.of(s) for s in settings])
        return self._ranks.to_score(self._forest.predict(rows))

    @cached_property
    def held_out(self) -> HeldOut:
        """Measured by cross-validation over configurations."""
        from scipy.stats import kendalltau

        sign = self.table.sign
        recorded = sign * (sign * np.array([c.scores for c in self.table.complete])).min(axis=1)
        predicted = sign * (sign * self._ranks.to_score(self._unseen)).min(axis=1)
        spread = np.abs(recorded - np.median(recorded)).mean()
        error = np.abs(predicted - recorded).mean() / spread if spread > 0 else 0.0
        tau = float(kendalltau(predicted, recorded).statistic)
        return HeldOut(len(recorded), float(error), tau)

    @cached_property
    def _unseen(self) -> Floats:
        """(C, E) predictions of each complete configuration by a forest that has not seen it."""
        from sklearn.model_selection import KFold

        predicted = np.empty_like(self._y_CE)
        folds = KFold(min(_FOLDS, len(predicted)), shuffle=True, random_state=0)
        for train, test in folds.split(self._x_CF):
            predicted[test] = _Forest(self._x_CF[train], self._y_CE[train]).predict(self._x_CF[test])
        return predicted

    def _simulated(self, settings: Mapping[str, Any], key: str) -> Curve:
        x_F = self._features.of(settings)
        rng = np.random.default_rng(_digest(self.table.task, self._seed, key))
        predicted_E = self._forest.predict(x_F[None])[0]
        nearest = np.argsort(np.abs(self._unseen[:, -1] - predicted_E[-1]), kind="stable")[:_DONORS]
        donor = int(rng.choice(nearest))
        scores = self._ranks.to_score(predicted_E + (self._y_CE - self._unseen)[donor])
        seconds = np.exp(self._cost.predict(x_F[None])[0])
        curve = Curve(tuple(scores.tolist()), tuple(seconds.tolist()))
        failed = self._failure(x_F, rng)
        return curve if failed is None else _cut(curve, failed, self.epochs)

    def _failure(self, x_F: Floats, rng: np.random.Generator) -> Configuration | None:
        """The failed configuration whose fate these settings share, if any."""
        if not self._failed:
            return None
        if rng.random() >= self._failing.predict(x_F[None])[0, 0]:
            return None
        return self._failed[int(rng.integers(len(self._failed)))]

    @cached_property
    def _failed(self) -> tuple[Configuration, ...]:
        return tuple(c for c in self.table.configurations if not c.is_complete)

    @cached_property
    def _failing(self) -> _Forest:
        x_CF = np.array([self._features.of(c.settings) for c in self._failed])
        fails = np.repeat([0.0, 1.0], [len(self._x_CF), len(x_CF)])
        return _Forest(np.concatenate([self._x_CF, x_CF]), fails[:, None])

    def _replayed(self, recorded: Configuration) -> Curve:
        curve = Curve(recorded.scores, recorded.seconds, recorded.cause)
        if recorded.is_complete:
            return curve
        return _cut(self._simulated_cost(recorded), recorded, self.epochs)

    def _simulated_cost(self, recorded: Configuration) -> Curve:
        """With the seconds of the epoch that it failed in, which nobody reported."""
        seconds = np.exp(self._cost.predict(self._features.of(recorded.settings)[None])[0])
        whole = [*recorded.seconds, *seconds.tolist()[len(recorded.seconds) :]]
        return Curve(recorded.scores, tuple(whole))


class Features:
    """Settings as numbers: scaled as the space samples them, words one-hot, −1 where a setting is not asked for."""

    def __init__(self, space: BoundSpace) -> None:
        self._parameters = space.parameters
        needed = {p.key for p in space.parameters}
        needed |= {key for p in space.parameters for key in (*p.when, *([p.times] if p.times else []))}
        self._base = {key: space.base.value_of(key) for key in needed}

    def of(self, settings: Mapping[str, Any]) -> Floats:
        """(F,) in [0, 1] or −1."""
        values = {**self._base, **settings}
        row: list[float] = []
        for parameter in self._parameters:
            active = all(values[key] in allowed for key, allowed in parameter.when.items())
            row += _encoded(parameter, values) if active else _not_asked(parameter)
        return np.array(row)


def wrong_space_of(table: Table) -> BoundSpace:
    """`space_of` the table, with the worst recorded configuration as trial 0: a prior that misleads."""
    space = space_of(table)
    chosen = max(table.complete, key=lambda c: (table.sign * table.best(c.scores), c.number))
    return replace(space, base=space.config(chosen.settings))


class _Ranks:
    """Scores ↔ normal scores of their rank among the recorded ones, linear in between.

    Beyond the recorded ones the line through the last five per cent goes on, on a log scale where all scores are
    positive: trials that are a little luckier than any recorded one must still differ. The line ends where scores do:
    at 0 where that was recorded, and at the best recorded one where large is good, since metrics state no bound.
    """

    def __init__(self, scores: Floats, *, direction: Direction = "min") -> None:
        from scipy.special import ndtri

        values, counts = np.unique(scores, return_counts=True)
        self._is_log = bool(values[0] > 0)
        self._low = 0.0 if values[0] == 0 else -np.inf
        self._high = float(values[-1]) if direction == "max" else np.inf
        self._values: Floats = np.log(values) if self._is_log else values
        self._normal: Floats = ndtri((np.cumsum(counts) - counts / 2.0) / counts.sum())
        self._slopes = (self._slope(0, _TAIL), self._slope(-1, 1.0 - _TAIL))

    def to_normal(self, scores: Floats) -> Floats:
        """Of recorded scores."""
        return np.interp(np.log(scores) if self._is_log else scores, self._values, self._normal)

    def to_score(self, normal: Floats) -> Floats:
        """Of any normal scores."""
        inside = np.interp(normal, self._normal, self._values)
        below = np.minimum(normal - self._normal[0], 0.0) * self._slopes[0]
        above = np.maximum(normal - self._normal[-1], 0.0) * self._slopes[1]
        values = inside + below + above
        scores: Floats = np.clip(np.exp(values) if self._is_log else values, self._low, self._high)
        return scores

    def _slope(self, end: int, quantile: float) -> float:
        from scipy.special import ndtri

        inner = float(np.interp(ndtri(quantile), self._normal, self._values))
        width = float(ndtri(quantile) - self._normal[end])
        return (inner - float(self._values[end])) / width if width else 0.0


class _Forest:
    """Extremely randomised trees with several outputs; a prediction of one row takes a few milliseconds."""

    def __init__(self, x: Floats, y: Floats, *, trees: int = _TREES) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(trees, min_samples_leaf=_LEAF, random_state=0, n_jobs=1)
        model.fit(x, y.ravel() if y.shape[1] == 1 else y)
        self._outputs = y.shape[1]
        self._trees: list[Callable[[npt.NDArray[np.float32]], Floats]] = [
            tree.tree_.predict for tree in model.estimators_
        ]

    def predict(self, x: Floats) -> Floats:
        """(rows, outputs). By the trees themselves: scikit-learn's own checks cost ten times as much."""
        rows = x.astype(np.float32)
        total = np.zeros((len(x), self._outputs))
        for predict in self._trees:
            total += predict(rows).reshape(len(x), self._outputs)
        mean: Floats = total / len(self._trees)
        return mean


def _encoded(p: Parameter, values: Mapping[str, Any]) -> list[float]:
    value = values[p.key]
    if isinstance(p, ChoiceParameter):
        if p.is_ladder:
            ladder = sorted(float(c) for c in p.choices)
            return [float(np.interp(value, ladder, np.linspace(0.0, 1.0, len(ladder))))]
        return [float(value == c) for c in p.choices]
    if p.times is not None:
        whole = values[p.times]
        value = value / whole if whole else 0.0
    if p.log:
        return [float(np.log(value / p.low) / np.log(p.high / p.low))] if value > 0 else [0.0]
    return [float((value - p.low) / (p.high - p.low))]


def _not_asked(p: Parameter) -> list[float]:
    one_hot = isinstance(p, ChoiceParameter) and not p.is_ladder
    return [_ABSENT] * (len(p.extremes) if one_hot else 1)


def _cut(curve: Curve, failed: Configuration, epochs: int) -> Curve:
    """`curve`, ended where `failed` ended."""
    last = min(len(failed.scores), epochs - 1)
    return Curve(curve.scores[:last], curve.seconds[: last + 1], failed.cause or "crashed")


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps({k: settings[k] for k in sorted(settings) if k != "seed"})


def _digest(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
