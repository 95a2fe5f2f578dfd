"""A training that learned nothing: what a constant guess scores, and when to hold a training against it.

A collapsed network says the same of every sample. Its curve is flat at the score of a constant, or wanders above it,
and nothing brings it back. A slow starter looks the same for a while, so a training is judged late: of 700 recorded
ones, none that was no better than a constant for two thirds of its epochs ended among the better half
(tests/benchmarks/RESULTS.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pare_tune.tasks.base import Dense
from pare_tune.tasks.load import TaskData
from pare_tune.train.batches import stack
from pare_tune.train.simple.fits import fit_constant, training_of

FEWEST_EPOCHS = 6
"""Shorter trainings are over before they could be judged."""
_MOST = 2048
"""Training samples whose targets are read."""


def judged_after(epochs: int) -> int | None:
    """Epochs after which a training of `epochs` is compared with a constant; None for never."""
    return math.ceil(2 * epochs / 3) if epochs >= FEWEST_EPOCHS else None


def constant_score(data: TaskData) -> float:
    """What the simple model that ignores the input scores on validation, fitted to some training samples; NaN where
    the metric has no score of constants."""
    rows = range(0, len(data.train), math.ceil(len(data.train) / _MOST))
    train = stack([_targets(data.train.item(i, np.random.default_rng(i))) for i in rows])
    if isinstance(data.output, Dense):
        # One value for all positions: against a mean of each, half of the maps that are flagged improve after all.
        train["y"] = train["y"].float().mean().expand(train["y"].shape)
    validation = stack([_targets(data.val.item(i)) for i in range(len(data.val))])
    guess = fit_constant(training_of(data, {**train, "x": torch.empty(0)}))
    return float(data.task.metric.score(guess(torch.empty(len(data.val))).target, validation))


def _targets(item: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in item.items() if name != "x"}
