"""How early can a trial be judged? Kendall's τ between the rank at a rung and the rank at the end, on recorded curves.

    python tests/benchmarks/fidelity.py [--tables FOLDER] [--tasks …]

Without --tables, on those of the package (jobs/record_curves.py records and packs more).

Rungs at 1/9, 1/3 and 1/2 of the budget. A trial is judged by

- last score: what plain ASHA compares, the newest score of the same, unshortened schedule;
- best so far: the best score up to the same progress (the k of all trials falls with progress, so the same epoch is the
  same progress);
- power law: a + b·epoch^(−c), fitted to each curve by itself and read off at the last epoch;
- learned: ridge regression on the curve so far and on what is still mixed in, fitted to 15 other curves that ended;
- compressed: the best score of a short, whole curriculum as long as the rung is late, of the same settings. These need
  recordings of their own: jobs/record_curves.py --epochs-share 0.33.

Beside τ (± standard deviation over bootstrap samples): which share of the best tenth at the end is in the rung's best
third.

The last table judges rungs by what they find, without any surrogate: recorded configurations in random order, the
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
import numpy.typing as npt
from optuna.study import StudyDirection
from scipy.stats import kendalltau, rankdata
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pare_tune.errors import PareTuneError
from pare_tune.simulate.names import check_names, recorded_tasks
from pare_tune.simulate.table import Configuration, Table, load_table
from pare_tune.tune.pruner import RungPruner

Floats = npt.NDArray[np.float64]
Judge = Callable[[Floats, Floats, int], Floats]
"""(C, E) losses, (C, E) shares still mixed in, epoch of the rung → (C,) the lower the better."""

RUNGS = ((1 / 9, "1/9"), (1 / 3, "1/3"), (1 / 2, "1/2"))
_OTHERS = 15
_POWERS = (0.25, 0.5, 1.0, 2.0)


def last_score(losses: Floats, mixed: Floats, epoch: int) -> Floats:
    return losses[:, epoch - 1]


def best_so_far(losses: Floats, mixed: Floats, epoch: int) -> Floats:
    return losses[:, :epoch].min(axis=1)


def power_law(losses: Floats, mixed: Floats, epoch: int) -> Floats:
    """Of the powers, the one that fits best; a curve that does not fall is judged by its best."""
    if epoch < 3:
        return best_so_far(losses, mixed, epoch)
    steps, length = np.arange(1.0, epoch + 1), losses.shape[1]
    errors, ends = [], []
    for power in _POWERS:
        x = steps**-power - (steps**-power).mean()
        slope = np.maximum((losses[:, :epoch] * x).sum(axis=1) / (x**2).sum(), 0.0)
        level = losses[:, :epoch].mean(axis=1)
        errors.append(((losses[:, :epoch] - level[:, None] - slope[:, None] * x) ** 2).sum(axis=1))
        ends.append(level + slope * (length**-power - (steps**-power).mean()))
    fitting = np.argmin(errors, axis=0)
    return np.minimum(np.array(ends)[fitting, np.arange(len(losses))], best_so_far(losses, mixed, epoch))


def learned(losses: Floats, mixed: Floats, epoch: int) -> Floats:
    """Mean over draws of the 15 others that a prediction is learned from."""
    rng = np.random.default_rng(0)
    # Losses span decades, and ranks are all that is asked for.
    normal = rankdata(losses).reshape(losses.shape) / losses.size
    final = rankdata(losses.min(axis=1)) / len(losses)
    late = normal[:, max(0, epoch - 3) : epoch]
    best = normal[:, :epoch].min(axis=1)
    x = np.column_stack([late, best, mixed[:, epoch - 1], mixed[:, epoch:].mean(axis=1)])
    total, count = np.zeros(len(x)), np.zeros(len(x))
    for _ in range(40):
        train = rng.choice(len(x), size=min(_OTHERS, len(x) - 1), replace=False)
        rest = np.setdiff1d(np.arange(len(x)), train)
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 12)))
        total[rest] += model.fit(x[train], final[train]).predict(x[rest])
        count[rest] += 1
    return total / np.maximum(count, 1)


JUDGES: Mapping[str, Judge] = {
    "last score": last_score,
    "best so far": best_so_far,
    "power law": power_law,
    "learned": learned,
}


POLICIES: Mapping[str, tuple[float, int] | None] = {
    "never stopped": None,
    "0.11, 1 of 3": (1 / 9, 3),
    "0.3, 1 of 3": (0.3, 3),
    "0.3, 1 of 2": (0.3, 2),
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
    check_names(options.tasks or (), (), options.tables)
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
        for trials in (5, 10):
            found = [f"{100 * place(table, policy, trials):.0f}" for policy in POLICIES.values()]
            print(f"| {table.task}, {trials} trials' epochs | {' | '.join(found)} |")


def means(tables: Sequence[Table]) -> str:
    """τ, mean over tasks."""
    rows = []
    for share, label in RUNGS:
        found = [f"{np.mean([tau_of(table, j, share) for table in tables]):.2f}" for j in JUDGES.values()]
        rows.append(f"| all, {label} | {' | '.join(found)} |")
    return "\n".join([f"| mean over tasks | {' | '.join(JUDGES)} |", f"|---|{'---:|' * len(JUDGES)}", *rows])


def judged(table: Table, judge: Judge, share: float) -> str:
    losses, mixed = arrays(table.complete, table)
    return cell(judge(losses, mixed, rung(table, share)), losses.min(axis=1))


def tau_of(table: Table, judge: Judge, share: float) -> float:
    losses, mixed = arrays(table.complete, table)
    return tau(judge(losses, mixed, rung(table, share)), losses.min(axis=1))


def place(table: Table, policy: tuple[float, int] | None, trials: int) -> float:
    """Mean share of the recorded configurations that are better than the best whole trial of a search."""
    losses, _ = arrays(table.complete, table)
    final = losses.min(axis=1)
    pruner = (
        None if policy is None else RungPruner(epochs=table.epochs, first_rung=policy[0], reduction=policy[1])
    )
    rng = np.random.default_rng(0)
    places = []
    for _ in range(_ORDERS):
        # With repetition: a search that stops early sees more configurations than were recorded.
        order = [0, *rng.integers(1, len(final), size=20 * trials)]
        places.append((final < search(losses, order, pruner, trials * table.epochs)).mean())
    return float(np.mean(places))


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
    epoch = rung(table, share)
    short = {c.number: c for c in table.short if c.epochs == epoch and c.is_complete}
    both = [c for c in table.complete if c.number in short and c.settings == short[c.number].settings]
    if len(both) < 10:
        return "–"
    whole, _ = arrays(both, table)
    brief, _ = arrays([short[c.number] for c in both], table)
    return cell(brief.min(axis=1), whole.min(axis=1))


def arrays(found: Sequence[Configuration], table: Table) -> tuple[Floats, Floats]:
    """Losses and shares of patches still mixed in, both (C, E)."""
    sign = 1.0 if table.direction == "min" else -1.0
    ks = np.array([c.ks for c in found], dtype=float)
    return sign * np.array([c.scores for c in found]), ks / max(ks.max(), 1.0)


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
