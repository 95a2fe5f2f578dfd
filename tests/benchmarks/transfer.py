"""Do the embedded backbones transfer? Fine-tuned from pretrained weights against the same architecture from scratch.

    python tests/benchmarks/transfer.py [--seeds 3] [--tasks ninapro ecg …] [--jobs 2]

Every cell is the best validation score of the embedded preset (same learning rate, batch and epochs in all columns),
mean ± standard deviation over seeds; lower is better. `pare` adds the method on top.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from itertools import product

TASKS = ("ninapro", "ecg", "psicov", "advection", "wdbc")
METHODS = ("scratch", "finetune", "pare")


def best_score(cell: tuple[str, str, int]) -> float:
    import torch

    from pare_tune.config import default_trial
    from pare_tune.tasks import get_task
    from pare_tune.train.loop import Context
    from pare_tune.train.trial import run_trial

    task, method, seed = cell
    torch.set_num_threads(1)
    config = default_trial(get_task(task), preset="embedded", method=method, seed=seed)  # type: ignore[arg-type]
    return run_trial(config, Context(report=lambda report: None)).best_score


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    cells = list(product(options.tasks, METHODS, range(options.seeds)))
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        scores = dict(zip(cells, pool.map(best_score, cells, chunksize=1), strict=True))

    from pare_tune.tasks import get_task

    print(f"| task (metric) | {' | '.join(METHODS)} |\n|---|{'---:|' * len(METHODS)}")
    for name in options.tasks:
        task = get_task(name)
        columns = []
        for method in METHODS:
            found = [scores[name, method, seed] for seed in range(options.seeds)]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            columns.append(f"{statistics.mean(found):.4g} ± {spread:.2g}")
        print(f"| {name} ({task.metric.name}, {task.embedded_provenance}) | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
