"""What can be simulated, by name. Nothing here is slow to import, so that a wrong name is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pare_tune.errors import ConfigError, UnknownName

STRATEGIES: Mapping[str, str] = {
    "ours": "this package's search, which knows the default, without its confirmation",
    "random": "random configurations, every one trained whole; does not know the default",
    "random+default": "the same after the default",
    "ray-asha": "Ray Tune's ASHAScheduler and OptunaSearch, as people join them, the default first",
    "optuna-hyperband": "Optuna's TPE with its HyperbandPruner, the default first",
    "priorband": "PriorBand of NePS, which knows the default (needs neural-pipeline-search)",
    "default": "the default alone",
}
"""Name → what it is. The default is the paper's configuration, trial 0 of a run."""


def tables_folder() -> Path:
    """Of the tables that come with the package."""
    return Path(__file__).parent / "tables"


def recorded_tasks(folder: Path | None = None) -> tuple[str, ...]:
    """Tasks that there are tables of: in `folder`, or with the package."""
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
            f"no tables of recorded curves in {folder or tables_folder()}; record some with jobs/record_curves.py, "
            f"pack them with jobs/record_curves.py --pack --tables FOLDER, and give that folder with --tables"
        )
    for kind, names, all_names in (("recorded task", tasks, known), ("strategy", strategies, STRATEGIES)):
        for name in names:
            if name not in all_names:
                raise UnknownName(kind, name, all_names)
