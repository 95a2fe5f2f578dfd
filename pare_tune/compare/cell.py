"""One cell of a comparison: a method on a task with a seed, its folder, and what came out.

cells/TASK/METHOD/seed-0/
  cell.yaml      what was asked for; a cell is never continued with anything else
  search/        the run folder of our own search
  study.journal  the record of a peer's search
  final/         our own final training
  result.json    written last: a cell that has one is finished and never repeated
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pare_tune.data.files import write_json
from pare_tune.errors import StorageError

CELLS = "cells"
ASKED = "cell.yaml"
RESULT = "result.json"

State = Literal["done", "failed", "unfit"]
"""failed: it was tried, and `cause` says what happened. unfit: the method is not for such tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What one cell came to."""

    task: str
    method: str
    seed: int
    state: State
    test: float | None = None
    """The metric over the test split, scored once; None unless done."""
    validation: float | None = None
    test_samples: int | None = None
    trials: int | None = None
    """Of the search that chose the configuration."""
    epochs: int | None = None
    """Trained in all, search included; None where there is no such thing."""
    seconds: float | None = None
    """Of training and validation in all, search included."""
    cause: str | None = None
    """Why there is no score."""
    note: str | None = None
    """What is to be known about the score."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What departs from the method's defaults."""

    def save(self, folder: Path) -> None:
        """Write result.json, whole or not at all. Raises StorageError."""
        write_json(folder / RESULT, asdict(self))


def load_result(folder: Path) -> CellResult | None:
    """The result of a finished cell; None where there is none.

    Raises:
        StorageError: the file is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    names = {f.name for f in fields(CellResult)}
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return CellResult(**{k: v for k, v in tree.items() if k in names})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path} is damaged ({error}); delete its folder, and the cell runs again"
        ) from error


def cell_folder(root: Path, task: str, method: str, seed: int) -> Path:
    """Where a cell lives."""
    return root / CELLS / _folder_name(task) / _folder_name(method) / f"seed-{seed}"


def _folder_name(name: str) -> str:
    # `openml:31` and the like are no folder names everywhere.
    return re.sub(r"[^\w.@+-]", "_", name)
