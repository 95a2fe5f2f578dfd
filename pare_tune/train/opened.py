"""Everything that a trial's config names, opened and ready to train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pare_tune.backbones import Backbone
from pare_tune.config import TrialConfig
from pare_tune.method import PareModel, SequenceEmbedder
from pare_tune.sources.base import SourceData
from pare_tune.steps import step
from pare_tune.tasks.folds import Fold
from pare_tune.tasks.load import TaskData
from pare_tune.train.build import (
    ModelShape,
    build_model,
    check_fits,
    count_tokens,
    open_backbone,
    open_data,
    open_trial_source,
    without_idle_mixing,
)
from pare_tune.train.checkpoint import seed_everything

_FEWEST, _MOST, _STEPS = 8, 256, 2**18
"""Training series, and steps of all of them, that a stem is fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedTrial:
    """A config and what it names."""

    config: TrialConfig
    """As asked for; `finetune` in place of a mixing method where a sample is one token."""
    data: TaskData
    source: SourceData | None
    """None for methods that read none."""
    backbone: Backbone
    num_tokens: int
    """N, the tokens of one sample."""

    @property
    def shape(self) -> ModelShape:
        """What the model must be rebuilt with beside its config."""
        return ModelShape.of(self.data, self.source)

    def build(self) -> PareModel:
        """A new model; the same seed gives the same weights."""
        seed_everything(self.config.seed)
        model = build_model(self.config, self.shape, self.backbone, self.num_tokens)
        embedder = model.target_embedder
        if isinstance(embedder, SequenceEmbedder) and embedder.stem is not None:
            embedder.stem.fit(self._some_inputs())
        return model

    def _some_inputs(self) -> Tensor:
        """(n, C, L): training samples, as many as fit into memory many times over."""
        train = self.data.train
        count = min(len(train), max(_FEWEST, min(_MOST, _STEPS // self.data.input_shape[-1])))
        rows = np.random.default_rng(0).choice(len(train), count, replace=False)
        return torch.stack([train.item(int(row))["x"] for row in sorted(rows)])


def open_trial(
    config: TrialConfig,
    *,
    cache: Path | None = None,
    fold: Fold | None = None,
    data: TaskData | None = None,
) -> OpenedTrial:
    """Open data, backbone and source; every mistake in them is found here, before anything trains.

    Args:
        fold: whose train and val; None for the task's own.
        data: that are open already; None opens those that `config` names.

    Raises:
        PareTuneError: what is missing or wrong, and what to do.
    """
    opened = open_target(config, cache=cache, fold=fold, data=data)
    source = open_trial_source(opened.config, opened.backbone, opened.num_tokens, cache)
    return replace(opened, source=source)


def open_target(
    config: TrialConfig,
    *,
    cache: Path | None = None,
    fold: Fold | None = None,
    data: TaskData | None = None,
) -> OpenedTrial:
    """`open_trial` without the source.

    Raises:
        PareTuneError: what is missing or wrong, and what to do.
    """
    data = data or open_data(config, cache, fold)
    modality = data.task.modality
    with step(f"loading the backbone {config.backbone}"):
        backbone = open_backbone(config, cache)
    check_fits(config, modality, backbone)
    num_tokens = count_tokens(config, modality, data.input_shape, backbone)
    config = without_idle_mixing(config, num_tokens)
    return OpenedTrial(config=config, data=data, source=None, backbone=backbone, num_tokens=num_tokens)


def open_probe(config: TrialConfig, data: TaskData, cache: Path | None = None) -> OpenedTrial:
    """What simple models are kept as: plain fine-tuning of `config`'s backbone, in the target's own unit. Raises as
    `open_target`."""
    plain = config.with_values({"method": "finetune"})
    return open_target(plain, cache=cache, data=replace(data, target_scale=None))
