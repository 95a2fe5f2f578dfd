from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from pare_tune.method import KSchedule

FALLING = ["linear", "exponential", "piecewise", "cosine"]


@pytest.mark.parametrize(("epoch", "k"), [(0, 3000), (30, 1500), (45, 750), (59, 50)])
def test_linear_is_the_papers_3000_to_0(epoch: int, k: int) -> None:
    assert KSchedule(start=3000 / 3136).k_at(epoch, 60, 3136) == k


@pytest.mark.parametrize(("epoch", "k"), [(0, 200), (30, 100), (59, 3)])
def test_linear_is_the_papers_200_to_0_for_cosmic(epoch: int, k: int) -> None:
    assert KSchedule(start=200 / 3136).k_at(epoch, 60, 3136) == k


@pytest.mark.parametrize(("epoch", "k"), [(0, 2000), (30, 1250), (59, 525)])
def test_matches_the_official_cifar100_values(epoch: int, k: int) -> None:
    assert KSchedule(start=2000 / 3136, end=500 / 3136).k_at(epoch, 60, 3136) == k


@pytest.mark.parametrize("kind", FALLING)
@pytest.mark.parametrize(("start", "end"), [(0.957, 0.0), (1.0, 0.3), (0.5, 0.5)])
def test_falls_from_start_and_never_below_end(kind: str, start: float, end: float) -> None:
    schedule = KSchedule(kind=kind, start=start, end=end)
    shares = [schedule.share_at(e / 60) for e in range(60)]
    assert shares[0] == pytest.approx(start, abs=1e-12)
    assert all(a >= b - 1e-12 for a, b in pairwise(shares))
    assert min(shares) >= end - 1e-12


@pytest.mark.parametrize("kind", ["linear", "exponential", "cosine"])
def test_reaches_end_one_past_the_last_epoch(kind: str) -> None:
    assert KSchedule(kind=kind, start=0.9, end=0.1).share_at(1 - 1e-9) == pytest.approx(0.1, abs=1e-7)


def test_exponential_follows_its_formula() -> None:
    share = KSchedule(kind="exponential", start=0.9, end=0.1, rate=3.0).share_at(0.4)
    left = (math.exp(-1.2) - math.exp(-3)) / (1 - math.exp(-3))
    assert share == pytest.approx(0.1 + 0.8 * left)


@pytest.mark.parametrize("rate", [1e-12, 800.0])
def test_exponential_survives_extreme_rates(rate: float) -> None:
    share = KSchedule(kind="exponential", start=1.0, rate=rate).share_at(0.25)
    assert share == pytest.approx(0.75 if rate < 1 else 0.0, abs=1e-6)


def test_piecewise_has_equally_long_equally_spaced_levels() -> None:
    schedule = KSchedule(kind="piecewise", start=0.8, end=0.0, steps=4)
    shares = [round(schedule.share_at(e / 20), 10) for e in range(20)]
    assert shares == [0.8] * 5 + [0.6] * 5 + [0.4] * 5 + [0.2] * 5


def test_piecewise_with_a_level_an_epoch_repeats_none() -> None:
    schedule = KSchedule(kind="piecewise", start=1.0, end=0.0, steps=100)
    assert [schedule.k_at(e, 100, 100) for e in range(100)] == list(range(100, 0, -1))


def test_constant_is_start_in_every_epoch() -> None:
    schedule = KSchedule(kind="constant", start=0.4, end=0.1)
    assert {schedule.k_at(e, 10, 100) for e in range(10)} == {40}


def test_random_is_redrawn_per_epoch_within_bounds_and_repeats() -> None:
    schedule = KSchedule(kind="random", start=0.8, end=0.2)
    ks = [schedule.k_at(e, 100, 1000, seed=3) for e in range(100)]
    assert ks == [schedule.k_at(e, 100, 1000, seed=3) for e in range(100)]
    assert ks != [schedule.k_at(e, 100, 1000, seed=4) for e in range(100)]
    assert len(set(ks)) > 80
    assert min(ks) >= 200
    assert max(ks) <= 800
    assert 430 < np.mean(ks) < 570


@pytest.mark.parametrize("kind", [*FALLING, "constant", "random"])
def test_one_token_is_replaced_or_not(kind: str) -> None:
    ks = [KSchedule(kind=kind).k_at(e, 10, 1) for e in range(10)]
    assert set(ks) <= {0, 1}


def test_all_tokens_can_be_replaced() -> None:
    assert KSchedule(start=1.0).k_at(0, 10, 46) == 46


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "cubic"},
        {"start": 1.2},
        {"start": 0.2, "end": 0.3},
        {"end": -0.1},
        {"start": math.nan},
        {"rate": 0.0},
        {"rate": math.inf},
        {"steps": 0},
    ],
)
def test_wrong_values_die_at_construction(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="KSchedule needs"):
        KSchedule(**wrong)


@pytest.mark.parametrize("progress", [-0.1, 1.0, math.nan])
def test_progress_lies_within_training(progress: float) -> None:
    with pytest.raises(ValueError, match="progress"):
        KSchedule().share_at(progress)


def test_k_at_refuses_what_is_outside_training() -> None:
    with pytest.raises(ValueError, match="epoch 10 of 10"):
        KSchedule().k_at(10, 10, 5)
    with pytest.raises(ValueError, match="at least one token"):
        KSchedule().k_at(0, 10, 0)
    with pytest.raises(ValueError, match="rng"):
        KSchedule(kind="random").share_at(0.0)
