"""Which tasks have tables of recorded learning curves. Nothing here is slow to import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pare_tune.errors import ConfigError, UnknownName


def tables_folder() -> Path:
    """Of the tables that come with the package."""
    return Path(__file__).parent / "tables"


def recorded_tasks(folder: Path | None = None) -> tuple[str, ...]:
    """Tasks that there are tables of: in `folder`, or with the package."""
    return tuple(sorted(path.stem for path in (folder or tables_folder()).glob("*.parquet")))


def check_recorded(tasks: Iterable[str], folder: Path | None = None) -> None:
    """Refuse tasks that have no table.

    Raises:
        ConfigError: nothing is recorded.
        UnknownName: there is no table of a task; the message has the nearest names.
    """
    recorded = recorded_tasks(folder)
    if not recorded:
        raise ConfigError(
            f"no tables of recorded curves in {folder or tables_folder()}; record some with jobs/record_curves.py, "
            f"pack them with jobs/record_curves.py --pack --tables FOLDER, and give that folder with --tables"
        )
    for name in tasks:
        if name not in recorded:
            raise UnknownName("recorded task", name, recorded)
