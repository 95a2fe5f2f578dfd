from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from pare_tune.config import SearchConfig
from pare_tune.errors import ConfigError, UnknownName
from pare_tune.recorded.table import Table
from pare_tune.train.loop import EpochReport
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import BoundSpace
from pare_tune.tune.study import Study
from simulate.replay import Report, Run, Trace, replay
from simulate.strategies import STRATEGIES, OptunaStrategy, Ours, RayAsha, keep_journals_in, make_strategy
from simulate.surrogate import World

BUDGET = 60


def essence(study: Study) -> list[Any]:
    """Everything but times."""
    return [(t.number, t.state, dict(t.params), [r["score"] for r in t.curve]) for t in study.views()]


def by_hand(world: World, journal: Path, seed: int) -> Study:
    """The product's search, one trial at a time, without a desk or a simulator."""
    config = SearchConfig.model_validate({"budget": f"{BUDGET}ep", "seed": seed, "confirm": 0})
    study = Study(
        journal, world.space, config, epochs=world.epochs, facts=TaskFacts(task="wdbc", direction="min")
    )
    blank = {f.name: math.nan if f.default is MISSING else f.default for f in fields(EpochReport)}
    while study.num_epochs < BUDGET:
        ask = study.ask()
        scores = world.curve(ask.settings).scores
        for epoch, score in enumerate(scores, start=1):
            best = min(scores[:epoch])
            told = {**blank, "epoch": epoch, "score": score, "best_score": best, "seconds": 1.0, "k": 0}
            if study.record(ask.number, told) == "prune":
                study.prune(ask.number, "rung")
                break
            if epoch < world.epochs and study.num_epochs >= BUDGET:
                study.prune(ask.number, "budget")
                break
        else:
            study.complete(ask.number)
    return study


def test_ours_is_the_study_driven_by_hand(world: World, tmp_path: Path) -> None:
    ours = Ours(world, seed=3, epochs=BUDGET)
    replay(ours, world, epochs=BUDGET)
    found = essence(ours.study)
    assert found == essence(by_hand(world, tmp_path / "journal", seed=3))
    assert {state for _, state, _, _ in found} >= {"complete", "pruned"}
    assert found[0][2] == world.space.base_settings(), "trial 0 is the paper's"


def test_ours_hears_of_failures_as_in_a_real_search(new_table: Any, space: BoundSpace) -> None:
    world = World(new_table(failing=True), space=space)
    ours = Ours(world, seed=0, epochs=100, parallel=2)
    trace = replay(ours, world, epochs=100, parallel=2)
    failed = [t for t in ours.study.views() if t.state == "failed"]
    assert len(failed) == trace.failed > 0
    assert {t.cause for t in failed} == {"diverged"}
    assert all(t.epoch == 2 for t in failed)


def test_ours_spends_no_more_than_its_budget(world: World) -> None:
    for parallel in (1, 3):
        ours = Ours(world, seed=1, epochs=BUDGET, parallel=parallel)
        trace = replay(ours, world, epochs=BUDGET, parallel=parallel)
        assert len(trace.best) == BUDGET
        assert ours.study.num_epochs == BUDGET


@pytest.mark.parametrize("name", ["ours", "random", "random+default", "ray-asha", "optuna-hyperband"])
def test_the_same_seed_searches_the_same(name: str, world: World) -> None:
    def search(seed: int) -> Trace:
        strategy = make_strategy(name, world, seed=seed, epochs=BUDGET, parallel=2)
        return replay(strategy, world, epochs=BUDGET, parallel=2)

    one, again, other = search(1), search(1), search(2)
    assert one.best.tolist() == again.best.tolist()
    assert one.best.tolist() != other.best.tolist()
    assert len(one.best) == BUDGET


@pytest.mark.parametrize("name", ["ours", "random+default", "ray-asha", "optuna-hyperband"])
def test_a_strategy_that_can_be_told_the_default_begins_with_it(
    name: str, world: World, table: Table
) -> None:
    strategy = make_strategy(name, world, seed=1, epochs=BUDGET)
    first, second = strategy.ask(), strategy.ask()
    assert first is not None
    assert second is not None
    assert first.settings == world.space.base_settings()
    assert world.curve(first.settings).scores == table.configurations[0].scores
    assert second.settings != first.settings


