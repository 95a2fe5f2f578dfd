"""Do the embedded backbones transfer? Fine-tuned from pretrained weights against the same architecture from scratch.

    python tests/benchmarks/transfer.py [--seeds 3] [--tasks ninapro ecg …] [--methods … pare] [--jobs 2]

Every cell is the best validation score of the embedded preset (same learning rate, batch and epochs in all columns),
mean ± standard deviation over seeds; lower is better.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pare_tune.config import default_trial
from pare_tune.data.store import Record
from pare_tune.tasks import Modality, Task, get_task
from pare_tune.tasks.base import Point, Split
from pare_tune.tasks.load import load_task
from pare_tune.tasks.metrics import METRICS
from pare_tune.train.build import count_tokens, open_backbone, open_trial_source
from pare_tune.train.loop import Context, fit
from pare_tune.train.opened import OpenedTrial

TASKS = ("digits-200", "ninapro", "ecg", "psicov", "advection", "wdbc")
METHODS = ("scratch", "finetune")


def digits() -> Task:
    """200 labelled handwritten digits of scikit-learn to train on, 400 to validate."""
    return Task(
        name="digits-200",
        title="8×8 handwritten digits",
        modality=Modality.GRID_2D,
        input_shape=(1, 8, 8),
        output=Point(10),
        loss="cross_entropy",
        metric=METRICS["error_rate"],
        paper=get_task("ninapro").paper,
        embedded_provenance="real",
        homepage="https://scikit-learn.org",
        read=_read_digits,
        make=_make_nothing,
    )


def _read_digits(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))

    def records(rows: npt.NDArray[np.int64]) -> Iterable[Record]:
        for row in rows:
            yield {
                "x": (images[row].reshape(1, 8, 8) / 8.0 - 1.0).astype(np.float32),
                "y": np.int64(labels[row]),
            }

    return {"train": records(order[:200]), "val": records(order[200:600]), "test": records(order[600:])}


def _make_nothing(folder: Path, seed: int) -> None:
    """The digits are read from scikit-learn itself."""


def task_of(name: str) -> Task:
    return digits() if name == "digits-200" else get_task(name)


def best_score(cell: tuple[str, str, int]) -> float:
    torch.set_num_threads(1)
    name, method, seed = cell
    task = task_of(name)
    config = default_trial(task, preset="embedded", method=method, seed=seed)  # type: ignore[arg-type]
    if name == "digits-200":
        config = config.with_values({"train.epochs": 30})  # as many steps as the others take
    data = load_task(task)
    backbone = open_backbone(config)
    num_tokens = count_tokens(config, task.modality, data.input_shape, backbone)
    source = open_trial_source(config, backbone, num_tokens)
    opened = OpenedTrial(config=config, data=data, source=source, backbone=backbone, num_tokens=num_tokens)
    context = Context(report=lambda report: None)
    return fit(opened, opened.build(), context).best_score


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    cells = list(product(options.tasks, options.methods, range(options.seeds)))
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        scores = dict(zip(cells, pool.map(best_score, cells, chunksize=1), strict=True))

    print(f"| task (metric) | {' | '.join(options.methods)} |\n|---|{'---:|' * len(options.methods)}")
    for name in options.tasks:
        task = task_of(name)
        columns = []
        for method in options.methods:
            found = [scores[name, method, seed] for seed in range(options.seeds)]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            columns.append(f"{statistics.mean(found):.4g} ± {spread:.2g}")
        print(f"| {name} ({task.metric.name}, {task.embedded_provenance}) | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
