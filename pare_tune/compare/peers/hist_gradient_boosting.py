"""Gradient-boosted trees of scikit-learn, after LightGBM (Ke et al., NeurIPS 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, fit_classes, tables_of_classes

if TYPE_CHECKING:
    import optuna


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "max_iter": trial.suggest_int("max_iter", 30, 500, log=True),
        "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 4, 128, log=True),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 2, 50, log=True),
        "l2_regularization": trial.suggest_float("l2_regularization", 1e-4, 10.0, log=True),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return fit_classes(lambda: HistGradientBoostingClassifier(random_state=seed, **settings), problem)


PEER = Peer(
    name="hist-gradient-boosting",
    title="histogram gradient boosting (scikit-learn)",
    module="sklearn",
    suits=tables_of_classes,
    suggest=_suggest,
    fit=_fit,
)
