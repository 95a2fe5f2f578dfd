"""Scoring a split: the same on one worker and on several."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pare_tune.errors import DataError
from pare_tune.method import PareModel, PareOutput
from pare_tune.tasks.base import Metric
from pare_tune.tasks.folds import Folds
from pare_tune.train.batches import TargetDataset, stack
from pare_tune.train.report import EpochReport

Report = Callable[[EpochReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a training runs and whom it tells."""

    report: Report
    folder: Path | None = None
    """Keeps `last.pt` and `best.safetensors`; None keeps nothing."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    folds: Folds | None = None
    """What a trial is judged by; None is the validation split."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and computes metrics."""
        return self.rank == 0


Predicted = tuple[Tensor, dict[str, Tensor]]
"""Predictions (n, ...) and the rest of the batch, for a whole split."""


@torch.no_grad()
def predict_split(
    model: PareModel | nn.Module, dataset: TargetDataset, *, batch_size: int, context: Context
) -> Predicted | None:
    """Predictions (n, ...) and targets of a whole split, in order, on the CPU of rank 0; None on other ranks.

    Every worker makes as many passes, which workers that share a model need; what one has no sample for is thrown away.
    """
    model.eval()
    indices = range(context.rank, len(dataset), context.world_size)
    predictions: list[Tensor] = []
    targets: list[dict[str, Tensor]] = []
    for start in range(0, math.ceil(len(dataset) / context.world_size), batch_size):
        mine = indices[start : start + batch_size]
        batch = stack([dataset.item(i) for i in mine or (0,)])
        x = batch.pop("x").to(context.device, non_blocking=True)
        output = cast("PareOutput", model(x))
        predictions.append(output.target[: len(mine)].float().cpu())
        targets.append({name: t[: len(mine)] for name, t in batch.items()})
    predicted = torch.cat(predictions), join(targets)
    if context.world_size == 1:
        return predicted
    gathered: list[Any] | None = [None] * context.world_size if context.is_main else None
    dist.gather_object(predicted, gathered)
    if gathered is None:
        return None
    order = torch.cat(
        [torch.arange(rank, len(dataset), context.world_size) for rank in range(context.world_size)]
    ).argsort()
    merged = join([targets for _, targets in gathered])
    return torch.cat([outputs for outputs, _ in gathered])[order], {k: v[order] for k, v in merged.items()}


def evaluate(
    model: PareModel | nn.Module, dataset: TargetDataset, metric: Metric, *, batch_size: int, context: Context
) -> float:
    """The metric over the whole split; every rank gets the same number, NaN where there is none."""
    predicted = predict_split(model, dataset, batch_size=batch_size, context=context)
    return score_of(predicted, metric, context=context)


def score_of(
    predicted: Predicted | None,
    metric: Metric,
    *,
    context: Context,
    split: str | None = None,
) -> float:
    """The metric over what `predict_split` gave; every rank gets the same number, NaN where there is none.

    Args:
        split: what to call the split in a DataError; None wants NaN instead of that error.

    Raises:
        DataError: no predictions have a score on this split.
    """
    verdict = [float("nan"), 0]
    if predicted is not None:
        predictions, targets = predicted
        if torch.isfinite(predictions).all():
            score = float(metric.score(predictions, targets))
            undefined = (
                split is not None and math.isnan(score) and _is_undefined(metric, predictions, targets)
            )
            verdict = [score, len(predictions) if undefined else 0]
    if context.world_size > 1:
        dist.broadcast_object_list(verdict, src=0)
    if verdict[1]:
        raise DataError(
            f"metric {metric.name} is not defined on the {split} split, {verdict[1]} samples (of one class only?); "
            f"choose another metric, or data whose {split} split has samples of every class"
        )
    return verdict[0]


def _is_undefined(metric: Metric, predictions: Tensor, targets: dict[str, Tensor]) -> bool:
    """Whether the split is why there is no score, not these predictions, constant ones in a correlation for example.

    Noise in (0, 1) has a score wherever anything has: it is not constant, and positive for logarithms.
    """
    noise = torch.rand(predictions.shape, generator=torch.Generator().manual_seed(0))
    return math.isnan(float(metric.score(noise, targets)))


def peak_memory_mb(device: torch.device) -> float:
    """Most memory that this process has had: of `device` if it is an accelerator, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    # Kilobytes on Linux, bytes on macOS.
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    )


def join(batches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Batches one behind the other, field by field."""
    return {name: torch.cat([b[name] for b in batches]) for name in batches[0]}
