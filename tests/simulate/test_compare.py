from __future__ import annotations

import json
import math
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pare_tune.errors import ConfigError, UnknownName
from pare_tune.recorded.table import Table
from simulate.compare import Plan, TaskResult, compare, mean_ranks, median_share
from simulate.replay import Strategy, Trace
from simulate.summary import budgets, summarize
from simulate.surrogate import HeldOut, World
from simulate.tables import write_table


def trace(*best: float) -> Trace:
    return Trace(np.array(best), np.arange(1.0, len(best) + 1), runs=2, complete=1, stopped=1, failed=0)


@pytest.fixture
def result() -> TaskResult:
    """Two epochs a trial, two trials, three seeds."""
    return TaskResult(
        task="wdbc",
        direction="min",
        epochs=2,
        trials=2,
        held_out=HeldOut(40, 0.5, 0.6),
        default=3.5,
        traces={
            "random": (trace(9, 5, 4, 4), trace(8, 8, 6, 3), trace(7, 7, 7, 2)),
            "ours": (trace(4, 3, 2, 1), trace(5, 3, 3, 3), trace(9, 9, 9, 9)),
            "default": (trace(6, 3.5),) * 3,
        },
    )


def test_the_goal_is_the_median_of_random_search(result: TaskResult) -> None:
    assert result.goal == 3
    assert result.share_to_goal("random").tolist() == [math.inf, 1.0, 1.0]
    assert result.share_to_goal("ours").tolist() == [0.5, 0.5, math.inf]
    assert result.share_to_goal("default").tolist() == [math.inf] * 3
    assert median_share([result], "ours") == 0.5


def test_ranks_share_ties(result: TaskResult) -> None:
    # Seed by seed after one trial: (5, 3, 3.5), (8, 3, 3.5), (7, 9, 3.5).
    assert result.ranks(1) == pytest.approx({"random": 8 / 3, "ours": 5 / 3, "default": 5 / 3})
    assert mean_ranks([result, result], 2) == pytest.approx(
        {"random": (3 + 1.5 + 1) / 3, "ours": (1 + 1.5 + 3) / 3, "default": 7 / 3}
    )


def test_regret_is_0_at_the_best_and_1_at_a_typical_random_trial(result: TaskResult) -> None:
    # Best of all 1, median after one random trial 7.
    assert result.regret("ours")[0].tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0])
    assert result.regret("default")[0].tolist() == pytest.approx([5 / 6, 2.5 / 6, 2.5 / 6, 2.5 / 6])


def test_searches_that_end_worse_than_the_default_are_counted(result: TaskResult) -> None:
    assert result.below_default("ours") == pytest.approx(1 / 3)
    assert result.below_default("default") == 0


def test_what_was_never_reached_is_null_in_json(result: TaskResult) -> None:
    found = json.loads(json.dumps(summarize([result]), allow_nan=False))
    default = next(row for row in found["strategies"] if row["strategy"] == "default")
    assert default["share_to_goal"] is None
    assert found["tasks"][0]["strategies"][0]["share_to_goal"] == [1.0, 1.0, None]
    assert budgets([result]) == (2,)


def test_a_search_that_found_nothing_is_the_worst(result: TaskResult) -> None:
    for odd in (result, upside_down(result)):
        odd = replace(odd, traces={**odd.traces, "default": (trace(),) * 3}, default=math.nan)
        sign = 1 if odd.direction == "min" else -1
        assert odd.scores("default", 2).tolist() == [sign * math.inf] * 3
        assert odd.ranks(2)["default"] == 3
        assert odd.regret("default").tolist() == [[math.inf] * 4] * 3
        assert odd.regret("ours").tolist() == result.regret("ours").tolist()


def upside_down(result: TaskResult) -> TaskResult:
    """The same with scores that are to be large."""
    traces = {name: tuple(trace(*-t.best) for t in found) for name, found in result.traces.items()}
    return replace(result, direction="max", default=-result.default, traces=traces)


