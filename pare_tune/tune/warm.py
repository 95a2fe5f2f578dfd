"""Warm starts: what earlier searches found, for a search of the same task or of another one.

Their best points are tested first, and their rankings enter the sampler as a prior that weakens (`tune/prior.py`).
A point holds settings by dotted key, and where its space said `relative`, the multiple of trial 0's own value instead
of the value: three times the paper's learning rate means something on another task, 3e-5 does not. Scores of different
tasks do not compare, so a trial has only its rank within its own search.

Points are kept in YAML: `warm-start.yaml` of a run folder holds those that the run began with, so that the earlier
runs may vanish; `pare-tune portfolio` writes the same format.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from pare_tune.config import Budget, TrialConfig, load_run, task_of
from pare_tune.data.files import write_text
from pare_tune.errors import ConfigError, PareTuneError
from pare_tune.shell import command
from pare_tune.tasks.base import Direction, Modality, loss_sign
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.journal import load_study
from pare_tune.tune.parameter import ChoiceParameter, Parameter
from pare_tune.tune.prior import Ranked, draw_uniform, seed_of
from pare_tune.tune.snapshot import TaskFacts, TrialView
from pare_tune.tune.space import BoundSpace, Space
from pare_tune.tune.study import view
from pare_tune.yaml import dump_yaml, load_yaml, validate

SHARE = 0.2
"""Most of the budget that earlier points are tested with."""
_MOST = 8
"""Most points tested first."""
_BY_TIME = 5
"""The same where the budget is wall time, which says nothing of how many trials there will be."""
_KEPT = 200
"""Trials of earlier searches that are kept; more say nothing new."""


Number = Annotated[float, Field(strict=True)]


class Point(BaseModel):
    """A configuration that an earlier search tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, Any]
    """Dotted setting → value."""
    relative: dict[str, Annotated[Number, Field(gt=0)]] = {}
    """Dotted setting → multiple of trial 0's own value."""
    task: str
    modality: str
    run: str = ""
    """Name of the run folder."""
    rank: Number = Field(default=0.0, ge=0, le=1)
    """0 for the best of its run, 1 for the worst."""
    complete: StrictBool = True
    """Whether its trial came to its end; others only guide."""

    @classmethod
    def around(
        cls, base: TrialConfig, settings: Mapping[str, Any], relative: Collection[str], **about: Any
    ) -> Point:
        """A configuration of a search around `base`, whose settings named in `relative` are multiples of its own."""
        multiples = {
            key: float(value) / float(base.value_of(key))
            for key, value in settings.items()
            if key in relative
        }
        rest = {key: value for key, value in settings.items() if key not in multiples}
        return cls(settings=rest, relative=multiples, task=base.task, **about)


@dataclass(frozen=True, slots=True)
class Start:
    """What a search begins with."""

    points: tuple[Point, ...]
    """The best first."""
    count: int
    """How many of them are tested first, at most."""

    def __str__(self) -> str:
        tasks = ", ".join(dict.fromkeys(p.task for p in self.points))
        return (
            f"begins with what did well before, on {tasks}: {len(self.points)} trials guide it at first, "
            f"the best are tested first, at most {self.count}"
        )

    def save(self, path: Path) -> None:
        """Write it. Raises StorageError when the disk refuses."""
        write_text(path, points_yaml(self.points, first=self.count))

    @classmethod
    def load(cls, path: Path) -> Start | None:
        """Read what `save` wrote; None where there is none."""
        if not path.is_file():
            return None
        tree = load_yaml(path)
        points = read_points(path)
        count = tree.get("first", 0)
        return cls(tuple(points), int(count) if isinstance(count, int) else 0)

    def tested(self, space: BoundSpace) -> list[dict[str, Any]]:
        """What the study records of the points tested first; none twice, and not what trial 0 tests anyway."""
        tested: list[dict[str, Any]] = []
        for point in self.points:
            if not point.complete:
                continue
            values = known_values(point, space)
            params = space.place(values)
            if values and params not in (space.base_params(), *tested):
                tested.append(params)
        return tested[: self.count]

    def ranked(self, space: BoundSpace, seed: int) -> list[Ranked]:
        """All points as the sampler takes them. A value that is not known is drawn, so that it says nothing."""
        ranked = []
        for index, point in enumerate(self.points):
            values = known_values(point, space)
            if values:
                rng = np.random.default_rng(seed_of(seed, "warm", index))
                ranked.append(Ranked(space.place(values, partial(_draw, rng=rng)), point.rank))
        return ranked


