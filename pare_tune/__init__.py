"""Fine-tune pretrained transformers on any modality with PaRe, and search for the settings that make it win.

import pare_tune

result = pare_tune.tune(task="wdbc", budget=50)
pare_tune.train(result.best_config, out="final")
outputs = pare_tune.predict("final", inputs)
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pare_tune.api import load, load_task, predict, train, tune
    from pare_tune.estimators import PareClassifier, PareRegressor

__version__ = "0.1.0"
__all__ = ["PareClassifier", "PareRegressor", "load", "load_task", "predict", "train", "tune"]


def __getattr__(name: str) -> Any:
    # On first use: `pare-tune --help` must not wait for torch and Ray.
    if name in __all__:
        home = "estimators" if name.startswith("Pare") else "api"
        return getattr(import_module(f"pare_tune.{home}"), name)
    raise AttributeError(f"module 'pare_tune' has no attribute {name!r}")


class _Package(ModuleType):
    """Keeps `pare_tune.tune` and `pare_tune.train` functions: the packages of these names are imported from."""

    def __setattr__(self, name: str, value: object) -> None:
        # An import of a package inside binds it here.
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
