"""How early can a trial be judged? Kendall's τ between the rank at a rung and the rank at the end, on recorded curves.

    python tests/benchmarks/fidelity.py [--tables FOLDER] [--tasks …]

Without --tables, on those of the package (record_curves.py records and packs more).

Rungs at 1/9, 1/3 and 1/2 of the budget. A trial is judged by its best score so far, or by what 15 other curves that
ended teach (Baker et al., https://arxiv.org/abs/1705.10823).

Beside τ (± standard deviation over bootstrap samples): which share of the best tenth at the end is in the rung's best
third.

The third table judges rungs by what they find, without any surrogate: recorded configurations in random order, the
default first, stopped by the pruner that ships, until the epochs of 5 or 10 whole trials are spent. Each cell is the
mean place of the best whole trial among all recorded ones, in per cent (0 is the best one), over 300 orders.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from optuna.study import StudyDirection
from scipy.stats import kendalltau

from pare_tune.errors import PareTuneError
from pare_tune.recorded.table import Configuration, Table, recorded_tables
from pare_tune.tune.pruner import Floats, RungPruner
from simulate.tables import check_recorded, load_table

RUNGS = ((1 / 9, "1/9"), (1 / 3, "1/3"), (1 / 2, "1/2"))
_OTHERS, _DRAWS = 15, 40
_FEWEST = 10
"""Below so many curves that ended nothing is learned."""
_NEWEST = 3
"""Scores that the learned judge sees one by one."""

Judge = Callable[[Floats, Floats], Floats]
"""(T, R) losses so far, (F, E) losses of trials that ended → (T,) the lower the better."""


def best(curves_TR: Floats, ended_FE: Floats) -> Floats:
    """The best score so far."""
    lowest: Floats = curves_TR.min(axis=1)
    return lowest


def learned(curves_TR: Floats, ended_FE: Floats) -> Floats:
    """Losses so far, and those of trials that ended → (T,) where each is expected to end, the lower the better."""
    if len(ended_FE) < _FEWEST:
        return best(curves_TR, ended_FE)
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Losses span decades, and only their order counts: places among all that were seen of ended trials.
    seen = np.sort(ended_FE, axis=None)

    def features(curves: Floats) -> Floats:
        places = np.searchsorted(seen, curves) / len(seen)
        return np.column_stack([places[:, -_NEWEST:], places.min(axis=1)])

    final_F = np.argsort(np.argsort(ended_FE.min(axis=1))) / len(ended_FE)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 12)))
    model.fit(features(ended_FE[:, : curves_TR.shape[1]]), final_F)
    expected: Floats = model.predict(features(curves_TR))
    return expected


def judged_by(judge: Judge, losses: Floats, epoch: int) -> Floats:
    """Of each trial at a rung, by its own curve and those of `_OTHERS` that ended; mean over draws of these."""
    rng = np.random.default_rng(0)
    total, count = np.zeros(len(losses)), np.zeros(len(losses))
    for _ in range(_DRAWS):
        ended = rng.choice(len(losses), size=min(_OTHERS, len(losses) - 1), replace=False)
        rest = np.setdiff1d(np.arange(len(losses)), ended)
        total[rest] += judge(losses[rest, :epoch], losses[ended])
        count[rest] += 1
    return total / np.maximum(count, 1)


JUDGES: Mapping[str, Judge] = {"best": best, "learned": learned}
POLICIES: Mapping[str, tuple[float, int] | None] = {
    "never stopped": None,
    "0.11, 1 of 3": (1 / 9, 3),
    "0.3, 1 of 3": (0.3, 3),
    "0.34, 1 of 2": (0.34, 2),
    "0.5, 1 of 3": (0.5, 3),
    "0.5, 1 of 2": (0.5, 2),
}
"""First rung as a share of the epochs, and how many go on."""
_ORDERS = 300


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--tables", type=Path, help="folder of tables; default: the package's")
    options = parser.parse_args()
    check_recorded(options.tasks or (), options.tables)
    tables = [load_table(name, options.tables) for name in options.tasks or recorded_tables(options.tables)]
    names = list(JUDGES)
    print(f"| task (curves), rung | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for table in tables:
        for share, label in RUNGS:
            cells = [judged(table, judge, share) for judge in JUDGES.values()]
            print(f"| {table.task} ({len(table.complete)}), {label} | {' | '.join(cells)} |")
    print(f"\nτ; the share of the best tenth that is in the rung's best third\n\n{means(tables)}")
    print(f"\n| first rung, who goes on | {' | '.join(POLICIES)} |\n|---|{'---:|' * len(POLICIES)}")
    for table in tables:
        losses = losses_of(table.complete, table)
        for trials in (5, 10):
            cells = [places(losses, policy, trials) for policy in POLICIES.values()]
            print(f"| {table.task}, {trials} trials' epochs | {' | '.join(cells)} |")


def means(tables: Sequence[Table]) -> str:
    """τ, mean over tasks."""
    rows = []
    for share, label in RUNGS:
        cells = [f"{np.mean([tau_of(t, judge, share) for t in tables]):.2f}" for judge in JUDGES.values()]
        rows.append(f"| all, {label} | {' | '.join(cells)} |")
    return "\n".join([f"| mean over tasks | {' | '.join(JUDGES)} |", f"|---|{'---:|' * len(JUDGES)}", *rows])


def judged(table: Table, judge: Judge, share: float) -> str:
    losses = losses_of(table.complete, table)
    return cell(judged_by(judge, losses, rung(table, share)), losses.min(axis=1))


def tau_of(table: Table, judge: Judge, share: float) -> float:
    losses = losses_of(table.complete, table)
    return tau(judged_by(judge, losses, rung(table, share)), losses.min(axis=1))


def places(losses: Floats, policy: tuple[float, int] | None, trials: int) -> str:
    """Mean share of the configurations that are better than the best whole trial of a search, in %."""
    final, epochs = losses.min(axis=1), losses.shape[1]
    pruner = None if policy is None else RungPruner(epochs=epochs, first_rung=policy[0], reduction=policy[1])
    rng = np.random.default_rng(0)
    better = []
    for _ in range(_ORDERS):
        # With repetition: a search that stops early sees more configurations than were recorded.
        order = [0, *rng.integers(1, len(losses), size=20 * trials)]
        better.append((final < search(losses, order, pruner, trials * epochs)).mean())
    return f"{100 * np.mean(better):.0f}"


def search(losses: Floats, order: Sequence[int], pruner: RungPruner | None, budget: int) -> float:
    """The best loss of the trials that came to their end."""
    trials: list[Any] = []
    study: Any = SimpleNamespace(direction=StudyDirection.MINIMIZE, get_trials=lambda deepcopy: trials)
    lowest, spent = np.inf, 0
    for number, row in enumerate(order):
        running = np.minimum.accumulate(losses[row])
        trial = SimpleNamespace(number=number, user_attrs={}, intermediate_values={}, last_step=0)
        trials.append(trial)
        for epoch, value in enumerate(running.tolist(), start=1):
            if spent >= budget:
                return float(lowest)
            spent += 1
            trial.intermediate_values[epoch], trial.last_step = value, epoch
            if pruner is not None and pruner.prune(study, cast("Any", trial)):
                break
        else:
            lowest = min(lowest, running[-1])
    return float(lowest)


def losses_of(configurations: Sequence[Configuration], table: Table) -> Floats:
    """(C, E), less is better."""
    return table.sign * np.array([c.scores for c in configurations])


def rung(table: Table, share: float) -> int:
    return max(1, round(share * table.epochs))


def cell(early: Floats, final: Floats) -> str:
    rng = np.random.default_rng(0)
    samples = rng.integers(len(final), size=(200, len(final)))
    spread = np.nanstd([tau(early[s], final[s]) for s in samples])
    return f"{tau(early, final):.2f} ± {spread:.2f}; {kept(early, final):.2f}"


def tau(early: Floats, final: Floats) -> float:
    return float(kendalltau(early, final).statistic)


def kept(early: Floats, final: Floats) -> float:
    """Share of the best tenth at the end that is in the best third early."""
    tenth = np.argsort(final, kind="stable")[: max(1, len(final) // 10)]
    third = np.argsort(early, kind="stable")[: max(1, len(final) // 3)]
    return float(np.isin(tenth, third).mean())


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
