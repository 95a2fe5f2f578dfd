"""Recorded tables as earlier searches: what other tasks' curves say about a new one."""

from __future__ import annotations

import math

from pare_tune.errors import DataError
from pare_tune.simulate.surrogate import space_of
from pare_tune.simulate.table import Configuration, Table
from pare_tune.tasks import get_task
from pare_tune.tune.warm import Point, Tried


def tried_of_table(table: Table) -> list[Tried]:
    """The recorded configurations as trials of one search, best first; failed ones last.

    Raises:
        DataError: none of them reached its last epoch.
    """
    if not table.complete:
        raise DataError(
            f"no configuration of the table of {table.task} reached its last epoch; record more with "
            f"jobs/record_curves.py, or leave it out"
        )
    sign = 1.0 if table.direction == "min" else -1.0
    relative = {p.key for p in space_of(table).parameters if p.relative}

    def cost(c: Configuration) -> float:
        return sign * table.best(c.scores) if c.is_complete else math.inf

    ordered = sorted(table.configurations, key=lambda c: (cost(c), c.number))
    last = max(1, len(ordered) - 1)
    return [
        Tried(c.number, _point(c, table, relative, place / last), cost(c), c.is_complete)
        for place, c in enumerate(ordered)
    ]


def _point(c: Configuration, table: Table, relative: set[str], rank: float) -> Point:
    multiples = {
        key: float(value) / float(table.base.value_of(key))
        for key, value in c.settings.items()
        if key in relative
    }
    return Point(
        settings={key: value for key, value in c.settings.items() if key not in multiples},
        relative=multiples,
        task=table.task,
        modality=get_task(table.task).modality.value,
        run=f"recorded-{table.task}",
        rank=rank,
        complete=c.is_complete,
    )
