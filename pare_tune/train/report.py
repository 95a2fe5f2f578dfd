"""What an epoch was like, and the sums it is reported from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pare_tune.method import LossParts, Mixed


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch was like; plain numbers only."""

    epoch: int
    """Finished epochs: 1 after the first. Of all folds together, where a trial has folds."""
    epochs: int
    score: float
    """The task's metric on validation; NaN when training has no validation split. With folds: over what the folds so
    far hold out, each after as many epochs."""
    best_score: float
    """Of the epoch that is kept so far; with folds, from the second on, of the folds that are done."""
    train_loss: float
    loss_target: float
    loss_mixed_target: float
    loss_mixed_source: float
    k: int
    lam: float
    """λ = k/N."""
    lr: float
    """Of the epoch's last optimiser step."""
    grad_norm: float
    """Mean over the epoch's optimiser steps, before clipping."""
    gate_target: float
    """Mean gate score σ(z) over target patches in the epoch's last mixed batch; NaN without a gate."""
    gate_source: float
    gate_entropy: float
    """Mean binary entropy of the gate's scores, in nats: log 2 knows nothing, 0 is sure."""
    seconds: float
    """Training and validation; the first epoch's with the alignment before it."""
    samples_per_s: float
    """Target samples trained on, over training time."""
    memory_mb: float
    """Most memory of this process so far: of the accelerator where there is one, else resident. MB of 1e6 bytes."""
    best_epoch: int = 0
    """That `best_score` is of, counted within a fold; 0 in reports of earlier versions."""
    fold: int = 0
    folds: int = 1
    influences: tuple[float, ...] = ()
    """After the last epoch of a fold: what blocks of held-out samples contribute to `best_score`, see `judge`."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON, Ray and the study."""
        return asdict(self)


class EpochSums:
    """Running sums of an epoch; they stay on the device until its end, because reading them waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.batches = 0
        self.mixed: Mixed | None = None
        """The last mixed batch."""
        self._device = device
        self._terms = {term.name: torch.zeros((), device=device) for term in fields(LossParts)}
        self._weight = 0.0
        self._norm = torch.zeros((), device=device)
        self._steps = 0

    def add_batch(self, parts: LossParts, weight: float, mixed: Mixed | None) -> None:
        """Count the losses of one forward pass over `weight` samples."""
        self.batches += 1
        self._weight += weight
        for name, term in parts.to_dict().items():
            self._terms[name] = self._terms[name] + term * weight
        if mixed is not None:
            self.mixed = mixed

    def add_step(self, norm: Tensor) -> None:
        """Count one optimiser step with its gradient norm."""
        self._norm = self._norm + norm.detach()
        self._steps += 1

    def means(self, world_size: int) -> dict[str, float]:
        """Every loss, a sample, over all workers; "grad_norm", a step."""
        packed = torch.stack([*self._terms.values(), torch.tensor(self._weight, device=self._device)])
        if world_size > 1:
            dist.all_reduce(packed)
        means = (packed[:-1] / packed[-1]).tolist()
        grad_norm = (self._norm / max(self._steps, 1)).item()
        return {**dict(zip(self._terms, means, strict=True)), "grad_norm": grad_norm}


def gate_statistics(mixed: Mixed | None) -> dict[str, Any]:
    """Mean scores and entropy of the gate; NaN where no gate took part."""
    if mixed is None or mixed.target_logits is None or mixed.source_logits is None:
        return {"gate_target": math.nan, "gate_source": math.nan, "gate_entropy": math.nan}
    target, source = mixed.target_logits.detach().float(), mixed.source_logits.detach().float()
    z = torch.cat([target, source])
    p = z.sigmoid()
    entropy = -(p * nn.functional.logsigmoid(z) + (1 - p) * nn.functional.logsigmoid(-z)).mean()
    return {
        "gate_target": target.sigmoid().mean().item(),
        "gate_source": source.sigmoid().mean().item(),
        "gate_entropy": entropy.item(),
    }
