"""The final training: the only step that reads the test split, once, at its end."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import nn

from pare_tune.config import TrialConfig
from pare_tune.data.files import plain_json, write_text
from pare_tune.tasks.base import Dense, Metric
from pare_tune.tasks.folds import Folds
from pare_tune.tasks.load import open_test
from pare_tune.train.calibration import Calibration, calibration_error, covered
from pare_tune.train.checkpoint import BEST, LAST, load_best
from pare_tune.train.ensemble import Averaged, average_of
from pare_tune.train.evaluation import Context, Predicted, predict_split, score_of
from pare_tune.train.export import ModelFolder
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.train.held_out import HELD_OUT, HeldOut
from pare_tune.train.judge import ENOUGH, Judge, blocks, influences, standard_error
from pare_tune.train.loop import fit
from pare_tune.train.members import Member, fit_until, member_folder, train_members, training_samples
from pare_tune.train.opened import OpenedTrial, open_trial
from pare_tune.train.predict import load_model
from pare_tune.train.report import EpochReport

CURVE = "curve.jsonl"
_BLOCKS = 50
"""Of test samples that the score's interval is taken from."""
_Z95 = 1.96
_TOLD_COVERAGE = 0.9
"""Of sets and intervals whose share of true answers on test metrics.json says."""


def run_final(
    config: TrialConfig,
    context: Context,
    *,
    with_val: bool,
    epoch: int | None = None,
    members: Sequence[Member] = (),
    searched: Path | None = None,
    cache: Path | None = None,
) -> dict[str, Any] | None:
    """Train `config` in full, score the test split once, and export to `context.folder`.

    Without `with_val` the weights of the best validation epoch are scored and kept (of few samples, the latest that is
    as good as the best, see `judge`); with it the validation split is trained on as well and the weights of `epoch`
    are kept. The patches that were chosen (`patches.PATCHES`) are left for the caller to draw.

    The model is calibrated on the validation split where it was not trained on; else on what the search's models of
    the same settings said of samples that were held out from them, if that is still there; else not at all.

    Args:
        epoch: to end with where validation does not say it, None for the last.
        members: trained instead of `config`, which stands for them; the model is their average.
        searched: held-out predictions of the search that found `config`.

    Returns:
        What metrics.json holds, on rank 0; None on other ranks. "test" is NaN, null in the file, where the outputs
        are not finite or the metric is not defined on the test split: the model is kept all the same.

    Raises:
        TrialFailed, DataError, StorageError: see `loop.fit`.
    """
    folder = context.folder
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    opened = open_trial(config, cache=cache)
    config, task = opened.config, opened.data.task
    fingerprint = Fingerprint.of(config, task, cache)
    told = _already_told(folder) if context.is_main else 0

    def report(done: EpochReport) -> None:
        if context.is_main and done.epoch > told:
            with (folder / CURVE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain_json(done.to_dict())) + "\n")
        context.report(done)

    telling = replace(context, report=report)
    if members:
        seconds = train_members(members, telling, with_val=with_val, cache=cache)
        if not context.is_main:
            return None
        # The members' files are the first worker's, others may be on another disk: it predicts alone.
        context = replace(context, world_size=1)
        trained = _Trained(_averaged(opened, members, context), None, None, seconds)
    else:
        trained = _train(opened, telling, with_val=with_val, epoch=epoch, cache=cache)
    model = trained.model
    test = open_test(task, data=config.data, canvas=config.input.canvas, cache=cache)
    predict = partial(predict_split, model, batch_size=config.train.batch_size, context=context)
    held_out = None if with_val or any(m.fold for m in members) else predict(opened.data.val)
    predicted = predict(test)
    score = score_of(predicted, task.metric, context=context)
    if predicted is None:
        return None
    fitted_on = "validation"
    if held_out is None and searched is not None and searched.is_file():
        held_out, fitted_on = HeldOut.read(searched).predictions, "the search's held-out samples"
    calibration, told_of_it = _calibrate(opened, held_out, predicted, fitted_on)
    metrics: dict[str, Any] = {
        "task": task.name,
        "data": opened.data.provenance,
        "metric": task.metric.name,
        "unit": task.metric.unit,
        "direction": task.metric.direction,
        "test": score,
        "test_interval": _interval(task.metric, score, predicted),
        "test_samples": len(test),
        "validation": trained.validation,
        "trained_on": "train+val" if with_val or any(m.fold for m in members) else "train",
        "epoch": trained.epoch,
        "epochs": config.train.epochs,
        "workers": context.world_size,
        "seconds": trained.seconds,
        "calibration": told_of_it,
    }
    if members:
        metrics["members"] = [_described(member) for member in members]
    if task.raw is not None and task.raw["target"]["names"]:
        metrics["outputs"] = list(task.raw["target"]["names"])
    text = config.to_yaml() + fingerprint.to_yaml()
    ModelFolder(folder).write(None if members else folder / BEST, text, metrics, calibration)
    if members:
        how = average_of(opened.data.output, is_mask=task.loss == "bce_with_logits")
        folders = {member_folder(folder, n): member.weight for n, member in enumerate(members)}
        ModelFolder(folder).write_ensemble(how, folders)
    for leftover in (BEST, LAST, HELD_OUT):
        (folder / leftover).unlink(missing_ok=True)
    return metrics


