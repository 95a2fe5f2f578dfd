"""What can be concluded from scores of several methods over tasks and seeds.

Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006): Wilcoxon's signed-rank test for
two methods, Friedman's test with Nemenyi's critical difference for more. Tasks have metrics of different units, so
methods are compared by relative differences, 2(a − b)/(|a| + |b|), which lie in [−2, 2]; positive means that the
first one is worse, whatever the direction of the metric.
"""
# Shape suffixes: T = tasks, M = methods, S = seeds, R = bootstrap samples.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from pare_tune.tasks.base import Direction, loss_sign

Float64 = npt.NDArray[np.float64]

RESAMPLES = 10_000
ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two methods on the tasks that both have scores of."""

    first: str
    second: str
    tasks: int
    wins: int
    """Tasks on which the first has the better mean."""
    ties: int
    losses: int
    difference: float
    """Mean over tasks of the relative difference of means: below 0 the first is better."""
    low: float
    high: float
    """95 % bootstrap interval of it, seeds resampled within each task and method; NaN where all have one seed."""
    p: float
    """Wilcoxon over tasks, two-sided; NaN without a task."""
    p_holm: float
    """Corrected for all pairs of the table (Holm, 1979)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Average ranks over the tasks on which every method has a score."""

    methods: tuple[str, ...]
    ranks: tuple[float, ...]
    """1 is best."""
    tasks: int
    chi2: float
    """Friedman's statistic, corrected for ties; NaN below three methods or two tasks."""
    p: float
    """Of Iman and Davenport's F, which Demšar prefers."""
    critical: float
    """Nemenyi: methods whose average ranks differ by less are not told apart at 5 %; NaN where the test is."""


def relative_difference(a: float, b: float, direction: Direction) -> float:
    """2(a − b)/(|a| + |b|), its sign turned where higher scores are better; 0 for two zeros."""
    scale = abs(a) + abs(b)
    if scale == 0.0:
        return 0.0
    return loss_sign(direction) * 2.0 * (a - b) / scale


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros left out; 1 where all are zero, NaN where there are none."""
    from scipy.stats import wilcoxon as test

    if not differences:
        return math.nan
    kept = [d for d in differences if d != 0.0]
    return float(test(kept).pvalue) if kept else 1.0


def smallest_p(tasks: int) -> float:
    """The least p that Wilcoxon's test can give with so many tasks: all differences of one sign."""
    return min(1.0, 2.0 ** (1 - tasks))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays NaN and does not count."""
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    corrected, largest = [math.nan] * len(p), 0.0
    for position, i in enumerate(order):
        largest = max(largest, min(1.0, p[i] * (len(order) - position)))
        corrected[i] = largest
    return corrected


def compare_pairs(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    directions: Mapping[str, Direction],
    methods: Sequence[str],
    *,
    seed: int = 0,
) -> list[Pair]:
    """Every method against every later one.

    Args:
        scores: task → method → scores, one a seed.
        directions: of each task's metric.
    """
    pairs = [_pair(first, second, scores, directions, seed) for first, second in combinations(methods, 2)]
    corrected = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def bootstrap_interval(
    pairs: Sequence[tuple[Sequence[float], Sequence[float], Direction]], *, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean over tasks of the relative difference of means.

    Seeds are drawn with replacement within each task and method; they are few, so the interval is rather too narrow.
    NaN where no task has a second seed.
    """
    if not pairs or all(len(a) < 2 and len(b) < 2 for a, b, _ in pairs):
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    per_task: list[Float64] = []
    for a, b, direction in pairs:
        mean_a, mean_b = (_resampled_means(np.asarray(s, dtype=np.float64), rng) for s in (a, b))
        scale = np.abs(mean_a) + np.abs(mean_b)
        raw = np.divide(2.0 * (mean_a - mean_b), scale, out=np.zeros_like(scale), where=scale > 0)
        per_task.append(loss_sign(direction) * raw)
    low, high = np.percentile(np.mean(per_task, axis=0), [2.5, 97.5])
    return float(low), float(high)


def rank_methods(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    directions: Mapping[str, Direction],
    methods: Sequence[str],
) -> Ranking:
    """Average ranks, Friedman's test and Nemenyi's critical difference over the tasks that all methods have."""
    from scipy.stats import f, friedmanchisquare, rankdata

    whole = [task for task, row in scores.items() if all(row.get(m) for m in methods)]
    means_TM = np.array([[_mean(scores[t][m]) for m in methods] for t in whole]).reshape(
        len(whole), len(methods)
    )
    signs_T = np.array([loss_sign(directions[t]) for t in whole])
    n, k = means_TM.shape
    ranks_TM = rankdata(means_TM * signs_T[:, None], axis=1) if n else means_TM
    ranks = tuple(ranks_TM.mean(axis=0).tolist()) if n else (math.nan,) * k
    chi2 = p = critical = math.nan
    if k >= 3 and n >= 2:
        if np.ptp(ranks_TM, axis=1).any():
            chi2 = float(friedmanchisquare(*(ranks_TM[:, j] for j in range(k))).statistic)
            rest = n * (k - 1) - chi2
            p = float(f.sf((n - 1) * chi2 / rest, k - 1, (k - 1) * (n - 1))) if rest > 1e-12 else 0.0
        else:
            chi2, p = 0.0, 1.0  # every task is a tie of all
        critical = critical_difference(k, n)
    return Ranking(methods=tuple(methods), ranks=ranks, tasks=n, chi2=chi2, p=p, critical=critical)


def critical_difference(methods: int, tasks: int, alpha: float = ALPHA) -> float:
    """Nemenyi's q·√(k(k+1)/(6N)), q of the studentised range over √2 (Demšar, section 3.2.2 and table 5)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1.0 - alpha, methods, math.inf)) / math.sqrt(2.0)
    return q * math.sqrt(methods * (methods + 1) / (6.0 * tasks))


def _pair(
    first: str,
    second: str,
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    directions: Mapping[str, Direction],
    seed: int,
) -> Pair:
    tasks = [task for task, row in scores.items() if row.get(first) and row.get(second)]
    differences = [
        relative_difference(_mean(scores[t][first]), _mean(scores[t][second]), directions[t]) for t in tasks
    ]
    low, high = bootstrap_interval(
        [(scores[t][first], scores[t][second], directions[t]) for t in tasks], seed=seed
    )
    return Pair(
        first=first,
        second=second,
        tasks=len(tasks),
        wins=sum(d < 0 for d in differences),
        ties=sum(d == 0 for d in differences),
        losses=sum(d > 0 for d in differences),
        difference=_mean(differences) if differences else math.nan,
        low=low,
        high=high,
        p=wilcoxon(differences),
        p_holm=math.nan,
    )


def _resampled_means(values_S: Float64, rng: np.random.Generator) -> Float64:
    drawn_RS = values_S[rng.integers(0, len(values_S), size=(RESAMPLES, len(values_S)))]
    means: Float64 = drawn_RS.mean(axis=1)
    return means


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
