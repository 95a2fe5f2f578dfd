"""One training from its config: open what it names, build the model, fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pare_tune.backbones import Backbone
from pare_tune.config import TrialConfig
from pare_tune.method import PareModel
from pare_tune.sources.base import SourceData
from pare_tune.steps import step
from pare_tune.tasks.load import TaskData
from pare_tune.train.build import (
    ModelShape,
    build_model,
    check_backbone,
    count_tokens,
    open_backbone,
    open_data,
    open_trial_source,
    without_idle_mixing,
)
from pare_tune.train.checkpoint import seed_everything
from pare_tune.train.loop import Context, FitResult, fit


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedTrial:
    """Everything a config names, ready to train."""

    config: TrialConfig
    """As asked for; `finetune` in place of a mixing method where a sample is one token."""
    data: TaskData
    source: SourceData | None
    backbone: Backbone
    num_tokens: int

    def build(self) -> PareModel:
        """A new model; the same seed gives the same weights."""
        seed_everything(self.config.seed)
        return build_model(self.config, ModelShape.of(self.data, self.source), self.backbone, self.num_tokens)


def open_trial(config: TrialConfig, *, cache: Path | None = None) -> OpenedTrial:
    """Open data, backbone and source; every mistake in them is found here, before anything trains.

    Raises:
        PareTuneError: what is missing or wrong, and what to do.
    """
    data = open_data(config, cache)
    modality = data.task.modality
    with step(f"loading the backbone {config.backbone}"):
        backbone = open_backbone(config, cache)
    check_backbone(modality, backbone)
    num_tokens = count_tokens(config, modality, data.input_shape, backbone)
    config = without_idle_mixing(config, num_tokens)
    source = open_trial_source(config, backbone, num_tokens, cache)
    return OpenedTrial(config=config, data=data, source=source, backbone=backbone, num_tokens=num_tokens)


def run_trial(config: TrialConfig, context: Context, *, cache: Path | None = None) -> FitResult:
    """Train one configuration on the training split, scored on validation.

    Raises:
        TrialFailed: it diverged or ran out of memory; `cause` says which.
    """
    opened = open_trial(config, cache=cache)
    return fit(
        opened.config, opened.build(), opened.data, opened.source, context, num_tokens=opened.num_tokens
    )
