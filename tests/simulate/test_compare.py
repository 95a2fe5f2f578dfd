from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pare_tune.cli import app
from pare_tune.errors import ConfigError, UnknownName
from pare_tune.simulate.compare import Plan, TaskResult, compare, mean_ranks, median_share
from pare_tune.simulate.replay import Trace
from pare_tune.simulate.summary import budgets, summarize, summary_tables
from pare_tune.simulate.surrogate import HeldOut


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


def test_what_was_never_reached_is_null_in_json_and_never_on_the_screen(result: TaskResult) -> None:
    found = json.loads(json.dumps(summarize([result]), allow_nan=False))
    default = next(row for row in found["strategies"] if row["strategy"] == "default")
    assert default["share_to_goal"] is None
    assert found["tasks"][0]["strategies"][0]["share_to_goal"] == [1.0, 1.0, None]
    assert len(summary_tables([result])) == 2
    assert budgets([result]) == (2,)


def test_a_surrogate_that_knows_nothing_is_doubted_on_the_screen(result: TaskResult) -> None:
    assert summary_tables([result])[1].caption is None
    doubtful = replace(result, held_out=HeldOut(25, 1.05, 0.1))
    assert "Record more curves" in str(summary_tables([doubtful])[1].caption)


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
    with pytest.raises(ConfigError, match="no tables of recorded curves in"):
        Plan(tasks=(), strategies=("ours",), tables=tmp_path)


def test_a_plan_needs_something_to_do(tables: Path) -> None:
    with pytest.raises(ConfigError, match="seeds >= 1, got 0"):
        Plan(tasks=("wdbc",), strategies=("ours",), seeds=0, tables=tables)


def test_the_command_prints_one_json_object(tables: Path) -> None:
    arguments = ["--task", "wdbc", "--strategy", "default", "--budget", "3", "--seeds", "2", "--jobs", "1"]
    done = CliRunner().invoke(app, ["simulate", *arguments, "--tables", str(tables), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["strategy"] for row in found["strategies"]] == ["default", "random"]
    assert found["tasks"][0]["default"] == found["tasks"][0]["strategies"][0]["scores"]["3"][1]


def test_the_command_draws_tables(tables: Path) -> None:
    arguments = ["--task", "wdbc", "--strategy", "default", "--budget", "3", "--seeds", "1", "--jobs", "1"]
    done = CliRunner().invoke(app, ["simulate", *arguments, "--tables", str(tables)])
    assert done.exit_code == 0, done.output
    assert "goal: what 3 random trials reach" in done.stdout
    assert "τ" in done.stdout


@pytest.mark.parametrize(
    ("option", "nearest"), [(["--task", "wdcb"], "wdbc"), (["--strategy", "ray_asha"], "ray-asha")]
)
def test_the_command_refuses_unknown_names(option: list[str], nearest: str, tables: Path) -> None:
    done = CliRunner().invoke(app, ["simulate", *option, "--tables", str(tables)])
    assert isinstance(done.exception, UnknownName)
    assert f"Did you mean '{nearest}'" in str(done.exception)
