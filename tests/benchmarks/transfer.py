"""Do the embedded backbones transfer? Fine-tuned from pretrained weights against the same architecture from scratch.

    python tests/benchmarks/transfer.py --folder FOLDER [--seeds 3] [--tasks ninapro …] [--methods … pare] [--jobs 2]

Every cell is the best validation score of the embedded preset (same learning rate, batch and epochs in all columns),
mean ± standard deviation over seeds; lower is better. FOLDER keeps a line a training: interrupted, the command goes on.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.task import own_task
from pare_tune.train.loop import Context, fit
from pare_tune.train.opened import open_trial
from trainings import Result, own_data, spread, train_all

TASKS = ("digits-200", "ninapro", "ecg", "psicov", "advection", "wdbc")
METHODS = ("scratch", "finetune")


class Cell(NamedTuple):
    """One training."""

    task: str
    method: str
    seed: int


def digits(folder: Path) -> OwnData:
    """200 labelled handwritten digits of scikit-learn to train on, 400 to validate."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 1, 8, 8) / 8.0 - 1.0).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(labels))
    rows = {"train": order[:200], "val": order[200:600], "test": order[600:]}
    splits = {split: (x[chosen], labels[chosen]) for split, chosen in rows.items()}
    return own_data(folder, "digits-200", "point", splits, channels="first", normalise="none")


def best_score(cell: Cell, own: OwnData) -> Result:
    own_or_none = own if cell.task == own.name else None
    task = get_task(cell.task) if own_or_none is None else own_task(own)
    config = default_trial(task, preset="embedded", method=cell.method, seed=cell.seed, own=own_or_none)
    if own_or_none is not None:
        config = config.with_values({"train.epochs": 30})  # as many steps as the others take
    opened = open_trial(config)
    score = fit(opened, opened.build(), Context(report=lambda report: None)).best_score
    return {"score": score, "metric": task.metric.name, "data": task.embedded_provenance}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    cells = [Cell(*names) for names in product(options.tasks, options.methods, range(options.seeds))]
    train = partial(best_score, own=digits(options.folder))
    done = train_all(cells, train, options.folder / "trainings.jsonl", jobs=options.jobs)

    print(f"| task (metric) | {' | '.join(options.methods)} |\n|---|{'---:|' * len(options.methods)}")
    for name in options.tasks:
        scores = {
            method: [result for cell, result in done.items() if cell[:2] == (name, method)]
            for method in options.methods
        }
        metric, data = scores[options.methods[0]][0]["metric"], scores[options.methods[0]][0]["data"]
        columns = [spread([result["score"] for result in results]) for results in scores.values()]
        print(f"| {name} ({metric}, {data}) | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
