from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from scipy.stats import kendalltau

from pare_tune.errors import DataError
from pare_tune.recorded.table import Table
from pare_tune.tune.space import BoundSpace
from simulate.surrogate import Features, World, _Ranks, wrong_space_of

Truth = Callable[[Mapping[str, Any]], tuple[float, ...]]


def drawn(space: BoundSpace, count: int, seed: int = 99) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(count)]


def test_recorded_settings_give_their_recorded_curve(world: World, table: Table) -> None:
    for recorded in table.configurations:
        curve = world.curve(recorded.settings)
        assert curve.scores == recorded.scores
        assert curve.seconds == recorded.seconds
        assert curve.cause is None


def test_other_settings_give_the_same_curve_always(world: World, table: Table, space: BoundSpace) -> None:
    again = World(table, space=space)
    for settings in reversed(drawn(space, 5)):
        backwards = dict(reversed(settings.items()))
        assert world.curve(settings) == again.curve(backwards)


def test_another_world_has_other_noise(world: World, table: Table, space: BoundSpace) -> None:
    other = World(table, space=space, seed=1)
    curves = [(world.curve(s).scores, other.curve(s).scores) for s in drawn(space, 10)]
    assert any(a != b for a, b in curves)


def test_simulated_scores_rank_as_the_truth_does(world: World, space: BoundSpace, truth: Truth) -> None:
    settings = drawn(space, 60)
    simulated = [world.curve(s).scores[-1] for s in settings]
    assert kendalltau(simulated, [truth(s)[-1] for s in settings]).statistic > 0.5


def test_held_out_figures_are_of_unseen_configurations(world: World, table: Table) -> None:
    found = world.held_out
    assert found.configurations == len(table)
    assert 0.5 < found.tau < 0.99
    assert 0.05 < found.error < 0.7


def test_a_table_without_signal_is_reported_as_useless(
    new_table: Callable[..., Table], space: BoundSpace
) -> None:
    found = World(new_table(noise=3.0), space=space).held_out
    assert abs(found.tau) < 0.3
    assert found.error > 0.7


def test_little_is_better_than_what_was_recorded(world: World, table: Table, space: BoundSpace) -> None:
    best = min(min(c.scores) for c in table.configurations)
    simulated = np.array([min(world.curve(s).scores) for s in drawn(space, 300)])
    assert simulated.min() > 0.8 * best
    assert (simulated < best).mean() < 0.1


def test_luck_beyond_the_recorded_scores_still_differs() -> None:
    ranks = _Ranks(np.linspace(0.1, 0.9, 500).reshape(50, 10))
    normal = np.linspace(-5, 5, 101)
    scores = ranks.to_score(normal)
    assert (np.diff(scores) > 0).all()
    assert scores.min() > 0, "positive scores stay positive"
    inside = np.array([0.1, 0.35, 0.9])
    np.testing.assert_allclose(ranks.to_score(ranks.to_normal(inside)), inside)


def test_scores_that_reach_zero_are_kept_on_their_own_scale() -> None:
    ranks = _Ranks(np.linspace(0.0, 1.0, 200).reshape(20, 10))
    inside = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(ranks.to_score(ranks.to_normal(inside)), inside, atol=1e-12)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_luck_brings_no_score_below_zero_where_zero_was_reached(direction: Literal["min", "max"]) -> None:
    ranks = _Ranks(np.linspace(0.0, 1.0, 200).reshape(20, 10), direction=direction)
    assert ranks.to_score(np.linspace(-5, 0, 51)).min() == 0.0


def test_scores_below_zero_go_on_below_the_recorded_ones() -> None:
    assert _Ranks(np.linspace(-1.0, 1.0, 200).reshape(20, 10)).to_score(np.array([-5.0])) < -1.0


@pytest.mark.parametrize("lowest", [0.0, 0.2])
def test_luck_gets_no_further_than_the_best_score_that_may_be_the_metrics_bound(lowest: float) -> None:
    scores = np.linspace(lowest, 1.0, 200).reshape(20, 10)
    normal = np.linspace(0, 5, 51)
    assert _Ranks(scores, direction="max").to_score(normal).max() == 1.0
    assert _Ranks(scores, direction="min").to_score(normal).max() > 1.0, "a loss may be larger"


