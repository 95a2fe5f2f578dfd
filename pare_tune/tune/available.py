"""What of a space a run can search: settings that its methods have, sources at hand, conditions that can be met.

A source can be used where its files are there and the backbone reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pare_tune.config import TrialConfig
from pare_tune.method import METHODS, Method
from pare_tune.sources import SOURCES, SourceKind
from pare_tune.tune.parameter import ChoiceParameter, Parameter

Usable = Callable[[str, Any], str | None]
"""(setting, value) → why it cannot be used here, None if it can."""

# A setting that the method ignores would only add noise to the search.
_ONLY: tuple[tuple[tuple[str, ...], Callable[[Method], bool], str], ...] = (
    (("k.", "loss."), lambda m: m.mixer is not None, "mixes nothing"),
    (("source.",), lambda m: m.reads_source, "reads no source data"),
    (("gate.", "optimizer.gate"), lambda m: m.is_gated, "has no gate"),
    (("align.",), lambda m: m.aligns, "aligns nothing"),
    (("train.freeze",), lambda m: m.freeze is None, "decides that itself"),
    (("input.embedder",), lambda m: m.pretrained, "starts at random"),
)
"""(settings, whether a method has them, why others do not)."""
METHOD = "method"


def searchable(
    parameters: Sequence[Parameter], base: TrialConfig, usable: Usable | None = None
) -> tuple[dict[str, Parameter], list[str]]:
    """What a run around trial 0 = `base` searches, with absolute bounds, by key; and what is dropped and why.

    Raises:
        ConfigError: bounds are relative to a value that has no multiples.
    """
    notes: list[str] = []
    kept: dict[str, Parameter] = {}
    declared = {p.key for p in parameters}
    methods = next((p.extremes for p in parameters if p.key == METHOD), (base.method,))
    # Asked first, for conditions look back; sorting is stable.
    for parameter in sorted(parameters, key=lambda p: p.key != METHOD):
        p: Parameter | None = _of_methods(parameter, methods, base, notes)
        if p is not None and not isinstance(p, ChoiceParameter):
            p = p.around(base.value_of(p.key))
        if p is not None and usable is not None:
            p = _of_usable(p, usable, notes)
        if p is not None:
            p = _still_asked(p, declared, kept, base, notes)
        if p is not None:
            kept[p.key] = p
    return kept, notes


def sources_at_hand(key: str, value: Any, base: TrialConfig) -> str | None:
    """A `Usable` of trials of `base`: sources must be at hand, everything else can be used."""
    return source_problem(str(value), base) if key == "source.name" else None


def source_problem(name: str, base: TrialConfig) -> str | None:
    """Why a trial of `base` cannot use source `name`: its files are not there, or the backbone cannot read it."""
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
    own = SOURCES.get(base.source.name)
    if own is None or own.kind == source.kind:
        return None
    pictures = {SourceKind.IMAGES, SourceKind.MASKED_IMAGES}
    if (own.kind in pictures) != (source.kind in pictures):
        return f"{base.backbone} cannot read {source.kind.value}"
    if source.kind is SourceKind.WAVES and base.backbone != "micro-roberta":
        return f"{base.backbone} was not pretrained on waves"
    return None


def _of_methods(
    p: Parameter, methods: Sequence[str], base: TrialConfig, notes: list[str]
) -> Parameter | None:
    """`p` as it is asked where `methods` are searched: of those that have it; None where none does."""
    for prefixes, has, why in _ONLY:
        if not p.key.startswith(prefixes):
            continue
        having = frozenset(name for name, method in METHODS.items() if has(method))
        if not having & set(methods):
            notes.append(f"{p.key} is not searched: method {' or '.join(methods)} {why}")
            return None
        possible = tuple(dict.fromkeys((*methods, base.method)))
        if set(possible) <= having and METHOD not in p.when:
            continue
        allowed = tuple(m for m in p.when.get(METHOD, possible) if m in having)
        if not allowed:
            notes.append(f"{p.key} is not searched: its `when` leaves only methods that have none")
            return None
        others = {parent: values for parent, values in p.when.items() if parent != METHOD}
        p = p.model_copy(update={"when": {METHOD: allowed, **others}})
    return p


def _of_usable(p: Parameter, usable: Usable, notes: list[str]) -> Parameter | None:
    """`p` with the choices that can be used; None where there is none, or no number can be."""
    if not isinstance(p, ChoiceParameter):
        problem = usable(p.key, p.low)
        notes += [] if problem is None else [f"{p.key} is not searched: {problem}"]
        return p if problem is None else None
    lacking: dict[str, list[Any]] = {}
    for value in p.choices:
        problem = usable(p.key, value)
        if problem is not None:
            lacking.setdefault(problem, []).append(value)
    for problem, values in lacking.items():
        what = f"source{'s' * (len(values) > 1)}" if p.key == "source.name" else p.key
        notes.append(f"{what} not tried: {', '.join(map(str, values))}: {problem}")
    out = [value for values in lacking.values() for value in values]
    choices = tuple(value for value in p.choices if value not in out)
    return p.model_copy(update={"choices": choices}) if choices else None


def _still_asked(
    p: Parameter,
    declared: Collection[str],
    kept: Mapping[str, Parameter],
    base: TrialConfig,
    notes: list[str],
) -> Parameter | None:
    """`p` with what is left of its conditions on choices that were reduced or dropped; None where nothing is."""
    when: dict[str, tuple[Any, ...]] = {}
    for parent, allowed in p.when.items():
        if parent in kept:
            when[parent] = tuple(v for v in allowed if v in kept[parent].extremes)
        elif parent not in declared:
            when[parent] = allowed  # a condition of ours, on what this space does not search
        elif base.value_of(parent) not in allowed:
            when[parent] = ()
        if when.get(parent) == ():
            notes.append(f"{p.key} is not searched: nothing is left of its condition on {parent}")
            return None
    return p.model_copy(update={"when": when})
