"""Several workers a trial: how many of their forward passes count, and samples a second.

    python tests/benchmarks/scaling.py [--workers 8] [--measure psicov] [--epochs 3]

The table needs no training: it plans an epoch of every paper preset for so many workers, of a size whose last step has
one sample only, which is the worst there is. "before" is what sharing out batches, instead of steps, came to: all
workers together took one batch at a time, and where that held fewer samples than workers, some were idle. `--measure`
trains the embedded preset of a task with one and with two workers (gloo, one thread each), in turn.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pare_tune.config import TrainConfig, TrialConfig, default_trial
from pare_tune.errors import ConfigError
from pare_tune.tasks import TASKS, get_task
from pare_tune.train.batches import plan_epoch
from pare_tune.train.loop import Context, fit
from pare_tune.train.opened import open_trial

SAMPLES = 20_000


def useful(settings: TrainConfig, workers: int) -> tuple[float, float]:
    """Shares of the forward passes of an epoch that count: of all, and of all but the last optimiser step."""
    count = 1 + settings.group * math.ceil(SAMPLES / settings.group)
    size, _ = settings.per_worker(workers)
    plans = [
        plan_epoch(count, 0, size, settings.group, seed=0, epoch=0, rank=rank, world_size=workers)
        for rank in range(workers)
    ]
    passes = [step for plan in plans for step in plan]
    before_last = [step for step in passes if step.group == settings.group]
    return tuple(sum(s.count > 0 for s in some) / len(some) for some in (passes, before_last))  # type: ignore[return-value]


def table(workers: int) -> None:
    print(f"{workers} workers, an epoch of about {SAMPLES:,} samples whose last step has one\n")
    print("| paper preset | batch × accumulation | a worker's | passes that count | before |")
    print("|---|---:|---:|---:|---:|")
    seen: dict[tuple[int, int], list[str]] = {}
    for name, task in sorted(TASKS.items()):
        seen.setdefault((task.paper.batch_size, task.paper.accumulation), []).append(name)
    for (batch, accumulation), names in sorted(seen.items()):
        settings = TrainConfig(epochs=1, batch_size=batch, accumulation=accumulation)
        title = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        before = f"{min(1.0, batch / workers):.1%}"
        try:
            size, passes = settings.per_worker(workers)
        except ConfigError:
            print(
                f"| {title} | {batch} × {accumulation} | refused: at most {settings.group} workers | – | {before} |"
            )
            continue
        share, inner = useful(settings, workers)
        assert inner == 1.0, "an idle pass in the middle of an epoch"
        print(f"| {title} | {batch} × {accumulation} | {size} × {passes} | {share:.1%} | {before} |")


def train(rank: int, world_size: int, config: TrialConfig, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if world_size > 1:
        dist.init_process_group("gloo", rank=rank, world_size=world_size)
    opened = open_trial(config)
    context = Context(report=lambda epoch: None, rank=rank, world_size=world_size)
    curve = fit(opened, opened.build(), context).curve
    if rank == 0:
        torch.save([[r.samples_per_s, r.train_loss, r.score] for r in curve], out)
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def measure(task: str, epochs: int) -> None:
    trial = default_trial(get_task(task), preset="embedded").with_values({"train.epochs": epochs})
    print(f"\n{task}, {epochs} epochs of the embedded preset, batch {trial.train.batch_size}\n")
    print("| workers | samples/s, best epoch | train loss, last epoch | score |\n|---:|---:|---:|---:|")
    for world_size in (1, 2, 1, 2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        out = Path(f"/tmp/scaling-{os.getpid()}.pt")
        mp.spawn(train, args=(world_size, trial, port, out), nprocs=world_size)
        rows = torch.load(out, weights_only=True)
        out.unlink()
        print(
            f"| {world_size} | {max(r[0] for r in rows):.1f} | {rows[-1][1]:.4f} | {rows[-1][2]:.4f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--measure", metavar="TASK")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    table(options.workers)
    if options.measure:
        measure(options.measure, options.epochs)


if __name__ == "__main__":
    main()
