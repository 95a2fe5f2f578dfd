"""What each part around the method is worth: one setting changed at a time, validation to choose by, test to show.

    python tests/benchmarks/parts.py --tasks psicov cosmic --methods finetune pare --seeds 3 --folder FOLDER \
        --rows last stages=head.kind:stages [--jobs 2]

A row is `NAME` (the defaults) or `NAME=KEY:VALUE,KEY:VALUE`, as `--set` takes them. Embedded preset; scores of the
epoch that validation chose, mean ± standard deviation over seeds; lower is better. FOLDER keeps a line a training, so
that an interrupted command goes on, and rows are added to a table by naming them again.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from trainings import Result, scored, spread, train_all


class Cell(NamedTuple):
    """One training."""

    task: str
    method: str
    row: str
    settings: str
    seed: int


def settings_of(text: str) -> dict[str, Any]:
    """`a.b:1,c:x` as values of YAML."""
    pairs = (pair.split(":", 1) for pair in text.split(",") if pair)
    return {key: YAML(typ="safe").load(value) for key, value in pairs}


def train(cell: Cell) -> Result:
    config = default_trial(get_task(cell.task), preset="embedded", method=cell.method, seed=cell.seed)
    return scored(config.with_values(settings_of(cell.settings)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=["finetune"])
    parser.add_argument("--rows", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    rows = dict(row.partition("=")[::2] for row in options.rows)
    cells = [
        Cell(task, method, row, settings, seed)
        for task, method, (row, settings), seed in product(
            options.tasks, options.methods, rows.items(), range(options.seeds)
        )
    ]
    done = train_all(cells, train, options.folder / "trainings.jsonl", jobs=options.jobs)

    print("| task, method | row | validation | test | seconds |\n|---|---|---:|---:|---:|")
    for task, method, row in product(options.tasks, options.methods, rows):
        scores = [result for cell, result in done.items() if cell[:3] == (task, method, row)]
        shown = [spread([float(score[split]) for score in scores]) for split in ("validation", "test")]
        seconds = statistics.median(score["seconds"] for score in scores)
        print(f"| {task}, {method} | {row} | {' | '.join(shown)} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
