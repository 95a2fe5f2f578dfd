"""What a search looks like at one moment: plain values that the live view, `status` and the report draw from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialView:
    """One trial as people see it."""

    number: int
    state: TrialState
    params: Mapping[str, Any]
    """Dotted setting → value, the searched ones only."""
    curve: tuple[Mapping[str, Any], ...] = ()
    """One `EpochReport` dict an epoch, in order; never with holes."""
    epochs: int
    """Full length."""
    best_score: float | None = None
    """Best validation score so far; the trial's value when it is complete."""
    best_epoch: int = 0
    seconds: float = 0.0
    cause: str | None = None
    """Why it failed: "diverged", "out_of_memory", "crashed", "invalid" (settings that do not go together)."""
    message: str | None = None
    retries: int = 0

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.curve)

    @property
    def k(self) -> int | None:
        """Patches replaced in the last epoch."""
        return int(self.curve[-1]["k"]) if self.curve else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole search."""

    run: Path
    task: str
    metric: str
    unit: str
    direction: Literal["min", "max"]
    provenance: str
    """real, sample or solved."""
    preset: str
    backbone: str
    budget: str
    """With its unit: "50 trials"."""
    spent: float
    """Share of the budget used, 0 to 1."""
    elapsed_s: float
    """Wall time, summed over resumed sessions."""
    remaining_s: float | None
    """From measured epochs; None before there is one."""
    trials: tuple[TrialView, ...]
    finished: bool = False
    dashboard_url: str | None = None

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` beats `b`."""
        return a < b if self.direction == "min" else a > b

    @property
    def best(self) -> TrialView | None:
        """The best complete trial."""
        best: TrialView | None = None
        for trial in self.trials:
            if trial.state != "complete" or trial.best_score is None:
                continue
            if best is None or best.best_score is None or self.better(trial.best_score, best.best_score):
                best = trial
        return best

    @property
    def default(self) -> TrialView | None:
        """Trial 0: the paper's configuration."""
        return next((t for t in self.trials if t.number == 0), None)

    def count(self, state: TrialState) -> int:
        """Trials in a state."""
        return sum(t.state == state for t in self.trials)
