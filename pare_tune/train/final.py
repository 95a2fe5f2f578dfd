"""The final training: the only step that reads the test split, once, at its end."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

from pare_tune.config import TrialConfig
from pare_tune.data.files import plain_json, write_text
from pare_tune.tasks.base import Dense, Metric
from pare_tune.tasks.load import JoinedDataset, open_test
from pare_tune.train.calibration import Calibration, calibration_error, covered
from pare_tune.train.checkpoint import BEST, LAST, load_best, save_weights
from pare_tune.train.evaluation import Context, Predicted, predict_split, score_of
from pare_tune.train.export import ModelFolder
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.train.held_out import HELD_OUT, HeldOut
from pare_tune.train.judge import blocks, influences, standard_error
from pare_tune.train.loop import fit
from pare_tune.train.opened import OpenedTrial, open_trial
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
    searched: Path | None = None,
    cache: Path | None = None,
) -> dict[str, Any] | None:
    """Train `config` in full, score the test split once, and export to `context.folder`.

    Without `with_val` the weights of the best validation epoch are scored and kept; with it the validation split is
    trained on as well and the last epoch's weights are kept. The patches that were chosen (`patches.PATCHES`) are left
    for the caller to draw.

    The model is calibrated on the validation split where it was not trained on; else on what the search's models of
    the same settings said of samples that were held out from them, if that is still there; else not at all.

    Args:
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
    model = opened.build()
    told = _already_told(folder) if context.is_main else 0

    def report(epoch: EpochReport) -> None:
        if context.is_main and epoch.epoch > told:
            with (folder / CURVE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain_json(epoch.to_dict())) + "\n")
        context.report(epoch)

    result = fit(
        opened,
        model,
        replace(context, report=report),
        train=JoinedDataset([opened.data.train, opened.data.val]) if with_val else None,
        validate=not with_val,
    )
    if with_val and context.is_main:
        about = {**opened.shape.to_dict(), "epoch": config.train.epochs}
        save_weights(folder / BEST, model, about)
    kept_epoch = load_best(folder, model) if context.is_main else 0
    if context.world_size > 1:
        # The file is the first worker's; others may be on another disk.
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)
    test = open_test(task, data=config.data, canvas=config.input.canvas, cache=cache)
    predict = partial(predict_split, model, batch_size=config.train.batch_size, context=context)
    held_out = predict(opened.data.val) if not with_val else None
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
        "validation": None if with_val else result.best_score,
        "trained_on": "train+val" if with_val else "train",
        "epoch": kept_epoch,
        "epochs": config.train.epochs,
        "workers": context.world_size,
        "seconds": sum(r.seconds for r in result.curve),
        "calibration": told_of_it,
    }
    if task.raw is not None and task.raw["target"]["names"]:
        metrics["outputs"] = list(task.raw["target"]["names"])
    text = config.to_yaml() + fingerprint.to_yaml()
    ModelFolder(folder).write(folder / BEST, text, metrics, calibration)
    for leftover in (BEST, LAST, HELD_OUT):
        (folder / leftover).unlink(missing_ok=True)
    return metrics


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
