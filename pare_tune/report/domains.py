"""What each searched setting could have been, and how much each one mattered."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pare_tune.tune.snapshot import Snapshot, TrialView

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_TRIALS = 12
"""Finished trials below which importances would be noise."""

_LOG_FROM = 30.0
"""A positive setting whose values span this ratio was searched on a log scale, where the journal does not say."""


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number between `low` and `high`."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def single(self) -> bool:
        """Whether there was nothing to choose."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    @property
    def single(self) -> bool:
        """Whether there was nothing to choose."""
        return len(self.values) < 2


Domain = Numeric | Choice


def domains(run: Path, snapshot: Snapshot) -> dict[str, Domain]:
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


def importances(snapshot: Snapshot, known: Mapping[str, Domain]) -> dict[str, float] | None:
    """Share of each setting in how good a finished trial is, by PED-ANOVA (arXiv:2304.10255); largest first.

    None where fewer than `MIN_TRIALS` trials finished or nothing was varied.
    """
    finished = [t for t in snapshot.searched if t.state == "complete" and t.best_score is not None]
    varied = {name: domain for name, domain in known.items() if not domain.single}
    if len(finished) < MIN_TRIALS or not varied:
        return None
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    distributions = {name: _distribution(domain) for name, domain in varied.items()}
    with _quiet_optuna():
        study = optuna.create_study(direction="minimize" if snapshot.direction == "min" else "maximize")
        study.add_trials([_frozen(t, distributions) for t in finished])
        # The best quarter: the default of a tenth would be one or two trials of a usual search.
        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        found = get_param_importances(study, evaluator=evaluator)
    return dict(found) if any(found.values()) else None


def _frozen(trial: TrialView, distributions: Mapping[str, BaseDistribution]) -> Any:
    import optuna

    params = {name: v for name, v in trial.params.items() if name in distributions}
    return optuna.trial.create_trial(
        params=params, distributions={name: distributions[name] for name in params}, value=trial.best_score
    )


def _distribution(domain: Domain) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _domain(values: list[Any], recorded: BaseDistribution | None) -> Domain:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    bounds: list[Any] = []
    log: bool | None = None
    if isinstance(recorded, FloatDistribution | IntDistribution):
        bounds, log = [recorded.low, recorded.high], recorded.log
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numeric or isinstance(recorded, CategoricalDistribution):
        offered = recorded.choices if isinstance(recorded, CategoricalDistribution) else ()
        return Choice(tuple(dict.fromkeys([*offered, *values])))
    low, high = min([*values, *bounds]), max([*values, *bounds])
    wide = low > 0 and high / low >= _LOG_FROM
    whole = all(isinstance(v, int) for v in [*values, *bounds])
    return Numeric(low, high, (wide if log is None else log) and low > 0, whole)


def _recorded(journal: Path) -> dict[str, BaseDistribution]:
    if not journal.exists():
        return {}
    from pare_tune.tune.journal import load_study

    found: dict[str, BaseDistribution] = {}
    for trial in load_study(journal).get_trials(deepcopy=False):
        found.update(trial.distributions)
    return found


@contextmanager
def _quiet_optuna() -> Iterator[None]:
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
