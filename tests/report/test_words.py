from __future__ import annotations

import dataclasses
import math
import statistics
from itertools import pairwise

import pytest

from pare_tune.report import words


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (2.8714, "Å", "2.871 Å"),
        (14.3, "%", "14.30 %"),
        (0.12345, "1", "0.1235"),
        (0.0026, "1", "0.002600"),
        (2.6e-5, "1", "2.600e-05"),
        (12345.6, "unit of y", "1.235e+04"),
        (1234.0, "Å", "1234 Å"),
        (0.0, "Å", "0 Å"),
        (math.nan, "Å", "–"),
        (None, "%", "–"),
    ],
)
def test_scores_have_four_digits_and_their_unit(value: float | None, unit: str, shown: str) -> None:
    assert words.score(value, unit) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (750, "12 min"),
        (3599, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (183600, "2 d 3 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (3, "3"), (0.00069766, "0.0006977"), (None, "none"), ("mlp", "mlp"), (1.0, "1")],
)
def test_settings_are_short(value: object, shown: str) -> None:
    assert words.setting(value) == shown


def test_a_better_trial_is_compared_in_unit_and_percent(make_search, make_trial) -> None:
    s = make_search(trials=(make_trial(0, floor=3.0), make_trial(1, floor=2.0)))
    found = words.compare(s)
    assert found is not None
    assert s.default.best_score - s.best.best_score == pytest.approx(found.difference)
    assert found.relative == pytest.approx(found.difference / s.default.best_score)
    assert not found.may_be_noise
    assert found.text == f"{found.difference:.3f} Å ({100 * found.relative:.3g} %)"
    assert words.verdict(s) == f"Better than the default by {found.text}."


def test_a_higher_is_better_metric_gains_upwards(make_search, make_trial) -> None:
    s = make_search(direction="max", trials=(make_trial(0, floor=2.0), make_trial(1, floor=3.0)))
    found = words.compare(s)
    assert s.best.number == 1
    assert found is not None
    assert found.difference > 0


def test_percent_scores_differ_by_points(make_search, make_trial) -> None:
    s = make_search(unit="%", trials=(make_trial(0, floor=30.0), make_trial(1, floor=20.0)))
    found = words.compare(s)
    assert found is not None
    assert found.absolute == f"{found.difference:.2f} points"


def test_a_difference_below_the_wobble_may_be_noise(make_search, make_trial) -> None:
    default, other = make_trial(0), make_trial(1)
    near = dataclasses.replace(other, best_score=default.best_score - 1e-4)
    s = make_search(trials=(default, near))
    found = words.compare(s)
    assert found is not None
    late = [[r["score"] for r in t.curve[4:]] for t in (default, near)]
    wobbles = [statistics.median(abs(b - a) for a, b in pairwise(scores)) for scores in late]
    assert found.wobble == pytest.approx(max(wobbles))
    assert found.may_be_noise
    assert words.verdict(s) == (
        "Better than the default by 0.0001 Å (0.00335 %). Late in training the score moves as much from epoch "
        f"to epoch ({found.wobble:.3f} Å): it may be noise."
    )


def test_short_curves_say_nothing_about_noise(make_search, make_trial) -> None:
    s = make_search(trials=(make_trial(0, epochs=3), make_trial(1, epochs=3, floor=1.0)))
    found = words.compare(s)
    assert found is not None
    assert found.wobble is None
    assert not found.may_be_noise


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], "No trial has finished, so there is no best configuration."),
        ([(0, "complete", {})], "The default is the only trial that finished."),
        (
            [(0, "complete", {"floor": 1.0}), (1, "complete", {})],
            "The default is the best: none of 1 other finished trial beat it.",
        ),
        (
            [(0, "failed", {"epoch": 1, "cause": "out_of_memory"}), (1, "complete", {})],
            "The default (trial 0) failed (out of memory), so there is nothing to compare with.",
        ),
        (
            [(0, "pruned", {"epoch": 3}), (1, "complete", {})],
            "The default (trial 0) was stopped early, after epoch 3 of 9, so there is nothing to compare with.",
        ),
        (
            [(0, "running", {"epoch": 3}), (1, "complete", {})],
            "The default (trial 0) has not finished, so there is nothing to compare with.",
        ),
    ],
)
def test_the_verdict_says_what_is_known(make_search, make_trial, trials, said: str) -> None:
    s = make_search(trials=tuple(make_trial(n, state, **more) for n, state, more in trials))
    assert words.verdict(s) == said


def test_a_default_of_zero_has_no_percentage(make_search, make_trial) -> None:
    default = dataclasses.replace(make_trial(0), best_score=0.0)
    found = words.compare(make_search(trials=(default, dataclasses.replace(make_trial(1), best_score=-1.0))))
    assert found is not None
    assert found.relative is None
    assert found.text == "1 Å"


@pytest.mark.parametrize(("done", "places"), [(9, [6, 7, 8]), (7, [6, 4, 5]), (2, [0, 1])])
def test_a_curve_over_folds_is_that_of_the_latest_at_each_epoch(
    make_trial, done: int, places: list[int]
) -> None:
    whole = make_trial(0, epoch=done)
    curve = tuple({**r, "folds": 3, "fold": place // 3} for place, r in enumerate(whole.curve))
    trial = dataclasses.replace(whole, curve=curve)
    assert words.scores(trial) == [curve[place]["score"] for place in places]
