"""What a search takes from earlier ones, and portfolios of finished runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pare_tune.config import Budget, RunConfig, load_run
from pare_tune.errors import ConfigError
from pare_tune.recorded.table import recorded_tables
from pare_tune.tasks.base import Modality
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.portfolio import build_portfolio, tried_in, write_portfolio
from pare_tune.tune.recorded import recorded_start
from pare_tune.tune.result import Result
from pare_tune.tune.run import SessionOptions, resume, search, snapshot
from pare_tune.tune.space import BoundSpace, Space
from pare_tune.tune.warm import Point, Start, gather, known_values, ranking, read_points, tried_of_run

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def run_one(
    make_config: MakeConfig, fakes: ModuleType, without_ray: Callable[[], Any]
) -> Callable[..., Result]:
    def run(budget: str = "12", trial: dict[str, Any] | None = None, **settings: Any) -> Result:
        config = make_config(budget, epochs=3, **{"startup_trials": 4, "confirm": 0, **settings})
        if trial:
            config = config.model_copy(update={"trial": config.trial.with_values(trial)})
        with without_ray():
            return search(config, SessionOptions(runner=fakes.train))

    return run


def space_of(run: Path) -> BoundSpace:
    folder = RunFolder(run)
    return Space.load(folder.space_yaml).bind(load_run(folder.run_yaml).trial)


def test_the_best_earlier_points_are_tested_first_and_trial_0_before_them(
    run_one: Callable[..., Result],
) -> None:
    earlier = run_one("14")
    warm = run_one("12", seed=5, warm_start=(earlier.path,), pruning=False)
    ordered = ranking(earlier.snapshot.trials, "min")
    best = [t for t in ordered if t.number != 0][:2]  # a fifth of 12
    trials = warm.snapshot.trials
    assert trials[0].params == earlier.snapshot.trials[0].params
    for old, new in zip(best, trials[1:3], strict=True):
        assert new.params == pytest.approx(old.params)
        assert new.best_score == pytest.approx(old.best_score)
    assert trials[3].params not in [t.params for t in earlier.snapshot.trials]


def test_a_search_begins_with_what_covers_the_other_recorded_tasks(
    run_one: Callable[..., Result], tmp_path: Path
) -> None:
    found = run_one("30", portfolio=True, pruning=False)
    start = Start.load(RunFolder(found.path).warm_start_yaml)
    assert start is not None
    assert start.count == 2
    assert {p.task for p in start.points} <= set(recorded_tables()) - {"wdbc"}, (
        "never the task that is searched"
    )
    space = space_of(found.path)
    trials = found.snapshot.trials
    tested = start.tested(space)
    assert len(tested) == 2
    for params, trial in zip(tested, trials[1:3], strict=True):
        assert trial.params == pytest.approx(params)
    assert run_one("30", portfolio=True, pruning=False).trials.equals(found.trials)


def test_a_small_budget_and_runs_that_are_named_leave_the_recorded_ones_out(
    run_one: Callable[..., Result],
) -> None:
    earlier = run_one("5", portfolio=True)
    start = Start.load(RunFolder(earlier.path).warm_start_yaml)
    assert start is not None
    assert start.count == 1, "a fifth of the budget"
    small = run_one("4", portfolio=True)
    assert not RunFolder(small.path).warm_start_yaml.exists()
    named = Start.load(
        RunFolder(run_one("12", portfolio=True, warm_start=(earlier.path,)).path).warm_start_yaml
    )
    assert named is not None
    assert {p.run for p in named.points} == {earlier.path.name}


def test_recorded_points_do_not_depend_on_the_task_s_own_table(tmp_path: Path) -> None:
    for name in ("balance-scale", "psicov", "tic-tac-toe"):
        shutil.copy(recorded_tables()[name], tmp_path)
    before = recorded_start("psicov", 5, tmp_path)
    assert before is not None
    assert before.count == 2
    assert {p.task for p in before.points} == {"balance-scale", "tic-tac-toe"}
    recorded_start.cache_clear()
    (tmp_path / "psicov.parquet").unlink()
    assert recorded_start("psicov", 5, tmp_path) == before
    assert recorded_start("psicov", 0, tmp_path) is None
    (tmp_path / "balance-scale.parquet").unlink()
    assert recorded_start("tic-tac-toe", 5, tmp_path) is None


def test_trials_that_were_stopped_or_failed_guide_and_are_not_tested(run_one: Callable[..., Result]) -> None:
    earlier = run_one("14", startup_trials=2)
    complete = [t for t in earlier.snapshot.trials if t.state == "complete"]
    assert len(complete) < 14
    tried = tried_of_run(earlier.path)
    assert [t.point.complete for t in tried] == [t.is_complete for t in tried]
    space = space_of(earlier.path)
    start = Start(tuple(t.point for t in tried), count=14)
    assert len(start.tested(space)) == len(complete) - 1, "all but trial 0, which is tested anyway"
    assert len(start.ranked(space, 0)) == len(tried)
    start.save(earlier.path / "points.yaml")
    assert Start.load(earlier.path / "points.yaml") == start


def test_earlier_runs_may_vanish_and_a_resume_asks_the_same(
    run_one: Callable[..., Result],
    fakes: ModuleType,
    without_ray: Callable[[], Any],
) -> None:
    earlier = run_one("10").path
    earlier = earlier.rename(earlier.with_name("earlier"))  # a name that no later run takes over
    whole = run_one("12", seed=5, warm_start=(earlier,))
    begun = run_one("4", seed=5, warm_start=(earlier,))
    # The share of the budget is settled when a search begins.
    text = RunFolder(whole.path).warm_start_yaml.read_text()
    RunFolder(begun.path).warm_start_yaml.write_text(text)
    shutil.rmtree(earlier)
    alone = run_one("12", seed=5)
    cut = RunFolder(whole.path).journal.read_bytes().splitlines(keepends=True)
    RunFolder(begun.path).journal.write_bytes(b"".join(cut[: len(cut) // 2]))
    shutil.rmtree(RunFolder(begun.path).best)  # of a trial that this journal does not know
    with without_ray():
        again = resume(begun.path, Budget(amount=12), options=SessionOptions(runner=fakes.train))
    assert [t.params for t in again.snapshot.trials] == [t.params for t in whole.snapshot.trials]
    assert [t.params for t in alone.snapshot.trials] != [t.params for t in whole.snapshot.trials]
    assert load_run(RunFolder(whole.path).run_yaml).search.warm_start == (earlier,)
    with pytest.raises(ConfigError, match="does not exist"):
        run_one("12", seed=5, warm_start=(earlier,))
    # What the vanished run left behind serves as well as the run.
    copy = run_one("12", seed=5, warm_start=(RunFolder(whole.path).warm_start_yaml,))
    assert [t.params for t in copy.snapshot.trials] == [t.params for t in whole.snapshot.trials]


def test_relative_settings_travel_as_multiples_of_the_default(run_one: Callable[..., Result]) -> None:
    earlier = run_one("10")
    space = space_of(earlier.path)
    [best, *_] = tried_of_run(earlier.path)
    rate = earlier.best.params["optimizer.lr"]
    assert best.point.relative == {"optimizer.lr": pytest.approx(rate / 1e-3)}
    assert "optimizer.lr" not in best.point.settings
    slow = Space.load(RunFolder(earlier.path).space_yaml).bind(space.base.with_values({"optimizer.lr": 1e-6}))
    assert known_values(best.point, slow)["optimizer.lr"] == pytest.approx(rate * 1e-3)
    assert known_values(best.point, slow)["k.start"] == earlier.best.params["k.start"]


def test_points_that_do_not_fit_are_left_out_and_the_rest_is_trial_0s(run_one: Callable[..., Result]) -> None:
    space = space_of(run_one("4").path)
    point = Point(
        settings={"k.start": 7.0, "gate.kind": "mlp", "gate.hidden": 32.0, "loss.beta1": 2.0, "k.kind": "cosine"},
        task="x", modality="table", run="r", rank=0.0,
    )  # fmt: skip
    known = known_values(point, space)
    assert known == {"gate.kind": "mlp", "gate.hidden": 32}
    start = Start((point, point, Point(settings={}, task="x", modality="table", run="r", rank=1.0)), 8)
    assert start.tested(space) == [
        {"optimizer.lr": 1e-3, "k.start": 0.957, "gate.kind": "mlp", "gate.hidden": 32}
    ], "once, and nothing for a point that says nothing"
    [ranked, again] = start.ranked(space, 0)
    assert ranked.params["gate.hidden"] == 32
    assert ranked.params["k.start"] != again.params["k.start"], (
        "what is not known is drawn, so that it says nothing"
    )
    assert start.ranked(space, 0) == start.ranked(space, 0)


def test_the_share_of_the_budget_is_bounded(run_one: Callable[..., Result]) -> None:
    earlier = run_one("12")
    space = space_of(earlier.path)

    def count(budget: str) -> int:
        start = gather([earlier.path], space, Modality.TABLE, Budget.parse(budget))
        assert start is not None
        return start.count

    assert [count(b) for b in ("4", "5", "20", "500", "30ep", "2h")] == [0, 1, 4, 8, 2, 5]


def test_what_cannot_be_started_from_is_refused_before_anything_begins(
    run_one: Callable[..., Result], tmp_path: Path
) -> None:
    earlier = run_one("4")
    count = len(list(earlier.path.parent.iterdir()))

    def refused(source: Path, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            run_one("6", warm_start=(source,))

    refused(tmp_path / "nothing", "does not exist")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "is not a run folder")
    (tmp_path / "a.yaml").write_text("k.start: 3\n")
    refused(tmp_path / "a.yaml", "no list `points`")
    (tmp_path / "b.yaml").write_text("points:\n- {settings: {k.start: 0.5}}\n")
    refused(tmp_path / "b.yaml", r"points\[0\]: task is missing\n.*points\[0\]: modality is missing")
    (tmp_path / "c.yaml").write_text("points:\n- {settings: {k.start: 0.5}, task: t, modality: grid_2d}\n")
    refused(tmp_path / "c.yaml", "no points for tasks of modality table, only for grid_2d")
    (tmp_path / "d.yaml").write_text("points:\n- {settings: {k.rate: 2}, task: t, modality: table}\n")
    refused(tmp_path / "d.yaml", "no setting in common with this search, which tries optimizer.lr, k.start")
    journal = RunFolder(earlier.path).journal
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:6]))
    refused(earlier.path, "has no finished trial to start from")
    assert len(list(earlier.path.parent.iterdir())) == count


def test_a_portfolio_covers_runs_that_want_different_things(
    run_one: Callable[..., Result], fakes: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = run_one("20", pruning=False)
    error_of = fakes.error_of
    monkeypatch.setattr(
        fakes,
        "error_of",
        lambda c: error_of(c.with_values({"k.start": 1.05 - c.k.start})) + 5 * (c.gate.kind == "fc"),
    )
    second = run_one("20", pruning=False, seed=3)
    found = build_portfolio(tried_in([first.path.parent]), 4)
    assert list(found) == ["table"]
    part = found["table"]
    assert set(part.regret) == {first.path.name, second.path.name}
    assert 1 <= len(part.points) <= 4
    assert part.mean_regret <= part.default_regret
    assert part.mean_regret < 0.2
    alone = build_portfolio(tried_in([first.path]), 4)["table"]
    assert len(alone.points) == 1, "its best covers a single run"
    assert alone.points[0].rank == 0.0
    assert build_portfolio(tried_in([first.path, second.path]), 4) == found, "twice the same"

    path = tmp_path / "portfolio.yaml"
    write_portfolio(found, path)
    assert read_points(path) == list(part.points)
    warm = run_one("20", warm_start=(path,), seed=9)
    assert warm.snapshot.trials[1].params["k.start"] == pytest.approx(part.points[0].settings["k.start"])
    assert snapshot(warm.path).finished


def test_a_portfolio_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run folder, and holds none with a complete trial"):
        build_portfolio(tried_in([tmp_path]), 5)
