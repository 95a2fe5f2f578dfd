"""What can be simulated, by name. Nothing here is slow to import, so that a wrong name is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pare_tune.errors import UnknownName
from pare_tune.recorded.names import check_recorded

STRATEGIES: Mapping[str, str] = {
    "ours": "this package's search, which knows the default and the tables of other tasks, without its confirmation",
    "ours-alone": "the same without those tables",
    "random": "random configurations, every one trained whole; does not know the default",
    "random+default": "the same after the default",
    "ray-asha": "Ray Tune's ASHAScheduler and OptunaSearch, as people join them, the default first",
    "optuna-hyperband": "Optuna's TPE with its HyperbandPruner, the default first",
    "priorband": "PriorBand of NePS, which knows the default (needs neural-pipeline-search)",
    "default": "the default alone",
}
"""Name → what it is. The default is the paper's configuration, trial 0 of a run."""


def check_names(tasks: Iterable[str], strategies: Iterable[str], folder: Path | None = None) -> None:
    """Refuse what cannot be simulated.

    Raises:
        ConfigError: nothing is recorded.
        UnknownName: a task or strategy that there is not; the message has the nearest names.
    """
    check_recorded(tasks, folder)
    for name in strategies:
        if name not in STRATEGIES:
            raise UnknownName("strategy", name, STRATEGIES)
