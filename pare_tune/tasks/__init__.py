"""What is learned: one value a task, and the visible registry of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from pare_tune.errors import UnknownName
from pare_tune.tasks.base import Modality, Task, read_toml

_TABLES: Sequence[str] = tuple(table["name"] for table in read_toml("openml.toml")["table"])
"""OpenML-CC18 as the paper has it, by number."""

_OWN_MODULE = (
    "cifar100", "spherical", "darcy", "psicov", "cosmic", "ninapro", "fsd50k", "ecg", "satellite", "deepsea",
)  # fmt: skip
_PDES = (
    "advection", "pde-burgers", "pde-reaction-diffusion", "pde-diffusion-sorption", "pde-navier-stokes-1d",
    "pde-darcy", "pde-shallow-water", "pde-reaction-diffusion-2d",
)  # fmt: skip
_MODULES: Mapping[str, str] = {
    **{name: name for name in _OWN_MODULE},
    **dict.fromkeys(_PDES, "pdes"),
    "pde-navier-stokes-1d": "pde_navier_stokes_1d",
    **dict.fromkeys(_TABLES, "openml"),
    **dict.fromkeys(("clipart", "painting", "real", "sketch"), "domainnet"),
}
"""Task name → module of `pare_tune.tasks` that holds it, as a constant: `pde-burgers` is PDE_BURGERS. Imported on
first use, since a task brings its metric's and its loader's libraries with it. Tables are told by `openml.TABLES`."""

_ALIASES: Mapping[str, str] = {"pde-advection": "advection"}
"""Other names, which `get_task` knows as well; the table of tasks lists each task once."""


class _Registry(Mapping[str, Task]):
    def __getitem__(self, name: str) -> Task:
        module = import_module(f"pare_tune.tasks.{_MODULES[name]}")
        if name in _TABLES:
            table: Task = module.TABLES[name]
            return table
        task: Task = getattr(module, name.upper().replace("-", "_"))
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


TASKS: Mapping[str, Task] = _Registry()


def get_task(name: str) -> Task:
    """The task of that name; also `openml:ID`, a table of OpenML, and a table's `NAME@official` layout.

    Raises:
        UnknownName: there is none; the message has the nearest names.
    """
    name = _ALIASES.get(name, name)
    if name in _MODULES:
        return TASKS[name]
    table: Task | None = import_module("pare_tune.tasks.openml").task_named(name)
    if table is None:
        raise UnknownName("task", name, TASKS)
    return table


__all__ = ["TASKS", "Modality", "Task", "get_task"]
