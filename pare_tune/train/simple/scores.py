"""What simple models scored on a run's own splits, kept in its folder as `simple/scores.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pare_tune.data.files import write_json

SIMPLE_FILE: Final = "simple/scores.json"
"""Below the run's folder; beside it `<kind>.safetensors` holds what each said of held-out samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleScore:
    """One simple model."""

    kind: str
    """Of `SIMPLE`."""
    title: str
    """For people."""
    score: float | None = None
    """None where it has none: see `skipped`."""
    seconds: float = 0.0
    """All fits and predictions together."""
    influences: tuple[float, ...] = ()
    """What blocks of held-out samples contribute to the score, as a trial's."""
    skipped: str | None = None
    """Why there is no score."""


def write_simple(run: Path, scores: Sequence[SimpleScore]) -> None:
    """Raises StorageError."""
    write_json(run / SIMPLE_FILE, [asdict(score) for score in scores])


def read_simple(run: Path) -> tuple[SimpleScore, ...]:
    """Empty where none were measured, or the file is damaged."""
    try:
        rows = json.loads((run / SIMPLE_FILE).read_text(encoding="utf-8"))
        return tuple(SimpleScore(**{**row, "influences": tuple(row["influences"])}) for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        return ()
