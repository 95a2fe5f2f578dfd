"""Which settings matter? Measured on recorded curves of random configurations.

    python tests/benchmarks/importance.py [--tables FOLDER …]

A random forest learns the rank of a configuration's loss from its settings; the importance of a setting is the R² on
held-out configurations (five folds) that is lost when its values are shuffled among them, mean over twenty shuffles. A
setting that is not asked in a configuration has the value of its own that says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from pare_tune.errors import PareTuneError
from pare_tune.recorded.table import Table, recorded_tables
from simulate.tables import load_table

SHUFFLES = 20
Array = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=Path, nargs="+", help="folders of tables; default: the package's")
    options = parser.parse_args()
    tables = [
        load_table(name, folder) for folder in options.tables or [None] for name in recorded_tables(folder)
    ]
    measured = {table.task: importances(table) for table in tables}
    keys = {key for row in measured.values() for key in row} - {"all"}
    mean = {key: float(np.mean([row.get(key, 0.0) for row in measured.values()])) for key in keys}
    print(f"| setting | {' | '.join(measured)} | mean |\n|---|{'---:|' * (len(measured) + 1)}")
    for key in ["all", *sorted(keys, key=mean.__getitem__, reverse=True)]:
        row = [values.get(key, 0.0) for values in measured.values()]
        print(f"| {key} | {' | '.join(f'{v:.2f}' for v in (*row, float(np.mean(row))))} |")


def importances(table: Table) -> Mapping[str, float]:
    """Setting → R² lost; "all" → the held-out R² itself."""
    settings = [c.settings for c in table.complete]
    keys = sorted({key for s in settings for key in s})
    columns = {key: _columns([s.get(key) for s in settings]) for key in keys}
    y = rankdata([table.sign * table.best(c.scores) for c in table.complete])
    rng = np.random.default_rng(0)
    guessed = {key: np.zeros((SHUFFLES, len(y))) for key in ("all", *keys)}
    for train, test in KFold(5, shuffle=True, random_state=0).split(y):
        forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
        forest.fit(np.hstack([c[train] for c in columns.values()]), y[train])
        guessed["all"][:, test] = forest.predict(np.hstack([c[test] for c in columns.values()]))
        for key in keys:
            shuffled = [
                np.hstack([c[rng.permutation(test) if k == key else test] for k, c in columns.items()])
                for _ in range(SHUFFLES)
            ]
            guessed[key][:, test] = forest.predict(np.vstack(shuffled)).reshape(SHUFFLES, -1)
    score = {key: float(np.mean([r2_score(y, row) for row in rows])) for key, rows in guessed.items()}
    return {"all": score["all"], **{key: score["all"] - score[key] for key in keys}}


def _columns(values: list[object]) -> Array:
    """Numbers as they are, with one below them all where there is none; words one column each."""
    if any(isinstance(v, str) for v in values):
        return np.array([[float(v == word) for word in sorted(set(map(str, values)))] for v in values])
    least = min(float(v) for v in values if isinstance(v, int | float))
    return np.array([[float(v) if isinstance(v, int | float) else least - 1.0] for v in values])


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
