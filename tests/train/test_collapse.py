from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from torch import Tensor

from pare_tune.errors import TrialFailed
from pare_tune.tasks.base import Batch
from pare_tune.tasks.metrics import METRICS
from pare_tune.train.collapse import constant_score, judged_after

from .conftest import Toy


def planted(toy: Toy, curve: list[float], constant: float) -> Toy:
    """Whose epochs score what `curve` says, and whose constant guess `constant`."""
    scores: Iterator[float] = iter(curve)

    def score(predictions: Tensor, batch: Batch) -> float:
        return constant if (predictions == predictions[:1]).all() else next(scores)

    metric = replace(METRICS["error_rate"], score=score)
    data = replace(toy.data, task=replace(toy.data.task, metric=metric))
    return Toy(data, toy.config).changed(**{"train.epochs": len(curve)})


def test_a_training_no_better_than_a_constant_is_ended_with_its_cause(toy: Toy) -> None:
    seen: list[float] = []
    with pytest.raises(
        TrialFailed, match=r"collapsed: after 4 of 6 epochs the best validation error_rate is 50, no .* 50 "
    ) as caught:
        planted(toy, [60.0, 50.0, 50.0, 70.0, 10.0, 10.0], 50.0).run(report=lambda r: seen.append(r.score))
    assert caught.value.cause == "collapsed"
    assert seen == [60.0, 50.0, 50.0, 70.0]


@pytest.mark.parametrize(
    ("curve", "constant"),
    [
        ([60.0, 60.0, 60.0, 49.9, 60.0, 60.0], 50.0),  # a slow starter
        ([60.0, 60.0, 60.0, 60.0, 60.0], 50.0),  # too short to be judged
        ([60.0, 60.0, 60.0, 60.0, 60.0, 60.0], math.nan),  # a metric that has no score of constants
    ],
)
def test_others_come_to_their_end(toy: Toy, curve: list[float], constant: float) -> None:
    result, _ = planted(toy, curve, constant).run()
    assert [r.score for r in result.curve] == curve


@pytest.mark.parametrize(("epochs", "after"), [(5, None), (6, 4), (7, 5), (9, 6), (60, 40)])
def test_a_training_is_judged_late(epochs: int, after: int | None) -> None:
    assert judged_after(epochs) == after


@pytest.mark.parametrize(("metric", "score"), [("error_rate", 100 * 2 / 3), ("auroc_error", 0.5)])
def test_a_constant_scores_as_chance_does(toy: Toy, metric: str, score: float) -> None:
    data = replace(toy.data, task=replace(toy.data.task, metric=METRICS[metric]))
    assert constant_score(data) == pytest.approx(score)
