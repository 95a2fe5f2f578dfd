"""What each part around the method is worth: one setting changed at a time, validation to choose by, test to show.

    python tests/benchmarks/parts.py --tasks psicov cosmic --methods finetune pare --seeds 3 --folder FOLDER \
        --rows last stages=head.kind:stages [--jobs 2]

A row is `NAME` (the defaults) or `NAME=KEY:VALUE,KEY:VALUE`, as `--set` takes them. Embedded preset; scores of the
epoch that validation chose, mean ± standard deviation over seeds; lower is better. FOLDER keeps a line a training, so
that an interrupted command goes on, and rows are added to a table by naming them again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context

Cell = tuple[str, str, str, str, int]
"""Task, method, row, its settings, seed."""


def settings_of(text: str) -> dict[str, Any]:
    """`a.b:1,c:x` as values of YAML."""
    pairs = (pair.split(":", 1) for pair in text.split(",") if pair)
    return {key: YAML(typ="safe").load(value) for key, value in pairs}


def train(cell: Cell) -> dict[str, Any]:
    torch.set_num_threads(1)
    task, method, row, settings, seed = cell
    config = default_trial(get_task(task), preset="embedded", method=method, seed=seed)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        metrics = run_final(
            config.with_values(settings_of(settings)),
            Context(report=lambda report: None, folder=Path(folder)),
            with_val=False,
        )
    assert metrics is not None
    kept = {key: metrics[key] for key in ("validation", "test", "epoch", "seconds")}
    return {"task": task, "method": method, "row": row, "settings": settings, "seed": seed, **kept}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=["finetune"])
    parser.add_argument("--rows", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = dict(row.partition("=")[::2] for row in options.rows)
    log = options.folder / "trainings.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(r["task"], r["method"], r["row"], r["seed"]): r for r in lines}
    cells = [
        (task, method, row, rows[row], seed)
        for task, method, row, seed in product(options.tasks, options.methods, rows, range(options.seeds))
        if (task, method, row, seed) not in done
    ]
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=1) as pool:
        for result in pool.imap_unordered(train, cells):
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            done[result["task"], result["method"], result["row"], result["seed"]] = result

    print("| task, method | row | validation | test | seconds |\n|---|---|---:|---:|---:|")
    for task, method, row in product(options.tasks, options.methods, rows):
        scores = [done[task, method, row, seed] for seed in range(options.seeds)]
        shown = [spread([float(score[split]) for score in scores]) for split in ("validation", "test")]
        seconds = statistics.median(score["seconds"] for score in scores)
        print(f"| {task}, {method} | {row} | {' | '.join(shown)} | {seconds:.0f} |")


def spread(scores: list[float]) -> str:
    """Mean ± standard deviation."""
    if len(scores) < 2:
        return f"{scores[0]:.4g}"
    return f"{statistics.mean(scores):.4g} ± {statistics.stdev(scores):.2g}"


if __name__ == "__main__":
    main()
