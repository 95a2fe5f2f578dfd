"""What priors around trial 0 and warm starts are worth, and what they cost where they are wrong.

    python tests/benchmarks/priors.py --seeds 20 --trials 50

Synthetic objectives over the shipped space of a task: a weighted sum of squared distances to an optimum, every active
setting on its own scale, some settings far more important than others, a little noise. The optimum lies near trial 0
("near"), anywhere ("anywhere"), or half a range away from trial 0 in every setting ("far": the default is wrong).
Regret is the best score so far above the optimum, as a share of the median score of random settings. No pruning: what
is measured is which settings are asked for. A warm start is an earlier search of 50 trials on the same objective
("same task"), or on one whose optimum is elsewhere ("another").
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler

from pare_tune.config import RunConfig, default_trial
from pare_tune.tasks import get_task
from pare_tune.tune.prior import STRENGTHS, Prior, Ranked, to_unit
from pare_tune.tune.sampler import RepeatableTPE
from pare_tune.tune.space import BoundSpace, open_space

NOISE = 0.01
STARTUP = 10
Objective = Callable[[Mapping[str, Any]], float]


class Landscape:
    """One objective: its optimum, and how much each setting counts."""

    def __init__(self, space: BoundSpace, where: str, seed: int) -> None:
        rng = np.random.default_rng([seed, *where.encode()])
        base = space.place({})
        self._distributions = {p.name: p.distribution for p in space.parameters}
        self._weights, self._best = {}, {}
        for parameter in space.parameters:
            name, own = parameter.name, base.get(parameter.name)
            self._weights[name] = float(np.exp(rng.normal(0.0, 1.2)))
            if parameter.kind == "choice":
                others = [c for c in parameter.choices if c != own]
                anywhere = parameter.choices[rng.integers(len(parameter.choices))]
                far = others[rng.integers(len(others))] if others else own
                near = own if own is not None and rng.random() < 0.8 else anywhere
                self._best[name] = {"near": near, "anywhere": anywhere, "far": far}[where]
                continue
            at = rng.random() if own is None else to_unit(self._distributions[name], float(own))
            near = min(max(at + 0.2 * rng.standard_normal(), 0.0), 1.0)
            self._best[name] = {"near": near, "anywhere": rng.random(), "far": (at + 0.5) % 1.0}[where]

    def __call__(self, params: Mapping[str, Any], rng: np.random.Generator) -> float:
        """Less is better."""
        total = 0.0
        for name, value in params.items():
            best = self._best[name]
            if isinstance(self._distributions[name], optuna.distributions.CategoricalDistribution):
                distance = 0.35 * (value != best)
            else:
                distance = to_unit(self._distributions[name], float(value)) - best
            total += self._weights[name] * distance**2
        return total / sum(self._weights[n] for n in params) + NOISE * rng.standard_normal()


def search(
    space: BoundSpace,
    landscape: Landscape,
    sampler: BaseSampler,
    trials: int,
    seed: int,
    first: Sequence[dict[str, Any]] = (),
) -> list[tuple[float, dict[str, Any]]]:
    """(score, settings as the study has them) of each trial; trial 0 is the default, then come `first`."""
    study = optuna.create_study(sampler=sampler)
    rng = np.random.default_rng(seed)
    for params in (space.base_params(), *first):
        study.enqueue_trial(params)
    found = []
    for number in range(trials):
        trial = study.ask()
        if number == 0:
            space.suggest_base(trial)
        else:
            space.suggest(trial)
        params = dict(study.get_trials(deepcopy=False)[number].params)
        score = landscape(params, rng)
        study.tell(trial, score)
        found.append((score, params))
    return found


def earlier(space: BoundSpace, landscape: Landscape, seed: int) -> list[Ranked]:
    """A search of 50 trials, best first."""
    found = search(space, landscape, RepeatableTPE(seed=seed + 1000, startup_trials=STARTUP), 50, seed)
    ordered = sorted(found, key=lambda row: row[0])
    return [Ranked(params, i / (len(ordered) - 1)) for i, (_, params) in enumerate(ordered)]


def curve(space: BoundSpace, where: str, how: str, trials: int, seed: int, strength: float) -> list[float]:
    """Regret after each trial of one search."""
    landscape = Landscape(space, where, seed)
    rng = np.random.default_rng([seed, 1])
    scale = statistics.median(s for s, _ in search(space, landscape, RandomSampler(seed), 60, seed)[1:])
    priors: dict[str, Prior] = {}
    ranked: list[Ranked] = []
    if how == "prior":
        priors = {name: Prior(value, strength) for name, value in space.base_params().items()}
    if how.startswith("warm"):
        other = landscape if how == "warm, same task" else Landscape(space, where, seed + 500)
        ranked = earlier(space, other, seed)
    first = [dict(r.params) for r in ranked[: min(8, trials // 5)]]
    sampler = RepeatableTPE(
        seed=seed, startup_trials=1 + len(first) if ranked else STARTUP, priors=priors, earlier=ranked
    )
    found = search(space, landscape, sampler, trials, seed, first)
    # Without the noise that the search saw.
    true = [landscape(params, _Silent(rng)) for _, params in found]  # type: ignore[arg-type]
    best, regret = math.inf, []
    for value in true:
        best = min(best, value)
        regret.append(best / scale)
    return regret


class _Silent:
    """Noise that is none."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def standard_normal(self) -> float:
        """Nothing."""
        return 0.0


def main() -> None:
    """A row a setting: median regret, and its quartiles, after some numbers of trials."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--task", default="cifar100")
    parser.add_argument("--where", nargs="+", default=["near", "anywhere", "far"])
    parser.add_argument("--how", nargs="+", default=["none", *STRENGTHS, "warm, same task", "warm, another"])
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = get_task(options.task)
    space = open_space(RunConfig(trial=default_trial(task, preset="embedded")), task)
    at = sorted({n for n in (5, 10, 20, 30, options.trials) if n <= options.trials})
    print(
        f"{options.task}, {len(space.parameters)} settings, {options.seeds} seeds, load {os.getloadavg()[0]:.1f}"
    )
    print(f"| optimum | prior | {' | '.join(f'after {n}' for n in at)} |\n|---|---|{'---|' * len(at)}")
    for where in options.where:
        for how in options.how:
            kind, strength = ("prior", STRENGTHS[how]) if how in STRENGTHS else (how, 0.0)
            curves = [
                curve(space, where, kind, options.trials, seed, strength) for seed in range(options.seeds)
            ]
            cells = []
            for n in at:
                values = sorted(c[n - 1] for c in curves)
                low, middle, high = np.percentile(values, [25, 50, 75])
                cells.append(f"{middle:.3f} ({low:.3f} … {high:.3f})")
            print(f"| {where} | {how} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
