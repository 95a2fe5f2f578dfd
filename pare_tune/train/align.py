"""ORCA's first stage: the target embedder is moved until embedded target samples lie where source samples do.

Shen et al., ICML 2023, https://arxiv.org/abs/2302.05738: features are the embedders' tokens, averaged; the distance is
OTDD (or, in its ablation, MMD or L2); only the target embedder learns. As in its code an epoch is one optimiser step at
ten times the learning rate of the fine-tuning, which falls to a fifth after each third. There the classes of the target
are taken one by one, each as a data set without labels, to fit memory; here a step sees samples of all classes at once,
which is OTDD itself.
"""
# Shape suffixes: B = batch, D = embedding width.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pare_tune.config import AlignConfig, TrialConfig
from pare_tune.distance import classes_of, l2, mmd2, otdd2
from pare_tune.errors import TrialFailed
from pare_tune.method import PareModel
from pare_tune.sources.base import SourceData
from pare_tune.train.batches import TargetDataset, fetch, stack
from pare_tune.train.features import compact_target, draw_rows
from pare_tune.train.optim import make_optimizer

_POOL = 4
"""Samples that steps draw from, as a multiple of those in one step."""
_FASTER, _FASTEST = 10.0, 1e-2
"""ORCA's code multiplies learning rates up to 1e-3 by ten."""
_FALL = 0.2
_KEEP_BYTES = 500_000_000
_ALIGNMENT = 4
"""Tells the seeds here from those of other draws; the streams tell them from each other."""
_TARGET, _SOURCE, _TARGET_POOL, _SOURCE_POOL = range(4)


def align_embedder(
    config: TrialConfig, model: PareModel, train: TargetDataset, source: SourceData, device: torch.device
) -> None:
    """Train `model.target_embedder` alone for `config.align.epochs` steps; nothing else of the model changes.

    Every draw follows from (seed, step), so the same configuration gives the same embedder. Labels that are no classes
    become pseudo-classes, see `distance.classes_of`.

    Raises:
        TrialFailed: the distance is not finite any more.
    """
    settings, embedder = config.align, model.target_embedder
    target = _Targets(train, settings.samples * _POOL, config.seed)
    source_x, source_y = _source_features(config, model, source, device)
    optimizer = make_optimizer(embedder, config.optimizer)
    for step in range(settings.epochs):
        for group in optimizer.param_groups:
            group["lr"] = alignment_rate(step, settings.epochs, config.optimizer.lr)
        optimizer.zero_grad(set_to_none=True)
        rows = _draw(len(target), settings.samples, config.seed, _TARGET, step)
        others = _draw(len(source_x), settings.samples, config.seed, _SOURCE, step)
        distance = _backward(
            embedder,
            lambda part: target.inputs(part).to(device),
            rows.split(config.train.batch_size),
            target.classes[rows].to(device),
            source_x[others],
            source_y[others],
            settings,
        )
        if not math.isfinite(distance):
            raise TrialFailed(
                f"diverged: {settings.distance} became {distance} in step {step + 1} of the alignment; a smaller "
                f"optimizer.lr or fewer align.epochs usually help",
                cause="diverged",
            )
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def alignment_rate(step: int, steps: int, lr: float) -> float:
    """Ten times `lr`, at most 0.01 (or `lr` itself where that is more), times 0.2 after each third of the steps."""
    return min(_FASTER * lr, max(_FASTEST, lr)) * _FALL ** (3 * step // steps)


def _backward(
    embedder: nn.Module,
    inputs: Callable[[Tensor], Tensor],
    parts: Sequence[Tensor],
    classes: Tensor,
    source_x: Tensor,
    source_y: Tensor,
    settings: AlignConfig,
) -> float:
    """The distance; its gradient is added to the embedder's parameters if it is finite.

    Args:
        inputs: rows → samples.
        parts: the rows of a step, in small batches.

    The embedder runs twice, in small batches: the distance needs all features at once, and their graphs would not fit
    (3 GB for 512 images of 3136 tokens), nor would the inputs of large samples.
    """
    with torch.no_grad():
        features_BD = torch.cat([_pooled(embedder, inputs(part)) for part in parts])
    features_BD.requires_grad_()
    match settings.distance:
        case "otdd":
            value = otdd2(features_BD, classes, source_x, source_y, inner=settings.inner)
        case "mmd":
            value = mmd2(features_BD, source_x)
        case "l2":
            value = l2(features_BD, source_x)
    if bool(value.isfinite()):
        value.backward()
        assert features_BD.grad is not None
        gradients = features_BD.grad.split([len(part) for part in parts])
        for part, gradient in zip(parts, gradients, strict=True):
            _pooled(embedder, inputs(part)).backward(gradient)
    return float(value.detach())


def _pooled(embedder: nn.Module, x: Tensor) -> Tensor:
    features_BD: Tensor = embedder(x).mean(dim=1)
    return features_BD


class _Targets:
    """A fixed subset of the training split, its classes, and its inputs: kept where they are few."""

    def __init__(self, train: TargetDataset, most: int, seed: int) -> None:
        self._train = train
        self._rows = _draw(len(train), most, seed, _TARGET_POOL)
        first = train.item(int(self._rows[0]))["x"]
        keep = first.nbytes * len(self._rows) <= _KEEP_BYTES
        targets: list[Tensor] = []
        kept: list[Tensor] = []
        for row in self._rows:
            item = train.item(int(row))
            targets.append(compact_target(item["y"]))
            if keep:
                kept.append(item["x"])
        self._kept = torch.stack(kept) if keep else None
        self.classes = classes_of(torch.stack(targets), seed=seed)

    def __len__(self) -> int:
        return len(self._rows)

    def inputs(self, rows: Tensor) -> Tensor:
        if self._kept is not None:
            return self._kept[rows]
        return torch.stack([self._train.item(int(self._rows[row]))["x"] for row in rows])


@torch.no_grad()
def _source_features(
    config: TrialConfig, model: PareModel, source: SourceData, device: torch.device
) -> tuple[Tensor, Tensor]:
    rows = _draw(len(source.dataset), config.align.samples * _POOL, config.seed, _SOURCE_POOL)
    features: list[Tensor] = []
    targets: list[Tensor] = []
    for part in rows.split(config.train.batch_size):
        items = fetch(source.dataset, part.tolist())
        batch = stack([{"x": item["x"], "y": compact_target(item["y"])} for item in items])
        features.append(model.embed_source(batch["x"].to(device), source.kind.value).mean(dim=1).float())
        targets.append(batch["y"])
    return torch.cat(features), classes_of(torch.cat(targets), seed=config.seed).to(device)


def _draw(total: int, count: int, seed: int, stream: int, step: int = 0) -> Tensor:
    return torch.from_numpy(draw_rows(total, count, seed, _ALIGNMENT, stream, step))
