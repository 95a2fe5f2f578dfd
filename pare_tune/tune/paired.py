"""Two trials on the same held-out samples: what blocks of these say of the difference of their scores.

`train.judge.influences` gives a score as the mean of blocks; the differences of two trials, block by block, are those
of independent samples, so Student's t holds for their mean.

What a search gained is the difference of means over fresh seeds, which undo the luck of the seed that a trial was
chosen by. The luck of the samples they do not undo: the winner is judged on those that chose it, among as many as there
were trials. So the interval over samples is that of all trials at once (Bonferroni), whichever of them won.
"""
# Shape suffixes: G = blocks, S = seeds.

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_DOUBT: Final = 0.1
"""Chance of stopping a trial that is as good as the best."""
_OUTSIDE: Final = 0.05
"""Chance that a true gain is outside of its interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Of a gain; positive is better."""

    low: float
    high: float
    times: float
    """How many times as many samples would make a gain of this size certain, if it is real; infinity if it is none."""

    @property
    def is_sure(self) -> bool:
        """Whether it excludes 0."""
        return not self.low <= 0 <= self.high


def interval(
    gain: float, gain_G: Sequence[float], seeds: Sequence[Sequence[float]], looks: int
) -> Interval | None:
    """Where a gain may truly be, by samples and by seeds; None without spare seeds to know their spread by.

    Args:
        gain: of means over fresh seeds; positive is better.
        gain_G: what blocks of samples contribute to it.
        seeds: scores of the winner, of the default, and of others that tell of the spread, one a seed.
        looks: trials that the winner was chosen of.
    """
    spare = sum(len(scores) - 1 for scores in seeds)
    if spare < 1 or len(gain_G) < 2:
        return None
    variance = sum((len(s) - 1) * statistics.variance(s) for s in seeds if len(s) > 1) / spare
    by_seeds = _quantile(_OUTSIDE, spare) * math.sqrt(variance * sum(1 / len(scores) for scores in seeds[:2]))
    by_samples = _quantile(_OUTSIDE / looks, len(gain_G) - 1) * standard_error(gain_G)
    half = math.hypot(by_seeds, by_samples)
    room = gain**2 - by_seeds**2
    return Interval(gain - half, gain + half, by_samples**2 / room if gain > 0 and room > 0 else math.inf)


def is_more(a_G: Sequence[float], b_G: Sequence[float]) -> bool:
    """Whether `a` is more than `b` beyond doubt."""
    more_G = [a - b for a, b in zip(a_G, b_G, strict=True)]
    mean, error = statistics.fmean(more_G), standard_error(more_G)
    return mean > 0 and (error == 0 or mean / error > _quantile(2 * _DOUBT, len(more_G) - 1))


def standard_error(values_G: Sequence[float]) -> float:
    """Of the mean of independent blocks."""
    return statistics.stdev(values_G) / math.sqrt(len(values_G))


def _quantile(outside: float, freedom: int) -> float:
    """Student's t that is passed on either side together with that chance."""
    from scipy import special  # none of those who only look at a search wait for it

    return float(special.stdtrit(freedom, 1 - outside / 2))
