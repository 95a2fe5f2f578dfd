"""From the results of cells to what a comparison says, in plain values that every output draws from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

from pare_tune.compare.cell import CellResult
from pare_tune.compare.plan import Plan, TaskFacts
from pare_tune.compare.statistics import Direction, Pair, Ranking, compare_pairs, rank_methods, smallest_p
from pare_tune.tasks.base import best_of

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = "published"
PUBLISHED_NOTE = (
    "published: PaRe's value in its paper (Cai et al., ICML 2024), on the benchmark's release, with the paper's "
    "backbone, and under the official protocol, which selects on test; no test or rank here uses it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One method on one task."""

    scores: tuple[float, ...]
    """On test, one a seed that has one."""
    asked: int
    """Seeds that were asked for."""
    missing: tuple[str, ...] = ()
    """Why others have none, each cause once."""
    unfit: bool = False
    """Whether the method is not for this task."""

    @property
    def mean(self) -> float:
        """NaN without a score."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN below two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else math.nan

    @property
    def text(self) -> str:
        """`0.0413 ± 0.0023`; how many seeds where some are missing; why there is none."""
        if self.unfit:
            return "n/a"
        if not self.scores:
            return "failed" if self.missing else "–"
        said = plus_minus(self.mean, self.spread)
        return said if len(self.scores) == self.asked else f"{said} ({len(self.scores)} of {self.asked})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """One method over all tasks."""

    name: str
    tasks: int
    """With a score."""
    wins: int
    """Tasks on which no method has a better mean; ties count for all."""
    rank: float
    """Average, over the tasks that all methods have; NaN where there is none."""
    epochs: float
    """Mean over cells; NaN where it has none."""
    seconds: float
    """Mean over cells, search included."""
    failed: int
    """Cells."""


_COLUMNS = (
    "task", "method", "seed", "score", "direction", "metric", "unit", "data", "validation", "test_samples", "trials",
    "epochs", "seconds", "state", "cause", "note", "published_pare",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the tables, figures and tests are made of."""

    title: str
    tasks: tuple[TaskFacts, ...]
    methods: tuple[MethodFacts, ...]
    scores: Mapping[str, Mapping[str, Score]] = field(repr=False)
    """Task → method → score."""
    pairs: tuple[Pair, ...]
    """Every method against every later one."""
    ranking: Ranking
    results: tuple[CellResult, ...] = field(repr=False)
    notes: tuple[str, ...]
    """What a reader must know beside the numbers."""

    @property
    def names(self) -> tuple[str, ...]:
        """Methods, in the order in which they were asked for."""
        return tuple(method.name for method in self.methods)

    def is_best(self, task: TaskFacts, method: str) -> bool:
        """Whether no method has a better mean on the task."""
        return _is_best(task, self.scores[task.name], method)

    def table(self) -> pd.DataFrame:
        """One row a cell."""
        import pandas as pd

        tasks = pd.DataFrame([asdict(task) for task in self.tasks]).rename(
            columns={"name": "task", "provenance": "data", "published": "published_pare"}
        )
        cells = pd.DataFrame(
            [asdict(result) for result in self.results], columns=[f.name for f in fields(CellResult)]
        )
        whole = dict.fromkeys(("test_samples", "trials", "epochs"), "Int64")  # with gaps
        table = cells.rename(columns={"test": "score"}).merge(tasks, on="task", how="left")
        return table.round({"seconds": 3}).reindex(columns=list(_COLUMNS)).astype(whole)


def summarise(plan: Plan, results: Sequence[CellResult]) -> Comparison:
    """Everything that the results of a plan say; cells that are missing yet are missing."""
    scores = {
        task.name: {method: _score(results, task.name, method, plan.seeds) for method in plan.methods}
        for task in plan.tasks
    }
    values = {task: {m: s.scores for m, s in row.items()} for task, row in scores.items()}
    directions: dict[str, Direction] = {task.name: task.direction for task in plan.tasks}
    ranking = rank_methods(values, directions, plan.methods)
    ranks = dict(zip(ranking.methods, ranking.ranks, strict=True))
    pairs = tuple(compare_pairs(values, directions, plan.methods))
    return Comparison(
        title=_title(plan),
        tasks=plan.tasks,
        methods=tuple(_method(plan.tasks, scores, results, name, ranks[name]) for name in plan.methods),
        scores=scores,
        pairs=pairs,
        ranking=ranking,
        results=tuple(results),
        notes=tuple(_notes(plan, results, ranking, pairs)),
    )


