"""How much of a search is luck? The epochs that a searcher needs which knows everything but chance.

    python tests/benchmarks/oracle.py [--tables FOLDER] [--seeds 20] [--trials 50] [--pool 2000]

On the simulated tasks of search.py. The oracle knows what the surrogate predicts of each of `--pool` random
configurations and trains them whole, the most promising first; what it cannot know is the chance that is added to each
prediction, as large as the errors of predictions on recorded curves. Printed is the share of the epochs of `--trials`
whole trials after which it has the goal, the best score of so many random trials: no search on these tasks can be
expected to need less.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import optuna

from pare_tune.errors import PareTuneError
from pare_tune.recorded.table import recorded_tables
from simulate.compare import quartile
from simulate.summary import percent
from simulate.surrogate import World
from simulate.tables import load_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, help="folder of tables; default: the package's")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--pool", type=int, default=2000, help="configurations that the oracle chooses among")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| task | epochs to the goal, median (quartiles) |\n|---|---:|")
    medians = []
    for task in recorded_tables(options.tables):
        world = World(load_table(task, options.tables))
        goal = np.median([lucky(world, options.trials, seed) for seed in range(options.seeds)])
        found = [
            trials_to(world, float(goal), options.pool, seed) / options.trials
            for seed in range(options.seeds)
        ]
        low, middle, high = (percent(quartile(found, q)) for q in (0.25, 0.5, 0.75))
        medians.append(quartile(found, 0.5))
        print(f"| {task} | {middle} ({low} – {high}) |", flush=True)
    print(f"| median over tasks | {percent(quartile(medians, 0.5))} |")


def lucky(world: World, trials: int, seed: int) -> float:
    """The best of so many random configurations, less is better."""
    return min(loss(world, settings) for settings in random_settings(world, trials, seed))


def trials_to(world: World, goal: float, pool: int, seed: int) -> float:
    """Whole trials until the goal; infinity if the pool does not hold it."""
    settings = random_settings(world, pool, 1000 + seed)
    expected = (world.table.sign * world.expected(settings)).min(axis=1)
    for count, index in enumerate(np.argsort(expected, kind="stable"), start=1):
        if loss(world, settings[index]) <= goal:
            return float(count)
    return np.inf


def random_settings(world: World, count: int, seed: int) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [world.space.suggest(study.ask()) for _ in range(count)]


def loss(world: World, settings: dict[str, object]) -> float:
    """Of a whole training."""
    scores = world.curve(settings).scores
    return float((world.table.sign * np.array(scores)).min()) if scores else np.inf


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
