"""Tables of recorded curves: packed from the recorder's files, written, and found by task."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pare_tune.config import TrialConfig
from pare_tune.data.files import replacing
from pare_tune.errors import ConfigError, DataError, UnknownName
from pare_tune.recorded.table import ABOUT, Configuration, Table, read_table, recorded_tables
from pare_tune.tasks import get_task
from pare_tune.yaml import dotted, validate

logger = logging.getLogger(__name__)


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
        raise DataError(f"no records in {records}{crashes}; make some with record_curves.py")
    if crashed:
        logger.warning(
            "%s: left out %d of %d records, which are of crashes; record_curves.py tries these again",
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


def check_recorded(tasks: Iterable[str], folder: Path | None = None) -> None:
    """Refuse tasks that have no table.

    Raises:
        ConfigError: nothing is recorded.
        UnknownName: there is no table of a task; the message has the nearest names.
    """
    recorded = recorded_tables(folder)
    if not recorded:
        raise ConfigError(
            f"no tables of recorded curves in {folder or 'the package'}; record some with "
            f"tests/benchmarks/record_curves.py, pack them with its --pack --tables FOLDER, and give that folder with "
            f"--tables"
        )
    for name in tasks:
        if name not in recorded:
            raise UnknownName("recorded task", name, recorded)


def load_table(task: str, folder: Path | None = None) -> Table:
    """The table of a task: the one in `folder`, or one that came with the package.

    Raises:
        ConfigError: there are no tables at all.
        UnknownName: there is none of this task; the message has the nearest names.
        DataError: it is damaged.
    """
    check_recorded((task,), folder)
    return read_table(recorded_tables(folder)[task])


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
    columns["score"] = pa.array([r.scores for r in rows], pa.list_(pa.float64()))
    columns["cpu_seconds"] = pa.array([r.seconds for r in rows], pa.list_(pa.float32()))
    about = {
        name: getattr(table, name)
        for name in ("task", "metric", "unit", "direction", "provenance", "version")
    }
    about["base"] = table.base.to_dict()
    return pa.table(columns).replace_schema_metadata({ABOUT: json.dumps(about).encode()})


def _settings(values: list[Any]) -> pa.Array:
    numbers = {type(v) for v in values if v is not None} == {int, float}
    return pa.array([float(v) if numbers and v is not None else v for v in values])
