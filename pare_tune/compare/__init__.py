"""Methods compared under one protocol: the same splits, validation for every choice, test scored once.

plan = make_plan(["wdbc", "car"], ["pare", "finetune", "xgboost"], folder=Path("runs/compare"), budget=20)
comparison = summarise(plan, run_plan(plan))
write_files(comparison, plan.folder)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pare_tune.compare.export import write_files
    from pare_tune.compare.plan import make_plan
    from pare_tune.compare.run import run_plan
    from pare_tune.compare.summary import summarise

__all__ = ["make_plan", "run_plan", "summarise", "write_files"]

_HOMES = {
    "make_plan": "plan", "run_plan": "run", "summarise": "summary", "write_files": "export",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # On first use: the command line names methods without torch and Ray.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
