"""Search spaces: YAML → checked distributions, asked define-by-run so that conditions are real.

A space is a mapping from dotted `TrialConfig` settings to what may be tried:

    optimizer.lr:
      float: [0.1, 10]          # or int: [lo, hi], or choice: [a, b, c]
      log: true                 # sampled on a log scale
      relative: true            # the bounds are multiples of trial 0's own value
    k.end:
      float: [0.0, 0.5]
      times: k.start            # the sampled number is a share of another setting's value
      when: {k.kind: [linear]}  # asked only then; otherwise the setting keeps trial 0's value
      default: 0.0              # what the config says where nobody says anything; documents the range
      prior: {strength: weak}   # good values are expected near trial 0's: weak, medium, strong, or the number of trials
                                # that this is worth (1, 2, 4); without it all values are equally likely at first

Settings that a method ignores (k, loss, gate, source, align) are asked only of methods that have them, without a `when`
of their own: of the run's method, or of those listed where `method` is searched too. `method` is then asked first,
wherever it stands.

Trial 0 is always the run's own configuration, whether the space contains it or not. Where it does not, the settings
outside are left out of trial 0's record rather than bent to fit (`BoundSpace.base_params`).
"""

from __future__ import annotations

import copy
import importlib.resources
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from optuna.trial import BaseTrial
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pare_tune.config import OptimizerConfig, RunConfig, SourceConfig, TrainConfig, TrialConfig
from pare_tune.errors import ConfigError
from pare_tune.fitting import misfit
from pare_tune.tasks.base import Task
from pare_tune.tune.available import METHOD, Usable, searchable, sources_at_hand
from pare_tune.tune.parameter import ChoiceParameter, Parameter, parse_parameter
from pare_tune.tune.prior import Prior
from pare_tune.yaml import as_builtins, dotted, line_of, load_yaml, no_setting


@dataclass(frozen=True, slots=True)
class Space:
    """A checked search space, before it meets a configuration."""

    parameters: tuple[Parameter, ...]
    warnings: tuple[str, ...]
    tree: CommentedMap
    """The YAML as read and merged, comments kept."""

    @classmethod
    def load(cls, path: Path, *overrides: Path) -> Space:
        """Read a space; each file of `overrides` replaces or adds whole settings, `null` removes one.

        Raises:
            ConfigError: one line a mistake, each with file, line, rule and value.
        """
        tree = _mapping(load_yaml(path), path)
        origin = {str(key): _where(path, tree, (key,)) for key in tree}
        for other in overrides:
            changes = _mapping(load_yaml(other), other)
            for key, spec in changes.items():
                origin[str(key)] = _where(other, changes, (key,))
                if spec is None:
                    tree.pop(key, None)
                else:
                    tree[key] = spec
        return cls._parse(tree, origin)

    @classmethod
    def shipped(cls, task: Task, *, methods: bool = True) -> Space:
        """The space of the task's modality, with the task's own changes; `methods` False keeps to one method."""
        space = cls._of(task, spaces_folder())
        if methods:
            return space
        tree = copy.deepcopy(space.tree)
        tree.pop(METHOD, None)
        return cls(tuple(p for p in space.parameters if p.key != METHOD), space.warnings, tree)

    @classmethod
    def recorded(cls, task: Task) -> Space:
        """The wide space that learning curves of the task are recorded in."""
        return cls._of(task, spaces_folder() / "recorded")

    @classmethod
    def _of(cls, task: Task, folder: Path) -> Space:
        own = spaces_folder() / "tasks" / f"{task.name}.yaml"
        return cls.load(folder / f"{task.modality.value}.yaml", *([own] if own.is_file() else []))

    @classmethod
    def _parse(cls, tree: CommentedMap, origin: Mapping[str, str]) -> Space:
        errors: list[str] = []
        parameters: dict[str, Parameter] = {}
        for key, spec in tree.items():
            try:
                parameters[str(key)] = _parameter(str(key), spec, parameters, origin[str(key)])
            except ValueError as mistake:
                errors.append(f"{origin[str(key)]}: {mistake}")
        if errors:
            raise ConfigError("\n".join(errors))
        if not parameters:
            raise ConfigError("a search space needs at least one setting, this one has none")
        warnings = tuple(
            f"{p.where}: the default of {p.key}, {p.default!r}, lies outside of {p.describe()}"
            for p in parameters.values()
            if p.default is not None and not p.relative and not p.contains(p.default)
        )
        space = cls(tuple(parameters.values()), warnings, tree)
        space.bind(_prototype())
        return space

    def bind(self, base: TrialConfig, *, usable: Usable | None = None) -> BoundSpace:
        """The space around trial 0 = `base`: relative bounds become absolute, what cannot be used is dropped.

        Raises:
            ConfigError: a value that the space allows is not a valid setting.
        """
        kept, notes = searchable(self.parameters, base, usable)
        tree = copy.deepcopy(self.tree)
        _keep(tree, kept)
        space = BoundSpace(base, tuple(kept.values()), self.warnings, tuple(notes), tree)
        space.check()
        return space


