"""When may a training be called collapsed? Measured on recorded curves of random configurations.

    python tests/benchmarks/collapse.py [--tables FOLDER …]

A training is flagged at a share of its epochs when none of them so far scored better than a constant guess. Beside each
count: how many of the flagged ended better than the constant after all, and how many among the better half.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from statistics import median

from pare_tune.errors import PareTuneError
from pare_tune.recorded.table import Table, recorded_tables
from pare_tune.train.build import open_data
from pare_tune.train.collapse import constant_score
from simulate.tables import load_table

SHARES = {"1/3": 1 / 3, "1/2": 1 / 2, "2/3": 2 / 3}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=Path, nargs="+", help="folders of tables; default: the package's")
    options = parser.parse_args()
    tables = [
        load_table(name, folder) for folder in options.tables or [None] for name in recorded_tables(folder)
    ]
    print(
        f"| task (curves) | constant | median | {' | '.join(SHARES)} |\n|---|---:|---:|{'---:|' * len(SHARES)}"
    )
    for table in tables:
        constant = constant_score(open_data(table.base))
        ends = [table.sign * table.best(c.scores) for c in table.complete]
        cells = [flagged(table, share, table.sign * constant, median(ends)) for share in SHARES.values()]
        shown = " | ".join(cells)
        middle = table.sign * median(ends)
        print(f"| {table.task} ({len(table.complete)}) | {constant:.4g} | {middle:.4g} | {shown} |")


def flagged(table: Table, share: float, constant: float, middle: float) -> str:
    """`9; 2 better, 0 good`."""
    epochs = math.ceil(round(share * table.epochs, 9))
    alike = [c for c in table.complete if table.sign * table.best(c.scores[:epochs]) >= constant]
    ends = [table.sign * table.best(c.scores) for c in alike]
    better, good = sum(e < constant for e in ends), sum(e < middle for e in ends)
    return f"{len(alike)}; {better} better, {good} good"


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
