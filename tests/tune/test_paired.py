from __future__ import annotations

import math
import random

import pytest

from pare_tune.tune.paired import interval, is_more

SAME = [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("a", "more"),
    [
        ([2.0, 3.0, 4.0, 5.0, 6.0], True),  # by as much in every block
        (SAME, False),
        ([0.0, 1.0, 2.0, 3.0, 4.0], False),
        ([1.0, 2.0, 3.0, 4.0, 9.0], False),  # in one block
        ([1.5, 2.4, 3.6, 4.5, 5.7], True),
    ],
)
def test_a_trial_is_worse_where_the_blocks_agree(a: list[float], more: bool) -> None:
    assert is_more(a, SAME) is more


GAIN = [0.5, 1.0, 1.5, 1.0, 1.0, 0.8, 1.2, 1.1, 0.9, 1.0]
SEEDS = [[3.0, 3.1], [4.0, 4.1], [3.1, 3.0]]


def test_an_interval_is_around_the_gain_and_wider_the_more_was_looked_at() -> None:
    one, fifty = interval(1.0, GAIN, SEEDS, 1), interval(1.0, GAIN, SEEDS, 50)
    assert one is not None
    assert fifty is not None
    assert fifty.low < one.low < 1.0 < one.high < fifty.high
    assert one.low + one.high == pytest.approx(2.0)
    assert one.is_sure
    assert fifty.is_sure


def test_seeds_that_differ_widen_it_and_seeds_alone_can_be_too_few() -> None:
    wide = interval(1.0, GAIN, [[3.0, 4.0], [4.0, 5.0]], 1)
    assert wide is not None
    assert not wide.is_sure
    assert wide.times == math.inf, "no number of samples would help"
    assert interval(1.0, GAIN, [[3.0], [4.0]], 1) is None
    assert interval(1.0, [], SEEDS, 1) is None


def test_as_many_samples_as_it_names_would_tell() -> None:
    rng = random.Random(0)
    small = [0.1 + rng.gauss(0, 1) for _ in range(50)]
    gain = sum(small) / 50
    unsure = interval(gain, small, [[3.0, 3.0], [3.1, 3.1]], 20)
    assert unsure is not None
    assert not unsure.is_sure
    many = [gain + (value - gain) / math.sqrt(1.02 * unsure.times) for value in small]
    sure = interval(gain, many, [[3.0, 3.0], [3.1, 3.1]], 20)
    assert sure is not None
    assert sure.is_sure