def test_random_with_the_default_goes_on_as_random_that_does_not_know_it(world: World) -> None:
    blind = make_strategy("random", world, seed=1, epochs=BUDGET)
    told = make_strategy("random+default", world, seed=1, epochs=BUDGET)
    drawn = [run.settings for run in (blind.ask(), blind.ask()) if run is not None]
    known = [run.settings for run in (told.ask(), told.ask(), told.ask()) if run is not None]
    assert known == [world.space.base_settings(), *drawn]


def test_our_name_says_what_is_known_and_what_is_left_out() -> None:
    assert "knows the default" in STRATEGIES["ours"]
    assert "without its confirmation" in STRATEGIES["ours"]
    assert "does not know the default" in STRATEGIES["random"]


def test_journals_lie_where_their_owner_wants_them(world: World, tmp_path: Path) -> None:
    keep_journals_in(tmp_path)
    try:
        ours = Ours(world, seed=0, epochs=BUDGET)
        assert ours.ask() is not None
        assert [p.name for p in tmp_path.glob("pare-tune-simulate-*/*")]
    finally:
        keep_journals_in(None)


def test_random_trains_every_trial_whole(world: World) -> None:
    trace = replay(make_strategy("random", world, seed=0, epochs=60), world, epochs=60)
    assert (trace.runs, trace.complete) == (10, 10)


def test_the_default_is_trained_once(world: World, table: Table) -> None:
    trace = replay(make_strategy("default", world, seed=0, epochs=60), world, epochs=60)
    assert trace.best.tolist() == list(table.configurations[0].scores)
    assert trace.complete == 1


def test_rays_wiring_tells_a_stopped_trial_as_complete_with_its_early_score(world: World) -> None:
    strategy = RayAsha(world, seed=1)
    good, bad = strategy.ask(), strategy.ask()
    assert not tell(strategy, good, 1, 0.1)
    assert tell(strategy, bad, 1, 0.9), "the worse of two is stopped at the first epoch"
    strategy.end(bad.key, "stopped", None)
    good_trial, bad_trial = strategy._searcher._ot_study.trials
    assert (bad_trial.state, bad_trial.value) == (TrialState.COMPLETE, 0.9)
    assert good_trial.state == TrialState.RUNNING


def test_rays_wiring_loses_failed_trials(world: World) -> None:
    strategy = RayAsha(world, seed=1)
    run = strategy.ask()
    strategy.end(run.key, "failed", "diverged")
    assert [t.state for t in strategy._searcher._ot_study.trials] == [TrialState.FAIL]


def test_hyperband_stops_trials_as_pruned(world: World) -> None:
    strategy = make_strategy("optuna-hyperband", world, seed=0, epochs=120)
    assert isinstance(strategy, OptunaStrategy)
    trace = replay(strategy, world, epochs=120)
    states = [t.state for t in strategy._study.trials]
    assert states.count(TrialState.PRUNED) == trace.stopped > 0
    assert states.count(TrialState.COMPLETE) == trace.complete > 0


def test_priorband_continues_trials_and_repeats_itself(world: World) -> None:
    pytest.importorskip("neps")
    runs: list[list[Run]] = []
    for _ in range(2):
        strategy = make_strategy("priorband", world, seed=1, epochs=BUDGET)
        runs.append([])
        ask = strategy.ask

        def noting(ask: Callable[[], Run | None] = ask) -> Run | None:
            run = ask()
            assert run is not None
            runs[-1].append(run)
            return run

        strategy.ask = noting  # type: ignore[method-assign]
        trace = replay(strategy, world, epochs=BUDGET)
        assert len(trace.best) == BUDGET
    assert runs[0] == runs[1]
    continued = [run for run in runs[0] if run.begin > 0]
    assert continued, "promoted trials go on from their rung"
    assert all(any(r.settings == run.settings and r.end == run.begin for r in runs[0]) for run in continued)


def test_a_strategy_whose_library_is_missing_says_what_to_install(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "neps", None)
    monkeypatch.delitem(sys.modules, "simulate.priorband", raising=False)
    with pytest.raises(ConfigError, match="pip install neural-pipeline-search"):
        make_strategy("priorband", world, seed=0, epochs=1)


def test_an_unknown_strategy_is_refused_with_the_nearest(world: World) -> None:
    with pytest.raises(UnknownName, match="no strategy named 'randon'. Did you mean 'random'"):
        make_strategy("randon", world, seed=0, epochs=1)


def tell(strategy: RayAsha, run: Run, epoch: int, score: float) -> bool:
    report = Report(run.key, epoch=epoch, epochs=6, score=score, best_score=score, seconds=1.0)
    return strategy.report(report)
