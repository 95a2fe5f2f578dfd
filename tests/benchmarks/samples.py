"""Are the tasks' own data learnable, and not by a linear model?

    python tests/benchmarks/samples.py [TASK …] [--jobs 2] [--out FILE]

Validation scores, lower is better, of: a guess that ignores the input (class frequencies, or the mean target); a linear
probe of the raw input (logistic for one class a sample, least squares else), its penalty chosen on the same validation
split, which flatters it; and one trial of the embedded preset, seed 0, with the seconds of one core that it took. With
`--out`, rows that the file holds already are not made again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pare_tune.config import default_trial
from pare_tune.report import words
from pare_tune.tasks import TASKS
from pare_tune.tasks.base import Point
from pare_tune.tasks.load import TaskData, TaskDataset, load_task
from pare_tune.train.batches import stack
from pare_tune.train.build import count_tokens, open_backbone, open_trial_source
from pare_tune.train.loop import Context, fit
from pare_tune.train.opened import OpenedTrial

PENALTIES = tuple(10.0**power for power in range(-4, 7))
Array = npt.NDArray[np.float64]
HEADER = (
    "| task (metric) | data | guess | linear probe | embedded PaRe | seconds |\n|---|---|---:|---:|---:|---:|"
)


def row(name: str) -> str:
    """One task's line of the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    task = TASKS[name]
    config = default_trial(task, preset="embedded")
    data = load_task(task)
    guess, probe = linear_scores(data)
    backbone = open_backbone(config)
    num_tokens = count_tokens(config, task.modality, data.input_shape, backbone)
    source = open_trial_source(config, backbone, num_tokens)
    opened = OpenedTrial(config=config, data=data, source=source, backbone=backbone, num_tokens=num_tokens)
    started = time.process_time()
    context = Context(report=lambda report: None)
    score = fit(opened, opened.build(), context).best_score
    seconds = time.process_time() - started
    cells = (f"{name} ({task.metric.name})", data.provenance, *map(words.number, (guess, probe, score)))
    return f"| {' | '.join(cells)} | {seconds:.0f} |"


def linear_scores(data: TaskData) -> tuple[float, float]:
    """Scores of the guess and of the best linear probe."""
    train, val = _whole(data.train), _whole(data.val)
    x_train, x_val = _rotated(train["x"], val["x"])
    if isinstance(data.output, Point):
        y, K = train["y"].numpy(), data.output.num_classes
        frequencies = np.bincount(y, minlength=K) + 1e-6
        guess = np.broadcast_to(np.log(frequencies / frequencies.sum()), (len(x_val), K))
        probes = _logistic(x_train, y, x_val, K)
    else:
        y = train["y"].double().numpy()
        guess = np.broadcast_to(y.mean(0), (len(x_val), *y.shape[1:]))
        probes = _least_squares(x_train, y, x_val)

    def score(outputs: Array) -> float:
        return float(data.task.metric.score(torch.tensor(outputs).float(), val))

    return score(guess), float(np.nanmin([score(outputs) for outputs in probes]))


def _whole(split: TaskDataset) -> dict[str, Tensor]:
    return stack([split.item(i) for i in range(len(split))])


def _rotated(train: Tensor, val: Tensor) -> tuple[Array, Array]:
    """Both in the span of the training inputs, where a penalised linear model lives: no more columns than samples."""
    x_train, x_val = (x.flatten(1).double().numpy() for x in (train, val))
    mean, spread = x_train.mean(0), x_train.std(0)
    spread[spread == 0] = 1.0
    x_train, x_val = (x_train - mean) / spread, (x_val - mean) / spread
    if x_train.shape[1] > x_train.shape[0]:
        _, _, rows = np.linalg.svd(x_train, full_matrices=False)
        x_train, x_val = x_train @ rows.T, x_val @ rows.T
    return x_train, x_val


def _logistic(x_train: Array, y: Array, x_val: Array, K: int) -> Iterator[Array]:
    from sklearn.linear_model import LogisticRegression

    for penalty in PENALTIES[::2]:
        model = LogisticRegression(C=1 / penalty, max_iter=200).fit(x_train, y)
        logits = np.full((len(x_val), K), -1e4)  # classes that training does not show
        logits[:, model.classes_] = model.predict_log_proba(x_val).clip(-1e3)
        yield logits


def _least_squares(x_train: Array, y: Array, x_val: Array) -> Iterator[Array]:
    mean = y.mean(0)
    flat = (y - mean).reshape(len(y), -1)
    gram, moments = x_train.T @ x_train, x_train.T @ flat
    for penalty in PENALTIES:
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), moments)
        yield (x_val @ weights).reshape(-1, *y.shape[1:]) + mean


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=list(TASKS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    done = options.out.read_text().splitlines() if options.out and options.out.is_file() else []
    for line in (HEADER, *done):
        print(line, flush=True)
    left = [name for name in options.tasks if not any(line.startswith(f"| {name} (") for line in done)]
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        for line in pool.imap(row, left):
            print(line, flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(f"{line}\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
