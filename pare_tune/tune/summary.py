"""From trials to what people and tables see: the snapshot, how much is spent, how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pare_tune.config import Budget, SearchConfig
from pare_tune.data.files import replacing
from pare_tune.tune.forecast import remaining, repeats_planned
from pare_tune.tune.snapshot import OPEN, Snapshot, TaskFacts, TrialView


def used(budget: Budget, trials: Sequence[TrialView], elapsed: float) -> float:
    """How much of the budget's unit is gone."""
    ended = sum(t.state not in OPEN for t in trials)
    return budget.measured(trials=float(ended), epochs=float(sum(t.epoch for t in trials)), seconds=elapsed)


def make_snapshot(
    run: Path,
    facts: TaskFacts,
    search: SearchConfig,
    trials: Sequence[TrialView],
    *,
    elapsed: float,
    is_running: bool = True,
    dashboard_url: str | None = None,
) -> Snapshot:
    """A search at this moment."""
    budget = search.budget
    spent = min(1.0, used(budget, trials, elapsed) / budget.amount)
    is_open = any(t.state in OPEN for t in trials)
    finished = spent >= 1.0 and not is_open
    left = 0.0 if finished else remaining(search, trials, elapsed) if is_running else None
    return Snapshot(
        run=run,
        task=facts.task,
        metric=facts.metric,
        unit=facts.unit,
        direction=facts.direction,
        provenance=facts.provenance,
        preset=facts.preset,
        backbone=facts.backbone,
        budget=str(budget),
        spent=spent,
        elapsed_s=elapsed,
        remaining_s=left,
        trials=tuple(trials),
        repeats=repeats_planned(search, trials),
        finished=finished,
        is_running=is_running,
        dashboard_url=dashboard_url,
        samples=facts.samples,
    )


def trials_table(trials: Sequence[TrialView]) -> pa.Table:
    """One row a trial; a column for every setting that any trial searched, null where it was not active."""
    keys = list(dict.fromkeys(key for t in trials for key in t.params))
    columns: dict[str, Any] = {
        "number": [t.number for t in trials],
        "state": [t.state for t in trials],
        "best_score": [t.best_score for t in trials],
        "best_epoch": [t.best_epoch for t in trials],
        "epochs_run": [t.epoch for t in trials],
        "epochs": [t.epochs for t in trials],
        "seconds": [t.seconds for t in trials],
        "cause": [t.cause for t in trials],
        "message": [t.message for t in trials],
        "retries": [t.retries for t in trials],
        "repeats": [t.repeats for t in trials],
        **{key: [t.params.get(key) for t in trials] for key in keys},
    }
    return pa.table({name: _column(values) for name, values in columns.items()})


def curves_table(trials: Sequence[TrialView]) -> pa.Table:
    """One row an epoch: the trial's number and every field of its `EpochReport` that is a number."""
    rows = [{"number": t.number, **report} for t in trials for report in t.curve]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "influences")) or ["number"]
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def write_tables(trials: Sequence[TrialView], trials_path: Path, curves_path: Path) -> None:
    """Replace both parquet files. Raises StorageError when the disk refuses."""
    for table, path in ((trials_table(trials), trials_path), (curves_table(trials), curves_path)):
        with replacing(path) as partial:
            pq.write_table(table, partial)


def _column(values: Sequence[Any]) -> pa.Array:
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if len(kinds) > 1:  # choices of different types
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.array(values)
