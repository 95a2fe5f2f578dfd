"""Whole comparisons: of toys and of a small real table, cells one after another in this process, once on Ray."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pare_tune.compare import plan as planning
from pare_tune.compare import work
from pare_tune.compare.cell import CellResult, load_result
from pare_tune.compare.comparison import summarise
from pare_tune.compare.peers import PEERS
from pare_tune.compare.plan import Plan, make_plan
from pare_tune.compare.run import run_plan
from pare_tune.errors import ClusterError, DataError, RunBusy
from pare_tune.tasks.base import Task
from pare_tune.train import build
from pare_tune.train.trial import run_trial
from pare_tune.tune import run as tune_run

QUICK = {"train.epochs": 1, "train.batch_size": 64}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def plan(folder: Path, methods: str, tasks: str = "balance-scale", **more: Any) -> Plan:
    return make_plan(
        tasks.split(","), methods.split(","), folder=folder, **{"seeds": 1, "settings": QUICK, **more}
    )


def run(plan: Plan, **more: Any) -> tuple[list[CellResult], list[CellResult]]:
    """(all results, those of this session)."""
    told: list[CellResult] = []
    found = run_plan(plan, tell=lambda result, done, total: told.append(result), on_ray=False, **more)
    return found, told


def test_a_default_configuration_is_trained_and_a_finished_cell_never_again(tmp_path: Path) -> None:
    first = plan(tmp_path, "finetune,linear,hist-gradient-boosting")
    found, told = run(first)
    assert [r.method for r in found] == ["finetune", "linear", "hist-gradient-boosting"]
    assert told == found
    assert all(r.state == "done" and r.test is not None and r.validation is not None for r in found)
    assert {r.test_samples for r in found} == {313}, "the same split for all"
    assert [r.trials for r in found] == [1, 1, 1]
    assert [r.epochs for r in found] == [1, None, None]
    assert not (first.cells[0].folder / "search").exists(), "the default needs no search"

    again, told = run(first)
    assert again == found
    assert told == []
    more, told = run(plan(tmp_path, "linear", seeds=2))
    assert [(r.method, r.seed) for r in told] == [("linear", 1)]
    assert len(more) == 2


def test_an_interrupted_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plan(tmp_path, "linear,hist-gradient-boosting", seeds=2)
    before = work.score_outputs
    scored = 0

    def interrupt(*arguments: Any) -> float:
        nonlocal scored
        scored += 1
        if scored == 3:
            raise KeyboardInterrupt
        return before(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(work, "score_outputs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(whole)
    assert sum(load_result(c.folder) is not None for c in whole.cells) == 2
    found, told = run(whole)
    assert len(told) == 2
    assert len(found) == 4


def test_a_failed_cell_keeps_its_cause_and_is_tried_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = plan(tmp_path, "linear,hist-gradient-boosting")

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("no way")

    with monkeypatch.context() as patch:
        patch.setattr("sklearn.linear_model.LogisticRegression.fit", broken)
        found, _ = run(one)
    assert (found[0].state, found[0].cause, found[0].test) == ("failed", "ZeroDivisionError: no way", None)
    assert found[1].state == "done"
    assert run(one)[1] == []
    found, told = run(one, retry=True)
    assert [r.method for r in told] == ["linear"]
    assert found[0].state == "done"
    said = summarise(one, [found[1]])
    assert any("1 of 2 cells have not run yet" in note for note in said.notes)


def test_missing_data_end_the_comparison_before_it_begins(tmp_path: Path) -> None:
    nowhere = plan(tmp_path / "runs", "linear", data={"balance-scale": tmp_path / "nowhere"})
    with pytest.raises(DataError, match="no folder"):
        run(nowhere)
    assert not (tmp_path / "runs" / "cells").exists()


def test_two_processes_do_not_compare_in_one_folder(tmp_path: Path) -> None:
    from filelock import FileLock

    one = plan(tmp_path, "linear")
    with FileLock(tmp_path / ".lock"), pytest.raises(RunBusy, match="give another --runs"):
        run(one)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that run their trials here, one after the other; see tests/tune/lone.py."""
    path = Path(__file__).parents[1] / "tune" / "lone.py"
    spec = importlib.util.spec_from_file_location("lone", path)
    assert spec is not None
    assert spec.loader is not None
    lone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lone)
    for module, name, value in lone.STAND_INS:
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(work, "SessionOptions", partial(tune_run.SessionOptions, runner=run_trial))


