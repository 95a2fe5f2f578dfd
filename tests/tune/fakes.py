"""Runners that train nothing but behave as training does: checkpoints, replayed curves, every way to fail.

As a script it is a driver of its own, to be killed: fakes.py FOLDER PAUSE_S [--budget N].
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pare_tune.config import (
    OptimizerConfig,
    RunConfig,
    SearchConfig,
    SourceConfig,
    TrainConfig,
    TrialConfig,
)
from pare_tune.errors import DataError, TrialFailed
from pare_tune.train.loop import Context, EpochReport, FitResult
from pare_tune.train.place import Home

SPACE = """
optimizer.lr:           # two decades around trial 0
  float: [0.1, 10]
  log: true
  relative: true
k.start:
  float: [0.05, 1.0]
  default: 0.957
gate.kind:
  choice: [fc, mlp]
gate.hidden:            # only an MLP has one
  int: [8, 128]
  log: true
  when: {gate.kind: [mlp]}
"""


def run_config(folder: Path, *, budget: str = "6", epochs: int = 4, **search: Any) -> RunConfig:
    """A search over SPACE in `folder`/runs, which begins with nothing that the package knows."""
    space = folder / "space.yaml"
    space.write_text(SPACE, encoding="utf-8")
    trial = TrialConfig(
        task="wdbc",
        source=SourceConfig(name="docs"),
        optimizer=OptimizerConfig(lr=1e-3),
        train=TrainConfig(epochs=epochs, batch_size=8),
    )
    return RunConfig(
        trial=trial,
        search=SearchConfig(budget=budget, space=space, **{"portfolio": False, **search}),
        runs=folder / "runs",
    )


def error_of(config: TrialConfig) -> float:
    """What the searches minimise: 0 at lr 1e-3 and k.start 0.5."""
    return (math.log10(config.optimizer.lr) + 3) ** 2 + (config.k.start - 0.5) ** 2


def train(config: TrialConfig, context: Context, *, pause_s: float = 0.0) -> FitResult:
    """As the real loop: goes on from its checkpoint, reports what that holds, saves before it reports."""
    assert context.folder is not None
    last = context.folder / "last.pt"
    kept = json.loads(last.read_text()) if last.is_file() else []
    curve = [EpochReport(**{**r, "influences": tuple(r["influences"])}) for r in kept]
    for report in curve:
        context.report(report)
    folds = 1 if context.folds is None else context.folds.count
    for epoch in range(len(curve) + 1, folds * config.train.epochs + 1):
        time.sleep(pause_s)
        with (context.folder / "trained.txt").open("a") as file:
            file.write(f"{epoch}\n")
        curve.append(report_of(config, epoch, error_of(config) + 1 / epoch, curve, folds=folds))
        if context.is_main:
            (context.folder / "best.safetensors").write_bytes(f"weights {epoch}".encode())
            partial_file = last.with_suffix(".partial")
            partial_file.write_text(json.dumps([r.to_dict() for r in curve]))
            os.replace(partial_file, last)
        context.report(curve[-1])
    return FitResult(tuple(curve), len(curve), curve[-1].best_score)


def report_of(
    config: TrialConfig, epoch: int, score: float, curve: list[EpochReport], *, folds: int = 1
) -> EpochReport:
    """A whole report around a score; after each fold also what its blocks of samples say, all of them the same."""
    is_end = folds > 1 and epoch % config.train.epochs == 0
    return EpochReport(
        epoch=epoch,
        epochs=folds * config.train.epochs,
        fold=(epoch - 1) // config.train.epochs,
        folds=folds,
        influences=(score,) * 5 if is_end else (),
        score=score,
        best_score=min([score, *(r.best_score for r in curve)]),
        train_loss=score,
        loss_target=score,
        loss_mixed_target=score,
        loss_mixed_source=score,
        k=10,
        lam=0.1,
        lr=config.optimizer.lr,
        grad_norm=1.0,
        gate_target=math.nan,
        gate_source=0.5,
        gate_entropy=0.6,
        seconds=0.01,
        samples_per_s=100.0,
        memory_mb=300.0,
    )


def misbehave(config: TrialConfig, context: Context) -> FitResult:
    """Every trial but the first fails in a way of its own, by its number."""
    assert context.folder is not None
    number = int(context.folder.name)
    match number:
        case 1:
            raise TrialFailed("diverged: loss became inf in epoch 1 (lr=1, k=2)", cause="diverged")
        case 2:
            raise TrialFailed("out of memory: 3 GiB short", cause="out_of_memory")
        case 3:
            raise ZeroDivisionError("division by zero")
        case 4:
            os.kill(os.getpid(), 9)
        case 5:
            context.report(report_of(config, 1, math.nan, []))
        case 6 if config.train.batch_size > 4:
            raise TrialFailed("out of memory: 3 GiB short", cause="out_of_memory")
        case 7:
            context.report(report_of(config, 1, 1.0, []))
            return FitResult((), 0, math.nan)
    return train(config, context)


@dataclass(frozen=True, slots=True)
class Blind(Home):
    """A run folder that no worker sees."""

    @property
    def is_here(self) -> bool:
        return False


def die_once(mark: Path | None, config: TrialConfig, context: Context) -> FitResult:
    """As `train`, but trial 1's process is killed after its second epoch, the first time."""
    assert context.folder is not None
    doomed = mark is not None and context.folder.name == "0001" and not mark.exists()

    def report(epoch: EpochReport) -> None:
        context.report(epoch)
        if doomed and epoch.epoch == 2:
            mark.touch()
            os.kill(os.getpid(), 9)

    return train(config, replace(context, report=report))


def always_crash(config: TrialConfig, context: Context) -> FitResult:
    """As when a library is missing on the workers."""
    raise ImportError("No module named 'timm'")


def always_fail(cause: str, first: int, config: TrialConfig, context: Context) -> FitResult:
    """Every trial from number `first` on fails in its first epoch."""
    assert context.folder is not None
    if int(context.folder.name) >= first:
        raise TrialFailed("told so", cause=cause)
    return train(config, context)


def lose_data(config: TrialConfig, context: Context) -> FitResult:
    """As when the release was moved away."""
    raise DataError("x_train.npy is missing in /data")


def main() -> None:
    """Search or, where a run exists, resume."""
    from pare_tune.tune import run

    folder, pause_s = Path(sys.argv[1]), float(sys.argv[2])
    runner = partial(train, pause_s=pause_s)
    runs = sorted((folder / "runs").glob("*"))
    try:
        if runs:
            run.resume(runs[0], options=run.SessionOptions(runner=runner, dashboard=False))
        else:
            run.search(
                run_config(folder, max_concurrent=2), run.SessionOptions(runner=runner, dashboard=False)
            )
    except run.SearchInterrupted as error:
        print(error)
        sys.exit(130)


if __name__ == "__main__":
    main()
