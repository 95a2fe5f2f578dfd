from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.errors import ConfigError, UnknownName
from pare_tune.tasks.base import Dense, MultiLabel, Point
from pare_tune.tasks.metrics import METRICS
from pare_tune.tasks.own.score import _FITTING, find_metric
from pare_tune.tasks.own.spec import MetricSpec
from pare_tune.tasks.own.target import Target

CLASSES = Target(output=Point, names=("a", "b", "c"))
TWO = Target(output=Point, names=("a", "b"))
LABELS = Target(output=MultiLabel, names=("a", "b"))
MASK = Target(output=Dense, levels=(0.0, 1.0), shape=(4, 4))
NUMBERS = Target(output=Dense, shape=(6,))


def named(name: str, **changes: Any) -> MetricSpec:
    return MetricSpec(name=name, **changes)


def test_every_fitting_name_is_a_metric() -> None:
    assert {n for names in _FITTING.values() for n in names} <= {*METRICS, "jaccard_error", "scaled_rmse"}


@pytest.mark.parametrize(
    ("target", "name", "direction"),
    [
        (CLASSES, "error_rate", "min"),
        (LABELS, "multilabel_auroc_error", "min"),
        (NUMBERS, "rmse", "min"),
        (MASK, "jaccard_error", "min"),
    ],
)
def test_every_kind_has_a_default(target: Target, name: str, direction: str) -> None:
    metric = find_metric(None, target)
    assert (metric.name, metric.direction) == (name, direction)


def test_a_torchmetrics_class_is_scored_over_the_whole_split() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(50, 3), torch.randint(3, (50,))
    metric = find_metric(named("torchmetrics:MulticlassRecall"), CLASSES)
    predicted = logits.argmax(1)
    recalls = [(predicted[y == c] == c).double().mean().item() for c in range(3)]
    assert metric.score(logits, {"y": y}) == pytest.approx(np.mean(recalls))
    assert metric.direction == "max"
    accuracy = find_metric(named("torchmetrics:Accuracy", unit="%"), CLASSES)
    assert accuracy.score(logits, {"y": y}) == pytest.approx((predicted == y).double().mean().item())
    assert accuracy.unit == "%"


def test_two_classes_can_be_scored_by_a_binary_class() -> None:
    logits, y = torch.tensor([[0.0, 2.0], [1.0, 0.5], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([1, 1, 0, 0])
    metric = find_metric(named("torchmetrics:BinaryPrecision"), TWO)
    assert metric.score(logits, {"y": y}) == pytest.approx(0.5)


def test_masks_are_scored_by_overlap_without_their_padding() -> None:
    logits = torch.tensor([[2.0, 2.0, -2.0, -2.0], [2.0, -2.0, 2.0, 2.0]])
    y = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    ignore = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    target = Target(output=Dense, levels=(0.0, 1.0), shape=(None,))
    theirs = find_metric(named("torchmetrics:BinaryJaccardIndex"), target)
    assert theirs.direction == "max"
    for batch, overlap in (({"y": y, "ignore": ignore}, 2 / 5), ({"y": y}, 2 / 7)):
        assert find_metric(None, target).score(logits, batch) == pytest.approx(1 - overlap)
        assert theirs.score(logits, batch) == pytest.approx(overlap)


@pytest.mark.parametrize("name", ["rmse", "nrmse", "relative_l2"])
def test_padding_does_not_count_in_the_scores_of_numbers(name: str) -> None:
    rng = np.random.default_rng(0)
    prediction, y = (torch.from_numpy(rng.normal(size=(3, 6)).astype(np.float32)) for _ in range(2))
    lengths = [6, 2, 4]
    ignore = torch.stack([(torch.arange(6) >= n).float() for n in lengths])
    expected = []
    for p, t, n in zip(prediction.numpy(), y.numpy(), lengths, strict=True):
        error, size = np.sqrt(np.mean((p[:n] - t[:n]) ** 2)), np.sqrt(np.mean(t[:n] ** 2))
        expected.append(error if name == "rmse" else error / size)
    metric = find_metric(named(name), NUMBERS)
    assert metric.score(prediction, {"y": y, "ignore": ignore}) == pytest.approx(np.mean(expected), rel=1e-6)


def test_torchmetrics_of_numbers_leave_padding_out() -> None:
    prediction, y = torch.tensor([[1.0, 2.0, 99.0]]), torch.tensor([[2.0, 4.0, 0.0]])
    metric = find_metric(named("torchmetrics:MeanAbsoluteError"), NUMBERS)
    assert metric.score(prediction, {"y": y, "ignore": torch.tensor([[0.0, 0.0, 1.0]])}) == pytest.approx(1.5)
    assert metric.direction == "min"


def test_a_diverged_prediction_has_no_score() -> None:
    metric = find_metric(named("torchmetrics:MulticlassRecall"), CLASSES)
    assert np.isnan(metric.score(torch.full((4, 3), torch.nan), {"y": torch.zeros(4, dtype=torch.long)}))


def test_a_metric_travels_to_other_processes() -> None:
    metric = find_metric(named("torchmetrics:MultilabelF1Score", options={"threshold": 0.4}), LABELS)
    again = pickle.loads(pickle.dumps(metric))
    logits, y = torch.randn(20, 2), torch.randint(2, (20, 2)).float()
    assert again.score(logits, {"y": y}) == metric.score(logits, {"y": y})


@pytest.mark.parametrize(
    ("spec", "target", "error", "message"),
    [
        (named("eror_rate"), CLASSES, UnknownName, "Did you mean 'error_rate'"),
        (named("rmse"), CLASSES, ConfigError, "rmse does not score classes; those that do: error_rate"),
        (named("error_rate"), NUMBERS, ConfigError, "those that do: rmse"),
        (named("error_rate"), MASK, ConfigError, "torchmetrics:ClassName"),
        (named("error_rate", options={"a": 1}), CLASSES, ConfigError, "has no options"),
        (named("torchmetrics:MulticlasF1Score"), CLASSES, UnknownName, "MulticlassF1Score"),
        (
            named("torchmetrics:MulticlassF1Score", options={"average": "none"}),
            CLASSES,
            ConfigError,
            "several numbers",
        ),
        (named("torchmetrics:MulticlassF1Score", options={"colour": 1}), CLASSES, ConfigError, "colour"),
        (named("torchmetrics:MeanSquaredError"), CLASSES, ConfigError, "does not score classes"),
        (named("torchmetrics:BinaryF1Score"), CLASSES, ConfigError, "scores two classes, the targets have 3"),
        (named("torchmetrics:PearsonCorrCoef"), NUMBERS, ConfigError, "add direction: min or direction: max"),
    ],
)
def test_a_metric_that_cannot_score_is_refused_before_training(
    spec: MetricSpec, target: Target, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_metric(spec, target)


def test_a_direction_can_be_given() -> None:
    assert find_metric(named("torchmetrics:PearsonCorrCoef", direction="max"), NUMBERS).direction == "max"
