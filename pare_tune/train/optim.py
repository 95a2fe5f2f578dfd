"""The optimiser and the learning rate of every step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from pare_tune.config import OptimizerConfig


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """One parameter group, norms and biases decayed like everything else, as in the paper's code.

    Fused: one call a step instead of ten a tensor, which small models on a CPU notice.
    """
    trainable = [p for p in parameters if p.requires_grad]
    match config.name:
        case "sgd":
            return torch.optim.SGD(
                trainable,
                lr=config.lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                fused=True,
            )
        case "adam":
            return torch.optim.Adam(
                trainable, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
            )
        case "adamw":
            return torch.optim.AdamW(
                trainable, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
            )


def learning_rate(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """Rate of optimiser step `step` of `total_steps`: linear warm-up, then a line that meets 0 at `decay` runs.

    The paper's WarmupLR counts micro-batches and gives the first one rate 0; here optimiser steps count and the first
    one is not thrown away.
    """
    warmup = config.warmup * total_steps
    end = config.decay * total_steps
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    return config.lr * max(0.0, (end - step) / max(end - warmup, 1e-9))
