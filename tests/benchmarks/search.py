"""Which way to search needs the fewest epochs? All of them replayed on recorded learning curves.

    python tests/benchmarks/search.py [--tables FOLDER] [--seeds 20] [--trials 50] [--parallel 1] [--tasks …]
                                      [--strategies …] [--jobs 2]

Prints the tables of RESULTS.md and draws search.png, the normalised regret over the epochs spent: 0 is the best score
that any search found on the task, 1 a typical single random trial. The goal is the best validation score that
`--trials` full-length random trials reach, the median over seeds.

Without --tables, on those of the package (record_curves.py records and packs more). With NePS installed (pip
install neural-pipeline-search), its PriorBand takes part. All strategies but `random`, which sets the goal, know the
default.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pare_tune.errors import PareTuneError
from pare_tune.recorded.table import recorded_tables
from simulate.compare import Plan, TaskResult, compare
from simulate.strategies import installed
from simulate.summary import number, percent, summarize, two_digits, with_spread


def main() -> None:
    options = parse()
    plan = Plan(
        tasks=tuple(options.tasks or recorded_tables(options.tables)),
        strategies=tuple(options.strategies or installed()),
        trials=options.trials,
        seeds=options.seeds,
        parallel=options.parallel,
        tables=options.tables,
        wrong_default=options.wrong_default,
    )
    results = compare(plan, jobs=options.jobs, progress=tell)
    found = summarize(results)
    print("\n\n".join([overall(found), goals(found), scores(found), surrogates(found)]))
    draw(results, options.plot)
    print(f"\nregret curves in {options.plot}", file=sys.stderr)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def overall(found: Mapping[str, Any]) -> str:
    """Over all tasks."""
    at = list(found["strategies"][0]["ranks"])
    head = ["strategy", "epochs to the goal", *(f"rank at {b}" for b in at), "worse than the default"]
    rows = [
        [
            row["strategy"],
            percent(row["share_to_goal"]),
            *(f"{row['ranks'][b]:.2f}" for b in at),
            percent(row["worse_than_default"]),
        ]
        for row in found["strategies"]
    ]
    return markdown(head, rows)


def goals(found: Mapping[str, Any]) -> str:
    """Epochs to the goal, task by task."""
    names = [row["strategy"] for row in found["strategies"]]
    rows = [
        [
            f"{task['task']} ({number(task['goal'])}; default {number(task['default'])})",
            *(with_spread(row["share_to_goal"], percent) for row in task["strategies"]),
        ]
        for task in found["tasks"]
    ]
    return markdown(["epochs to the goal of", *names], rows)


def scores(found: Mapping[str, Any]) -> str:
    """Scores at every budget, task by task."""
    names = [row["strategy"] for row in found["strategies"]]
    rows = [
        [
            f"{task['task']}, {budget} trials",
            *(with_spread(row["scores"][budget], number) for row in task["strategies"]),
        ]
        for task in found["tasks"]
        for budget in task["strategies"][0]["scores"]
    ]
    return markdown(["score after the epochs of", *names], rows)


def surrogates(found: Mapping[str, Any]) -> str:
    """How far the simulation can be trusted."""
    rows = [
        [
            task["task"],
            str(task["configurations"]),
            f"{task['held_out_error']:.2f}",
            two_digits(task["held_out_tau"]),
        ]
        for task in found["tasks"]
    ]
    return markdown(["surrogate of", "configurations", "held-out error / spread", "held-out τ"], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|---|{'---:|' * (len(head) - 1)}", *lines[1:]])


def draw(results: Sequence[TaskResult], path: Path) -> None:
    """Median over tasks and seeds of the normalised regret; of the first strategy also the quartiles."""
    from matplotlib.figure import Figure

    trials = results[0].trials
    grid = np.linspace(0.2, trials, 250)
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for index, name in enumerate(results[0].traces):
        curves = np.concatenate([on_grid(result, name, grid) for result in results])
        # A quantile that is one of the values: regret is infinite where a search found nothing.
        low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
        if index == 0:
            axes.fill_between(grid, low, np.minimum(high, 2.0), color="C0", alpha=0.15, linewidth=0)
        axes.plot(grid, middle, label=name, color=f"C{index}", linewidth=2.5 if index == 0 else 1.2)
    axes.set(
        title=f"{len(results)} tasks, {len(next(iter(results[0].traces.values())))} seeds: median"
        f" (band: quartiles of {next(iter(results[0].traces))})",
        xlabel="epochs spent, in whole trials",
        ylabel="normalised regret",
        xlim=(0, trials),
        ylim=(0, 1.05),
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=120)


def on_grid(result: TaskResult, name: str, grid: np.ndarray) -> np.ndarray:
    """(seeds, grid) regret; tasks differ in the epochs of a trial."""
    regret = result.regret(name)
    index = np.clip(np.round(grid * result.epochs).astype(int) - 1, 0, regret.shape[1] - 1)
    return regret[:, index]


def tell(done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        print(f"\r{done} of {total} searches", end="\n" if done == total else "", file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--strategies", nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=50, help="budget, in whole trials' worth of epochs")
    parser.add_argument("--parallel", type=int, default=1, help="trials at a time")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--tables", type=Path, help="folder of tables; default: the package's")
    parser.add_argument("--wrong-default", action="store_true", help="search around the worst configuration")
    parser.add_argument("--plot", type=Path, default=Path("search.png"))
    parser.add_argument("--json", type=Path, help="also write all figures there")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
