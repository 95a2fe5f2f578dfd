"""Which settings are best near the paper's? Measured on recorded curves of random configurations.

    python tests/benchmarks/defaults.py [--tables FOLDER]

Kendall's τ between the distance of a setting to trial 0's value (on the space's own scale; for a choice: whether it is
another one) and the best validation loss, over the recorded configurations that have the setting. 0: nearness says
nothing. Positive: near trial 0's value is better, so a prior around it helps. |τ| below 0.13 is chance for 100
configurations (two-sided, 5 %).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from pare_tune.errors import PareTuneError
from pare_tune.recorded.table import Table, recorded_tables
from pare_tune.tune.parameter import Parameter
from pare_tune.tune.prior import to_unit
from pare_tune.tune.recorded import space_of
from pare_tune.tune.space import BoundSpace
from simulate.tables import load_table

_FEWEST = 30
"""Configurations that a τ is worth showing of."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, help="folder of tables; default: the package's")
    options = parser.parse_args()
    tables = [load_table(name, options.tables) for name in recorded_tables(options.tables)]
    found = {table.task: dict(taus(table)) for table in tables}
    print(f"| setting | {' | '.join(found)} | mean |\n|---|{'---:|' * (len(found) + 1)}")
    for key in dict.fromkeys(key for row in found.values() for key in row):
        row = [values.get(key, math.nan) for values in found.values()]
        cells = ["–" if math.isnan(tau) else f"{tau:+.2f}" for tau in (*row, float(np.nanmean(row)))]
        print(f"| {key} | {' | '.join(cells)} |")


def taus(table: Table) -> Iterator[tuple[str, float]]:
    """Setting → τ."""
    space = space_of(table)
    for parameter in space.parameters:
        having = [c for c in table.complete if parameter.key in c.settings]
        if len(having) < _FEWEST:
            continue
        distances = [distance(parameter, space, c.settings) for c in having]
        losses = [table.sign * table.best(c.scores) for c in having]
        yield parameter.key, float(kendalltau(distances, losses).statistic)


def distance(parameter: Parameter, space: BoundSpace, settings: dict[str, object]) -> float:
    """From trial 0's value, in units of the range."""
    own, base = value_of(parameter, space, settings), value_of(parameter, space, {})
    if parameter.kind == "choice":
        return float(own != base)
    distribution = parameter.distribution
    inside = (min(max(v, parameter.low), parameter.high) for v in (own, base))
    here, there = (to_unit(distribution, v) for v in inside)
    return abs(here - there)


def value_of(parameter: Parameter, space: BoundSpace, settings: dict[str, object]) -> object:
    """As the space samples it: some are shares of another setting."""

    def current(key: str) -> object:
        return settings.get(key, space.base.value_of(key))

    value = current(parameter.key)
    if parameter.times is None:
        return value
    whole = float(current(parameter.times))
    return float(value) / whole if whole else 0.0


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