@pytest.mark.usefixtures("without_ray")
def test_a_search_that_has_ended_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = plan(tmp_path, "finetune,linear", budget=5, search={"confirm": 1})
    found, told = run(both)
    # What needs no search comes first.
    assert [r.method for r in told] == ["linear", "finetune"]
    ours, linear = found
    assert [r.state for r in found] == ["done"] * 2, [r.cause for r in found]
    assert ours.trials == linear.trials == 5
    assert ours.epochs == 6, "five trials and the final training"
    searches = list((tmp_path / "cells").glob("*/*/*/search/*/run.yaml"))
    assert len(searches) == 1

    # Killed after its last trial and before the best one was exported, a search has not ended.
    cell, best = both.cells[0], next(tmp_path.glob("cells/*/*/*/search/*/best/metrics.json"))
    assert work.is_searched(cell)
    text = best.read_text()
    best.write_text(json.dumps({**json.loads(text), "trial": 99}))
    assert not work.is_searched(cell)
    best.write_text(text)
    # Killed before its first trial, it may even be without a record.
    journal = searches[0].with_name("study.journal")
    whole = journal.read_bytes()
    journal.write_bytes(b"")
    assert not work.is_searched(cell)
    journal.write_bytes(whole)
    assert work.is_searched(cell)

    (both.cells[0].folder / "result.json").unlink()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it was searched and trained already")

    for name in ("search", "resume", "run_final"):
        monkeypatch.setattr(work, name, never)
    again, told = run(both)
    assert [r.method for r in told] == ["finetune"]
    assert again[0].test == ours.test


@pytest.mark.usefixtures("without_ray")
def test_a_search_without_a_complete_trial_is_a_failed_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pare_tune.errors import StudyFailed

    def fail(*_: Any, **__: Any) -> None:
        raise StudyFailed("the first 3 trials failed alike")

    monkeypatch.setattr(work, "search", fail)
    found, _ = run(plan(tmp_path, "finetune,linear", budget=2))
    assert (found[0].state, found[0].cause) == ("failed", "the first 3 trials failed alike")
    assert found[1].state == "done"


def test_toys_of_other_kinds_are_compared_where_a_method_suits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: Mapping[str, Task]
) -> None:
    pick: Callable[..., Task] = lambda trial, cache=None: toys[trial.task]  # noqa: E731
    monkeypatch.setattr("pare_tune.compare.plan.get_task", toys.__getitem__)
    for module in (planning, work, build):
        monkeypatch.setattr(module, "task_of", pick)
    two = plan(tmp_path, "linear,hist-gradient-boosting", "toy-line,toy-table")
    found, _ = run(two, cache=tmp_path / "cache")
    states = {(r.task, r.method): r.state for r in found}
    assert states["toy-line", "hist-gradient-boosting"] == "unfit"
    assert list(states.values()).count("done") == 3
    assert PEERS["hist-gradient-boosting"].suits(toys["toy-line"]) in (found[1].cause or "")


@pytest.mark.usefixtures("ray_cluster")
def test_cells_run_side_by_side_on_ray(tmp_path: Path) -> None:
    two = plan(tmp_path, "linear,hist-gradient-boosting", seeds=1)
    told: list[tuple[int, int]] = []
    found = run_plan(two, tell=lambda result, done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    here, _ = run(plan(tmp_path / "here", "linear,hist-gradient-boosting"))
    assert [r.test for r in found] == [r.test for r in here]

    beyond = plan(tmp_path / "gpu", "linear", search={"gpus_per_worker": 1})
    with pytest.raises(ClusterError, match="GPU"):
        run_plan(beyond)
