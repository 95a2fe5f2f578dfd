"""What is compared with what: every mistake in it is told before anything runs or is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from pare_tune.compare.cell import ASKED, cell_folder
from pare_tune.compare.peers import PEERS
from pare_tune.config import Budget, RunConfig, TrialConfig, default_trial, own_of, task_of
from pare_tune.errors import ConfigError, UnknownName
from pare_tune.method import METHODS
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Direction, Preset, Task
from pare_tune.yaml import dump_yaml, validate

OURS: tuple[str, ...] = tuple(METHODS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell, with all that is needed to run it in any process."""

    task: str
    method: str
    seed: int
    folder: Path
    config: RunConfig
    """Of our own search, whose `trial` is the method's default; of peers, the data and the length of networks."""
    unfit: str | None = None
    """Why the method is not for this task."""

    @property
    def is_peer(self) -> bool:
        """Whether another system is trained, not ours."""
        return self.method not in OURS

    @property
    def needs_search(self) -> bool:
        """Whether our own search comes first; a single trial is the default, which needs none."""
        return self.unfit is None and not self.is_peer and self.config.search.budget.amount > 1

    @property
    def trials(self) -> int:
        """Budget."""
        return int(self.config.search.budget.amount)

    @property
    def asked(self) -> str:
        """The text of cell.yaml: all that its result depends on."""
        config = self.config
        search = {
            "budget": config.search.budget,
            "confirm": config.search.confirm,
            "space": config.search.space,
        }
        return dump_yaml(
            {
                "method": self.method,
                "search": {key: None if value is None else str(value) for key, value in search.items()},
                "trial": config.trial.to_dict(),
            }
        )


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a table says about a task."""

    name: str
    metric: str
    unit: str
    direction: Direction
    provenance: str
    """real, sample or solved."""
    published: float | None
    """PaRe's value in its paper, under the official protocol; never comparable with ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole comparison."""

    folder: Path
    tasks: tuple[TaskFacts, ...]
    methods: tuple[str, ...]
    seeds: int
    budget: int
    presets: tuple[str, ...]
    """Of tasks without a release and with one, where there are both."""
    cells: tuple[Cell, ...] = field(repr=False)
    """By task, then seed, then method: after part of them, methods can be compared on what is done."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Which methods are not for which tasks, and why."""
        return tuple(dict.fromkeys(f"{c.method}: {c.unfit}" for c in self.cells if c.unfit is not None))


