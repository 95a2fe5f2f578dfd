"""How trials on a user's own data are told apart where nobody says it: by the validation split, or over folds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from pare_tune.errors import DataError
from pare_tune.tasks.base import Dense
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.survey import Surveyed, survey, survey_fold
from pare_tune.tasks.own.task import own_task

_ENOUGH: Final = 300
"""Validation samples that tell trials apart well enough: the standard error of an error of 20 % is 2.3 points."""
_ENOUGH_OF_A_CLASS: Final = 50
_MANY: Final = 5000
"""Development samples from which on every fold takes long and the validation split is not that small."""
_FOLDS, _FOLDS_OF_FEW, _FEW = 5, 3, 100
"""Folds; those of fewer than so many samples, where each fresh seed draws its own folds besides."""
_MOST_BYTES: Final = 512 * 10**6
"""Of the outputs for all held-out samples after all epochs, which are kept while a trial runs."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What trials are judged by."""

    method: Literal["split", "folds"]
    folds: int
    why: str


def usual_validation(spec: OwnData, cache: Path, epochs: int) -> Validation:
    """Folds where the validation split has fewer than 300 samples, or fewer than 50 of some class.

    The split is kept where the user says which samples are val, where there are more than 5,000 samples, where outputs
    are too large to be kept for all epochs, and where the samples cannot be cut into two folds.

    Args:
        epochs: of one training.
    """
    seen = survey(spec, cache)
    counts, classes = seen.survey.counts, seen.survey.class_counts
    num, samples = counts["val"], counts["train"] + counts["val"]
    rarest = min(classes, key=lambda name: classes[name]["val"]) if classes else None
    if num < _ENOUGH:
        few = f"the validation split has {num:,} samples, fewer than {_ENOUGH}"
    elif rarest is not None and classes[rarest]["val"] < _ENOUGH_OF_A_CLASS:
        few = f"it has {classes[rarest]['val']} samples of {rarest!r} in validation, fewer than {_ENOUGH_OF_A_CLASS}"
    else:
        return Validation("split", _FOLDS, f"{num:,} samples")
    output = own_task(spec, cache).output
    size = 4 * epochs * samples * (math.prod(output.shape) if isinstance(output, Dense) else 1)
    if seen.survey.says_val:
        return Validation("split", _FOLDS, f"as you cut it; {few}")
    if samples > _MANY:
        return Validation("split", _FOLDS, f"{few}, but train and val have more than {_MANY:,}")
    if size > _MOST_BYTES:
        return Validation("split", _FOLDS, f"{few}, but outputs of all epochs would take {size / 1e9:.1f} GB")
    folds = min(_FOLDS if samples >= _FEW else _FOLDS_OF_FEW, _most_folds(seen))
    try:
        survey_fold(spec, cache, Fold(Folds(max(folds, 2)), 0))
    except DataError as error:
        return Validation("split", _FOLDS, f"{few}, but {error}")
    return Validation("folds", folds, few)


def _most_folds(seen: Surveyed) -> int:
    """As many as there are groups, and samples of the rarest class."""
    of_class = [c["train"] + c["val"] for c in seen.survey.class_counts.values()]
    return min([len(np.unique(seen.units[seen.development])), *(n for n in of_class if n)])
