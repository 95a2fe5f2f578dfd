"""Training of the peers that are networks: as long as our own trainings, AdamW, the best validation epoch kept.

They get what our own models get: the same batches' worth of samples, augmented the same way, the task's own loss,
inputs standardised by channel, and outputs in the target's unit.
"""
# Shape suffixes: B = batch, C = channels.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pare_tune.compare.peers.base import Array, Examples, Fitted, Problem, Settings
from pare_tune.errors import TrialFailed
from pare_tune.method.heads import TargetScale
from pare_tune.train.checkpoint import seed_everything

if TYPE_CHECKING:
    import optuna

LR, WEIGHT_DECAY, CLIP, WARMUP = 1e-3, 1e-4, 1.0, 0.1
"""Rate and decay where nothing is searched; the gradient's largest norm; share of the steps that warm up."""
_MEASURED = 512
"""Samples that means and spreads are taken of."""


class Scaled(nn.Module):
    """A network between the input's scale and the target's."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.network = network
        scale = problem.data.target_scale
        self.out = nn.Identity() if scale is None else TargetScale(*scale)
        mean, std = _channel_scale(problem.train)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) → raw outputs (B, ...)."""
        outputs: Tensor = self.out(self.network((x - self.mean) / self.std))
        return outputs


def suggest_optimizer(trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    """What every network may try."""
    return {
        "lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
    }


def train_network(build: Callable[[], nn.Module], problem: Problem, settings: Settings, seed: int) -> Fitted:
    """Build a network and train it.

    Raises:
        TrialFailed: the loss is not finite any more.
    """
    seed_everything(seed)
    device, train, metric = problem.device, problem.train, problem.data.task.metric
    model = Scaled(build(), problem).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.get("lr", LR),
        weight_decay=settings.get("weight_decay", WEIGHT_DECAY),
    )
    per_epoch = math.ceil(len(train) / problem.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(per_epoch * problem.epochs))
    best, weights = math.nan, _weights(model)
    for epoch in range(problem.epochs):
        model.train()
        for batch in _batches(train, problem.batch_size, (seed, epoch)):
            target = {name: t.to(device) for name, t in batch.items()}
            loss = problem.data.loss(model(target.pop("x")), target)
            if not torch.isfinite(loss):
                raise TrialFailed(
                    f"diverged: loss became {loss.item()} in epoch {epoch + 1}", cause="diverged"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
        outputs = torch.from_numpy(_predict(model, problem.val.x, problem))
        score = metric.score(outputs, problem.val.targets)
        if epoch == 0 or metric.better(score, best) or math.isnan(best):
            best, weights = score, _weights(model)
    model.load_state_dict(weights)
    return Fitted(lambda x: _predict(model, x, problem), epochs=problem.epochs)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    # neuraloperator puts more than tensors into its state.
    return {name: t.detach().clone() for name, t in model.state_dict().items() if isinstance(t, Tensor)}


@torch.no_grad()
def _predict(model: Scaled, x: Array, problem: Problem) -> Array:
    model.eval()
    size = problem.batch_size
    parts = [
        model(torch.from_numpy(np.array(x[i : i + size])).to(problem.device)).float().cpu().numpy()
        for i in range(0, len(x), size)
    ]
    return np.concatenate(parts)


def _batches(examples: Examples, size: int, key: tuple[int, int]) -> Iterator[dict[str, Tensor]]:
    order = np.random.default_rng(key).permutation(len(examples))
    for start in range(0, len(order), size):
        items = [
            examples.item(int(i), np.random.default_rng((*key, int(i)))) for i in order[start : start + size]
        ]
        yield {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _rate(steps: int) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine."""
    warmup = max(1.0, WARMUP * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup))))

    return factor


def _channel_scale(train: Examples) -> tuple[Tensor, Tensor]:
    """Mean and spread of every channel, (1, C, 1, ...)."""
    step = max(1, len(train) // _MEASURED)
    x = torch.stack([train.item(i)["x"] for i in range(0, len(train), step)])
    axes = [0, *range(2, x.ndim)]
    spread = x.std(dim=axes, correction=0, keepdim=True)
    return x.mean(dim=axes, keepdim=True), torch.where(spread > 0, spread, torch.ones_like(spread))