def make_plan(
    tasks: Sequence[str],
    methods: Sequence[str],
    *,
    folder: Path,
    budget: int = 1,
    seeds: int = 3,
    preset: str | None = None,
    backbone: str | None = None,
    data: Mapping[str, Path] | None = None,
    settings: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolve and check a comparison.

    Args:
        tasks: names, or paths of task files.
        methods: of ours, and peers.
        folder: of the cells.
        budget: trials of every search; 1 is the default configuration alone.
        data: task → folder of its release.
        settings: dotted settings of our own trials ({"train.epochs": 5}); networks among the peers take their length
            and batch from there, too.
        search: fields of `SearchConfig`.

    Raises:
        UnknownName: there is no such task or method.
        ConfigError: a library is missing, a setting is not valid, a method is for none of the tasks, or the folder
        holds
            cells that were begun with other settings.
        BackboneUnavailable: a peer's weights are missing.
    """
    _check_counts(budget, seeds)
    folder = folder.absolute()  # each process of Ray's has a working directory of its own
    names, asked = _once("task", tasks), _once("method", methods)
    for name in asked:
        if name not in OURS and name not in PEERS:
            raise UnknownName("method", name, [*OURS, *PEERS])
        if name not in OURS:
            PEERS[name].require_ready()
    made = _Maker(
        folder, preset, backbone, dict(data or {}), dict(settings or {}), dict(search or {}), budget
    )
    opened = [made.task(name) for name in names]
    _once("task", [task.name for task in opened])  # one may be known by two names
    unknown = sorted(set(data or {}) - set(names))
    if unknown:
        raise ConfigError(f"--data names {unknown[0]!r}, which is not among --task {', '.join(names)}")
    cells = tuple(
        made.cell(name, task, method, seed)
        for name, task in zip(names, opened, strict=True)
        for seed in range(seeds)
        for method in asked
    )
    _require_some_task(asked, cells)
    _require_same(cells)
    return Plan(
        folder=folder,
        tasks=tuple(
            _facts(task, made.base(name, task, "finetune")) for name, task in zip(names, opened, strict=True)
        ),
        methods=asked,
        seeds=seeds,
        budget=budget,
        presets=tuple(dict.fromkeys(cell.config.trial.preset for cell in cells)),
        cells=cells,
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    """From names to cells."""

    folder: Path
    preset: str | None
    backbone: str | None
    data: dict[str, Path]
    settings: dict[str, Any]
    search: dict[str, Any]
    budget: int

    def task(self, name: str) -> Task:
        own = own_of(name)
        if own is not None and name in self.data:
            raise ConfigError(f"{name} says where its data are; leave out --data")
        if own is None:
            return get_task(name)
        from pare_tune.tasks.own.task import own_task

        return own_task(own)

    def base(self, name: str, task: Task, method: str) -> TrialConfig:
        data = self.data.get(name)
        preset = self.preset or ("paper" if data is not None else "embedded")
        if preset not in get_args(Preset):
            raise ConfigError(f"--preset is paper or embedded, got {preset!r}")
        trial = default_trial(
            task,
            preset=cast("Preset", preset),
            data=None if data is None else data.absolute(),
            backbone=self.backbone,
            method=method,
            own=own_of(name),
        )
        return trial.with_values(self.settings)

    def cell(self, name: str, task: Task, method: str, seed: int) -> Cell:
        ours = method if method in OURS else "finetune"
        trial = self.base(name, task, ours)
        if trial.method != ours:
            raise ConfigError("methods are compared, so --set cannot choose one; name it in --methods")
        # A whole search differs by its seed: its trials, and what is tried.
        trial = trial.with_values({"seed": seed})
        searched = {**self.search, "seed": seed, "budget": str(self.budget)}
        home = cell_folder(self.folder, task.name, method, seed)
        return Cell(
            task=task.name,
            method=method,
            seed=seed,
            folder=home,
            config=validate(
                RunConfig,
                {"trial": trial.to_dict(), "search": searched, "runs": home / "search"},
                where="options",
            ),
            unfit=None if method in OURS else PEERS[method].suits(task),
        )


def _facts(task: Task, trial: TrialConfig) -> TaskFacts:
    from pare_tune.tasks.load import provenance_of

    metric = task_of(trial).metric
    return TaskFacts(
        name=task.name,
        metric=metric.name,
        unit=metric.unit,
        direction=metric.direction,
        provenance=provenance_of(task, trial.data),
        published=task.paper.score,
    )


def _once(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise ConfigError(
            f"a comparison needs at least one {kind}; give --{kind}{'s' if kind == 'method' else ''}"
        )
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{kind} {twice!r} is given twice; name each once")
    return tuple(names)


def _check_counts(budget: int, seeds: int) -> None:
    for what, value in (("budget", budget), ("seeds", seeds)):
        if value < 1:
            raise ConfigError(f"--{what} must be at least 1, got {value}")


def _require_some_task(methods: Sequence[str], cells: Sequence[Cell]) -> None:
    for method in methods:
        mine = [c for c in cells if c.method == method]
        if all(c.unfit is not None for c in mine):
            raise ConfigError(
                f"{method} {mine[0].unfit}, and no other --task is for it; leave it out of --methods"
            )


def _require_same(cells: Sequence[Cell]) -> None:
    """Cells that were begun must have been begun with what is asked for now."""
    for cell in cells:
        path = cell.folder / ASKED
        if path.is_file() and path.read_text(encoding="utf-8") != cell.asked:
            raise ConfigError(
                f"{cell.folder} was begun with other settings (see its {ASKED}); give the same as then, or another "
                f"--runs folder, or delete it to start over"
            )


def parse_budget(text: str) -> int:
    """`--budget 20`: trials, since peers count no epochs. Raises ConfigError."""
    budget = Budget.parse(text)
    if budget.unit != "trials":
        raise ConfigError(
            f"a comparison gives every method as many trials, so --budget is a number of trials (20), got {text!r}"
        )
    return int(budget.amount)