def plus_minus(mean: float, spread: float) -> str:
    """`33.5 ± 1.6`: the spread to two digits and the mean as far; the mean to four where there is no spread."""
    if math.isnan(spread):
        return _digits(mean, 4)
    if spread == 0.0:
        return f"{_digits(mean, 4)} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    if mean:
        # Beyond six digits nothing can be read.
        decimals = min(decimals, max(0, 5 - math.floor(math.log10(abs(mean)))))
    return f"{mean:.{decimals}f} ± {spread:.{decimals}f}"


def _digits(value: float, count: int) -> str:
    return f"{value:#.{count}g}".rstrip(".") if value else "0"


def _title(plan: Plan) -> str:
    budget = "default configurations" if plan.budget == 1 else f"{plan.budget} trials each"
    seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
    presets = " and ".join(plan.presets)
    return f"{len(plan.methods)} methods on {len(plan.tasks)} tasks, {budget}, {seeds}, preset {presets}"


def _score(results: Iterable[CellResult], task: str, method: str, asked: int) -> Score:
    mine = [r for r in results if r.task == task and r.method == method]
    return Score(
        scores=tuple(r.test for r in mine if r.state == "done" and r.test is not None),
        asked=asked,
        missing=tuple(dict.fromkeys(r.cause or "" for r in mine if r.state == "failed")),
        unfit=any(r.state == "unfit" for r in mine),
    )


def _is_best(task: TaskFacts, scores: Mapping[str, Score], method: str) -> bool:
    means = [s.mean for s in scores.values() if s.scores]
    mine = scores[method]
    return bool(mine.scores) and mine.mean == best_of(means, task.direction)


def _method(
    tasks: Iterable[TaskFacts],
    scores: Mapping[str, Mapping[str, Score]],
    results: Iterable[CellResult],
    name: str,
    rank: float,
) -> MethodFacts:
    mine = [r for r in results if r.method == name]
    done = [r for r in mine if r.state == "done"]
    epochs = [r.epochs for r in done if r.epochs is not None]
    seconds = [r.seconds for r in done if r.seconds is not None]
    return MethodFacts(
        name=name,
        tasks=sum(bool(row[name].scores) for row in scores.values()),
        wins=sum(_is_best(task, scores[task.name], name) for task in tasks),
        rank=rank,
        epochs=statistics.fmean(epochs) if epochs else math.nan,
        seconds=statistics.fmean(seconds) if seconds else math.nan,
        failed=sum(r.state == "failed" for r in mine),
    )


def _notes(
    plan: Plan, results: Sequence[CellResult], ranking: Ranking, pairs: Sequence[Pair]
) -> Iterable[str]:
    kinds = sorted({task.provenance for task in plan.tasks} - {"real"})
    if kinds:
        said = {
            "sample": "sample: simulated data, which say nothing about the real benchmark",
            "solved": "solved: equations solved here, smaller than the released data",
        }
        yield "data " + "; ".join(said[kind] for kind in kinds if kind in said)
    if any(task.published is not None for task in plan.tasks):
        yield PUBLISHED_NOTE
    yield f"ranks and Friedman's test: the {ranking.tasks} of {len(plan.tasks)} tasks on which every method has a score"
    counts = sorted({pair.tasks for pair in pairs})
    if counts:
        shown = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield f"Wilcoxon: {shown} tasks a pair; with {counts[-1]} no p below {smallest_p(counts[-1]):.2g} is possible"
    if plan.seeds > 1:
        yield f"± is the standard deviation over {plan.seeds} seeds, intervals a bootstrap over these, which are few"
    yield from plan.notes
    for cause, cells in _grouped((r.cause or "", r) for r in results if r.state == "failed").items():
        where = ", ".join(f"{r.method} on {r.task} (seed {r.seed})" for r in cells)
        yield f"failed: {where}: {cause}"
    for note, cells in _grouped((r.note, r) for r in results if r.note is not None).items():
        where = ", ".join(dict.fromkeys(f"{r.method} on {r.task}" for r in cells))
        yield f"{where}: {note}"
    open_cells = len(plan.cells) - len(results)
    if open_cells:
        yield f"{open_cells} of {len(plan.cells)} cells have not run yet"


def _grouped(items: Iterable[tuple[str, CellResult]]) -> dict[str, list[CellResult]]:
    groups: dict[str, list[CellResult]] = {}
    for key, result in items:
        groups.setdefault(key, []).append(result)
    return groups
