"""Portfolios: of all that finished runs tried, the few configurations that together cover their tasks best.

Every run of a modality is one task to cover. The regret of a configuration on it is

    r = (score − best) / (median − best), cut to [0, 1],

over the complete trials of that run: 0 is its best, 1 no better than its median. A run measured only what it tried, so
elsewhere a random forest fitted to its own trials says what a configuration would have reached. Candidates are the best
trials of every run. They are taken greedily, each time the one after which

    coverage(S) = Σ_runs (1 − min of r over S)

is largest. Coverage grows with S and by less the larger S is (it is monotone submodular), so the greedy list is within
1 − 1/e of the best one of its size (Nemhauser et al., 1978, https://doi.org/10.1007/BF01588971), as in greedy
portfolios of configurations (Feurer et al., Auto-sklearn 2.0, https://arxiv.org/abs/2007.04074).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pare_tune.data.files import write_text
from pare_tune.errors import ConfigError
from pare_tune.tune.warm import Point, Tried, points_yaml, tried_of_run

Array = npt.NDArray[np.float64]

_CANDIDATES = 12
"""Trials of each run that may enter."""
_TREES = 100


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Of one modality."""

    points: tuple[Point, ...]
    """In the order that they are worth testing in."""
    regret: Mapping[str, float]
    """Run → smallest regret of the points."""
    default_regret: float
    """Mean over the runs of trial 0's regret."""

    @property
    def mean_regret(self) -> float:
        """Over the runs."""
        return float(np.mean(list(self.regret.values())))


def build_portfolio(runs: Sequence[Sequence[Tried]], size: int) -> dict[str, Portfolio]:
    """Modality → portfolio of at most `size` points, from the trials of each run, the best first."""
    modalities = dict.fromkeys(run[0].point.modality for run in runs)
    return {m: cover([r for r in runs if r[0].point.modality == m], size) for m in modalities}


def write_portfolio(portfolios: Mapping[str, Portfolio], path: Path) -> None:
    """Write a file that `--warm-start` takes. Raises StorageError when the disk refuses."""
    write_text(path, points_yaml([point for part in portfolios.values() for point in part.points]))


def tried_in(sources: Sequence[Path]) -> list[list[Tried]]:
    """Trials of runs that are named, and of those in folders that are named: these may hold other things, too.

    Raises:
        ConfigError: there is no run, or one that is named has no complete trial.
    """
    trials: dict[Path, list[Tried]] = {}
    for source in sources:
        if (source / "run.yaml").is_file():
            trials[source.absolute()] = tried_of_run(source)
            continue
        inside = {run.parent.absolute(): _usable(run.parent) for run in sorted(source.glob("*/run.yaml"))}
        if not any(inside.values()):
            raise ConfigError(f"{source} is no run folder, and holds none with a complete trial")
        trials |= {path: run for path, run in inside.items() if run}
    return list(trials.values())


def _usable(run: Path) -> list[Tried]:
    try:
        return tried_of_run(run)
    except ConfigError:
        return []


def cover(runs: Sequence[Sequence[Tried]], size: int) -> Portfolio:
    """The at most `size` points that together cover `runs` best, whatever their modalities."""
    candidates = [t.point for run in runs for t in run[:_CANDIDATES] if t.is_complete]
    regret = np.stack([_regrets(run, candidates) for run in runs])
    left = np.ones(len(runs))
    chosen: list[int] = []
    for _ in range(size):
        after = np.minimum(left[:, None], regret).sum(axis=0)
        # Of candidates that cover alike, the one that is good everywhere.
        best = int(np.lexsort((regret.sum(axis=0), after.round(9)))[0])
        if chosen and after[best] >= left.sum() - 1e-9:
            break
        chosen.append(best)
        left = np.minimum(left, regret[:, best])
    defaults = [next((_regret_of(t, run) for t in run if t.number == 0), 1.0) for run in runs]
    return Portfolio(
        points=tuple(candidates[i] for i in chosen),
        regret={run[0].point.run: float(r) for run, r in zip(runs, left, strict=True)},
        default_regret=float(np.mean(defaults)),
    )


def _scale(run: Sequence[Tried]) -> tuple[float, float]:
    """Best and median score of the complete trials, less is better."""
    scores = [t.cost for t in run if t.is_complete]
    return min(scores), float(np.median(scores))


def _regret_of(tried: Tried, run: Sequence[Tried]) -> float:
    best, middle = _scale(run)
    if not math.isfinite(tried.cost):
        return 1.0
    if middle <= best:
        return 0.0 if tried.cost <= best else 1.0
    return float(np.clip((tried.cost - best) / (middle - best), 0.0, 1.0))


def _regrets(run: Sequence[Tried], candidates: Sequence[Point]) -> Array:
    """Of each candidate on `run`: measured where it was tried there, else the forest's."""
    from sklearn.ensemble import RandomForestRegressor

    columns = _columns([t.point for t in run])
    regrets = np.array([_regret_of(t, run) for t in run])
    forest = RandomForestRegressor(n_estimators=_TREES, min_samples_leaf=2, random_state=0)
    forest.fit(_table([t.point for t in run], columns), regrets)
    guessed: Array = forest.predict(_table(candidates, columns))
    measured = {id(t.point): r for t, r in zip(run, regrets, strict=True)}
    return np.array([measured.get(id(c), g) for c, g in zip(candidates, guessed, strict=True)])


def _columns(points: Sequence[Point]) -> list[tuple[str, Any]]:
    """A column a number, and one a choice of words."""
    columns: dict[tuple[str, Any], None] = {}
    for point in points:
        for key, value in _values(point).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            columns[(key, None if is_number else value)] = None
    return list(columns)


def _table(points: Sequence[Point], columns: Sequence[tuple[str, Any]]) -> Array:
    return np.array([[_cell(_values(p).get(key), choice) for key, choice in columns] for p in points])


def _cell(value: Any, choice: Any) -> float:
    if choice is not None:
        return float(value == choice)
    # Trees only compare: a setting that is not there is a number below all that are.
    return float(value) if isinstance(value, int | float) else -1.0


def _values(point: Point) -> dict[str, Any]:
    return {**point.settings, **{f"{key} ×": v for key, v in point.relative.items()}}
