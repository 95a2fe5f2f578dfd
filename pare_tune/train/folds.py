"""A trial over folds: one training a fold, one after the other, each judged with what the folds before it held out.

What a fold leaves is written when it is done, and `last.pt` is the running fold's: a killed trial goes on inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pare_tune.config import TrialConfig
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.train.checkpoint import FOLDS_DONE, load_state, save_state
from pare_tune.train.evaluation import Context
from pare_tune.train.judge import FoldOutputs, Judge
from pare_tune.train.loop import FitResult, fit
from pare_tune.train.opened import open_trial
from pare_tune.train.report import EpochReport


def fit_folds(config: TrialConfig, folds: Folds, context: Context, *, cache: Path | None = None) -> FitResult:
    """Train `config` once a fold; its epochs are counted through all folds. Raises as `loop.fit`."""
    done = [_read(context.folder, number) for number in range(folds.count)]
    earlier: list[FoldOutputs] = []
    told: list[EpochReport] = []

    def tell(report: EpochReport) -> None:
        told.append(_through_folds(report, len(earlier), folds.count, told[-1] if told else None))
        context.report(told[-1])

    for number, kept in enumerate(done):
        if kept is not None:
            for report in kept["curve"]:
                tell(EpochReport(**report))
            earlier.append(_outputs(kept))
            continue
        opened = open_trial(config, cache=cache, fold=Fold(folds, number))
        judge = Judge(opened.data, context, earlier)
        result = fit(opened, opened.build(), replace(context, report=tell), judge=judge)
        earlier.append(_keep(context, number, result, judge))
    return FitResult(tuple(told), told[-1].best_epoch, told[-1].best_score)


def _through_folds(report: EpochReport, fold: int, folds: int, before: EpochReport | None) -> EpochReport:
    """A fold's report as one of the trial: until a later fold is done, the trial is as good as the folds before."""
    of = before if fold > 0 and before is not None and report.epoch < report.epochs else report
    epoch, epochs = fold * report.epochs + report.epoch, folds * report.epochs
    return replace(
        report,
        epoch=epoch,
        epochs=epochs,
        fold=fold,
        folds=folds,
        best_score=of.best_score,
        best_epoch=of.best_epoch,
    )


def _keep(context: Context, number: int, result: FitResult, judge: Judge) -> FoldOutputs:
    """What the next folds are judged with, on the disk as well."""
    if not context.is_main:
        return FoldOutputs(torch.empty(0), {}, np.empty(0, np.int64))
    outputs = judge.record
    if context.folder is not None:
        save_state(
            _file(context.folder, number),
            {
                "curve": [report.to_dict() for report in result.curve],
                "outputs": outputs.outputs_En,
                "batch": dict(outputs.batch),
                "index": torch.from_numpy(outputs.index_n),
            },
        )
    return outputs


def _read(folder: Path | None, number: int) -> Mapping[str, Any] | None:
    return None if folder is None else load_state(_file(folder, number))


def _outputs(kept: Mapping[str, Any]) -> FoldOutputs:
    return FoldOutputs(kept["outputs"], kept["batch"], kept["index"].numpy())


def _file(folder: Path, number: int) -> Path:
    return folder / FOLDS_DONE.replace("*", str(number))
