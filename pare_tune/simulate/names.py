"""What can be simulated, by name. Nothing here is slow to import, so that a wrong name is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pare_tune.errors import ConfigError, UnknownName

STRATEGIES: Mapping[str, str] = {
    "ours": "this package's search, as it ships",
    "random": "random configurations, every one trained whole",
    "ray-asha": "Ray Tune's ASHAScheduler and OptunaSearch, as people join them",
    "optuna-hyperband": "Optuna's TPE with its HyperbandPruner",
    "priorband": "PriorBand of NePS, which knows the default (needs neural-pipeline-search)",
    "default": "the paper's configuration alone",
}
"""Name → what it is."""


def tables_folder() -> Path:
    """Where the shipped tables are."""
    return Path(__file__).parent / "tables"


def recorded_tasks(folder: Path | None = None) -> tuple[str, ...]:
    """Tasks that there are tables of, in the shipped folder or another one."""
    return tuple(sorted(path.stem for path in (folder or tables_folder()).glob("*.parquet")))


def check_names(tasks: Iterable[str], strategies: Iterable[str], folder: Path | None = None) -> None:
    """Refuse what cannot be simulated.

    Raises:
        ConfigError: nothing is recorded.
        UnknownName: a task or strategy that there is not; the message has the nearest names.
    """
    known = recorded_tasks(folder)
    if not known:
        raise ConfigError(
            f"no tables of recorded curves in {folder or tables_folder()}; make some with jobs/record_curves.py"
        )
    for kind, names, all_names in (("recorded task", tasks, known), ("strategy", strategies, STRATEGIES)):
        for name in names:
            if name not in all_names:
                raise UnknownName(kind, name, all_names)
