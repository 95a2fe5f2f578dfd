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
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pare_tune.config import (
    OptimizerConfig,
    RunConfig,
    SourceConfig,
    TrainConfig,
    TrialConfig,
    line_of,
    load_yaml,
)
from pare_tune.errors import ConfigError, UnknownName
from pare_tune.method import METHODS, Method
from pare_tune.tasks.base import Task
from pare_tune.tune.prior import STRENGTHS, Prior

Kind = Literal["float", "int", "choice"]
Usable = Callable[[str], str | None]
"""Source name → why it cannot be used here, None if it can."""

_KINDS: tuple[Kind, ...] = ("float", "int", "choice")
_FIELDS = frozenset({*_KINDS, "log", "step", "default", "relative", "times", "when", "prior"})

# A setting that the method ignores would only add noise to the search.
_ONLY: tuple[tuple[tuple[str, ...], Callable[[Method], bool], str], ...] = (
    (("k.", "loss."), lambda m: m.mixer is not None, "mixes nothing"),
    (("source.",), lambda m: m.reads_source, "reads no source data"),
    (("gate.",), lambda m: m.is_gated, "has no gate"),
    (("align.",), lambda m: m.aligns, "aligns nothing"),
    (("train.freeze",), lambda m: m.freeze is None, "decides that itself"),
    (("input.embedder",), lambda m: m.pretrained, "starts at random"),
)
"""(settings, whether a method has them, why others do not)."""
_METHOD = "method"
_STRONGEST = 1000.0
"""A prior that outweighs every search is no prior but a fixed value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One searched setting."""

    key: str
    """Dotted setting of `TrialConfig`."""
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    log: bool = False
    step: float | None = None
    default: Any = None
    relative: bool = False
    times: str | None = None
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    strength: float = 0.0
    """Trials that the expectation of good values near trial 0's is worth; 0 for none."""
    where: str = ""
    """file:line, for messages."""

    @property
    def name(self) -> str:
        """What the study calls it: a share of another setting is named as the share that it is."""
        return self.key if self.times is None else f"{self.key} / {self.times}"

    def contains(self, value: Any) -> bool:
        """Whether the study could hold `value`."""
        if self.kind == "choice":
            return any(value == c and isinstance(value, bool) == isinstance(c, bool) for c in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind == "int" and value != int(value):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-8

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that are valid if everything in between is."""
        if self.kind == "choice":
            return self.choices
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)

    def describe(self) -> str:
        """For people: "float 0.05 … 1, log"."""
        if self.kind == "choice":
            text = ", ".join(str(c) for c in self.choices)
        else:
            text = f"{self.low:g} … {self.high:g}{', log' if self.log else ''}"
            text += f", step {self.step:g}" if self.step is not None else ""
            text += f" of {self.times}" if self.times else ""
        conditions = " and ".join(f"{k} is {' or '.join(map(str, v))}" for k, v in self.when.items())
        return f"{text}; when {conditions}" if conditions else text


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
    def shipped(cls, task: Task) -> Space:
        """The space of the task's modality, with the task's own changes."""
        folder = spaces_folder()
        own = folder / "tasks" / f"{task.name}.yaml"
        return cls.load(folder / f"{task.modality.value}.yaml", *([own] if own.is_file() else []))

    @classmethod
    def _parse(cls, tree: CommentedMap, origin: Mapping[str, str]) -> Space:
        errors: list[str] = []
        parameters: dict[str, Parameter] = {}
        settings = _settings()
        for key, spec in tree.items():
            try:
                parameters[str(key)] = _parameter(str(key), spec, origin[str(key)], settings, parameters)
            except _Mistake as mistake:
                errors.append(str(mistake))
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
        notes: list[str] = []
        kept: list[Parameter] = []
        methods = next((p.choices for p in self.parameters if p.key == _METHOD), (base.method,))
        # Asked first, for conditions look back; sorting is stable.
        for parameter in sorted(self.parameters, key=lambda p: p.key != _METHOD):
            bound = _bind(parameter, base, methods, usable, notes)
            if bound is not None:
                bound = _still_asked(bound, self.parameters, kept, base, notes)
            if bound is not None:
                kept.append(bound)
        tree = copy.deepcopy(self.tree)
        _keep(tree, kept)
        space = BoundSpace(base, tuple(kept), self.warnings, tuple(notes), tree)
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

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Ask `trial` for every active parameter; the settings that differ from or repeat trial 0's, by dotted key."""
        return self._walk(lambda parameter: _ask(trial, parameter))

    def base_params(self) -> dict[str, Any]:
        """What the study can record of trial 0: its value of every active parameter that can hold it."""
        return self.place({})

    def base_settings(self) -> dict[str, Any]:
        """Trial 0's own values of the parameters that are active in it."""
        return {key: self.base.value_of(key) for key in self._walk(self._base_value)}

    def priors(self) -> dict[str, Prior]:
        """Where good values are expected, by the study's names; trial 0's values, where the study can hold them."""
        found = {p.name: Prior(self._base_value(p), p.strength) for p in self.parameters if p.strength > 0}
        by_name = {p.name: p for p in self.parameters}
        return {name: prior for name, prior in found.items() if by_name[name].contains(prior.value)}

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

    def suggest_base(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Enter trial 0, enqueued with `base_params`, into the study; its settings are `base`'s to the last bit."""
        params = self.base_params()
        for parameter in self.parameters:
            if parameter.name in params:
                _ask(trial, parameter)
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
                forced[key] = next((c for c in by_key[key].choices if c in allowed), allowed[0])
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
        UnknownName: the order of sources names one that does not exist.
    """
    _check_sources(config.search.source_order)
    own = config.search.space
    space = Space.shipped(task) if own is None else Space.load(own)
    return space.bind(config.trial, usable=usable or (lambda name: source_problem(name, config.trial)))


def _check_sources(names: Sequence[str]) -> None:
    from pare_tune.sources import SOURCES

    for name in names:
        if name not in SOURCES:
            raise UnknownName("source", name, SOURCES)


def spaces_folder() -> Path:
    """Where the shipped spaces are: inside the installed package, or beside it in a checkout."""
    inside = Path(str(importlib.resources.files("pare_tune"))) / "search_spaces"
    beside = Path(__file__).resolve().parents[2] / "search_spaces"
    return inside if inside.is_dir() else beside


def source_problem(name: str, base: TrialConfig) -> str | None:
    """Why a trial of `base` cannot use source `name`: its files are not there, or the backbone cannot read it."""
    from pare_tune.sources import SOURCES, SourceKind

    source = SOURCES.get(name)
    if source is None:
        return f"there is no such source; known: {', '.join(SOURCES)}"
    if base.task in source.holds:
        return f"it holds validation samples of {base.task}, with their labels"
    if not source.embedded and name != base.source.name:
        root = base.source.data
        if root is None:
            return "no folder of files is given (--source-data)"
        if not source.releases:
            return "data of your own are chosen by --source and --source-data together"
        if source.find(root) is None:
            return f"{source.releases[0]} is not in {root}"
    known = SOURCES.get(base.source.name)
    if known is None or known.kind == source.kind:
        return None
    pictures = {SourceKind.IMAGES, SourceKind.MASKED_IMAGES}
    if (known.kind in pictures) != (source.kind in pictures):
        return f"{base.backbone} cannot read {source.kind.value}"
    if source.kind is SourceKind.WAVES and base.backbone != "micro-roberta":
        return f"{base.backbone} was not pretrained on waves"
    return None


def available_sources(base: TrialConfig) -> list[str]:
    """Sources that a trial of `base` could use, in the order of the registry."""
    from pare_tune.sources import SOURCES

    return [name for name in SOURCES if source_problem(name, base) is None]


class _Mistake(ValueError):
    """One line of the ConfigError about a file."""


def _mapping(tree: Any, path: Path) -> CommentedMap:
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            f"{path}: a search space maps settings to what may be tried, found {type(tree).__name__}"
        )
    return tree


def _where(path: Path, tree: Any, keys: tuple[str | int, ...]) -> str:
    line = line_of(tree, keys)
    return str(path) if line is None else f"{path}:{line}"


def _parameter(
    key: str, spec: Any, where: str, settings: Mapping[str, Any], earlier: Mapping[str, Parameter]
) -> Parameter:
    if key not in settings:
        raise _Mistake(f"{where}: no setting named {key!r}; see `pare-tune --dry-run` for all settings")
    if not isinstance(spec, Mapping):
        raise _Mistake(f"{where}: {key} needs a mapping such as {{float: [lo, hi]}}, got {spec!r}")
    unknown = sorted(set(spec) - _FIELDS)
    if unknown:
        raise _Mistake(
            f"{where}: {key} has an unknown key {unknown[0]!r}; known: {', '.join(sorted(_FIELDS))}"
        )
    kinds = [k for k in _KINDS if k in spec]
    if len(kinds) != 1:
        raise _Mistake(
            f"{where}: {key} needs exactly one of float, int, choice, got {', '.join(kinds) or 'none'}"
        )
    for flag in ("log", "relative"):
        if not isinstance(spec.get(flag, False), bool):
            raise _Mistake(f"{where}: {flag} of {key} must be true or false, got {spec[flag]!r}")
    parameter = Parameter(
        key=key,
        kind=kinds[0],
        log=bool(spec.get("log", False)),
        relative=bool(spec.get("relative", False)),
        default=spec.get("default"),
        strength=_strength(key, spec.get("prior"), where),
        where=where,
    )
    parameter = _with_values(parameter, spec)
    parameter = replace(parameter, times=_times(parameter, spec.get("times"), earlier))
    return replace(parameter, when=_when(parameter, spec.get("when", {}), earlier))


def _with_values(p: Parameter, spec: Mapping[str, Any]) -> Parameter:
    values = spec[p.kind]
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        example = "[a, b]" if p.kind == "choice" else "[lo, hi]"
        raise _Mistake(f"{p.where}: {p.kind} of {p.key} needs a list {example}, got {values!r}")
    if p.kind == "choice":
        if p.log or p.relative or "step" in spec or "times" in spec:
            raise _Mistake(f"{p.where}: choice of {p.key} goes with neither log, step, relative nor times")
        if any(not isinstance(v, str | int | float | bool) for v in values):
            raise _Mistake(
                f"{p.where}: choices of {p.key} must be numbers, words or true/false, got {list(values)}"
            )
        if len(set(map(str, values))) != len(values):
            raise _Mistake(f"{p.where}: choices of {p.key} must differ, got {list(values)}")
        return replace(p, choices=tuple(_plain(v) for v in values))
    wanted = (int,) if p.kind == "int" else (int, float)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, wanted) for v in values):
        numbers = "whole numbers" if p.kind == "int" else "numbers"
        raise _Mistake(f"{p.where}: {p.kind} of {p.key} needs two {numbers} [lo, hi], got {list(values)}")
    low, high = float(values[0]), float(values[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise _Mistake(f"{p.where}: {p.key} needs finite lo < hi, got [{low:g}, {high:g}]")
    if p.log and low <= 0:
        raise _Mistake(f"{p.where}: log of {p.key} needs lo > 0, got {low:g}")
    return replace(p, low=low, high=high, step=_step(p, spec.get("step"), high - low))


def _strength(key: str, prior: Any, where: str) -> float:
    if prior is None:
        return 0.0
    given = prior.get("strength") if isinstance(prior, Mapping) and set(prior) == {"strength"} else None
    if isinstance(given, str) and given in STRENGTHS:
        return STRENGTHS[given]
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= _STRONGEST:
        return float(given)
    raise _Mistake(
        f"{where}: prior of {key} needs {{strength: {', '.join(STRENGTHS)}, or a number of trials from 0 to "
        f"{_STRONGEST:g}}}, got {dict(prior) if isinstance(prior, Mapping) else prior!r}"
    )


def _step(p: Parameter, step: Any, width: float) -> float | None:
    if step is None:
        return None
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= width:
        raise _Mistake(f"{p.where}: step of {p.key} must lie in (0, hi - lo], got {step!r}")
    if p.log or p.relative:
        raise _Mistake(f"{p.where}: step of {p.key} goes with neither log nor relative")
    if p.kind == "int" and step != int(step):
        raise _Mistake(f"{p.where}: step of {p.key} must be whole, got {step!r}")
    return float(step)


def _times(p: Parameter, parent: Any, earlier: Mapping[str, Parameter]) -> str | None:
    if parent is None:
        return None
    if p.kind != "float" or p.relative:
        raise _Mistake(f"{p.where}: times of {p.key} goes with a float that is not relative")
    if parent not in earlier or earlier[parent].kind == "choice":
        raise _Mistake(
            f"{p.where}: times of {p.key} needs a number searched earlier in the file, got {parent!r}"
        )
    return str(parent)


def _when(p: Parameter, when: Any, earlier: Mapping[str, Parameter]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, Mapping):
        raise _Mistake(f"{p.where}: when of {p.key} needs a mapping {{setting: [values]}}, got {when!r}")
    conditions: dict[str, tuple[Any, ...]] = {}
    for parent, allowed in when.items():
        if parent not in earlier or earlier[parent].kind != "choice":
            raise _Mistake(
                f"{p.where}: {p.key} depends on {parent!r}, which is not a choice searched earlier in the file"
            )
        if not isinstance(allowed, Sequence) or isinstance(allowed, str) or not allowed:
            raise _Mistake(f"{p.where}: when of {p.key} needs a list of values of {parent}, got {allowed!r}")
        wrong = [v for v in allowed if not earlier[parent].contains(v)]
        if wrong:
            known = ", ".join(map(str, earlier[parent].choices))
            raise _Mistake(f"{p.where}: {p.key} depends on {parent} = {wrong[0]!r}, which takes {known}")
        conditions[str(parent)] = tuple(_plain(v) for v in allowed)
    return conditions


def _bind(
    p: Parameter, base: TrialConfig, methods: Sequence[str], usable: Usable | None, notes: list[str]
) -> Parameter | None:
    for prefixes, has, why in _ONLY:
        if not p.key.startswith(prefixes):
            continue
        having = frozenset(name for name, method in METHODS.items() if has(method))
        if not having & set(methods):
            notes.append(f"{p.key} is not searched: method {' or '.join(methods)} {why}")
            return None
        p = _only_of(p, having, methods, base)
        if not p.when.get(_METHOD, methods):
            notes.append(f"{p.key} is not searched: its `when` leaves only methods that have none")
            return None
    if p.key == "source.name" and usable is not None:
        problems = {c: usable(c) for c in p.choices}
        why_not: dict[str, list[str]] = {}
        for choice, problem in problems.items():
            if problem is not None:
                why_not.setdefault(problem, []).append(choice)
        notes += [
            f"source{'s' * (len(out) > 1)} not tried: {', '.join(out)}: {problem}"
            for problem, out in why_not.items()
        ]
        p = replace(p, choices=tuple(c for c, why in problems.items() if why is None))
        return p if p.choices else None
    if p.relative:
        own = base.value_of(p.key)
        if not isinstance(own, int | float) or own <= 0:
            raise ConfigError(
                f"{p.where}: {p.key} is relative to trial 0's value, which must be > 0, got {own!r}"
            )
        low, high = p.low * own, p.high * own
        return replace(p, low=low, high=high) if p.kind == "float" else _whole(p, low, high)
    return p


def _still_asked(
    p: Parameter,
    declared: Sequence[Parameter],
    kept: Sequence[Parameter],
    base: TrialConfig,
    notes: list[str],
) -> Parameter | None:
    """`p` with the conditions that are left of choices that were reduced or dropped; None where none can be met."""
    by_key = {k.key: k for k in kept}
    when: dict[str, tuple[Any, ...]] = {}
    for parent, allowed in p.when.items():
        if parent in by_key:
            when[parent] = tuple(v for v in allowed if v in by_key[parent].choices)
        elif parent not in {d.key for d in declared}:
            when[parent] = allowed  # a condition of ours, on what this space does not search
        elif base.value_of(parent) not in allowed:
            when[parent] = ()
        if when.get(parent) == ():
            notes.append(f"{p.key} is not searched: nothing is left of its condition on {parent}")
            return None
    return replace(p, when=when)


def _only_of(p: Parameter, having: frozenset[str], methods: Sequence[str], base: TrialConfig) -> Parameter:
    """Asked of the methods that have it, where there are others."""
    known = tuple(dict.fromkeys((*methods, base.method)))
    allowed = tuple(m for m in p.when.get(_METHOD, known) if m in having)
    if set(known) <= having and _METHOD not in p.when:
        return p
    return replace(p, when={_METHOD: allowed, **{k: v for k, v in p.when.items() if k != _METHOD}})


def _whole(p: Parameter, low: float, high: float) -> Parameter:
    low, high = float(max(1, math.floor(low))), float(math.ceil(high))
    if low >= high:
        raise ConfigError(f"{p.where}: {p.key} has no room between {low:g} and {high:g}")
    return replace(p, low=low, high=high)


def _keep(tree: CommentedMap, kept: Sequence[Parameter]) -> None:
    """Leave in `tree` what is searched, so that `space.yaml` and the study agree for ever."""
    by_key = {p.key: p for p in kept}
    for key in list(tree):
        if key not in by_key:
            del tree[key]
            continue
        p = by_key[key]
        if p.kind == "choice" and list(tree[key]["choice"]) != list(p.choices):
            tree[key]["choice"] = list(p.choices)
        conditions = tree[key].get("when", {})
        for parent in list(conditions):
            if parent not in p.when:
                del conditions[parent]
            elif list(conditions[parent]) != list(p.when[parent]):
                conditions[parent] = list(p.when[parent])
        if "when" in tree[key] and not conditions:
            del tree[key]["when"]


def _ask(trial: optuna.trial.BaseTrial, p: Parameter) -> Any:
    match p.kind:
        case "float":
            return trial.suggest_float(p.name, p.low, p.high, log=p.log, step=p.step)
        case "int":
            step = 1 if p.step is None else int(p.step)
            return trial.suggest_int(p.name, int(p.low), int(p.high), log=p.log, step=step)
        case "choice":
            return trial.suggest_categorical(p.name, p.choices)


def distribution_of(p: Parameter) -> BaseDistribution:
    """What `p` is to the study."""
    match p.kind:
        case "float":
            return FloatDistribution(p.low, p.high, log=p.log, step=p.step)
        case "int":
            step = 1 if p.step is None else int(p.step)
            return IntDistribution(int(p.low), int(p.high), log=p.log, step=step)
        case "choice":
            return CategoricalDistribution(p.choices)


def _plain(value: Any) -> Any:
    """ruamel's scalars as builtins."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _prototype() -> TrialConfig:
    """Any valid configuration: it has every setting, and shows which values are valid."""
    return TrialConfig(
        task="any",
        source=SourceConfig(name="any"),
        optimizer=OptimizerConfig(lr=1e-4, weight_decay=1e-2),
        train=TrainConfig(epochs=10, batch_size=32),
    )


def _settings() -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(tree: Mapping[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk(_prototype().to_dict(), "")
    return flat
