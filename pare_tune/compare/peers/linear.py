"""Linear models of any task: logistic regression of classes, ridge regression of everything else (scikit-learn)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pare_tune.compare.peers.base import (
    Array,
    Fitted,
    Peer,
    Problem,
    Settings,
    anything,
    flat,
    is_mask,
    varying,
)
from pare_tune.tasks.base import MultiLabel, Point

if TYPE_CHECKING:
    import optuna


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    if isinstance(problem.data.output, Point):
        return {"C": trial.suggest_float("C", 1e-4, 1e3, log=True)}
    return {"alpha": trial.suggest_float("alpha", 1e-3, 1e5, log=True)}


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    if isinstance(problem.data.output, Point):
        return _logistic(problem, settings)
    return _ridge(problem, settings)


def _logistic(problem: Problem, settings: Settings) -> Fitted:
    """The simple model that every search is told against, with settings of its own."""
    import torch

    from pare_tune.train.simple.fits import fit_linear, training_of
    from pare_tune.train.simple.measure import predict_whole

    samples = {"x": torch.from_numpy(problem.train.x), "y": problem.train.targets["y"]}
    model = fit_linear(training_of(problem.data, samples), **settings)
    return Fitted(lambda x: predict_whole(model, torch.from_numpy(x)).numpy())


def _ridge(problem: Problem, settings: Settings) -> Fitted:
    """In the dual where there are fewer samples than features, as with pictures."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    x, y = flat(problem.train.x), problem.training_y
    shape = y.shape[1:]
    target = flat(y).astype(np.float64)
    if isinstance(problem.data.output, MultiLabel) or is_mask(problem.data.task):
        target = 2.0 * target - 1.0
    kept = varying(x)
    scale = StandardScaler().fit(x[:, kept])
    x, mean = scale.transform(x[:, kept]), target.mean(axis=0)
    alpha = settings.get("alpha", 1.0)
    model = Ridge(alpha=alpha) if x.shape[1] <= len(x) else KernelRidge(alpha=alpha, kernel="linear")
    model.fit(x, target - mean)

    def predict(samples: Array) -> Array:
        rows = model.predict(scale.transform(flat(samples)[:, kept])).reshape(len(samples), -1) + mean
        outputs: Array = rows.reshape(len(samples), *shape).astype(np.float32)
        return outputs

    return Fitted(predict)


LINEAR = Peer(
    name="linear",
    module="sklearn",
    suits=anything,
    suggest=_suggest,
    fit=_fit,
)
