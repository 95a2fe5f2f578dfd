from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pare_tune.config import Budget, SearchConfig
from pare_tune.tune.snapshot import TaskFacts, TrialView
from pare_tune.tune.summary import make_snapshot, write_tables

FACTS = TaskFacts(
    task="psicov", metric="mae", unit="Å", direction="min", provenance="sample",
    preset="embedded", backbone="micro-swin",
)  # fmt: skip


def trial(number: int, state: Any, epochs_run: int, params: dict[str, Any] | None = None) -> TrialView:
    curve = tuple(
        {"epoch": e + 1, "score": 1.0 / (e + 1), "gate_target": math.nan} for e in range(epochs_run)
    )
    best = 1.0 / epochs_run if epochs_run else None
    return TrialView(
        number=number,
        state=state,
        params=params or {},
        curve=curve,
        epochs=9,
        best_score=best,
        best_epoch=epochs_run,
    )


def test_a_search_is_finished_when_its_budget_is_spent_and_nothing_runs() -> None:
    done = [trial(0, "complete", 9), trial(1, "failed", 0)]
    snapshot = make_snapshot(Path("r"), FACTS, SearchConfig(budget=Budget(amount=2)), done, elapsed=10.0)
    assert (snapshot.spent, snapshot.finished, snapshot.remaining_s) == (1.0, True, 0.0)
    running = [*done[:1], trial(1, "running", 1)]
    snapshot = make_snapshot(Path("r"), FACTS, SearchConfig(budget=Budget(amount=2)), running, elapsed=10.0)
    dead = make_snapshot(
        Path("r"), FACTS, SearchConfig(budget=Budget(amount=2)), running, elapsed=10.0, is_running=False
    )
    assert (dead.remaining_s, dead.finished, dead.is_running) == (None, False, False)
    assert (snapshot.spent, snapshot.finished) == (0.5, False)
    late = make_snapshot(
        Path("r"), FACTS, SearchConfig(budget=Budget(amount=5, unit="seconds")), running, elapsed=10.0
    )
    assert (late.spent, late.finished) == (1.0, False)


def test_tables_hold_every_trial_and_epoch(tmp_path: Path) -> None:
    trials = [
        trial(0, "complete", 2, {"k.start": 1, "gate.kind": "fc"}),
        trial(1, "failed", 0, {"k.start": 0.5, "gate.kind": "mlp", "gate.hidden": 8}),
    ]
    write_tables(trials, tmp_path / "t.parquet", tmp_path / "c.parquet")
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [(r["number"], r["state"], r["best_score"], r["k.start"], r["gate.hidden"]) for r in rows] == [
        (0, "complete", 0.5, 1.0, None),
        (1, "failed", None, 0.5, 8),
    ]
    assert [(r["number"], r["epoch"]) for r in pq.read_table(tmp_path / "c.parquet").to_pylist()] == [
        (0, 1),
        (0, 2),
    ]
    write_tables([], tmp_path / "t.parquet", tmp_path / "c.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 0
