"""XGBoost: Chen and Guestrin, KDD 2016, https://arxiv.org/abs/1603.02754."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, fit_classes, tables_of_classes

if TYPE_CHECKING:
    import optuna


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 30, 1000, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 20.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-3, 10.0, log=True),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from xgboost import XGBClassifier

    device = "cuda" if problem.device.type == "cuda" else "cpu"
    return fit_classes(lambda: XGBClassifier(random_state=seed, n_jobs=1, device=device, **settings), problem)


PEER = Peer(
    name="xgboost",
    title="XGBoost (Chen and Guestrin, 2016)",
    module="xgboost",
    suits=tables_of_classes,
    suggest=_suggest,
    fit=_fit,
)
