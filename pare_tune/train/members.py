"""The members of a final model that averages several: trained one after the other, each in a folder of its own.

A bag has one member a fold, trained on the samples that the fold keeps. An ensemble has one member a chosen trial, and
simple models beside them. All read the samples as the task prepares them, so that one preparation serves all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch.distributed as dist

from pare_tune.config import TrialConfig
from pare_tune.method import PareModel
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.tasks.load import ChosenSamples, JoinedDataset, TaskData
from pare_tune.train.batches import TargetDataset
from pare_tune.train.build import open_data
from pare_tune.train.checkpoint import BEST, LAST, save_weights
from pare_tune.train.evaluation import Context
from pare_tune.train.export import ModelFolder
from pare_tune.train.loop import fit
from pare_tune.train.opened import OpenedTrial, open_probe, open_trial
from pare_tune.train.patches import PATCHES
from pare_tune.train.report import EpochReport
from pare_tune.train.simple.fits import FITS, training_of
from pare_tune.train.simple.measure import read_whole
from pare_tune.train.simple.models import kind_of

MEMBERS: Final = "members"
"""Folder of theirs below the model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of the models that are averaged."""

    config: TrialConfig
    weight: float
    epoch: int | None = None
    """That training ends with, of its schedule's `train.epochs`; None is the last."""
    fold: Fold | None = None
    """Whose held-out samples are not trained on."""
    simple: str | None = None
    """Of `FITS`: a simple model, of whose config only data and canvas matter."""

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """From what `to_dict` gave."""
        fold = tree["fold"]
        if fold is not None:
            fold = Fold(Folds(**fold["folds"]), fold["number"])
        return cls(**{**tree, "config": TrialConfig.model_validate(tree["config"]), "fold": fold})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "config": self.config.to_dict(),
            "weight": self.weight,
            "epoch": self.epoch,
            "fold": None if self.fold is None else asdict(self.fold),
            "simple": self.simple,
        }

    @property
    def epochs(self) -> int:
        """That it is trained for."""
        return 0 if self.simple else self.epoch or self.config.train.epochs


def train_members(
    members: Sequence[Member], context: Context, *, with_val: bool, cache: Path | None
) -> float:
    """Train each into `context.folder`/members/00 …, going on where an earlier call was ended; the seconds it took.

    Raises as `loop.fit`.
    """
    assert context.folder is not None
    total, before, seconds = sum(member.epochs for member in members), 0, 0.0

    for number, member in enumerate(members):
        folder = member_folder(context.folder, number)

        def report(epoch: EpochReport, before: int = before) -> None:
            nonlocal seconds
            seconds += epoch.seconds
            context.report(replace(epoch, epoch=before + epoch.epoch, epochs=total))

        if not _is_complete(folder, context):
            folder.mkdir(parents=True, exist_ok=True)
            _train(member, replace(context, folder=folder, report=report), with_val=with_val, cache=cache)
        before += member.epochs
    return seconds


def member_folder(folder: Path, number: int) -> Path:
    """Of one of the members of the model in `folder`."""
    return folder / MEMBERS / f"{number:02d}"


def training_samples(
    data: TaskData,
    config: TrialConfig,
    *,
    with_val: bool,
    fold: Fold | None = None,
    cache: Path | None = None,
) -> TargetDataset:
    """What a final model is trained on: train, train and val, or these without what a fold holds out."""
    if not with_val and fold is None:
        return data.train
    joined = JoinedDataset([data.train, data.val])
    if fold is None:
        return joined
    held_out = open_data(config, cache, fold).val_index
    return ChosenSamples(joined, np.setdiff1d(np.arange(len(joined)), held_out))


def fit_until(
    opened: OpenedTrial, context: Context, train: TargetDataset, epoch: int | None
) -> tuple[PareModel, int, float]:
    """Train without validation until `epoch`, the last if None, and keep the weights: (model, its epoch, seconds)."""
    assert context.folder is not None
    model = opened.build()
    result = fit(opened, model, context, train=train, validate=False, until=epoch)
    reached = len(result.curve)
    if context.is_main:
        save_weights(context.folder / BEST, model, {**opened.shape.to_dict(), "epoch": reached})
    return model, reached, sum(r.seconds for r in result.curve)


def _is_complete(folder: Path, context: Context) -> bool:
    """As the first worker sees it: others may be on another disk."""
    seen = [ModelFolder(folder).is_complete]
    if context.world_size > 1:
        dist.broadcast_object_list(seen, src=0)
    return seen[0]


def _train(member: Member, context: Context, *, with_val: bool, cache: Path | None) -> None:
    folder = context.folder
    assert folder is not None
    opened = _open(member, cache)
    samples = training_samples(opened.data, member.config, with_val=with_val, fold=member.fold, cache=cache)
    if member.simple is None:
        fit_until(opened, context, samples, member.epoch)
    elif context.is_main:
        _fit_simple(member.simple, opened, samples, context)
    if context.is_main:
        about = {"weight": member.weight, "simple": member.simple, "epoch": member.epochs}
        ModelFolder(folder).write(folder / BEST, opened.config.to_yaml(), about)
        for leftover in (BEST, LAST):
            (folder / leftover).unlink(missing_ok=True)
        shutil.rmtree(folder / PATCHES, ignore_errors=True)


def _open(member: Member, cache: Path | None) -> OpenedTrial:
    if member.simple is None:
        return open_trial(member.config, cache=cache)
    return open_probe(member.config, open_data(member.config, cache), cache)


def _fit_simple(kind: str, opened: OpenedTrial, samples: TargetDataset, context: Context) -> None:
    assert context.folder is not None
    training = training_of(
        opened.data, read_whole(samples), untrained=lambda: opened.build().to(context.device)
    )
    model = FITS[kind].fit(training)
    about = opened.shape.to_dict()
    # A probe is kept as any other fine-tuned model.
    save_weights(
        context.folder / BEST,
        model,
        about if isinstance(model, PareModel) else {**about, "simple": kind_of(model)},
    )


__all__ = ["MEMBERS", "Member", "fit_until", "member_folder", "train_members", "training_samples"]