def gather(sources: Sequence[Path], space: BoundSpace, modality: Modality, budget: Budget) -> Start | None:
    """The points of earlier runs and of point files, as many as are worth keeping.

    Raises:
        ConfigError: a source is neither, or has no finished trial, none of the modality, or none that fits `space`.
    """
    if not sources:
        return None
    groups = [_usable(source, space, modality) for source in sources]
    count = most_first(budget, space.base.train.epochs)
    each = max(1, _KEPT // len(groups))
    return Start(tuple(in_turn([_spread(group, each) for group in groups])), count)


def in_turn(groups: Sequence[Sequence[Point]]) -> list[Point]:
    """The best of each group, then the second best of each, and so on."""
    return [point for row in zip_longest(*groups) for point in row if point is not None]


@dataclass(frozen=True, slots=True)
class Tried:
    """A trial of an earlier search."""

    number: int
    point: Point
    cost: float
    """Its best score, as something to be made small; infinity for one that has none."""
    is_complete: bool


def tried_of_run(run: Path) -> list[Tried]:
    """The trials of a run, best first: complete ones by score, stopped ones by how far they got, failed ones last.

    Raises:
        ConfigError: no run folder, or no complete trial in it.
    """
    folder = RunFolder.existing(run)
    config = load_run(folder.run_yaml)
    relative = {p.key for p in Space.load(folder.space_yaml).parameters if p.relative}
    try:
        study = load_study(folder.journal)
    except PareTuneError as error:
        raise ConfigError(f"{run} has no finished trial to start from: {error}") from error
    facts = TaskFacts.read(
        {"task": config.trial.task, "direction": "max", **study.user_attrs.get("about", {})}
    )
    trials = [view(t, config.epochs_of_a_trial, began=None) for t in study.get_trials(deepcopy=False)]
    ordered = ranking(trials, facts.direction)
    if not any(t.state == "complete" for t in ordered):
        raise ConfigError(
            f"{run} has no finished trial to start from; let it run on: {command('resume', run)}"
        )
    modality = facts.modality or task_of(config.trial).modality.value
    sign = loss_sign(facts.direction)
    tried = []
    for place, trial in enumerate(ordered):
        point = Point.around(
            config.trial,
            trial.params,
            relative,
            modality=modality,
            run=folder.path.name,
            rank=place / max(1, len(ordered) - 1),
            complete=trial.state == "complete",
        )
        failed = trial.state == "failed" or trial.best_score is None
        cost = math.inf if failed else sign * float(trial.best_score or 0.0)
        tried.append(Tried(trial.number, point, cost, trial.state == "complete"))
    return tried


def ranking(trials: Sequence[TrialView], direction: Direction, *, repeats: bool = False) -> list[TrialView]:
    """Trials of a search that have ended, best first.

    Args:
        repeats: those that only confirm another one, too.
    """
    sign = loss_sign(direction)
    order = {"complete": 0, "pruned": 1, "failed": 2}

    def key(trial: TrialView) -> tuple[float, ...]:
        score = math.inf if trial.best_score is None else sign * trial.best_score
        far = 0.0 if trial.state == "complete" else -float(trial.epoch)
        return (order[trial.state], far, score, trial.number)

    return sorted((t for t in trials if t.state in order and (repeats or t.repeats is None)), key=key)


def read_points(path: Path) -> list[Point]:
    """Read a file of points.

    Raises:
        ConfigError: it cannot be read, or says something that is no point.
    """
    tree = load_yaml(path)
    rows = tree.get("points") if isinstance(tree, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise ConfigError(
            f"{path} is neither a run folder nor a file of points: it has no list `points`; "
            "`pare-tune portfolio` writes one"
        )
    return [validate(Point, row, where=f"{path}: points[{i}]") for i, row in enumerate(rows)]


def points_yaml(points: Sequence[Point], **head: Any) -> str:
    """The text of a file of points."""
    return dump_yaml({**head, "points": [point.model_dump() for point in points]})


def known_values(point: Point, space: BoundSpace) -> dict[str, Any]:
    """What `point` says of the parameters of `space`, by the study's names: values that these can hold."""
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        value = _absolute(point, parameter.key, space)
        if value is not None and parameter.times is not None:
            whole = _absolute(point, parameter.times, space)
            value = None if not whole else value / whole
        if value is None:
            continue
        value = _within(parameter, value)
        if parameter.contains(value):
            values[parameter.name] = value
    return values


def _absolute(point: Point, key: str, space: BoundSpace) -> Any:
    if key in point.relative:
        own = space.base.value_of(key)
        return point.relative[key] * own if isinstance(own, int | float) else None
    return point.settings.get(key)


def _within(p: Parameter, value: Any) -> Any:
    """A number that rounding alone put outside of its range, or off whole numbers, is taken back."""
    if isinstance(p, ChoiceParameter) or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if p.kind == "int" and abs(value - round(value)) < 1e-9:
        value = round(value)
    near = 1e-9 * max(abs(p.low), abs(p.high))
    if p.low - near <= value <= p.high + near:
        value = min(max(value, p.low), p.high)
    return int(value) if p.kind == "int" and value == int(value) else value


def _usable(source: Path, space: BoundSpace, modality: Modality) -> list[Point]:
    points = [t.point for t in tried_of_run(source)] if source.is_dir() else _points_for(source, modality)
    if not any(known_values(p, space) for p in points):
        raise ConfigError(
            f"{source} has no setting in common with this search, which tries "
            f"{', '.join(p.key for p in space.parameters)}; leave it out of --warm-start"
        )
    return points


def _points_for(path: Path, modality: Modality) -> list[Point]:
    if not path.is_file():
        raise ConfigError(f"--warm-start takes run folders and files of points; {path} does not exist")
    points = read_points(path)
    fitting = [p for p in points if p.modality == modality.value]
    if not fitting:
        has = ", ".join(sorted({p.modality for p in points}))
        raise ConfigError(f"{path} has no points for tasks of modality {modality.value}, only for {has}")
    return fitting


def most_first(budget: Budget, epochs: int) -> int:
    """Most earlier points that a search tests first; `epochs` is the length of a trial."""
    trials = budget.amount / budget.measured(trials=1, epochs=epochs, seconds=1)
    by_count = min(_MOST, math.floor(SHARE * trials))
    return _BY_TIME if budget.unit == "seconds" else by_count


def _spread(points: Sequence[Point], count: int) -> list[Point]:
    """At most `count`, evenly over the ranking and the best half of them without gaps."""
    if len(points) <= count:
        return list(points)
    head = count // 2
    rest = points[head:]
    step = len(rest) / (count - head)
    return [*points[:head], *(rest[int(i * step)] for i in range(count - head))]


def _draw(p: Parameter, rng: np.random.Generator) -> Any:
    return p.distribution.to_external_repr(draw_uniform(p.distribution, rng))
