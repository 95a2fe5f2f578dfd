"""What TPE is shown of a long search, and that short searches lose nothing by it."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from pare_tune.tune import sampler
from pare_tune.tune.sampler import RepeatableTPE


def _trial(
    value: float, *, at: int | None = None, extra: bool = False, state: TrialState = TrialState.COMPLETE
) -> FrozenTrial:
    """Its settings follow from its value, or from the place `at`, in hundredths."""
    names = ("x", "y", "z") if extra else ("x", "y")
    place = value if at is None else at / 100
    return create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params={name: (place * (i + 1)) % 1.0 for i, name in enumerate(names)},
        distributions={name: FloatDistribution(0.0, 1.0) for name in names},
        intermediate_values={1: value},
    )


def _study(trials: list[FrozenTrial], startup: int = 5) -> optuna.Study:
    study = optuna.create_study(sampler=RepeatableTPE(seed=3, startup_trials=startup))
    study.add_trials(trials)
    return study


def _asked(study: optuna.Study) -> dict[str, float]:
    trial = study.ask()
    return {name: trial.suggest_float(name, 0.0, 1.0) for name in ("x", "y")}


def _values(n: int) -> list[float]:
    return [(i * 0.618034) % 1.0 for i in range(n)]


def test_tpe_sees_the_good_trials_the_newest_others_and_those_that_run() -> None:
    study = _study([_trial(v) for v in _values(400)])
    study.ask()
    asked = study.ask()
    trials = study.get_trials(deepcopy=False)
    history = sampler._History(study)
    history.update()
    below, above = history.split(asked.number, 150)
    best = sorted(range(400), key=lambda i: trials[i].value)
    others = [i for i in range(400) if i not in best[:25]]
    assert [t.number for t in below] == sorted(best[:15])
    assert {t.number for t in above} == {*best[15:25], *others[-125:], 400}


def test_trials_that_only_confirm_others_teach_nothing() -> None:
    study = _study([_trial(v) for v in _values(20)])
    before = _asked(study)
    for value in (0.0001, 0.0002):
        repeat = _trial(value)
        repeat.user_attrs = {"repeats": 0, "seed": 1}
        study.add_trial(repeat)
    study.enqueue_trial({"x": 0.5}, user_attrs={"repeats": 0, "seed": 2})
    running = study.ask().number
    history = sampler._History(study)
    history.update()
    below, above = history.split(asked=99, size=100)
    assert before
    assert {t.number for t in [*below, *above]} == set(range(21)), f"neither 21 and 22 nor {running}"
    assert history.finished == 20


def test_trials_are_ranked_as_optuna_ranks_them() -> None:
    pruned = [_trial(v, state=TrialState.PRUNED) for v in (0.5, 0.1, 0.3)]
    late = _trial(0.9, state=TrialState.PRUNED)
    late.intermediate_values = {1: 0.1, 2: 0.9}
    failed = _trial(0.01, state=TrialState.PRUNED)
    failed.system_attrs = {"constraints:failed": 1.0}
    trials = [*pruned, failed, _trial(0.7), late, _trial(0.2), _trial(0.7)]
    for direction in ("minimize", "maximize"):
        study = optuna.create_study(direction=direction)
        study.add_trials(trials)
        history = sampler._History(study)
        history.update()
        frozen = study.get_trials()
        order = [n for _, n in history._ranked]
        for count in range(len(trials) + 1):
            below, _ = _split_trials(study, frozen, count)
            assert {t.number for t in below} == set(order[:count])


def test_a_search_within_the_window_asks_what_it_would_ask_without(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [_trial(v) for v in _values(60)]
    bounded = _asked(_study(trials))
    monkeypatch.setattr(sampler, "_WINDOW", 10_000)
    assert _asked(_study(trials)) == bounded


def test_beyond_the_window_old_bad_trials_change_nothing() -> None:
    recent = [_trial(v) for v in _values(200)]
    asked = [_asked(_study([_trial(bad), *recent])) for bad in (0.991, 0.999)]
    assert asked[0] == asked[1]


def test_startup_longer_than_the_window_ends_when_it_should() -> None:
    """Random draws do not look at scores; TPE's do."""

    def asked(count: int) -> list[dict[str, float]]:
        return [
            _asked(_study([_trial(v, at=at) for at, v in enumerate(values)], startup=300))
            for values in (_values(count), _values(count)[::-1])
        ]

    random, informed = asked(299), asked(300)
    assert random[0] == random[1]
    assert informed[0] != informed[1]


def test_a_setting_that_occurred_once_long_ago_is_still_drawn() -> None:
    study = _study([_trial(0.5, extra=True), *(_trial(v) for v in _values(300))])
    assert 0.0 <= study.ask().suggest_float("z", 0.0, 1.0) <= 1.0


def test_each_ask_sees_what_ended_since_the_last_one() -> None:
    """What TPE sees is looked up once a trial; a trial that is asked for later must see more."""
    far = [_trial(v) for v in _values(40)]
    study = _study(far)
    _asked(study)
    for _ in range(12):
        study.add_trial(_trial(-1.0, at=90))
    later = [_asked(study)["x"] for _ in range(8)]
    assert sum(abs(x - 0.9) < 0.2 for x in later) >= 7, later