@dataclass(frozen=True, slots=True)
class _Trained:
    model: nn.Module
    epoch: int | None
    """None of several models."""
    validation: float | None
    seconds: float


def _train(
    opened: OpenedTrial, context: Context, *, with_val: bool, epoch: int | None, cache: Path | None
) -> _Trained:
    assert context.folder is not None
    if with_val:
        samples = training_samples(opened.data, opened.config, with_val=True, cache=cache)
        model, kept_epoch, seconds = fit_until(opened, context, samples, epoch)
        return _Trained(model, kept_epoch, None, seconds)
    model = opened.build()
    judge = Judge(opened.data, context)
    if len(opened.data.val) < ENOUGH:
        # The best of many epochs would be chosen by luck: taken as the only fold, the latest as good as it is kept.
        judge = Judge(opened.data, replace(context, folds=Folds(1)), earlier=[])
    result = fit(opened, model, context, judge=judge)
    kept_epoch = load_best(context.folder, model) if context.is_main else 0
    if context.world_size > 1:
        # The file is the first worker's; others may be on another disk.
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)
    return _Trained(model, kept_epoch, result.best_score, sum(r.seconds for r in result.curve))


def _averaged(opened: OpenedTrial, members: Sequence[Member], context: Context) -> Averaged:
    assert context.folder is not None
    how = average_of(opened.data.output, is_mask=opened.data.task.loss == "bce_with_logits")
    parts = [load_model(member_folder(context.folder, n), context.device)[0] for n in range(len(members))]
    return Averaged(parts, [m.weight for m in members], how)


def _described(member: Member) -> dict[str, Any]:
    """A member for metrics.json."""
    return {
        "model": member.simple or f"{member.config.backbone}, {member.config.method}",
        "weight": member.weight,
        "epoch": member.epochs,
        "fold": None if member.fold is None else str(member.fold),
    }


def _interval(metric: Metric, score: float, predicted: Predicted) -> tuple[float, float] | None:
    """95 % of the test score, by the jackknife over blocks of samples; None where it is not defined."""
    if not math.isfinite(score) or len(predicted[0]) < 2:
        return None
    values_G = influences(metric.score, *predicted, blocks(np.arange(len(predicted[0])), _BLOCKS))
    half = _Z95 * standard_error(values_G)
    return score - half, score + half


def _calibrate(
    opened: OpenedTrial, held_out: Predicted | None, test: Predicted, fitted_on: str
) -> tuple[Calibration | None, dict[str, Any] | None]:
    """What held-out predictions say of the model's own doubt, and for metrics.json how well that holds on test."""
    if held_out is None or held_out[0].shape[1:] != test[0].shape[1:]:
        return None, None
    output = opened.data.output
    is_mask = isinstance(output, Dense) and opened.data.task.loss == "bce_with_logits"
    fitted = Calibration.fit(*held_out, output, is_mask=is_mask, fitted_on=fitted_on)
    if fitted is None or not bool(test[0].isfinite().all()):
        return None, None
    told: dict[str, Any] = {"fitted_on": fitted.fitted_on, "samples": fitted.samples}
    if fitted.temperature is not None:
        logits, targets = test
        told["temperature"] = fitted.temperature
        told["ece_before"] = calibration_error(logits, targets, output)
        told["ece_after"] = calibration_error(logits / fitted.temperature, targets, output)
    if fitted.most_coverage >= _TOLD_COVERAGE:
        told["coverage"] = _TOLD_COVERAGE
        told["covered"] = covered(*test, output, fitted, _TOLD_COVERAGE)
    return fitted, told


def _already_told(folder: Path) -> int:
    """Epochs whose line is already in curve.jsonl, a torn last line not counted and cut off."""
    path = folder / CURVE
    if not path.is_file():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_text(path, whole.decode())
    return whole.count(b"\n")
