"""Tables of recorded learning curves: one Parquet file a task, one row a configuration.

    number                      of the configuration; 0 is the paper's default
    cause, message              null unless the trial failed
    k.start, optimizer.lr, ...  settings by dotted name, null where a configuration has no such setting
    score, cpu_seconds          lists, one value an epoch; the score is of validation

The file's metadata hold the task, its metric and the configuration of trial 0, so that a table is whole by itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pare_tune.config import TrialConfig
from pare_tune.data.files import replacing
from pare_tune.errors import DataError
from pare_tune.recorded.names import check_recorded, tables_folder
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Direction, best_of, loss_sign
from pare_tune.yaml import dotted, validate

logger = logging.getLogger(__name__)

_ABOUT = b"pare_tune"
_FIXED = ("number", "cause", "message")
_LISTS = {"score": pa.float64(), "cpu_seconds": pa.float32()}
_FORMER = ("epochs", "restart", "train_loss", "k", "seconds")
"""Columns of tables packed before, which also held trainings of other lengths, and of two curricula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One recorded training."""

    number: int
    """0 is the paper's default."""
    settings: Mapping[str, Any]
    scores: tuple[float, ...]
    """The task's metric on validation after every finished epoch."""
    seconds: tuple[float, ...]
    """Processor time of every epoch, on one core."""
    cause: str | None = None
    """Why it failed: diverged, out_of_memory, crashed or invalid."""
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


def pack(records: Path, tables: Path) -> tuple[Table, Path]:
    """Make TABLES/TASK.parquet of the records in a folder FOLDER/TASK.

    Records of crashes are left out, and a warning says how many: what went wrong on the machine that recorded is no
    property of the task.

    Raises:
        DataError: there are none, one is damaged, or they do not belong together.
        StorageError: the table cannot be written.
    """
    every = list(_read_records(records))
    kept = [(path, record) for path, record in every if record["cause"] != "crashed"]
    crashed = len(every) - len(kept)
    if not kept:
        crashes = f" but those of {crashed} crashes" if crashed else ""
        raise DataError(f"no records in {records}{crashes}; make some with jobs/record_curves.py")
    if crashed:
        logger.warning(
            "%s: left out %d of %d records, which are of crashes; jobs/record_curves.py tries these again",
            records,
            crashed,
            len(every),
        )
    if not _alike([r["base"] for _, r in kept]) or len({r["version"] for _, r in kept}) > 1:
        raise DataError(
            f"{records}: records were made around different trial 0s or by different versions; "
            f"record them again into a new folder"
        )
    where, first = kept[0]
    task = get_task(first["task"])
    table = Table(
        task=task.name,
        metric=task.metric.name,
        unit=task.metric.unit,
        direction=task.metric.direction,
        provenance=task.embedded_provenance,
        version=first["version"],
        base=validate(TrialConfig, first["base"], where=str(where)),
        configurations=tuple(sorted((_configuration(r) for _, r in kept), key=lambda c: c.number)),
    )
    path = tables / f"{table.task}.parquet"
    write_table(table, path)
    return read_table(path), path


def write_table(table: Table, path: Path) -> None:
    """Replace a table's file as a whole. Raises StorageError when the disk refuses."""
    with replacing(path) as partial:
        pq.write_table(_to_arrow(table), partial, compression="zstd", compression_level=19)


def read_table(path: Path) -> Table:
    """Read a table. Raises DataError if it is missing, damaged, or no table of curves."""
    try:
        arrow = pq.read_table(path)
        about = json.loads(arrow.schema.metadata[_ABOUT])
        columns = arrow.to_pydict()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(
            f"{path} is no table of recorded curves ({type(error).__name__}: {error}); "
            f"pack it again with jobs/record_curves.py --pack"
        ) from error
    base = validate(TrialConfig, about.pop("base"), where=str(path))
    keys = [name for name in columns if name not in (*_FIXED, *_LISTS, *_FORMER)]
    configurations = tuple(
        Configuration(
            number=columns["number"][i],
            settings={k: columns[k][i] for k in keys if columns[k][i] is not None},
            scores=tuple(columns["score"][i]),
            seconds=tuple(columns["cpu_seconds"][i]),
            cause=columns["cause"][i],
            message=columns["message"][i],
        )
        for i in range(arrow.num_rows)
        if _is_whole(columns, i, base.train.epochs)
    )
    return Table(**about, base=base, configurations=configurations)


def _is_whole(columns: Mapping[str, list[Any]], row: int, epochs: int) -> bool:
    """Whether a row is a training of full length in one curriculum; `_FORMER` says which are not."""
    length = columns["epochs"][row] if "epochs" in columns else epochs
    return bool(length == epochs) and ("restart" not in columns or columns["restart"][row] is None)


def load_table(task: str, folder: Path | None = None) -> Table:
    """The table of a task: the one in `folder`, or one that came with the package.

    Raises:
        ConfigError: there are no tables at all.
        UnknownName: there is none of this task; the message has the nearest names.
        DataError: it is damaged.
    """
    check_recorded((task,), folder)
    return read_table((folder or tables_folder()) / f"{task}.parquet")


def _read_records(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    needed = {"task", "number", "version", "base", "settings", "cause", "message", "curve"}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}); delete it and record it again") from error
        if not isinstance(record, dict) or not needed <= record.keys():
            raise DataError(f"{path} is no record of a curve; move it elsewhere")
        yield path, record


def _alike(bases: Sequence[Mapping[str, Any]]) -> bool:
    """Whether trial 0s agree in what all of them say; settings that came later have other names."""
    flat = [dotted(base) for base in bases]
    shared = set(flat[0]).intersection(*flat)
    return all(len({json.dumps(f[key]) for f in flat}) == 1 for key in shared)


def _configuration(record: Mapping[str, Any]) -> Configuration:
    return Configuration(
        number=record["number"],
        settings=record["settings"],
        scores=tuple(epoch["score"] for epoch in record["curve"]),
        seconds=tuple(epoch["cpu_seconds"] for epoch in record["curve"]),
        cause=record["cause"],
        message=record["message"],
    )


def _to_arrow(table: Table) -> pa.Table:
    rows = table.configurations
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    columns: dict[str, pa.Array] = {
        "number": pa.array([r.number for r in rows], pa.int32()),
        "cause": pa.array([r.cause for r in rows], pa.string()),
        "message": pa.array([r.message for r in rows], pa.string()),
    }
    columns |= {key: _settings([r.settings.get(key) for r in rows]) for key in keys}
    lists = {"score": [r.scores for r in rows], "cpu_seconds": [r.seconds for r in rows]}
    columns |= {name: pa.array(values, pa.list_(_LISTS[name])) for name, values in lists.items()}
    about = {
        name: getattr(table, name)
        for name in ("task", "metric", "unit", "direction", "provenance", "version")
    }
    about["base"] = table.base.to_dict()
    return pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about).encode()})


def _settings(values: list[Any]) -> pa.Array:
    numbers = {type(v) for v in values if v is not None} == {int, float}
    return pa.array([float(v) if numbers and v is not None else v for v in values])
