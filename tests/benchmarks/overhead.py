"""What the search itself costs: seconds a trial that trains nothing, one at a time.

    python tests/benchmarks/overhead.py --trials 200 1000

Each trial is asked for, sent to a worker, reports EPOCHS epochs, is decided upon, recorded and tidied away. Reported
without the start of Ray and of the first worker, which are paid once; the last hundred trials show how it grows.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from pare_tune.config import RunConfig, SearchConfig, TrialConfig, default_trial
from pare_tune.tasks import get_task
from pare_tune.train.loop import Context, EpochReport, FitResult
from pare_tune.tune.run import SessionOptions, search
from pare_tune.tune.snapshot import Snapshot

EPOCHS = 4


def train_nothing(config: TrialConfig, context: Context) -> FitResult:
    """EPOCHS reports, each a little better."""
    for epoch in range(1, EPOCHS + 1):
        score = abs(math.log10(config.optimizer.lr) + 3) + 1 / epoch
        context.report(
            EpochReport(
                epoch=epoch, epochs=EPOCHS, score=score, best_score=score, train_loss=score, loss_target=score,
                loss_mixed_target=score, loss_mixed_source=score, k=1, lam=0.1, lr=config.optimizer.lr, grad_norm=1.0,
                gate_target=0.5, gate_source=0.5, gate_entropy=0.6, seconds=0.0, samples_per_s=1.0,
                memory_mb=1.0,
            )
        )  # fmt: skip
    return FitResult((), EPOCHS, 0.0)


def measure(trials: int, folder: Path) -> tuple[float, float, float]:
    """(seconds until the first trial ended, seconds a trial after it, seconds a trial of the last hundred)."""
    base = default_trial(get_task("wdbc"), preset="embedded").with_values({"train.epochs": EPOCHS})
    config = RunConfig(
        trial=base,
        search=SearchConfig(budget=str(trials), max_concurrent=1),
        runs=folder,  # type: ignore[arg-type]
    )
    ends: list[float] = []

    def observe(seen: Snapshot) -> None:
        done = sum(t.state in ("complete", "pruned") for t in seen.trials)
        ends.extend([time.perf_counter()] * (done - len(ends)))

    started = time.perf_counter()
    search(config, SessionOptions(runner=train_nothing, observe=observe))
    last = ends[max(0, len(ends) - 101)]
    return (
        ends[0] - started,
        (ends[-1] - ends[0]) / (len(ends) - 1),
        (ends[-1] - last) / min(100, len(ends) - 1),
    )


def main() -> None:
    """Measure every number of trials asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[200])
    arguments = parser.parse_args()
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[train_nothing.__module__])
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {EPOCHS} epochs a trial")
    print("| trials | start, s | a trial, s | of the last 100, s |\n|---|---|---|---|")
    for trials in arguments.trials:
        with tempfile.TemporaryDirectory() as folder:
            start, mean, late = measure(trials, Path(folder))
        print(f"| {trials} | {start:.1f} | {mean:.3f} | {late:.3f} |", flush=True)


if __name__ == "__main__":
    main()
