"""What a setting is worth on few samples: one training a fold, scored on all samples that were held out.

    python tests/benchmarks/folds.py --real REAL --folder FOLDER --data wine GunPoint --size 50 --splits 3 \
        --rows new before=train.batch_size:16,train.epochs:60

Data, REAL and splits as `little.py` has them, its test samples unread; a row is `NAME` (the defaults) or
`NAME=KEY:VALUE,KEY:VALUE`, as `--set` takes them. Scores are those of the last epoch, mean ± standard deviation over
splits; lower is better. FOLDER keeps a line a row and split, so that an interrupted command goes on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from little import TABLES, drawn
from pare_tune.config import default_trial
from pare_tune.tasks.folds import Folds
from pare_tune.tasks.own.task import own_task
from pare_tune.train.loop import Context
from pare_tune.train.trial import run_trial
from parts import settings_of
from trainings import Result, own_data, spread, train_all


class Cell(NamedTuple):
    """The trainings of all folds."""

    data: str
    size: int
    method: str
    row: str
    settings: str
    folds: int
    split: int


def train(cell: Cell, *, real: Path | None) -> Result:
    """Score of the last epoch over all folds, and the seconds of processor time."""
    splits = zip(("train", "test"), drawn(cell.data, cell.size, cell.split, real), strict=True)
    settings = settings_of(cell.settings)
    backbone = settings.pop("backbone", None)
    with tempfile.TemporaryDirectory() as folder:
        own = own_data(
            Path(folder),
            f"folds-{cell.data.lower()}".replace("_", "-"),
            "point",
            {split: (np.asarray(x), y) for split, (x, y) in splits},
            **({"modality": "table"} if cell.data in TABLES else {}),
        )
        task = own_task(own)
        config = default_trial(
            task, preset="embedded", own=own, method=cell.method, backbone=backbone
        ).with_values(settings)
        context = Context(report=lambda report: None, folder=Path(folder), folds=Folds(cell.folds))
        started = time.process_time()
        result = run_trial(config, context)
    return {"score": result.curve[-1].score, "seconds": round(time.process_time() - started, 1)}


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--method", default="finetune")
    parser.add_argument("--rows", nargs="+", required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    rows = dict(row.partition("=")[::2] for row in options.rows)
    cells = [
        Cell(data, options.size, options.method, row, settings, options.folds, split)
        for data, (row, settings), split in product(options.data, rows.items(), range(options.splits))
    ]
    log = options.folder / "folds.jsonl"
    done = train_all(cells, partial(train, real=options.real), log, jobs=options.jobs)

    print("| data | row | error, % | processor seconds |\n|---|---|---:|---:|")
    for data, row in product(options.data, rows):
        here = [result for cell, result in done.items() if (cell.data, cell.row) == (data, row)]
        seconds = statistics.median(result["seconds"] for result in here)
        print(f"| {data} | {row} | {spread([result['score'] for result in here])} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