@dataclass(frozen=True, slots=True)
class BoundSpace:
    """A space around one trial 0."""

    base: TrialConfig
    parameters: tuple[Parameter, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """What was dropped, and why."""
    tree: CommentedMap

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Ask `trial` for every active parameter; the settings that differ from or repeat trial 0's, by dotted key."""
        return self._walk(lambda parameter: parameter.ask(trial))

    def base_params(self) -> dict[str, Any]:
        """What the study can record of trial 0: its value of every active parameter that can hold it."""
        return self.place({})

    def base_settings(self) -> dict[str, Any]:
        """Trial 0's own values of the parameters that are active in it."""
        return {key: self.base.value_of(key) for key in self._walk(self._base_value)}

    def priors(self) -> dict[str, Prior]:
        """Where good values are expected, by the study's names; trial 0's values, where the study can hold them."""
        return {
            p.name: Prior(self._base_value(p), p.strength)
            for p in self.parameters
            if p.strength > 0 and p.contains(self._base_value(p))
        }

    def place(
        self, known: Mapping[str, Any], fill: Callable[[Parameter], Any] | None = None
    ) -> dict[str, Any]:
        """What the study would record of a point of which some values are known.

        Args:
            known: values by the study's names, each one that its parameter contains.
            fill: values of the active parameters that are not known; None takes trial 0's.
        """
        params: dict[str, Any] = {}

        def take(parameter: Parameter) -> Any:
            value = known.get(parameter.name)
            if value is None:
                value = self._base_value(parameter) if fill is None else fill(parameter)
            if parameter.contains(value):
                params[parameter.name] = value
            return value

        self._walk(take)
        return params

    def plain(self) -> dict[str, Any] | None:
        """What the study records of trial 0 without its mixing; None where that is no other trial, or not searched."""
        fine = {METHOD: "finetune"}
        able = any(p.key == METHOD and p.contains(fine[METHOD]) for p in self.parameters)
        return self.place(fine) if able and self.base.method != fine[METHOD] else None

    def suggest_base(self, trial: BaseTrial) -> dict[str, Any]:
        """Enter trial 0, enqueued with `base_params`, into the study; its settings are `base`'s to the last bit."""
        params = self.base_params()
        for parameter in self.parameters:
            if parameter.name in params:
                parameter.ask(trial)
        return self.base_settings()

    def config(self, settings: Mapping[str, Any]) -> TrialConfig:
        """`base` with a trial's settings."""
        return self.base.with_values(settings)

    def describe(self) -> list[tuple[str, str, Any]]:
        """(setting, what may be tried, trial 0's value) for `--dry-run`."""
        return [(p.key, p.describe(), self.base.value_of(p.key)) for p in self.parameters]

    def to_yaml(self) -> str:
        """The text of `space.yaml`: the space as searched, reasons included."""
        stream = io.StringIO()
        YAML().dump(self.tree, stream)
        return stream.getvalue()

    def check(self) -> None:
        """Raise ConfigError if any extreme value of any parameter makes an invalid configuration."""
        errors: list[str] = []
        for parameter in self.parameters:
            for value in parameter.extremes:
                settings = self._with_one(parameter, value)
                try:
                    self.base.with_values(settings)
                except ConfigError as error:
                    # A base that is outside already is the base's mistake, told when it was made.
                    errors.append(f"{parameter.where}: {parameter.key} = {value!r} is not valid: {error}")
        if errors:
            raise ConfigError("\n".join(errors))

    def _with_one(self, chosen: Parameter, value: Any) -> dict[str, Any]:
        """A full point with one value chosen, its conditions fulfilled and the others as in trial 0."""
        forced = {chosen.key: value}
        by_key = {p.key: p for p in self.parameters}
        needed = list(chosen.when.items())
        while needed:
            key, allowed = needed.pop()
            if key in by_key and key not in forced:
                forced[key] = next((c for c in by_key[key].extremes if c in allowed), allowed[0])
                needed += by_key[key].when.items()
        return self._walk(lambda p: forced[p.key] if p.key in forced else self._base_value(p))

    def _walk(self, value_of: Callable[[Parameter], Any]) -> dict[str, Any]:
        """Settings of one point, in the file's order; `value_of` is called for active parameters only."""
        settings: dict[str, Any] = {}
        for parameter in self.parameters:
            active = all(self._current(k, settings) in allowed for k, allowed in parameter.when.items())
            if parameter.times is not None:
                # Kept in proportion also where it is not asked: k.end must never exceed a k.start that is.
                share = value_of(parameter) if active else self._base_value(parameter)
                if active or parameter.times in settings:
                    settings[parameter.key] = share * self._current(parameter.times, settings)
            elif active:
                settings[parameter.key] = value_of(parameter)
        return settings

    def _current(self, key: str, settings: Mapping[str, Any]) -> Any:
        return settings[key] if key in settings else self.base.value_of(key)

    def _base_value(self, parameter: Parameter) -> Any:
        value = self.base.value_of(parameter.key)
        if parameter.times is None:
            return value
        whole = self.base.value_of(parameter.times)
        return value / whole if whole else 0.0


def open_space(config: RunConfig, task: Task, *, usable: Usable | None = None) -> BoundSpace:
    """The space that a run searches: its own file or the shipped one, around its trial 0.

    Raises:
        ConfigError: see `Space.load`.
    """
    own = config.search.space
    space = Space.shipped(task, methods=config.search.methods) if own is None else Space.load(own)

    def at_hand(key: str, value: Any) -> str | None:
        return misfit(key, value, config.trial, task) or sources_at_hand(key, value, config.trial)

    return space.bind(config.trial, usable=usable or at_hand)


def spaces_folder() -> Path:
    """Where the shipped spaces are: inside the installed package, or beside it in a checkout."""
    inside = Path(str(importlib.resources.files("pare_tune"))) / "search_spaces"
    beside = Path(__file__).resolve().parents[2] / "search_spaces"
    return inside if inside.is_dir() else beside


def _mapping(tree: Any, path: Path) -> CommentedMap:
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            f"{path}: a search space maps settings to what may be tried, found {type(tree).__name__}"
        )
    return tree


