"""What `pare-tune tasks`, `sources` and `data status` tell: rows of plain values, for tables and for JSON.

Nothing here opens data or loads torch, so that a listing takes less than a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pare_tune.errors import UnknownName
from pare_tune.report import DataRow, SourceRow, TaskRow
from pare_tune.tasks import TASKS
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Output, Point, Task
from pare_tune.tasks.stores import PREPARED, default_cache, provenance_of, store_key

if TYPE_CHECKING:
    from pare_tune.sources.base import Source

NAS_BENCH, PDE_BENCH, OPENML, DOMAIN_NET = "NAS-Bench-360", "PDEBench", "OpenML-CC18", "miniDomainNet"
BENCHMARKS = (NAS_BENCH, PDE_BENCH, OPENML, DOMAIN_NET)
"""In the order in which they are listed."""

_DOMAINS = frozenset({"clipart", "painting", "real", "sketch"})


def task_rows(wanted: str | None = None) -> list[TaskRow]:
    """One row a task; `wanted` keeps those whose name or benchmark holds it.

    Raises:
        UnknownName: none does.
    """
    return [_task_row(task) for task in _chosen(wanted)]


def source_rows(root: Path | None) -> list[SourceRow]:
    """One row a source, looked for in `root`."""
    from pare_tune.sources import SOURCES  # brings Pillow, which the tasks do without

    return [_source_row(source, root) for source in SOURCES.values()]


def data_rows(root: Path | None, wanted: str | None = None, *, cache: Path | None = None) -> list[DataRow]:
    """One row a task: what its data are when `root` is given, and whether they are prepared.

    Raises:
        UnknownName: as `task_rows`.
    """
    return [_data_row(task, root, cache or default_cache()) for task in _chosen(wanted)]


def benchmark_of(task: Task) -> str:
    """The benchmark that a task of the registry belongs to."""
    if task.modality is Modality.TABLE:
        return OPENML
    if task.name == "advection" or task.name.startswith("pde-"):
        return PDE_BENCH
    return DOMAIN_NET if task.name in _DOMAINS else NAS_BENCH


def folder_bytes(folder: Path) -> int:
    """Of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _chosen(wanted: str | None) -> Iterable[Task]:
    tasks = sorted(TASKS.values(), key=lambda task: BENCHMARKS.index(benchmark_of(task)))
    if wanted is None:
        return tasks
    chosen = [t for t in tasks if wanted.lower() in f"{t.name} {benchmark_of(t)}".lower()]
    if not chosen:
        raise UnknownName("task or benchmark", wanted, {*TASKS, *map(benchmark_of, tasks)})
    return chosen


def _task_row(task: Task) -> TaskRow:
    return TaskRow(
        benchmark=benchmark_of(task),
        name=task.name,
        modality=task.modality.value,
        input="×".join(map(str, task.input_shape)),
        output=_output(task.output),
        metric=task.metric.name,
        unit="" if task.metric.unit == "1" else task.metric.unit,
        direction=task.metric.direction,
        paper=task.paper.score,
        data=task.embedded_provenance,
    )


def _output(output: Output) -> str:
    match output:
        case Point():
            return f"{output.num_classes} classes"
        case MultiLabel():
            return f"{output.num_labels} labels"
        case Dense():
            return "×".join(map(str, output.shape))
        case Numbers():
            return "a number" if output.num == 1 else f"{output.num} numbers"


def _source_row(source: Source, root: Path | None) -> SourceRow:
    release = None if source.embedded or root is None else source.find(root)
    if source.embedded:
        data = "embedded"
    elif not source.releases:
        data, release = "your own", None  # any folder would do, so whether this one does is not known
    else:
        data = "missing" if release is None else "found"
    return SourceRow(
        name=source.name,
        title=source.title,
        kind=source.kind.value,
        classes=source.classes,
        data=data,
        path=None if release is None else str(release),
        looks_for=source.releases,
        homepage=source.homepage,
    )


def _data_row(task: Task, root: Path | None, cache: Path) -> DataRow:
    lacking = None if root is None else tuple(f for f in task.files if not (root / f).exists())
    given = root if lacking == () and task.files else None
    own = task.make is not None
    prepared = cache / PREPARED / store_key(task, given) if given or own else None
    return DataRow(
        benchmark=benchmark_of(task),
        name=task.name,
        data=provenance_of(task, given) if given or own else "missing",
        prepared_bytes=folder_bytes(prepared) if prepared is not None and prepared.is_dir() else None,
        store=None if prepared is None else str(prepared),
        files=task.files,
        lacking=lacking,
        homepage=task.homepage,
    )
