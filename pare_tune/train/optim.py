"""The optimiser, its groups of parameters, and the learning rate of every step."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from pare_tune.config import OptimizerConfig

FACTOR = "factor"
"""Key of a group: its learning rate in multiples of the schedule's."""
_PRETRAINED, _GATE = "encoder.", "mixer."
_POSITIONS = ("position", "relative_position_bias_table", "prefix_PD")


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """An optimiser over all that trains in `model`, with one group a learning rate and decay.

    Fused: one call a step instead of ten a tensor, which small models on a CPU notice.

    Args:
        model: what lies in its `encoder` is pretrained, the rest new.
    """
    groups = _groups(model, config)
    match config.name:
        case "sgd":
            return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its rate at a moment when the schedule's is `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(FACTOR, 1.0)


def _groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    members: defaultdict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = 1.0 if name.startswith(_PRETRAINED) else config.new_parts
        if name.startswith(_GATE):
            factor *= config.gate
        decays = config.decays == "all" or (
            parameter.ndim > 1 and not any(word in name for word in _POSITIONS)
        )
        members[factor, config.weight_decay if decays else 0.0].append(parameter)
    return [
        {"params": parameters, FACTOR: factor, "weight_decay": decay}
        for (factor, decay), parameters in members.items()
    ]


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
