"""What a learning curve says of its end before it is there: ways to compare trials at a rung.

- `best`: the best score so far, which ships: from a third of the epochs on the best of these
  (tests/benchmarks/RESULTS.md).
- `last`: the newest score, as plain successive halving has it.
- `power-law`: a + b·epoch^(−c), fitted to each curve by itself and read off at the last epoch; one of the models of
  Domhan et al., "Speeding up automatic hyperparameter optimization ..." (IJCAI 2015).
- `learned`: ridge regression on the curve so far, fitted to the trials of the search that came to their end, as in
  Baker et al., https://arxiv.org/abs/1705.10823; until there are `_FEWEST` of these, `best`.

The k of all trials falls with progress, so trials compared at the same epoch have come equally far in their curricula.
"""
# Shape suffixes: T = trials, R = epochs up to the rung, F = trials that ended, E = all epochs.

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Judge = Callable[[Floats, Floats, int], Floats]
"""(T, R) losses so far, (F, E) losses of trials that ended, E → (T,) the lower the better."""

_POWERS = (0.25, 0.5, 1.0, 2.0)
_FEWEST = 10
_NEWEST = 3
"""Scores that the learned judge sees one by one."""


def _best(curves_TR: Floats, ended_FE: Floats, epochs: int) -> Floats:
    best: Floats = curves_TR.min(axis=1)
    return best


def _last(curves_TR: Floats, ended_FE: Floats, epochs: int) -> Floats:
    newest: Floats = curves_TR[:, -1]
    return newest


def _power_law(curves_TR: Floats, ended_FE: Floats, epochs: int) -> Floats:
    """Of the powers, the one that fits best; a curve that does not fall is judged by its best."""
    length = curves_TR.shape[1]
    if length < 3:
        return _best(curves_TR, ended_FE, epochs)
    steps_R = np.arange(1.0, length + 1)
    level_T = curves_TR.mean(axis=1)
    errors, ends = [], []
    for power in _POWERS:
        mean = (steps_R**-power).mean()
        x_R = steps_R**-power - mean
        slope_T = np.maximum((curves_TR * x_R).sum(axis=1) / (x_R**2).sum(), 0.0)
        errors.append(((curves_TR - level_T[:, None] - slope_T[:, None] * x_R) ** 2).sum(axis=1))
        ends.append(level_T + slope_T * (epochs**-power - mean))
    fitting_T = np.argmin(errors, axis=0)
    end_T: Floats = np.array(ends)[fitting_T, np.arange(len(curves_TR))]
    return np.minimum(end_T, _best(curves_TR, ended_FE, epochs))


def _learned(curves_TR: Floats, ended_FE: Floats, epochs: int) -> Floats:
    if len(ended_FE) < _FEWEST:
        return _best(curves_TR, ended_FE, epochs)
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Losses span decades, and only their order counts: places among all that were seen of ended trials.
    seen = np.sort(ended_FE, axis=None)

    def features(curves: Floats) -> Floats:
        places = np.searchsorted(seen, curves) / len(seen)
        return np.column_stack([places[:, -_NEWEST:], places.min(axis=1)])

    final_F = np.argsort(np.argsort(ended_FE.min(axis=1))) / len(ended_FE)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 12)))
    model.fit(features(ended_FE[:, : curves_TR.shape[1]]), final_F)
    judged: Floats = model.predict(features(curves_TR))
    return judged


JUDGES: Mapping[str, Judge] = {"best": _best, "last": _last, "power-law": _power_law, "learned": _learned}
