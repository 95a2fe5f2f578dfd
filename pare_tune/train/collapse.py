"""A training that learned nothing: what a constant guess scores, and when to hold a training against it.

A collapsed network says the same of every sample. Its curve is flat at the score of a constant, or wanders above it,
and nothing brings it back. A slow starter looks the same for a while, so a training is judged late: of 700 recorded
ones, none that was no better than a constant for two thirds of its epochs ended among the better half
(tests/benchmarks/RESULTS.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pare_tune.tasks.base import Dense, MultiLabel, Output, Point
from pare_tune.tasks.load import TaskData
from pare_tune.train.batches import stack

FEWEST_EPOCHS = 6
"""Shorter trainings are over before they could be judged."""
_MOST = 2048
"""Training samples whose targets are read."""


def judged_after(epochs: int) -> int | None:
    """Epochs after which a training of `epochs` is compared with a constant; None for never."""
    return math.ceil(2 * epochs / 3) if epochs >= FEWEST_EPOCHS else None


def constant_score(data: TaskData) -> float:
    """What a guess scores on validation that ignores the input; NaN where the metric has no score of constants.

    It says the frequency of each class or label among training samples, or the mean of their targets, one for all
    positions.
    """
    rows = range(0, len(data.train), math.ceil(len(data.train) / _MOST))
    targets = [data.train.item(i, np.random.default_rng(i))["y"] for i in rows]
    validation = stack(
        [
            {name: value for name, value in data.val.item(i).items() if name != "x"}
            for i in range(len(data.val))
        ]
    )
    guess = _constant(targets, data.output, logits=data.task.loss == "bce_with_logits")
    return float(data.task.metric.score(guess.expand(len(data.val), *guess.shape), validation))


def _constant(targets: Sequence[Tensor], output: Output, *, logits: bool) -> Tensor:
    """One prediction, of the shape that the model gives for a sample."""
    match output:
        case Point():
            counts = torch.bincount(torch.stack(list(targets)), minlength=output.num_classes) + 1e-6
            return (counts / counts.sum()).log()
        case Dense():
            mean = torch.stack([y.float().mean() for y in targets]).mean().expand(output.shape)
        case _:
            mean = torch.stack([y.float() for y in targets]).mean(dim=0)
    return mean.logit(eps=1e-6) if logits or isinstance(output, MultiLabel) else mean
