from __future__ import annotations

import dataclasses
import random

import pytest

from pare_tune.report.stops import stopping, stopping_lines


@pytest.fixture
def made(make_search, make_trial):
    """Trials of given scores by epoch: (state, scores, more)."""

    def make(*trials, direction: str = "min"):
        views = []
        for n, (state, scores, more) in enumerate(trials):
            base = make_trial(n, state, epoch=len(scores), epochs=6)
            best = min if direction == "min" else max
            curve = tuple(
                {**r, "score": v, "best_score": best(scores[: i + 1])}
                for i, (r, v) in enumerate(zip(base.curve, scores, strict=True))
            )
            views.append(dataclasses.replace(base, curve=curve, best_score=best(scores), **more))
        return make_search(trials=tuple(views), direction=direction, finished=True)

    return make


def flat(start: float, end: float) -> list[float]:
    return [start, start, end, end, end, end]


def test_a_stop_is_right_when_all_that_were_no_better_ended_far_from_the_best(made) -> None:
    s = made(
        ("complete", flat(9.0, 8.0), {}),
        ("complete", flat(7.0, 5.0), {}),
        ("complete", flat(3.0, 1.0), {}),
        ("pruned", [6.0, 6.0], {"stopped": "rung"}),
    )
    found = stopping(s)
    [stop] = found.stops
    assert (stop.number, stop.epoch, stop.witnesses, stop.near_best, stop.verdict) == (3, 2, 2, 0, "right")
    [rung] = found.rungs
    assert (rung.epoch, rung.reached, rung.stopped) == (2, 4, 1)
    assert "Of 1 trial stopped early: 1 right." in stopping_lines(s, found)


def test_a_stop_is_doubtful_when_one_that_was_no_better_ended_near_the_best(made) -> None:
    s = made(
        ("complete", flat(9.0, 1.0), {}),
        ("complete", flat(7.0, 5.0), {}),
        ("complete", flat(3.0, 1.0), {}),
        ("pruned", [6.0, 6.0], {}),
    )
    assert [stop.verdict for stop in stopping(s).stops] == ["doubtful"]


def test_nothing_is_said_where_all_finished_trials_were_better(made) -> None:
    s = made(
        ("complete", flat(5.0, 4.0), {}),
        ("complete", flat(3.0, 1.0), {}),
        ("pruned", [6.0, 6.0], {}),
    )
    assert [stop.verdict for stop in stopping(s).stops] == ["not known"]


def test_where_more_is_better_it_is_the_other_way_round(made) -> None:
    s = made(
        ("complete", flat(1.0, 2.0), {}),
        ("complete", flat(2.0, 3.0), {}),
        ("complete", flat(8.0, 9.0), {}),
        ("pruned", [4.0, 4.0], {}),
        direction="max",
    )
    assert [stop.verdict for stop in stopping(s).stops] == ["right"]


def test_the_seeds_spread_says_what_is_near(made) -> None:
    trials = [
        ("complete", flat(9.0, 1.3), {}),
        ("complete", flat(7.0, 5.0), {}),
        ("complete", flat(3.0, 1.0), {}),
        ("pruned", [6.0, 6.0], {}),
    ]
    again = [
        ("complete", flat(3.0, 1.0 + d), {"repeats": n})
        for n, ds in ((2, (0.0, 0.2)), (0, (0.3, 0.5)))
        for d in ds
    ]
    s = made(*trials, *again)
    found = stopping(s)
    assert found.margin == pytest.approx(2 * 0.2 / 2**0.5)
    assert s.choice.spread == pytest.approx(0.2 / 2**0.5)
    assert [stop.verdict for stop in found.stops] == ["right"], "0.3 away is beyond it"
    nearer = made(("complete", flat(9.0, 1.25), {}), *trials[1:], *again)
    assert [stop.verdict for stop in stopping(nearer).stops] == ["doubtful"]
    assert "twice the spread over fresh seeds" in " ".join(stopping_lines(s, found))


def test_the_end_of_the_budget_is_no_verdict(made) -> None:
    s = made(("complete", flat(5.0, 4.0), {}), ("pruned", [6.0, 6.0], {"stopped": "budget"}))
    found = stopping(s)
    assert (found.stops, found.rungs, found.cut_by_budget) == ((), (), 1)
    assert stopping_lines(s, found) == ["1 trial more ended with the budget, which says nothing about them."]


def test_a_search_without_stops_has_nothing_to_say(make_search, make_trial) -> None:
    assert stopping(make_search(trials=(make_trial(0), make_trial(1)))) is None
    assert stopping(make_search(trials=())) is None


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_counts_are_those_of_plain_loops(made, direction: str, decimals: int) -> None:
    rng = random.Random(decimals)
    trials = []
    for _ in range(80):
        state = rng.choice(["complete", "pruned"])
        length = 6 if state == "complete" else rng.choice([2, 4])
        trials.append((state, [round(rng.gauss(5.0, 2.0), decimals) for _ in range(length)], {}))
    s = made(*trials, direction=direction)
    finished = [t for t in s.trials if t.state == "complete"]
    best = (min if direction == "min" else max)(t.best_score for t in finished)
    found = stopping(s)
    for stop in found.stops:
        no_better = [t for t in finished if not s.better(t.curve[stop.epoch - 1]["best_score"], stop.score)]
        near = sum(abs(t.best_score - best) <= found.margin for t in no_better)
        assert (stop.witnesses, stop.near_best) == (len(no_better), near)
