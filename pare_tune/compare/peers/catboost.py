"""CatBoost: Prokhorenkova et al., NeurIPS 2018, https://arxiv.org/abs/1706.09516."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, fit_classes, tables_of_classes

if TYPE_CHECKING:
    import optuna


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "iterations": trial.suggest_int("iterations", 50, 1000, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "depth": trial.suggest_int("depth", 2, 8),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.5, 30.0, log=True),
        "random_strength": trial.suggest_float("random_strength", 0.1, 10.0, log=True),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from catboost import CatBoostClassifier

    return fit_classes(
        lambda: CatBoostClassifier(
            random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False, **settings
        ),
        problem,
    )


PEER = Peer(
    name="catboost",
    title="CatBoost (Prokhorenkova et al., 2018), on the CPU",
    module="catboost",
    suits=tables_of_classes,
    suggest=_suggest,
    fit=_fit,
)
