"""TabPFN: Hollmann et al., ICLR 2023 and Nature 2025, https://arxiv.org/abs/2207.01848.

Its weights are large and partly under a licence that must be accepted first, so nothing is downloaded here: it runs
where they are at hand.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pare_tune.compare.peers.base import Fitted, Peer, Problem, Settings, fit_classes, tables_of_classes
from pare_tune.errors import BackboneUnavailable

if TYPE_CHECKING:
    import optuna

CACHE_ENV = "TABPFN_MODEL_CACHE_DIR"
"""TabPFN's own variable for the folder of its weights."""
_WEIGHTS = "tabpfn-*classifier*.ckpt"


def weights() -> Path:
    """The newest version of the classifier's weights that is on this machine.

    Raises:
        BackboneUnavailable: there is none.
    """
    folder = Path(os.environ.get(CACHE_ENV) or _default_cache())
    found = sorted(folder.glob(_WEIGHTS))
    if not found:
        raise BackboneUnavailable(
            f"method 'tabpfn' needs its weights, and {folder} holds no {_WEIGHTS}; get them as TabPFN's documentation "
            f"says (https://github.com/PriorLabs/TabPFN) and name their folder in {CACHE_ENV}, or leave it out of "
            f"--methods"
        )
    return found[-1]


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tabpfn"


def _suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 1, 32, log=True),
        "softmax_temperature": trial.suggest_float("softmax_temperature", 0.5, 1.2),
        "balance_probabilities": trial.suggest_categorical("balance_probabilities", [False, True]),
    }


def _fit(problem: Problem, settings: Settings, seed: int) -> Fitted:
    from tabpfn import TabPFNClassifier

    path = weights()
    return fit_classes(
        lambda: TabPFNClassifier(
            model_path=str(path),
            device=problem.device.type,
            random_state=seed,
            ignore_pretraining_limits=True,
            **settings,
        ),
        problem,
    )


PEER = Peer(
    name="tabpfn",
    title="TabPFN (Hollmann et al., 2023)",
    module="tabpfn",
    install="pip install tabpfn",
    suits=tables_of_classes,
    suggest=_suggest,
    fit=_fit,
    check=weights,
)
