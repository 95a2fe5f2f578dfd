"""What is learned: one file a task, one value each, and the visible registry of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from pare_tune.errors import UnknownName
from pare_tune.tasks.base import Modality, Task

_MODULES: Mapping[str, str] = {
    "psicov": "psicov",
    "ninapro": "ninapro",
    "ecg": "ecg",
    "advection": "advection",
    "wdbc": "wdbc",
}
"""Task name → module of `pare_tune.tasks` that holds it, as a constant: `pde-burgers` is PDE_BURGERS. Imported on
first use, since a task brings its metric's and its loader's libraries with it."""


class _Registry(Mapping[str, Task]):
    def __getitem__(self, name: str) -> Task:
        module = import_module(f"pare_tune.tasks.{_MODULES[name]}")
        task: Task = getattr(module, name.upper().replace("-", "_"))
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


TASKS: Mapping[str, Task] = _Registry()


def get_task(name: str) -> Task:
    """The task of that name. Raises UnknownName, with the nearest names."""
    if name not in _MODULES:
        raise UnknownName("task", name, TASKS)
    return TASKS[name]


__all__ = ["TASKS", "Modality", "Task", "get_task"]