def test_a_simulated_accuracy_is_possible(new_table: Callable[..., Table], space: BoundSpace) -> None:
    losses = new_table(noise=0.3)
    accuracies = tuple(
        replace(c, scores=tuple(max(0.0, 1.0 - s) for s in c.scores)) for c in losses.configurations
    )
    world = World(replace(losses, direction="max", configurations=accuracies), space=space)
    best = max(max(c.scores) for c in accuracies)
    simulated = np.array([world.curve(s).scores for s in drawn(space, 200)])
    assert simulated.min() >= 0.0
    assert simulated.max() <= best


def test_simulated_curves_spread_as_recorded_ones(new_table: Callable[..., Table], space: BoundSpace) -> None:
    noisy = new_table(noise=0.3)
    world = World(noisy, space=space)
    recorded = np.std([np.diff(c.scores) for c in noisy.configurations])
    simulated = np.std([np.diff(world.curve(s).scores) for s in drawn(space, 100)])
    assert 0.7 < simulated / recorded < 1.4


def test_settings_fail_where_recorded_ones_did(new_table: Callable[..., Table], space: BoundSpace) -> None:
    table = new_table(failing=True)
    world = World(table, space=space)
    failed = next(c for c in table.configurations if c.cause is not None)
    assert world.curve(failed.settings).cause == "diverged"
    for settings in drawn(space, 60):
        curve = world.curve(settings)
        if curve.cause is not None:
            assert len(curve.scores) == 2
            assert len(curve.seconds) == 3, "the epoch that it fails in takes its time"
    lr = space.base.optimizer.lr
    fates = [(s["optimizer.lr"] / lr, world.curve(s).cause) for s in drawn(space, 200)]
    assert np.mean([c is not None for ratio, c in fates if ratio > 6]) > 0.5
    assert np.mean([c is not None for ratio, c in fates if ratio < 2]) < 0.1


def test_too_few_curves_are_refused(new_table: Callable[..., Table], space: BoundSpace) -> None:
    with pytest.raises(DataError, match=r"wdbc has 10 complete configurations, a simulation needs 20"):
        World(new_table(10), space=space)


def test_a_default_that_would_not_be_replayed_is_refused(table: Table, space: BoundSpace) -> None:
    fewer = replace(space, parameters=tuple(p for p in space.parameters if p.key != "gate.tau"))
    with pytest.raises(DataError, match="wdbc was recorded around another space: .*; record again"):
        World(table, space=fewer)
    without = replace(table, configurations=table.configurations[1:])
    World(without, space=fewer)  # has no default to replay


def test_a_wrong_default_is_the_worst_recorded_configuration(table: Table, space: BoundSpace) -> None:
    wrong = wrong_space_of(table)
    world = World(table, space=wrong)
    worst = max(min(c.scores) for c in table.complete)
    assert min(world.curve(wrong.base_settings()).scores) == pytest.approx(worst)
    ranges = [[p.extremes for p in s.parameters if p.kind != "choice"] for s in (wrong, space)]
    assert ranges[0] == ranges[1]


def test_features_are_scaled_as_the_space_samples_and_mark_what_is_not_asked(space: BoundSpace) -> None:
    features = Features(space)
    names = [
        f"{p.key}={c}" if p.kind == "choice" and isinstance(p.choices[0], str) else p.key
        for p in space.parameters
        for c in (p.choices if p.kind == "choice" and isinstance(p.choices[0], str) else ("",))
    ]
    lr = space.base.optimizer.lr
    settings = {
        "k.start": 0.5, "k.kind": "linear", "k.end": 0.2, "gate.kind": "fc", "optimizer.lr": lr,
        "optimizer.weight_decay": 1e-5,
    }  # fmt: skip
    row = dict(zip(names, features.of(settings), strict=True))
    assert row["optimizer.lr"] == pytest.approx(0.5), "the middle of 0.1 to 10 times"
    assert row["k.end"] == pytest.approx(0.4 / 0.8), "a share of k.start, of at most 0.8"
    assert row["optimizer.weight_decay"] == pytest.approx(1 / 5), "the second of six steps"
    assert (row["k.kind=linear"], row["k.kind=cosine"]) == (1.0, 0.0)
    assert (row["gate.hidden"], row["k.rate"]) == (-1.0, -1.0)
    assert row["gate.tau"] > 0.0, "settings that are left out are trial 0's"


def test_what_is_expected_is_a_curve_without_its_chance(world: World, space: BoundSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=9))
    settings = [space.suggest(study.ask()) for _ in range(60)]
    expected = world.expected(settings)
    assert expected.shape == (60, world.epochs)
    simulated = [world.curve(s).scores[-1] for s in settings]
    assert kendalltau(expected[:, -1], simulated).statistic > 0.4
    assert np.array_equal(world.expected(settings), expected), "nothing is drawn"
