"""What simple models get on a run's own splits, or folds: seconds in all, and never more.

Reading stops where a split takes too long to read, so that large data cost a search two seconds, not an hour.
"""
# Shape suffixes: n = samples.

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from pare_tune.config import TrialConfig
from pare_tune.data.files import refused
from pare_tune.tasks.base import Dense
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.tasks.load import TaskData
from pare_tune.train.batches import TargetDataset, stack
from pare_tune.train.build import open_data, pick_device
from pare_tune.train.evaluation import join
from pare_tune.train.held_out import HeldOut
from pare_tune.train.judge import contributions
from pare_tune.train.opened import open_probe
from pare_tune.train.simple.fits import FITS, MOST_PROBED, training_of
from pare_tune.train.simple.scores import SIMPLE_FILE, SimpleScore, write_simple

_READ_S: Final = 2.0
"""Of reading all samples, once; those of folds are read as often as there are folds."""
_FIT_S: Final = 5.0
"""Of one model on the first fold, as far as that can be known before: others are left out when one took so long."""
_PROBE_S: Final = 10.0
"""Of a probe, all folds together."""
_TIMED: Final = 16
"""Samples that its time is told by."""
_MOST_NUMBERS: Final = 50_000_000
_BATCH: Final = 64


def measure_simple(config: TrialConfig, folds: int, run: Path, *, cache: Path | None = None) -> None:
    """Fit simple models to what trials of `run` are trained on, and keep their scores and held-out outputs there.

    Args:
        folds: of the run's trials; 1 is the validation split.

    Raises:
        DataError, StorageError: the data cannot be read, or the run not be written.
    """
    try:
        (run / SIMPLE_FILE).parent.mkdir(exist_ok=True)
    except OSError as error:
        raise refused(run / SIMPLE_FILE, error) from error
    scores: list[SimpleScore] = []
    try:
        splits = list(_splits(config, folds, cache))
    except _TooLarge as error:
        write_simple(run, [SimpleScore(kind="constant", title=FITS["constant"].title, skipped=str(error))])
        return
    import_module("sklearn.ensemble")  # which is no part of the time of a fit
    for kind, fit in FITS.items():
        task = splits[0].task
        why = (
            "" if isinstance(task.output, Dense) and kind != "constant" else fit.suits(task, splits[0].shape)
        )
        if why == "":
            continue
        if why is None:
            scores.append(_measured(kind, splits, run))
        else:
            scores.append(SimpleScore(kind=kind, title=fit.title, skipped=why))
    write_simple(run, scores)


class _TooLarge(Exception):
    """Reading takes longer than seconds."""


class _Split:
    """Training and held-out samples, whole."""

    def __init__(self, config: TrialConfig, data: TaskData, cache: Path | None, until: float) -> None:
        self.task, self.index_n = data.task, data.val_index
        without_x = isinstance(data.output, Dense)  # the mean map reads none, and maps are large
        train = read_whole(data.train, until, without_x=without_x)
        self.held_out = read_whole(data.val, until, without_x=without_x)
        self.training = training_of(
            data, train, lambda: open_probe(config, data, cache).build().to(pick_device())
        )
        self.x = self.held_out.pop("x")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.training.x.shape[1:])


def _splits(config: TrialConfig, folds: int, cache: Path | None) -> Iterator[_Split]:
    for number in range(folds):
        data = open_data(config, cache, None if folds == 1 else Fold(Folds(folds), number))
        yield _Split(config, data, cache, time.monotonic() + _READ_S)


def read_whole(
    dataset: TargetDataset, until: float = math.inf, *, without_x: bool = False
) -> dict[str, Tensor]:
    """All samples, stacked. Raises `_TooLarge` where they take more memory or time than is meant for it."""
    items: list[dict[str, Tensor]] = []
    for index in range(len(dataset)):
        item = dataset.item(index)
        items.append({**item, "x": item["x"][:0]} if without_x else item)
        numbers = len(dataset) * sum(tensor.numel() for tensor in items[0].values())
        if numbers > _MOST_NUMBERS or time.monotonic() > until:
            raise _TooLarge(f"{len(dataset):,} samples take longer than seconds to read")
    return stack(items)


def _measured(kind: str, splits: Sequence[_Split], run: Path) -> SimpleScore:
    title, task = FITS[kind].title, splits[0].task
    if kind == "probe" and (expected := len(splits) * _probe_s(splits[0])) > _PROBE_S:
        why = f"the backbone would take {expected:.0f} s to read the samples"
        return SimpleScore(kind=kind, title=title, skipped=why)
    if kind == "probe" and len(splits[0].training.x) > MOST_PROBED:
        title += f", fitted to {MOST_PROBED:,} samples"
    started, busy = time.perf_counter(), time.thread_time()
    outputs: list[Tensor] = []
    for split in splits:
        model = FITS[kind].fit(split.training)
        outputs.append(predict_whole(model, split.x))
        seconds = time.perf_counter() - started
        is_slow = kind != "probe" and time.thread_time() - busy > _FIT_S  # whatever else the machine does
        if len(splits) > 1 and is_slow and len(outputs) == 1:
            return SimpleScore(
                kind=kind, title=title, seconds=seconds, skipped="it takes longer than seconds"
            )
    held_out = HeldOut.of(
        np.concatenate([s.index_n for s in splits]), torch.cat(outputs), join([s.held_out for s in splits]), 0
    )
    score = task.metric.score(*held_out.predictions)
    if not math.isfinite(score):
        return SimpleScore(
            kind=kind, title=title, seconds=seconds, skipped=f"{task.metric.name} is not defined for it"
        )
    held_out.write(simple_file(run, kind))
    return SimpleScore(
        kind=kind, title=title, score=float(score), seconds=seconds, influences=contributions(task, held_out)
    )


def simple_file(run: Path, kind: str) -> Path:
    """Of what a simple model said of held-out samples."""
    return (run / SIMPLE_FILE).with_name(f"{kind}.safetensors")


@torch.no_grad()
def predict_whole(model: nn.Module, x: Tensor) -> Tensor:
    """(n, …) outputs."""
    device = next(model.parameters(), torch.empty(0)).device  # of all but a probe, the CPU
    return torch.cat([model(part.to(device)).target.cpu() for part in x.split(_BATCH)])


def _probe_s(split: _Split) -> float:
    """How long a probe of one split will take where nothing else runs, by a few samples."""
    assert split.training.untrained is not None
    model = split.training.untrained()
    few = split.x[:_TIMED]
    predict_whole(model, few)
    started = time.thread_time()
    predict_whole(model, few)
    per_sample = (time.thread_time() - started) / len(few)
    return per_sample * (min(len(split.training.x), MOST_PROBED) + len(split.x))
