"""What a learning curve says of its end before it is there: ways to compare trials at a rung.

- `best`: the best score so far, which ships: from a third of the epochs on no other way is better
  (tests/benchmarks/RESULTS.md).
- `learned`: ridge regression on the curve so far, fitted to the trials of the search that came to their end, as in
  Baker et al., https://arxiv.org/abs/1705.10823; until there are `_FEWEST` of these, `best`.

The k of all trials falls with progress, so trials compared at the same epoch have come equally far in their curricula.
"""
# Shape suffixes: T = trials, R = epochs up to the rung, F = trials that ended, E = all epochs.

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_FEWEST = 10
_NEWEST = 3
"""Scores that the learned judge sees one by one."""


def best(curves_TR: Floats) -> Floats:
    """Losses so far → (T,) the best of each, the lower the better."""
    lowest: Floats = curves_TR.min(axis=1)
    return lowest


def learned(curves_TR: Floats, ended_FE: Floats) -> Floats:
    """Losses so far, and those of trials that ended → (T,) where each is expected to end, the lower the better."""
    if len(ended_FE) < _FEWEST:
        return best(curves_TR)
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
    expected: Floats = model.predict(features(curves_TR))
    return expected
