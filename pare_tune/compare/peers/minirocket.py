"""MiniRocket features and a ridge regression: Dempster et al., KDD 2021, https://arxiv.org/abs/2012.08791 (aeon)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pare_tune.compare.peers.base import (
    Array,
    Fitted,
    Peer,
    Problem,
    Settings,
    one_hot,
    series_of_classes,
)
from pare_tune.errors import TrialFailed
from pare_tune.tasks.base import MultiLabel, Point

if TYPE_CHECKING:
    import optuna

_SHORTEST = 9
"""Steps that a kernel is long."""
_CHUNK = 1000
"""Samples whose 10 000 features are held at once when predicting."""


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "n_kernels": trial.suggest_categorical("n_kernels", [1000, 2500, 5000, 10000, 20000]),
        "max_dilations_per_kernel": trial.suggest_categorical("max_dilations_per_kernel", [8, 16, 32, 64]),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from aeon.transformations.collection.convolution_based import MiniRocket
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if problem.spatial[-1] < _SHORTEST:
        raise TrialFailed(
            f"MiniRocket needs series of {_SHORTEST} steps or more, these have {problem.spatial[-1]}",
            cause="invalid",
        )
    y, output = problem.train.y, problem.data.output
    match output:
        case Point():
            target: Array = one_hot(y, output.num_classes)
        case MultiLabel():
            target = 2.0 * y - 1.0
        case _:
            target = y
    rocket = MiniRocket(random_state=seed, n_jobs=1, **settings)
    features = np.asarray(rocket.fit_transform(problem.train.x), dtype=np.float32)
    # As the authors do: the regularisation is chosen by leaving one training sample out.
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 3, 10))).fit(features, target)

    def predict(x: Array) -> Array:
        parts = [
            model.predict(np.asarray(rocket.transform(x[i : i + _CHUNK]), dtype=np.float32))
            for i in range(0, len(x), _CHUNK)
        ]
        return np.concatenate(parts).reshape(len(x), -1).astype(np.float32)

    return Fitted(predict)


MINIROCKET = Peer(
    name="minirocket",
    module="aeon",
    suits=series_of_classes,
    suggest=_suggest,
    fit=_fit,
)
