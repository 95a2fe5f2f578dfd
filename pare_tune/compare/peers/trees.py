"""Gradient-boosted trees on rows with one class each, by four libraries: the peers that win on most tables.

XGBoost: Chen and Guestrin, KDD 2016, https://arxiv.org/abs/1603.02754. LightGBM: Ke et al., NeurIPS 2017. CatBoost:
Prokhorenkova et al., NeurIPS 2018, https://arxiv.org/abs/1706.09516. Histogram gradient boosting: scikit-learn's, after
LightGBM.
"""

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


def _suggest_xgboost(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 30, 1000, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 20.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 10.0, log=True),
    }


def _fit_xgboost(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from xgboost import XGBClassifier

    device = "cuda" if problem.device.type == "cuda" else "cpu"
    return fit_classes(lambda: XGBClassifier(random_state=seed, n_jobs=1, device=device, **settings), problem)


def _suggest_lightgbm(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
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


def _fit_lightgbm(problem: Problem, settings: Settings, seed: int) -> Fitted:
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


def _suggest_catboost(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "iterations": trial.suggest_int("iterations", 50, 1000, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "depth": trial.suggest_int("depth", 2, 8),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.5, 30.0, log=True),
        "random_strength": trial.suggest_float("random_strength", 0.1, 10.0, log=True),
    }


def _fit_catboost(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from catboost import CatBoostClassifier

    fixed = {"random_seed": seed, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    return fit_classes(lambda: CatBoostClassifier(**fixed, **settings), problem)


def _suggest_histogram(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "max_iter": trial.suggest_int("max_iter", 30, 500, log=True),
        "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 4, 128, log=True),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 2, 50, log=True),
        "l2_regularization": trial.suggest_float("l2_regularization", 1e-4, 10.0, log=True),
    }


def _fit_histogram(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return fit_classes(lambda: HistGradientBoostingClassifier(random_state=seed, **settings), problem)


XGBOOST, LIGHTGBM, CATBOOST, HISTOGRAM = (
    Peer(name=name, module=module, suits=tables_of_classes, suggest=suggest, fit=fit)
    for name, module, suggest, fit in (
        ("xgboost", "xgboost", _suggest_xgboost, _fit_xgboost),
        ("lightgbm", "lightgbm", _suggest_lightgbm, _fit_lightgbm),
        ("catboost", "catboost", _suggest_catboost, _fit_catboost),
        ("hist-gradient-boosting", "sklearn", _suggest_histogram, _fit_histogram),
    )
)
