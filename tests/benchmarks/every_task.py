"""A short search on every task name, without any download: does each one run from its data to a best.yaml?

    python tests/benchmarks/every_task.py [TASK …] [--budget 4] [--epochs 3] [--out FOLDER]

Prints a row a task as it ends: what the data are, the metric, the paper's configuration and the best of the search on
validation, and the time, data preparation included. Trials are cut to `--epochs`, so the scores say that things run and
not how well; exits with 1 if any task failed. Goes on where it was interrupted when `--out` holds finished runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

from pare_tune import tune
from pare_tune.errors import PareTuneError
from pare_tune.report import words
from pare_tune.tasks import TASKS
from pare_tune.tune.cluster import connect
from pare_tune.tune.run import snapshot


def row(name: str, budget: str, epochs: int, runs: Path) -> str:
    """The task's line of the table. Raises PareTuneError where the search does."""
    task = TASKS[name]
    done = [run for run in sorted(runs.glob(f"{name}-2*")) if _is_finished(run)]
    started = time.perf_counter()
    if not done:
        result = tune(
            name, budget, runs=runs, settings={"train.epochs": min(epochs, _epochs(name))}, confirm=0
        )
        done = [result.path]
    s = snapshot(done[0])
    states = ", ".join(f"{s.count(state)} {word}" for state, word in words.STATES.items() if s.count(state))
    default = s.default.best_score if s.default is not None else None
    best = s.best.best_score if s.best is not None else None
    if best is None:
        raise PareTuneError(f"no trial of {name} finished: {states}")
    cells = [
        name,
        s.provenance,
        f"{task.metric.name} ({task.metric.unit})",
        words.number(default),
        words.number(best),
        states,
        f"{time.perf_counter() - started:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _epochs(name: str) -> int:
    from pare_tune.config import default_trial

    return default_trial(TASKS[name], preset="embedded").train.epochs


def _is_finished(run: Path) -> bool:
    try:
        return snapshot(run).finished
    except PareTuneError:
        return False


def main() -> int:
    """Search every task asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=list(TASKS))
    parser.add_argument("--budget", default="4")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    runs = options.out or Path(tempfile.mkdtemp(prefix="every-task-"))
    failed = 0
    print("| task | data | metric | default | best | trials | seconds |\n|---|---|---|---:|---:|---|---:|")
    with connect():
        for name in options.tasks:
            try:
                print(row(name, options.budget, options.epochs, runs), flush=True)
            except PareTuneError as error:
                failed += 1
                print(f"| {name} | FAILED: {error} | | | | | |", flush=True)
    print(f"\n{len(options.tasks) - failed} of {len(options.tasks)} tasks ran; run folders: {runs}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
