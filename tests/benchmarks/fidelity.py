"""How early can a trial be judged? Kendall's τ between the rank at a rung and the rank at the end, on recorded curves.

    python tests/benchmarks/fidelity.py [--tables FOLDER] [--tasks …]

Without --tables, on those of the package (jobs/record_curves.py records and packs more).

Rungs at 1/9, 1/3 and 1/2 of the budget. A trial is judged by

- best, last (what plain ASHA compares), power-law, learned: as `search.judge` has them (pare_tune/tune/judge.py); the
  learned one from 15 other curves that ended;
- compressed: the best score of a short, whole curriculum as long as the rung is late, of the same settings. These need
  recordings of their own: jobs/record_curves.py --epochs-share 0.33. In the means stands beside it what `best` says of
  the same, fewer configurations.

Beside τ (± standard deviation over bootstrap samples): which share of the best tenth at the end is in the rung's best
third.

The third table judges rungs by what they find, without any surrogate: recorded configurations in random order, the
default first, stopped by the pruner that ships, until the epochs of 5 or 10 whole trials are spent. Each cell is the
mean place of the best whole trial among all recorded ones, in per cent (0 is the best one), over 300 orders.

The last one holds trials of two curricula (`search.restart`; jobs/record_curves.py --epochs-share 0.33 --restart)
against one curriculum of the same settings: τ between the end of the first curriculum and the end of the second, and
of one curriculum at the same epoch; which share of the configurations ends better in two; and the places that searches
find as above, with the first rung at the restart and one of two going on, all of them places among the ends of one
curriculum.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from optuna.study import StudyDirection
from scipy.stats import kendalltau

from pare_tune.errors import PareTuneError
from pare_tune.recorded.names import check_recorded, recorded_tasks
from pare_tune.recorded.table import Configuration, Table, load_table
from pare_tune.tune.judge import JUDGES, Floats, Judge
from pare_tune.tune.pruner import RungPruner

RUNGS = ((1 / 9, "1/9"), (1 / 3, "1/3"), (1 / 2, "1/2"))
_OTHERS, _DRAWS = 15, 40
_FEWEST = 10
"""Configurations of another curriculum that say something."""


def judged_by(judge: Judge, losses: Floats, epoch: int) -> Floats:
    """Of each trial at a rung, by its own curve and those of `_OTHERS` that ended; mean over draws of these."""
    rng = np.random.default_rng(0)
    total, count = np.zeros(len(losses)), np.zeros(len(losses))
    for _ in range(_DRAWS):
        ended = rng.choice(len(losses), size=min(_OTHERS, len(losses) - 1), replace=False)
        rest = np.setdiff1d(np.arange(len(losses)), ended)
        total[rest] += judge(losses[rest, :epoch], losses[ended], losses.shape[1])
        count[rest] += 1
    return total / np.maximum(count, 1)


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
CURRICULA = ("one", "two")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--tables", type=Path, help="folder of tables; default: the package's")
    options = parser.parse_args()
    check_recorded(options.tasks or (), options.tables)
    tables = [load_table(name, options.tables) for name in options.tasks or recorded_tasks(options.tables)]
    names = [*JUDGES, "compressed"]
    print(f"| task (curves), rung | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for table in tables:
        for share, label in RUNGS:
            cells = [judged(table, judge, share) for judge in JUDGES.values()]
            cells.append(compressed(table, share))
            print(f"| {table.task} ({len(table.complete)}), {label} | {' | '.join(cells)} |")
    print(f"\nτ; the share of the best tenth that is in the rung's best third\n\n{means(tables)}")
    print(f"\n| first rung, who goes on | {' | '.join(POLICIES)} |\n|---|{'---:|' * len(POLICIES)}")
    for table in tables:
        losses = losses_of(table.complete, table)
        for trials in (5, 10):
            found = [places(losses, losses, policy, trials) for policy in POLICIES.values()]
            print(f"| {table.task}, {trials} trials' epochs | {' | '.join(found)} |")
    restarts(tables)


def means(tables: Sequence[Table]) -> str:
    """τ, mean over tasks."""
    names = [*JUDGES, "compressed", "best, of the same"]
    rows = []
    for share, label in RUNGS:
        found = [[tau_of(table, judge, share) for table in tables] for judge in JUDGES.values()]
        both = [pair for table in tables if (pair := brief_and_whole(table, share)) is not None]
        found.append([tau(brief.min(axis=1), whole.min(axis=1)) for brief, whole in both])
        found.append([tau(whole[:, : b.shape[1]].min(axis=1), whole.min(axis=1)) for b, whole in both])
        cells = [f"{np.mean(taus):.2f}" if len(taus) == len(tables) else "–" for taus in found]
        rows.append(f"| all, {label} | {' | '.join(cells)} |")
    return "\n".join([f"| mean over tasks | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}", *rows])


def restarts(tables: Sequence[Table]) -> None:
    """Two curricula against one."""
    columns = (
        "restart",
        "τ, two",
        "τ, one",
        "better in two",
        *(f"{n} trials, {c}" for n in (5, 10) for c in CURRICULA),
    )
    print(f"\n| two curricula (curves) | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for table in tables:
        for restart in sorted({c.restart for c in table.restarted if c.restart is not None}):
            pair = same([c for c in table.restarted if c.restart == restart and c.is_complete], table)
            if pair is None:
                continue
            two, one = pair
            policy = (restart / table.epochs, 2)
            cells = [f"{restart} of {table.epochs}"]
            cells += [f"{tau(x[:, :restart].min(axis=1), x.min(axis=1)):.2f}" for x in (two, one)]
            cells.append(f"{np.mean(two.min(axis=1) < one.min(axis=1)):.2f}")
            cells += [places(x, one, policy, trials) for trials in (5, 10) for x in (one, two)]
            print(f"| {table.task} ({len(two)}) | {' | '.join(cells)} |")


def judged(table: Table, judge: Judge, share: float) -> str:
    losses = losses_of(table.complete, table)
    return cell(judged_by(judge, losses, rung(table, share)), losses.min(axis=1))


def tau_of(table: Table, judge: Judge, share: float) -> float:
    losses = losses_of(table.complete, table)
    return tau(judged_by(judge, losses, rung(table, share)), losses.min(axis=1))


def places(losses: Floats, reference: Floats, policy: tuple[float, int] | None, trials: int) -> str:
    """Mean share of the configurations of `reference` that are better than the best whole trial of a search, in %."""
    final, epochs = reference.min(axis=1), losses.shape[1]
    pruner = None if policy is None else RungPruner(epochs=epochs, first_rung=policy[0], reduction=policy[1])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_ORDERS):
        # With repetition: a search that stops early sees more configurations than were recorded.
        order = [0, *rng.integers(1, len(losses), size=20 * trials)]
        found.append((final < search(losses, order, pruner, trials * epochs)).mean())
    return f"{100 * np.mean(found):.0f}"


def search(losses: Floats, order: Sequence[int], pruner: RungPruner | None, budget: int) -> float:
    """The best loss of the trials that came to their end."""
    trials: list[Any] = []
    study: Any = SimpleNamespace(direction=StudyDirection.MINIMIZE, get_trials=lambda deepcopy: trials)
    best, spent = np.inf, 0
    for number, row in enumerate(order):
        running = np.minimum.accumulate(losses[row])
        trial = SimpleNamespace(number=number, user_attrs={}, intermediate_values={}, last_step=0)
        trials.append(trial)
        for epoch, value in enumerate(running.tolist(), start=1):
            if spent >= budget:
                return float(best)
            spent += 1
            trial.intermediate_values[epoch], trial.last_step = value, epoch
            if pruner is not None and pruner.prune(study, cast("Any", trial)):
                break
        else:
            best = min(best, running[-1])
    return float(best)


def compressed(table: Table, share: float) -> str:
    """Against the same configurations' whole curricula."""
    pair = brief_and_whole(table, share)
    return "–" if pair is None else cell(pair[0].min(axis=1), pair[1].min(axis=1))


def brief_and_whole(table: Table, share: float) -> tuple[Floats, Floats] | None:
    """Losses of short whole curricula, of their own or before a restart, and of whole ones; None for too few."""
    epoch = rung(table, share)
    short = [c for c in table.short if c.epochs == epoch and c.is_complete]
    before = [c for c in table.restarted if c.restart == epoch and len(c.scores) >= epoch]
    pair = same(short, table) or same(before, table)
    return None if pair is None else (pair[0][:, :epoch], pair[1])


def same(found: Sequence[Configuration], table: Table) -> tuple[Floats, Floats] | None:
    """Losses of these configurations and of the same ones in a whole curriculum; None for too few."""
    others = {c.number: c for c in found}
    both = [c for c in table.complete if c.number in others and c.settings == others[c.number].settings]
    if len(both) < _FEWEST:
        return None
    length = min(len(c.scores) for c in others.values())
    sign = 1.0 if table.direction == "min" else -1.0
    return sign * np.array([others[c.number].scores[:length] for c in both]), losses_of(both, table)


def losses_of(found: Sequence[Configuration], table: Table) -> Floats:
    """(C, E), less is better."""
    sign = 1.0 if table.direction == "min" else -1.0
    return sign * np.array([c.scores for c in found])


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