def _where(path: Path, tree: Any, keys: tuple[str | int, ...]) -> str:
    line = line_of(tree, keys)
    return str(path) if line is None else f"{path}:{line}"


def _parameter(key: str, spec: Any, earlier: Mapping[str, Parameter], where: str) -> Parameter:
    """Raises ValueError, without `where`."""
    if key not in _settings():
        raise ValueError(no_setting(key, _settings()))
    parameter = parse_parameter(key, as_builtins(spec), where)
    times = parameter.times
    if times is not None and (times not in earlier or isinstance(earlier[times], ChoiceParameter)):
        raise ValueError(f"times of {key} needs a number searched earlier in the file, got {times!r}")
    for parent, allowed in parameter.when.items():
        condition = earlier.get(parent)
        if not isinstance(condition, ChoiceParameter):
            raise ValueError(
                f"{key} depends on {parent!r}, which is not a choice searched earlier in the file"
            )
        wrong = [v for v in allowed if not condition.contains(v)]
        if wrong:
            raise ValueError(
                f"{key} depends on {parent} = {wrong[0]!r}, which takes {', '.join(map(str, condition.choices))}"
            )
    return parameter


def _keep(tree: CommentedMap, kept: Mapping[str, Parameter]) -> None:
    """Leave in `tree` what is searched, so that `space.yaml` and the study agree for ever."""
    for key in list(tree):
        p = kept.get(key)
        if p is None:
            del tree[key]
            continue
        if isinstance(p, ChoiceParameter) and list(tree[key]["choice"]) != list(p.choices):
            tree[key]["choice"] = list(p.choices)
        conditions = tree[key].get("when", {})
        for parent in list(conditions):
            if parent not in p.when:
                del conditions[parent]
            elif list(conditions[parent]) != list(p.when[parent]):
                conditions[parent] = list(p.when[parent])
        if "when" in tree[key] and not conditions:
            del tree[key]["when"]


def _prototype() -> TrialConfig:
    """Any valid configuration: it has every setting, and shows which values are valid."""
    return TrialConfig(
        task="any",
        source=SourceConfig(name="any"),
        optimizer=OptimizerConfig(lr=1e-4, weight_decay=1e-2),
        train=TrainConfig(epochs=10, batch_size=32),
    )


@cache
def _settings() -> frozenset[str]:
    return frozenset(dotted(_prototype().to_dict()))
