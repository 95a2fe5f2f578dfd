"""Tables of recorded learning curves: one Parquet file a task, one row a configuration.

    number                      of the configuration; 0 is the default
    cause, message              null unless the trial failed
    k.start, optimizer.lr, ...  settings by dotted name, null where a configuration has no such setting
    score, cpu_seconds          lists, one value an epoch; the score is of validation

The file's metadata hold the task, its metric and the configuration of trial 0, so that a table is whole by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pare_tune.config import TrialConfig
from pare_tune.errors import DataError
from pare_tune.tasks.base import Direction, best_of, loss_sign
from pare_tune.yaml import validate

ABOUT = b"pare_tune"
"""Of the file's metadata: what holds of the whole table."""
_NO_SETTING = ("number", "cause", "message", "score", "cpu_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One recorded training."""

    number: int
    """0 is the default."""
    settings: Mapping[str, Any]
    scores: tuple[float, ...]
    """The task's metric on validation after every finished epoch."""
    seconds: tuple[float, ...]
    """Processor time of every epoch, on one core."""
    cause: str | None = None
    """Why it failed: diverged, collapsed, out_of_memory, crashed or invalid."""
    message: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it reached its last epoch."""
        return self.cause is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was recorded of one task."""

    task: str
    metric: str
    unit: str
    direction: Direction
    provenance: str
    """real, solved or sample."""
    version: str
    """Of the package that recorded it."""
    base: TrialConfig
    """Trial 0, around which the space was drawn from."""
    configurations: tuple[Configuration, ...]
    """By number."""

    def __len__(self) -> int:
        return len(self.configurations)

    @property
    def epochs(self) -> int:
        """Full length."""
        return self.base.train.epochs

    @property
    def complete(self) -> tuple[Configuration, ...]:
        """Configurations that reached the last epoch."""
        return tuple(c for c in self.configurations if c.is_complete)

    @property
    def sign(self) -> float:
        """What a score is multiplied by, so that less is better."""
        return loss_sign(self.direction)

    def best(self, scores: Sequence[float]) -> float:
        """The best of some scores."""
        return best_of(scores, self.direction)


def recorded_tables(folder: Path | None = None) -> dict[str, Path]:
    """Task → its table: those in `folder`, or those that come with the package."""
    where = folder or Path(__file__).parent / "tables"
    return {path.stem: path for path in sorted(where.glob("*.parquet"))}


def read_table(path: Path) -> Table:
    """Read a table. Raises DataError if it is missing, damaged, or no table of curves."""
    try:
        arrow = pq.read_table(path)
        about = json.loads(arrow.schema.metadata[ABOUT])
        rows = arrow.to_pylist()
        configurations = tuple(
            Configuration(
                number=row["number"],
                settings={k: v for k, v in row.items() if k not in _NO_SETTING and v is not None},
                scores=tuple(row["score"]),
                seconds=tuple(row["cpu_seconds"]),
                cause=row["cause"],
                message=row["message"],
            )
            for row in rows
        )
        base = validate(TrialConfig, about.pop("base"), where=str(path))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{path} is no table of recorded curves ({type(error).__name__}: {error})") from error
    return Table(**about, base=base, configurations=configurations)
