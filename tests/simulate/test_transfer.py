"""Recorded tables as earlier searches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pare_tune.cli.app import app
from pare_tune.errors import DataError
from pare_tune.recorded.table import Table
from pare_tune.tune.recorded import recorded_start, tried_of_table
from pare_tune.tune.space import BoundSpace
from pare_tune.tune.warm import Start, known_values, read_points
from simulate.replay import replay
from simulate.strategies import Ours, make_strategy
from simulate.surrogate import World
from simulate.tables import write_table


def test_a_table_is_a_search_whose_best_come_first(table: Table, space: BoundSpace) -> None:
    tried = tried_of_table(table)
    assert len(tried) == len(table)
    assert [t.cost for t in tried] == sorted(t.cost for t in tried)
    assert (tried[0].point.rank, tried[-1].point.rank) == (0.0, 1.0)
    settings = {c.number: c.settings for c in table.configurations}
    for t in tried:
        known = known_values(t.point, space)
        assert known["optimizer.lr"] == pytest.approx(settings[t.number]["optimizer.lr"])
        assert known["k.kind"] == settings[t.number]["k.kind"]


def test_failed_configurations_come_last_and_are_not_tested(new_table: Callable[..., Table]) -> None:
    tried = tried_of_table(new_table(40, failing=True))
    failed = [t for t in tried if not t.is_complete]
    assert failed
    assert tried[-len(failed) :] == failed
    assert all(math.isinf(t.cost) and not t.point.complete for t in failed)


def test_a_table_of_failures_alone_is_refused(table: Table) -> None:
    cut = tuple(replace(c, cause="diverged", scores=c.scores[:2]) for c in table.configurations)
    with pytest.raises(DataError, match="no configuration of the table of wdbc reached its last epoch"):
        tried_of_table(replace(table, configurations=cut))


def test_what_other_tables_say_is_tested_after_trial_0(world: World, table: Table) -> None:
    tried = tried_of_table(table)
    start = Start(tuple(t.point for t in tried), count=3)
    ours = Ours(world, 0, 5 * world.epochs, start=start, pruning=False)
    replay(ours, world, epochs=5 * world.epochs)
    rows = {c.number: c.settings for c in table.configurations}
    for number, earlier in enumerate(tried[:3], start=1):
        found = ours.study.settings(number)
        assert {k: v for k, v in found.items() if isinstance(v, str)}.items() <= rows[earlier.number].items()
        # Multiples of trial 0's learning rate there and back again: the last bit may differ.
        assert found["optimizer.lr"] == pytest.approx(rows[earlier.number]["optimizer.lr"])


def test_simulated_searches_know_what_real_ones_know(world: World) -> None:
    """The package's tables of other tasks; `ours-alone` does without."""
    epochs = 30 * world.epochs
    start = recorded_start(world.table.task, 6)
    assert start is not None
    tested = start.tested(world.space)
    assert tested
    found = {}
    for name in ("ours", "ours-alone"):
        strategy = make_strategy(name, world, seed=0, epochs=epochs)
        assert isinstance(strategy, Ours)
        replay(strategy, world, epochs=epochs)
        found[name] = [t.params for t in strategy.study.optuna.get_trials(deepcopy=False)]
    assert found["ours"][1 : 1 + len(tested)] == tested
    assert not [p for p in tested if p in found["ours-alone"]]
    assert found["ours"][0] == found["ours-alone"][0] == world.space.base_params()


def test_a_portfolio_of_a_table_from_the_command_line(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(table, tmp_path / "wdbc.parquet")
    with pytest.raises(SystemExit) as done:
        app(["portfolio", str(tmp_path / "wdbc.parquet"), "-o", str(tmp_path / "points.yaml"), "--size", "3"])
    assert done.value.code == 0
    assert "table: " in capsys.readouterr().out
    points = read_points(tmp_path / "points.yaml")
    assert points[0] == tried_of_table(table)[0].point
    assert {p.run for p in points} == {"recorded-wdbc"}
