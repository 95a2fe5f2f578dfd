"""What the tables of recorded curves say about a new task: their configurations as trials of earlier searches.

A search begins with the few configurations that together cover the recorded tasks best (`tune/portfolio.py`), and the
better ones of each task guide it at first, as those of a warm start do. What was recorded of the very task that is
searched is left out: the result of a search is its own, and a simulated search knows no more than a real one.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from pathlib import Path

from pare_tune.errors import DataError
from pare_tune.recorded.table import Configuration, Table, read_table, recorded_tables
from pare_tune.tasks import get_task
from pare_tune.tune.available import sources_at_hand
from pare_tune.tune.portfolio import cover
from pare_tune.tune.space import BoundSpace, Space
from pare_tune.tune.warm import Point, Start, Tried, in_turn

_POINTS = 2
"""Most recorded configurations that a search tests first."""


@lru_cache(maxsize=16)
def recorded_start(task: str, most: int, folder: Path | None = None) -> Start | None:
    """The recorded configurations that a search of `task` begins with; None where there are no others' tables.

    Args:
        most: of them, what the budget allows for.
        folder: of the tables; None is the package's.

    Raises:
        DataError: a table is damaged.
    """
    tables = [read_table(path) for name, path in recorded_tables(folder).items() if name != task]
    runs = [tried_of_table(table) for table in tables if table.complete]
    size = min(most, _POINTS)
    if not runs or not size:
        return None
    first = cover(runs, size).points
    # The better half only: guided by whole rankings, simulated searches find less.
    guides = in_turn([[t.point for t in run[: -(-len(run) // 2)]] for run in runs])
    return Start((*first, *(p for p in guides if p not in first)), len(first))


def tried_of_table(table: Table) -> list[Tried]:
    """The recorded configurations as trials of one search, best first; failed ones last.

    Raises:
        DataError: none of them reached its last epoch.
    """
    if not table.complete:
        raise DataError(f"no configuration of the table of {table.task} reached its last epoch; leave it out")
    relative = {p.key for p in space_of(table).parameters if p.relative}

    def cost(c: Configuration) -> float:
        return table.sign * table.best(c.scores) if c.is_complete else math.inf

    ordered = sorted(table.configurations, key=lambda c: (cost(c), c.number))
    last = max(1, len(ordered) - 1)
    modality, run = get_task(table.task).modality.value, f"recorded-{table.task}"

    def point(c: Configuration, place: int) -> Point:
        about = {"modality": modality, "run": run, "rank": place / last, "complete": c.is_complete}
        return Point.around(table.base, c.settings, relative, **about)

    return [Tried(c.number, point(c, place), cost(c), c.is_complete) for place, c in enumerate(ordered)]


def space_of(table: Table) -> BoundSpace:
    """The space that a table was recorded in: around the table's trial 0, with the sources that need no files."""
    space = Space.recorded(get_task(table.task))
    return space.bind(table.base, usable=partial(sources_at_hand, base=table.base))
