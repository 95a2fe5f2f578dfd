"""What logging and pictures cost a trial: pairs of one training with them and the same training without.

    python tests/benchmarks/logging_cost.py [--tasks wdbc ecg ninapro] [--pairs 5] [--epochs 6] [--threads 1]

With: the gate's statistics, the recorded patches, and after every epoch the event file of TensorBoard, its pictures and
the numbers of Ray's metrics, all in the process that trains. A search does the last three in another process and at
most every 5 s, and draws the pictures of few trials, so this is the most that they can cost. Without: none of it. Both
write checkpoints.

Times are of the CPU, all threads together (--wall: of the clock), since other work on the machine hardly changes them.
`ratio` is the median over pairs, whose two are run in turn, and carries what noise is left; `share` is the time spent
in those calls, measured inside the training, and carries none. Target: at most 2 % of a trial.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from pare_tune.config import default_trial
from pare_tune.report import TensorBoardWriter
from pare_tune.tasks import get_task
from pare_tune.train import loop
from pare_tune.train.loop import Context, EpochReport, fit, gate_statistics
from pare_tune.train.opened import OpenedTrial, open_trial
from pare_tune.train.patches import record_patches
from pare_tune.tune.metrics import measured
from pare_tune.tune.snapshot import Snapshot, TrialView


class Clock:
    """Seconds spent in the calls that it wraps."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.seconds = now, 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = self.now()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += self.now() - started

        return timed


class Board:
    """Tells TensorBoard and the gauges of every epoch, as a search of this one trial would."""

    def __init__(self, opened: OpenedTrial, run: Path) -> None:
        config, task = opened.config, opened.data.task
        self._writer = TensorBoardWriter(run)
        self._started = time.perf_counter()
        self._curve: list[dict[str, Any]] = []
        self._trial = TrialView(
            number=0, state="running", params=config.to_dict()["k"], epochs=config.train.epochs
        )
        self._snapshot = Snapshot(
            run=run, task=task.name, metric=task.metric.name, unit=task.metric.unit,
            direction=task.metric.direction, provenance=opened.data.provenance, preset=config.preset,
            backbone=config.backbone, budget="1 trial", spent=0.0, elapsed_s=0.0, remaining_s=None, trials=(),
        )  # fmt: skip

    def tell(self, report: EpochReport) -> None:
        elapsed = time.perf_counter() - self._started
        self._curve.append({**report.to_dict(), "elapsed": elapsed})
        ended = report.epoch == report.epochs
        trial = replace(
            self._trial,
            state="complete" if ended else "running",
            curve=tuple(self._curve),
            best_score=report.best_score,
            best_epoch=report.epoch,
        )
        snapshot = replace(self._snapshot, elapsed_s=elapsed, trials=(trial,))
        measured(snapshot)
        self._writer.update(snapshot)
        if ended:
            self._writer.close()


@contextmanager
def silence() -> Iterator[None]:
    """No record of patches and no look at the gate."""
    nothing = {"gate_target": math.nan, "gate_source": math.nan, "gate_entropy": math.nan}
    with (
        patch.object(loop, "record_patches", lambda *args, **kwargs: None),
        patch.object(loop, "gate_statistics", lambda mixed: nothing),
    ):
        yield


@contextmanager
def timing(clock: Clock) -> Iterator[None]:
    with (
        patch.object(loop, "record_patches", clock.around(record_patches)),
        patch.object(loop, "gate_statistics", clock.around(gate_statistics)),
    ):
        yield


def train(opened: OpenedTrial, now: Callable[[], float], *, logged: bool) -> tuple[float, float, int]:
    """(seconds of the training, of them in logging, bytes of the event file)."""
    model = opened.build()
    clock = Clock(now)
    with tempfile.TemporaryDirectory() as folder, timing(clock) if logged else silence():
        run = Path(folder)
        started = now()
        tell = clock.around(Board(opened, run).tell) if logged else lambda report: None
        context = Context(report=tell, folder=run / "trials" / "0000")
        assert context.folder is not None
        context.folder.mkdir(parents=True)
        fit(opened, model, context)
        seconds = now() - started
        size = sum(p.stat().st_size for p in run.glob("tensorboard/trial-0000/*"))
    return seconds, clock.seconds, size


def main() -> None:
    """Measure every task asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["wdbc", "ecg", "ninapro"])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="default: the embedded preset's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="time of the clock, for a machine at rest")
    options = parser.parse_args()
    now = time.perf_counter if options.wall else time.process_time
    torch.set_num_threads(options.threads)
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.threads} threads, {options.pairs} pairs\n"
    )
    print("| task | epochs | without, s | with, s | ratio | in logging, ms | share | event file, kB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.tasks:
        config = default_trial(get_task(name), preset="embedded")
        if options.epochs:
            config = config.with_values({"train.epochs": options.epochs})
        opened = open_trial(config)
        warm = replace(opened, config=config.with_values({"train.epochs": 1}))
        train(
            warm, now, logged=True
        )  # imports TensorBoard, which a search does once, while its first trial runs
        pairs = []
        for i in range(options.pairs):
            turn = {
                logged: train(opened, now, logged=logged) for logged in ((False, True), (True, False))[i % 2]
            }
            pairs.append((turn[False][0], *turn[True]))
        without, logged, spent, size = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
        share = statistics.median(pair[2] / pair[1] for pair in pairs)
        print(
            f"| {name} | {config.train.epochs} | {without:.2f} | {logged:.2f} | {ratio:.3f} | {1e3 * spent:.0f} "
            f"| {share:.2%} | {size / 1e3:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
