"""Probabilities that mean what they say, and sets and intervals that hold the truth as often as they promise.

Temperature scaling: Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599. Split conformal prediction: Vovk et al.
2005; sets of classes by their probability, Sadinle et al., JASA 2019, https://arxiv.org/abs/1609.00451; intervals by
the absolute residual, Lei et al., JASA 2018, https://arxiv.org/abs/1604.04173.
"""
# Shape suffixes: n = samples, K = classes, R = numbers a sample (1 for a map: all of its positions together).

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nnf
from torch import Tensor

from pare_tune.errors import DataError
from pare_tune.tasks.base import MultiLabel, Numbers, Output, Point
from pare_tune.tasks.own.target import IGNORE

_KEPT: Final = 1000
"""Scores that are stored of each output; of more, evenly spaced ones, each standing for those below it."""
_POSITIONS: Final = 1_000_000
"""Of masks that a temperature is fitted to."""
_TEMPERATURES: Final = (0.05, 20.0)
_BINS: Final = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a model's predictions for samples that it was not trained on say about its predictions."""

    fitted_on: str
    """Which samples, for people."""
    samples: int
    temperature: float | None = None
    """What logits are divided by; None for numbers."""
    scores: tuple[tuple[float, ...], ...] = ()
    """R rows, ascending: how far off the predictions were; 1 − probability of the true class, or |error|. Empty where
    no set or interval is made of the predictions (labels, masks)."""
    ranks: tuple[int, ...] = ()
    """Of the scores among all of theirs, counted from 1."""

    @classmethod
    def fit(
        cls, outputs: Tensor, targets: Mapping[str, Tensor], output: Output, *, is_mask: bool, fitted_on: str
    ) -> Calibration | None:
        """From outputs (n, ...) and targets of held-out samples; None where outputs are not finite."""
        if not bool(outputs.isfinite().all()):
            return None
        about: dict[str, Any] = {"fitted_on": fitted_on, "samples": len(outputs)}
        has_logits = isinstance(output, Point | MultiLabel) or is_mask
        if has_logits:
            logits, y = _kept(outputs, targets, output)
            about["temperature"] = _fit_temperature(logits, y)
            if isinstance(output, Point):
                p_nK = (outputs.double() / about["temperature"]).softmax(dim=1)
                off = 1.0 - p_nK.gather(1, targets["y"][:, None])
                about |= _stored(off)
        elif isinstance(output, Numbers):
            about |= _stored((outputs.double() - targets["y"].double()).abs())
        else:
            values, y = _kept(outputs, targets, output)
            about |= _stored((values - y).abs()[:, None])
        return cls(**about)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Calibration:
        """From JSON. Raises TypeError, KeyError where it is none."""
        scores = tuple(tuple(row) for row in tree["scores"])
        return cls(**{**tree, "scores": scores, "ranks": tuple(tree["ranks"])})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def most_coverage(self) -> float:
        """The largest share that so many held-out samples can promise; 0 where there are no sets or intervals."""
        return self.ranks[-1] / (self.ranks[-1] + 1) if self.ranks else 0.0

    def radius(self, coverage: float) -> npt.NDArray[np.float32]:
        """(R,): how far off predictions are in at most a share `coverage` of cases, for new samples too.

        Raises:
            DataError: the task has no sets or intervals, or too few samples were held out for so much.
        """
        if not self.scores:
            raise DataError(
                "--coverage makes sets of classes or intervals of numbers; labels and masks have neither"
            )
        if coverage > self.most_coverage:
            raise DataError(
                f"a coverage of {coverage:g} needs at least {math.ceil(coverage / (1 - coverage)):,} held-out "
                f"samples, this model has {self.ranks[-1]:,}; ask for {math.floor(100 * self.most_coverage) / 100:g} "
                f"or less"
            )
        place = int(np.searchsorted(self.ranks, math.ceil((self.ranks[-1] + 1) * coverage - 1e-9)))
        return np.array([row[place] for row in self.scores], dtype=np.float32)


def calibration_error(logits: Tensor, targets: Mapping[str, Tensor], output: Output) -> float:
    """Expected calibration error in 15 bins: of the likeliest class, or of every label or position."""
    from torchmetrics.functional.classification import (
        binary_calibration_error,
        multiclass_calibration_error,
    )

    if isinstance(output, Point):
        p_nK = logits.softmax(dim=1)
        return float(multiclass_calibration_error(p_nK, targets["y"], output.num_classes, n_bins=_BINS))
    kept, y = _kept(logits, targets, output)
    return float(binary_calibration_error(kept.float().sigmoid(), y.long(), n_bins=_BINS))


def covered(
    outputs: Tensor, targets: Mapping[str, Tensor], output: Output, fitted: Calibration, coverage: float
) -> float:
    """The share of true classes in their sets, or of numbers in their intervals."""
    radius = torch.from_numpy(fitted.radius(coverage))
    if isinstance(output, Point):
        p_nK = (outputs / (fitted.temperature or 1.0)).softmax(dim=1)
        return float((p_nK.gather(1, targets["y"][:, None]) >= 1.0 - radius).double().mean())
    if isinstance(output, Numbers):
        return float(((outputs - targets["y"]).abs() <= radius).double().mean())
    values, y = _kept(outputs, targets, output)
    return float(((values - y).abs() <= radius).double().mean())


def _kept(outputs: Tensor, targets: Mapping[str, Tensor], output: Output) -> tuple[Tensor, Tensor]:
    """Logits and classes as they are; of labels, maps and series all values in a row, without padding."""
    if isinstance(output, Point):
        return outputs.double(), targets["y"]
    keep = targets[IGNORE].reshape(-1) == 0 if IGNORE in targets else slice(None)
    return outputs.double().reshape(-1)[keep], targets["y"].double().reshape(-1)[keep]


def _fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Of the least negative log-likelihood, where one more of n samples could have been wrong (Platt 1999): without
    that, a few held-out samples that are all right would make any prediction certain."""
    from scipy.optimize import minimize_scalar

    stride = max(1, len(y) // _POSITIONS)
    logits, y = logits[::stride], y[::stride]
    wrong = 1.0 / (len(y) + 2)

    def loss(log_t: float) -> float:
        scaled = logits / math.exp(log_t)
        if scaled.ndim == 2:
            classes = scaled.shape[1]
            smoothing = wrong * classes / max(classes - 1, 1)
            return float(nnf.cross_entropy(scaled, y, label_smoothing=smoothing))
        return float(nnf.binary_cross_entropy_with_logits(scaled, y * (1 - 2 * wrong) + wrong))

    low, high = map(math.log, _TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)


def _stored(off_nR: Tensor) -> dict[str, Any]:
    n = len(off_nR)
    ranks = sorted({math.ceil(n * (i + 1) / _KEPT) for i in range(_KEPT)})
    ordered = off_nR.sort(dim=0).values
    scores = tuple(map(tuple, ordered[[rank - 1 for rank in ranks]].T.tolist()))
    return {"scores": scores, "ranks": tuple(ranks)}
