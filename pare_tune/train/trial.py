"""One training from its config: open what it names, build the model, fit."""

from __future__ import annotations

from pathlib import Path

from pare_tune.config import TrialConfig
from pare_tune.train.folds import fit_folds
from pare_tune.train.loop import Context, FitResult, fit
from pare_tune.train.opened import open_trial


def run_trial(config: TrialConfig, context: Context, *, cache: Path | None = None) -> FitResult:
    """Train one configuration on the training split, scored on validation, or once a fold where `context` says so.

    Raises:
        TrialFailed: it diverged, learned nothing or ran out of memory; `cause` says which.
    """
    if context.folds is not None:
        return fit_folds(config, context.folds, context, cache=cache)
    opened = open_trial(config, cache=cache)
    return fit(opened, opened.build(), context)
