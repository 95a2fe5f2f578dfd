"""Two trials on the same held-out samples: what blocks of these say of the difference of their scores.

`train.judge.influences` gives a score as the mean of blocks; the differences of two trials, block by block, are those
of independent samples, so Student's t holds for their mean.
"""
# Shape suffixes: G = blocks.

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Float64 = npt.NDArray[np.float64]

_DOUBT = 0.1
"""Chance of stopping a trial that is as good as the best."""


def is_more(a_G: Float64, b_G: Float64) -> bool:
    """Whether `a` is more than `b` beyond doubt."""
    more_G = a_G - b_G
    mean, error = float(more_G.mean()), standard_error(more_G)
    return mean > 0 and (error == 0 or special.stdtr(len(more_G) - 1, -mean / error) < _DOUBT)


def standard_error(values_G: Float64) -> float:
    """Of the mean of independent blocks."""
    return float(np.std(values_G, ddof=1)) / math.sqrt(len(values_G))
