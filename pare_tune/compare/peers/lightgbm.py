"""LightGBM: Ke et al., NeurIPS 2017."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pare_tune.compare.peers.base import (
    Array,
    Fitted,
    Peer,
    Problem,
    Settings,
    fit_classes,
    tables_of_classes,
)

if TYPE_CHECKING:
    import optuna


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 30, 1000, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 128, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 2, 50, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "subsample_freq": 1,
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 10.0, log=True),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from lightgbm import LGBMClassifier

    fitted = fit_classes(
        lambda: LGBMClassifier(random_state=seed, n_jobs=1, verbosity=-1, deterministic=True, **settings),
        problem,
    )

    def predict(x: Array) -> Array:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return fitted.predict(x)

    return Fitted(predict)


PEER = Peer(
    name="lightgbm",
    title="LightGBM (Ke et al., 2017)",
    module="lightgbm",
    suits=tables_of_classes,
    suggest=_suggest,
    fit=_fit,
)
