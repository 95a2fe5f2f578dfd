"""What is known before a search: trial 0's values, worth so many trials, and the rankings of earlier searches.

A prior of strength s says that good settings lie near trial 0's value, and is worth s trials of the search's own:
after n of them it has a share s / (s + n). PriorBand (https://arxiv.org/abs/2306.12370) samples from a mixture of
prior and uniform draws whose shares follow the evidence, piBO (https://arxiv.org/abs/2204.11051) lets the prior's
weight fall with the number of trials. Here both happen inside TPE: the first trials are drawn from such a mixture, and
after them the prior enters the density of good settings as pseudo-observations, whose total weight is s / n of the
real ones'. What is near trial 0 and turns out bad enters the other density at full weight, so a wrong one loses twice.

Rankings of earlier searches enter both densities. They are worth `_WORTH` trials at first, fewer with every own trial,
and nothing after `_FORGOTTEN` of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Array = npt.NDArray[np.float64]

STRENGTHS: Mapping[str, float] = {"weak": 1.0, "medium": 2.0, "strong": 4.0}
"""Words of a space → trials that the prior is worth."""

_WIDTH = 0.2
"""Standard deviation of draws near trial 0's value, as a share of the range."""
_SAME = 0.5
"""Share of draws near trial 0's value that take it as it is: moving in every setting at once leads far away."""
_DRAWS = 8
"""Pseudo-observations a prior is made of."""
_GOOD = 0.2
"""Share of an earlier search's trials that count as good."""
_WORTH, _FORGOTTEN = 20.0, 40.0


@dataclass(frozen=True, slots=True)
class Prior:
    """That good values of a parameter lie near one."""

    value: Any
    """Trial 0's, as the study holds it."""
    strength: float
    """Trials that it is worth, above 0."""

    def share(self, trials: int) -> float:
        """Of draws near `value`, after so many trials of one's own."""
        return self.strength / (self.strength + trials)

    def draw(self, distribution: BaseDistribution, rng: np.random.Generator) -> float:
        """A value near it, as Optuna keeps it inside."""
        if rng.random() < _SAME:
            return float(distribution.to_internal_repr(self.value))
        if isinstance(distribution, CategoricalDistribution):
            return draw_uniform(distribution, rng)
        at = to_unit(distribution, float(self.value)) + _WIDTH * rng.standard_normal()
        # Reflected at the ends: a default at the edge of its range keeps a whole bell's worth of draws.
        at = abs(at) % 2.0
        return from_unit(distribution, min(at, 2.0 - at))


@dataclass(frozen=True, slots=True)
class Ranked:
    """A trial of an earlier search, as this search's study would hold it."""

    params: Mapping[str, Any]
    rank: float
    """0 for the best of its search, 1 for the worst."""


@dataclass(frozen=True, slots=True)
class Extra:
    """Observations beside the search's own, in one of TPE's two densities."""

    values: Array
    """Of one parameter, as Optuna keeps them inside."""
    weights: Array
    """A real observation has 1."""


def seed_of(*parts: object) -> int:
    """A number that follows from what is drawn, whatever was drawn before."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def draw_uniform(distribution: BaseDistribution, rng: np.random.Generator) -> float:
    """Any value, as Optuna keeps it inside."""
    if isinstance(distribution, CategoricalDistribution):
        return float(rng.integers(len(distribution.choices)))
    return from_unit(distribution, rng.random())


def to_unit(distribution: BaseDistribution, value: float) -> float:
    """Where `value` lies in its range: 0 at the low end, 1 at the high one."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5


def from_unit(distribution: BaseDistribution, at: float) -> float:
    """The value at a place of its range, on the grid where there is one."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        value = math.exp(math.log(low) + at * (math.log(high) - math.log(low)))
    else:
        value = low + at * (high - low)
    if distribution.step is not None:
        value = low + round((value - low) / distribution.step) * float(distribution.step)
    return min(max(value, low), high)


def pseudo_observations(
    prior: Prior | None, distribution: BaseDistribution, *, trials: int, good: int, rng: np.random.Generator
) -> Extra | None:
    """What a prior adds to the density of its parameter's good values; None where there is none.

    Args:
        trials: finished ones of the search's own.
        good: those of them that make the density.
    """
    if prior is None or not good:
        return None
    values = np.array([prior.draw(distribution, rng) for _ in range(_DRAWS)])
    return Extra(values, np.full(_DRAWS, good * prior.strength / max(trials, 1) / _DRAWS))


def earlier_observations(
    ranked: Sequence[Ranked], name: str, distribution: BaseDistribution, *, trials: int
) -> tuple[Extra | None, Extra | None]:
    """What earlier searches add to the densities of good and of bad values, after so many trials of one's own."""
    left = max(0.0, 1.0 - trials / _FORGOTTEN)
    having = [r for r in ranked if name in r.params]
    if not left or not having:
        return None, None
    weight = left * min(1.0, _WORTH / len(having))

    def extra(chosen: Sequence[Ranked]) -> Extra | None:
        if not chosen:
            return None
        values = np.array([distribution.to_internal_repr(r.params[name]) for r in chosen], dtype=float)
        return Extra(values, np.full(len(chosen), weight))

    return extra([r for r in having if r.rank <= _GOOD]), extra([r for r in having if r.rank > _GOOD])
