"""Several models whose outputs are averaged: how they are chosen, and how they predict.

Greedy selection with replacement from sorted models: Caruana et al., ICML 2004, https://doi.org/10.1145/1015330.1015432.
It is repeated on parts of the held-out samples, and the weights are averaged (their "bagged ensemble selection"); each
time the samples left out say what a choice on the others is worth.
"""
# Shape suffixes: M = models, n = held-out samples, B = batch, G = blocks.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pare_tune.method import PareOutput
from pare_tune.tasks.base import Batch, Dense, MultiLabel, Output, Point, Task, loss_sign
from pare_tune.train.judge import blocks, influences, standard_error, units_of

Average = Literal["softmax", "sigmoid", "values"]
"""What is averaged: probabilities of classes, those of labels or positions, or the outputs themselves."""

_MOST_CANDIDATES: Final = 15
_STEPS: Final = 15
_PARTS: Final = 5
_SMALL: Final = 1e-7
"""A probability, which a logit must be finite for."""


def average_of(output: Output, *, is_mask: bool) -> Average:
    """What suits a task."""
    if isinstance(output, Point):
        return "softmax"
    return (
        "sigmoid" if isinstance(output, MultiLabel) or (isinstance(output, Dense) and is_mask) else "values"
    )


def spread(outputs: Tensor, how: Average) -> Tensor:
    """Outputs (n, ...) → what is averaged."""
    if how == "softmax":
        return outputs.softmax(1)
    return outputs.sigmoid() if how == "sigmoid" else outputs


def gathered(averaged: Tensor, how: Average) -> Tensor:
    """The inverse: outputs as one model gives them."""
    if how == "softmax":
        return averaged.clamp_min(_SMALL).log()
    return averaged.logit(_SMALL) if how == "sigmoid" else averaged


class Averaged(nn.Module):
    """Models behind one face."""

    def __init__(self, models: Sequence[nn.Module], weights: Sequence[float], how: Average) -> None:
        super().__init__()
        self.models, self.how = nn.ModuleList(models), how
        self.weights = [weight / sum(weights) for weight in weights]

    def forward(self, x: Tensor) -> PareOutput:
        """(B, C, ...) → outputs as a `PareModel` gives them."""
        parts = (
            weight * spread(model(x).target.float(), self.how)
            for model, weight in zip(self.models, self.weights, strict=True)
        )
        total = next(parts)
        for part in parts:
            total = total + part
        return PareOutput(target=gathered(total, self.how))


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen of M models."""

    weights_M: tuple[float, ...]
    """They sum to 1; most are 0."""
    outputs: Tensor
    """(n, ...) of the ensemble."""
    score: float
    """By nested validation: each sample was predicted by an ensemble that was chosen on others."""
    single: float
    """Of the best single model, chosen on the same samples and scored on the same others."""
    gain: float
    """Of the ensemble over the single model; positive is better."""
    error: float
    """Standard error of the gain over samples."""


def select(
    outputs_M: Sequence[Tensor], batch: Batch, index_n: npt.NDArray[np.int64], task: Task, *, most: int
) -> Selection:
    """Choose at most `most` of M models by what they said of the same held-out samples.

    Args:
        outputs_M: each (n, ...).
        index_n: places of the samples in the development set.
    """
    metric, sign = task.metric, loss_sign(task.metric.direction)
    how = average_of(task.output, is_mask=task.loss == "bce_with_logits")
    spread_M = [spread(outputs, how) for outputs in outputs_M]
    units_n = units_of(task, index_n)
    part_n = blocks(units_n, _PARTS)
    weights_M = np.zeros(len(spread_M))
    nested, single = torch.zeros_like(spread_M[0]), torch.zeros_like(spread_M[0])
    parts = int(part_n.max()) + 1
    for part in range(parts):
        chosen_on = torch.from_numpy(np.flatnonzero(part_n != part))
        rest = torch.from_numpy(np.flatnonzero(part_n == part))
        seen = {name: value[chosen_on] for name, value in batch.items()}

        def loss(averaged: Tensor, seen: Batch = seen) -> tuple[float, float]:
            outputs = gathered(averaged, how)
            score = sign * float(metric.score(outputs, seen))
            return (score if score == score else float("inf")), _doubt(outputs, seen, how)

        counts_M, best = _greedy([s[chosen_on] for s in spread_M], loss)
        weights_M += counts_M / counts_M.sum() / parts
        nested[rest] = _weighted([s[rest] for s in spread_M], counts_M / counts_M.sum())
        single[rest] = spread_M[best][rest]
    weights_M = _limited(weights_M, most)
    block_n = blocks(units_n, 50)
    nested_out, single_out = gathered(nested, how), gathered(single, how)
    better_G = sign * (
        influences(metric.score, single_out, batch, block_n)
        - influences(metric.score, nested_out, batch, block_n)
    )
    score, alone = float(metric.score(nested_out, batch)), float(metric.score(single_out, batch))
    return Selection(
        tuple(map(float, weights_M)),
        gathered(_weighted(spread_M, weights_M), how),
        score,
        alone,
        sign * (alone - score),
        standard_error(better_G),
    )


def _greedy(spread_M: Sequence[Tensor], loss: object) -> tuple[npt.NDArray[np.float64], int]:
    """How often each model is taken until nothing gets better, and the best single one."""
    assert callable(loss)
    ranked = sorted(range(len(spread_M)), key=lambda m: loss(spread_M[m]))[:_MOST_CANDIDATES]
    counts_M = np.zeros(len(spread_M))
    counts_M[ranked[0]] = 1
    total, best_loss = spread_M[ranked[0]].clone(), loss(spread_M[ranked[0]])
    best_counts_M = counts_M.copy()
    for step in range(2, _STEPS + 1):
        tried = {m: loss((total + spread_M[m]) / step) for m in ranked}
        chosen = min(tried, key=lambda m: tried[m])
        total = total + spread_M[chosen]
        counts_M[chosen] += 1
        if tried[chosen] < best_loss:
            best_loss, best_counts_M = tried[chosen], counts_M.copy()
    return best_counts_M, ranked[0]


def _doubt(outputs: Tensor, batch: Batch, how: Average) -> float:
    """What decides between equal scores, which few samples give often: the likelihood of the truth."""
    if how == "softmax":
        return float(nn.functional.cross_entropy(outputs, batch["y"]))
    if how == "sigmoid":
        return float(nn.functional.binary_cross_entropy_with_logits(outputs, batch["y"].float()))
    return 0.0


def _weighted(spread_M: Sequence[Tensor], weights_M: npt.NDArray[np.float64]) -> Tensor:
    total = torch.zeros_like(spread_M[0])
    for spread_m, weight in zip(spread_M, weights_M, strict=True):
        if weight > 0:
            total = total + float(weight) * spread_m
    return total


def _limited(weights_M: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """The heaviest alone."""
    kept_M = np.zeros_like(weights_M)
    heaviest = np.argsort(-weights_M, kind="stable")[:most]
    kept_M[heaviest] = weights_M[heaviest] / weights_M[heaviest].sum()
    return kept_M