def test_what_an_odd_table_cannot_say_is_null_in_json(result: TaskResult) -> None:
    odd = replace(
        result,
        default=math.nan,
        held_out=HeldOut(40, 0.0, math.nan),
        traces={**result.traces, "default": (trace(),) * 3},
    )
    found = json.loads(json.dumps(summarize([odd]), allow_nan=False))
    [task] = found["tasks"]
    assert task["held_out_tau"] is None
    default = task["strategies"][2]
    assert (default["seconds"], default["scores"]["2"]) == (None, [None, None, None])


def test_a_default_that_fails_at_once_and_constant_scores_are_compared_to_the_end(
    table: Table, tmp_path: Path
) -> None:
    failed, *others = table.configurations
    odd = [
        replace(failed, scores=(), seconds=(), cause="diverged"),
        *(replace(c, scores=(0.5,) * table.epochs) for c in others),
    ]
    write_table(replace(table, configurations=tuple(odd)), tmp_path / "wdbc.parquet")
    plan = Plan(tasks=("wdbc",), strategies=("default",), trials=3, seeds=2, tables=tmp_path)
    results = compare(plan)
    assert json.dumps(summarize(results), allow_nan=False)
    assert results[0].regret("random").tolist() == [[0.0] * 3 * table.epochs] * 2


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the machine's shared memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr("simulate.strategies._SHARED_MEMORY", folder)
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_comparison_that_ends_early_leaves_no_journal(
    jobs: int, tables: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def end(strategy: Strategy, world: World, **options: Any) -> Trace:
        strategy.ask()
        seen.extend(path for path in memory.rglob("*") if path.is_file())
        raise InterruptedError

    monkeypatch.setattr("simulate.compare.replay", end)
    # Threads, which see the replaced functions and start at once.
    pools = SimpleNamespace(get_context=lambda method: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr("simulate.compare.multiprocessing", pools)
    monkeypatch.setattr("simulate.strategies._journals", None)
    plan = Plan(tasks=("wdbc",), strategies=("ours",), trials=4, seeds=1, tables=tables)
    # What was raised keeps the search alive, as a process does that is ended from outside.
    with pytest.raises(InterruptedError) as kept:
        compare(plan, jobs=jobs)
    assert kept.value is not None
    assert seen
    assert not list(memory.iterdir())


def test_a_comparison_runs_every_strategy_with_every_seed(tables: Path) -> None:
    plan = Plan(tasks=("wdbc",), strategies=("default",), trials=4, seeds=3, tables=tables)
    seen: list[tuple[int, int]] = []
    [result] = compare(plan, progress=lambda done, total: seen.append((done, total)))
    assert {name: len(traces) for name, traces in result.traces.items()} == {"default": 3, "random": 3}
    assert seen == [(n, 6) for n in range(1, 7)]
    assert result.below_default("default") == 0.0
    assert result.scores("random", 4).shape == (3,)
    assert len({t.best[-1] for t in result.traces["random"]}) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("wdbd",)}, "no recorded task named 'wdbd'. Did you mean 'wdbc'"),
        ({"strategies": ("our",)}, "no strategy named 'our'. Did you mean 'ours'"),
    ],
)
def test_unknown_names_are_refused(changes: dict[str, tuple[str, ...]], message: str, tables: Path) -> None:
    with pytest.raises(UnknownName, match=message):
        Plan(**{"tasks": ("wdbc",), "strategies": ("ours",), "tables": tables, **changes})  # type: ignore[arg-type]


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no tables of recorded curves in .* --pack --tables FOLDER, .* with --tables"
    ):
        Plan(tasks=(), strategies=("ours",), tables=tmp_path)


def test_a_plan_needs_something_to_do(tables: Path) -> None:
    with pytest.raises(ConfigError, match="seeds >= 1, got 0"):
        Plan(tasks=("wdbc",), strategies=("ours",), seeds=0, tables=tables)
