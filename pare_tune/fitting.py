"""Which settings a task can use, for options, spaces and what they are told: one table.

(What a method ignores is `tune/available.py`'s: there another method of the same search may well use it.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pare_tune.config import TrialConfig, tokens_of
from pare_tune.errors import ConfigError
from pare_tune.method import METHODS
from pare_tune.sources import SOURCES
from pare_tune.tasks.base import Dense, Modality, Task

_READ_BY_SEQUENCES = ("text", "waves")
_SERIES = (Modality.SEQUENCE_1D, Modality.DENSE_1D)
_DENSE: tuple[Callable[[Task], bool], str] = (
    lambda task: isinstance(task.output, Dense),
    "is for tasks with a value at every position",
)
_FITS: Mapping[str, tuple[Callable[[Task], bool], str]] = {
    "head.kind": _DENSE,
    "head.width": _DENSE,
    "input.canvas": (
        lambda task: any(side is not None for side in task.canvas.values()),
        "is for tasks whose samples differ in size",
    ),
    "input.image_size": (lambda task: task.modality.is_grid, "is for tasks that a vision backbone reads"),
    "input.max_tokens": (lambda task: task.modality in _SERIES, "is for series, which are cut into tokens"),
    "input.stem": (lambda task: task.modality in _SERIES, "is for series"),
}
"""Setting → (whether a task has it, what it is for)."""
_EVERYWHERE: Mapping[str, Any] = {"head.kind": "last", "input.stem": "none"}
"""Setting → the value that says what is so anyway where a task does not have it."""


def require_fitting(settings: Mapping[str, Any], trial: TrialConfig, task: Task) -> None:
    """Raise ConfigError where one of `settings`, which somebody asked for by name, means nothing to `task`."""
    for key, value in settings.items():
        problem = misfit(key, value, trial, task)
        if problem is not None:
            raise ConfigError(f"{key} = {value}: {problem}")


def misfit(key: str, value: Any, trial: TrialConfig, task: Task) -> str | None:
    """Why `task` has no use for a setting of this value; None where it has."""
    if key == "source.name":
        return _too_short(str(value), trial, task)
    if key == "method":
        return _one_token(str(value), trial, task)
    if key not in _FITS or value is None or value == _EVERYWHERE.get(key):
        return None
    fits, purpose = _FITS[key]
    if key == "head.kind" and value == "across" and fits(task) and task.modality.is_grid:
        return f"it is for series; {task.name} is of modality {task.modality.value}: choose stages or last"
    if fits(task):
        return None
    instead = f"leave it at {_EVERYWHERE[key]}" if key in _EVERYWHERE else "leave it out"
    return f"it {purpose}; {task.name} is of modality {task.modality.value}: {instead}"


def _one_token(method: str, trial: TrialConfig, task: Task) -> str | None:
    if method not in METHODS or METHODS[method].mixer is None or tokens_of(task, trial.input.max_tokens) != 1:
        return None
    return f"samples of {task.name} are one token, in which no part can be replaced"


def _too_short(source: str, trial: TrialConfig, task: Task) -> str | None:
    num_tokens = tokens_of(task, trial.input.max_tokens)
    if source not in SOURCES or num_tokens is None or num_tokens >= SOURCES[source].fewest_tokens:
        return None
    others = [name for name, s in SOURCES.items() if s.embedded and s.kind.value in _READ_BY_SEQUENCES]
    fitting = [name for name in others if num_tokens >= SOURCES[name].fewest_tokens]
    return (
        f"samples of {task.name} are {num_tokens} tokens long, and windows of fewer than "
        f"{SOURCES[source].fewest_tokens} hold no label that could be learned; choose {' or '.join(fitting)}"
    )
