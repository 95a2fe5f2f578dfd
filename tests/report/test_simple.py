from __future__ import annotations

from dataclasses import replace

import pytest

from pare_tune.report import simple
from pare_tune.train.simple.scores import SimpleScore
from pare_tune.tune.snapshot import Snapshot

from .conftest import search, trial


def judged(score: float, blocks: tuple[float, ...], *rows: SimpleScore) -> Snapshot:
    """A finished search whose best trial scored `score`, less is better."""
    view = trial(0)
    curve = (*view.curve[:-1], {**view.curve[-1], "influences": blocks})
    state = search(1)
    return replace(state, trials=(replace(view, best_score=score, curve=curve),), simple=rows, run=state.run)


def row(score: float | None, *blocks: float, skipped: str | None = None) -> SimpleScore:
    return SimpleScore(
        kind="trees", title="boosted trees", score=score, seconds=0.4, influences=blocks, skipped=skipped
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((), None),
        ((row(None, skipped="too many"),), None),
        ((row(2.0, 2.0, 2.1, 1.9),), "is as good or better"),
        ((row(3.0, 3.0, 3.1, 2.9),), "is as good or better"),
        ((row(3.2, 9.0, 0.1, 0.5),), "is not clearly worse"),
        ((row(6.0, 6.0, 6.1, 5.9),), None),
        ((row(6.0, 6.0, 6.1, 5.9), row(2.0, 2.0, 2.1, 1.9)), "2"),
    ],
)
def test_a_result_says_first_that_a_simple_model_is_as_good(
    rows: tuple[SimpleScore, ...], said: str | None
) -> None:
    state = judged(3.0, (3.0, 3.05, 2.95), *rows)
    first = simple.not_beaten(state)
    if said is None:
        assert first is None
        return
    assert first is not None
    assert said in first
    assert "--ensemble --peers" in first


def test_what_they_got_is_told_with_seconds_and_reasons() -> None:
    state = judged(3.0, (), row(2.0), row(None, skipped="5 classes are too many for it"))
    told = simple.told(state)
    assert told is not None
    assert "boosted trees 2" in told
    assert "(0.4 s)" in told
    assert "left out (5 classes are too many for it)" in told
    assert [name for name, _, _ in simple.table(state)] == ["trial 0 of the search", *["boosted trees"] * 2]
    assert simple.told(judged(3.0, ())) is None
