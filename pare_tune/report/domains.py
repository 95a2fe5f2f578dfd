"""What each searched setting could have been, and how much each one mattered."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pare_tune.tune.snapshot import Snapshot, TrialView

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

MIN_TRIALS = 12
"""Finished trials below which importances would be noise."""

_LOG_FROM = 30.0
"""A positive setting whose values span this ratio was searched on a log scale, where the journal does not say."""


def domains(run: Path, snapshot: Snapshot) -> dict[str, BaseDistribution]:
    """Setting → its domain, in the order of the trials' settings.

    Scales and bounds come from the study's journal; without one, or where a trial lies outside (trial 0 may), from
    the values that were tried.
    """
    recorded = _recorded(run / "study.journal")
    tried: dict[str, list[Any]] = {}
    for trial in snapshot.trials:
        for name, value in trial.params.items():
            tried.setdefault(name, []).append(value)
    return {name: _domain(values, recorded.get(name)) for name, values in tried.items()}


def is_number(domain: BaseDistribution) -> bool:
    """Whether a setting is a number of a range, not one of a few values."""
    from optuna.distributions import CategoricalDistribution

    return not isinstance(domain, CategoricalDistribution)


def finished_trials(snapshot: Snapshot) -> list[TrialView]:
    """Trials of the search that came to an end with a score; the default and the best last."""
    best = snapshot.best.number if snapshot.best is not None else 0
    finished = [t for t in snapshot.searched if t.state == "complete" and t.best_score is not None]
    return sorted(finished, key=lambda t: (t.number == best, t.number == 0))


def study_of(snapshot: Snapshot, trials: Sequence[TrialView], space: Mapping[str, BaseDistribution]) -> Study:
    """Trials as a study in memory: what Optuna's evaluators and charts take."""
    import optuna

    from pare_tune.tune.journal import study_direction

    with quiet_optuna():
        study = optuna.create_study(direction=study_direction(snapshot.direction))
        for trial in trials:
            params = {name: value for name, value in trial.params.items() if name in space}
            distributions = {name: space[name] for name in params}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=trial.best_score)
            )
    return study


def importances(snapshot: Snapshot, space: Mapping[str, BaseDistribution]) -> dict[str, float] | None:
    """Share of each setting in how good a finished trial is, by PED-ANOVA (arXiv:2304.10255); largest first.

    None where fewer than `MIN_TRIALS` trials finished or nothing was varied.
    """
    trials = finished_trials(snapshot)
    varied = {name: domain for name, domain in space.items() if not domain.single()}
    if len(trials) < MIN_TRIALS or not varied:
        return None
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = study_of(snapshot, trials, varied)
    with quiet_optuna():
        # The best quarter: the default of a tenth would be one or two trials of a usual search.
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return dict(shares) if any(shares.values()) else None


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without optuna's log lines and warnings: the chart's caption says that few trials make its bars rough."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _domain(values: list[Any], recorded: BaseDistribution | None) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    bounds: list[Any] = []
    log: bool | None = None
    if isinstance(recorded, FloatDistribution | IntDistribution):
        bounds, log = [recorded.low, recorded.high], recorded.log
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numeric or isinstance(recorded, CategoricalDistribution):
        offered = recorded.choices if isinstance(recorded, CategoricalDistribution) else ()
        return CategoricalDistribution(tuple(dict.fromkeys([*offered, *values])))
    low, high = min([*values, *bounds]), max([*values, *bounds])
    if log is None:
        log = low > 0 and high / low >= _LOG_FROM
    kind = IntDistribution if all(isinstance(v, int) for v in [*values, *bounds]) else FloatDistribution
    return kind(low, high, log=log and low > 0)


def _recorded(journal: Path) -> dict[str, BaseDistribution]:
    if not journal.exists():
        return {}
    from pare_tune.tune.journal import load_study

    recorded: dict[str, BaseDistribution] = {}
    for trial in load_study(journal).get_trials(deepcopy=False):
        recorded.update(trial.distributions)
    return recorded
