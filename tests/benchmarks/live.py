"""Does the simulator tell the truth? Live searches beside simulated ones, on tasks whose curves were recorded.

    python tests/benchmarks/live.py tic-tac-toe psicov [--budget 25] [--live 3] [--simulated 40] [--runs FOLDER]

The live ones are whole searches on Ray, of the embedded preset, with other seeds than the recordings; nothing is
confirmed in either. Both run the same number of trials at a time and know the recorded tables of the other tasks alone.
Printed are the best validation scores after the epochs of 5, 10 and `--budget` whole trials: of each live search, and
the median of the simulated ones with the span that holds nine in ten; and how many trials were stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pare_tune
from pare_tune.errors import PareTuneError
from pare_tune.tune.result import Result
from simulate.replay import Trace, replay
from simulate.strategies import make_strategy
from simulate.surrogate import World
from simulate.tables import load_table

_FIRST_SEED = 100
"""Trial 0 of seed 0 is what was recorded."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--budget", type=int, default=25, help="whole trials' worth of epochs")
    parser.add_argument("--live", type=int, default=3, help="live searches a task")
    parser.add_argument("--simulated", type=int, default=40, help="simulated searches a task")
    parser.add_argument("--parallel", type=int, default=2, help="trials at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the live ones go")
    options = parser.parse_args()
    budgets = [b for b in (5, 10, options.budget) if b <= options.budget]
    head = ["task", "search", *(f"after {b} trials' epochs" for b in budgets), "trials", "stopped"]
    print(f"| {' | '.join(head)} |\n|---|---|{'---:|' * (len(head) - 2)}")
    for task in options.tasks:
        world = World(load_table(task))
        epochs = options.budget * world.epochs
        traces = [
            replay(
                make_strategy("ours", world, seed=seed, epochs=epochs, parallel=options.parallel),
                world,
                epochs=epochs,
                parallel=options.parallel,
            )
            for seed in range(options.simulated)
        ]
        row(task, f"{len(traces)} simulated", [spread(traces, b * world.epochs) for b in budgets], traces)
        for seed in range(_FIRST_SEED, _FIRST_SEED + options.live):
            result = pare_tune.tune(
                task,
                budget=f"{epochs}ep",
                preset="embedded",
                seed=seed,
                runs=options.runs,
                confirm=0,
                max_concurrent=options.parallel,
            )
            best = best_after_epochs(result)
            row(task, f"live, seed {seed}", [f"{at(best, b * world.epochs):.4g}" for b in budgets], [result])


def row(task: str, what: str, scores: Sequence[str], searches: Sequence[Trace | Result]) -> None:
    """Print one; trials and those stopped are medians."""
    counts = np.array([counted(s) for s in searches])
    trials, stopped = np.median(counts, axis=0)
    print(f"| {task} | {what} | {' | '.join(scores)} | {trials:.0f} | {stopped:.0f} |", flush=True)


def counted(search: Trace | Result) -> tuple[int, int]:
    """Trials in all, and those that did not come to their end."""
    if isinstance(search, Trace):
        return search.runs, search.runs - search.complete
    states = [t.state for t in search.snapshot.trials]
    return len(states), len(states) - states.count("complete")


def spread(traces: Sequence[Trace], epochs: int) -> str:
    low, middle, high = np.quantile([t.at(epochs) for t in traces], [0.05, 0.5, 0.95])
    return f"{middle:.4g} ({low:.4g} … {high:.4g})"


def best_after_epochs(result: Result) -> list[float]:
    """The best score after every epoch of the search, in the order in which they ended."""
    reports = [r for t in result.snapshot.trials for r in t.curve]
    scores = [float(r["score"]) for r in sorted(reports, key=lambda r: float(r["elapsed"]))]
    best = np.minimum if result.snapshot.direction == "min" else np.maximum
    return list(best.accumulate(scores))


def at(best: Sequence[float], epochs: int) -> float:
    return best[min(epochs, len(best)) - 1]


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
