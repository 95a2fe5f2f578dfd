"""What is known before a search, and that it is let go."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pare_tune.config import OptimizerConfig, SourceConfig, TrainConfig, TrialConfig
from pare_tune.errors import ConfigError
from pare_tune.tune.prior import (
    STRENGTHS,
    Prior,
    Ranked,
    draw_uniform,
    earlier_observations,
    from_unit,
    pseudo_observations,
    to_unit,
)
from pare_tune.tune.sampler import RepeatableTPE
from pare_tune.tune.space import Space

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-1.0, 3.0),
    "log": FloatDistribution(1e-6, 1e-2, log=True),
    "grid": FloatDistribution(0.0, 1.0, step=0.25),
    "int": IntDistribution(2, 8),
    "logint": IntDistribution(1, 256, log=True),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}


@pytest.mark.parametrize("name", [n for n in DISTRIBUTIONS if n != "kind"])
def test_places_in_a_range_and_values_are_each_others_inverse(name: str) -> None:
    distribution = DISTRIBUTIONS[name]
    for at in (0.0, 0.25, 0.5, 1.0):
        value = from_unit(distribution, at)
        assert distribution._contains(value)
        assert from_unit(distribution, to_unit(distribution, value)) == pytest.approx(value)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_are_valid_and_near_the_value(name: str) -> None:
    distribution = DISTRIBUTIONS[name]
    value: Any = {"x": 0.0, "log": 1e-6, "grid": 0.5, "int": 4, "logint": 16, "kind": "b"}[name]
    rng = np.random.default_rng(0)
    near = [Prior(value, 5.0).draw(distribution, rng) for _ in range(300)]
    anywhere = [draw_uniform(distribution, rng) for _ in range(300)]
    assert all(distribution._contains(v) for v in near + anywhere)
    if name == "kind":
        assert sum(distribution.to_external_repr(v) == "b" for v in near) > 170
        return
    own = to_unit(distribution, float(value))

    def distance(values: list[float]) -> float:
        return statistics.median(abs(to_unit(distribution, v) - own) for v in values)

    assert distance(near) < 0.6 * distance(anywhere)


def test_a_prior_is_worth_its_strength_in_trials() -> None:
    x = DISTRIBUTIONS["x"]
    shares = []
    for trials, good in ((10, 1), (20, 2), (100, 10)):
        extra = pseudo_observations(
            Prior(0.0, 10.0), x, trials=trials, good=good, rng=np.random.default_rng(0)
        )
        assert extra is not None
        total = float(extra.weights.sum())
        shares.append(total / (total + good))
    assert shares == pytest.approx([10 / 20, 10 / 30, 10 / 110])
    assert pseudo_observations(None, x, trials=5, good=1, rng=np.random.default_rng(0)) is None


def test_the_ranking_of_earlier_searches_is_forgotten() -> None:
    x = DISTRIBUTIONS["x"]
    ranked = [Ranked({"x": i / 10}, i / 9) for i in range(10)] + [Ranked({"log": 1e-4}, 0.0)]
    weights = []
    for trials in (0, 20, 39, 40, 1000):
        good, bad = earlier_observations(ranked, "x", x, trials=trials)
        weights.append(0.0 if good is None or bad is None else good.weights.sum() + bad.weights.sum())
    assert weights == pytest.approx([10.0, 5.0, 0.25, 0.0, 0.0])
    good, bad = earlier_observations(ranked, "x", x, trials=0)
    assert good is not None
    assert bad is not None
    assert list(good.values) == [0.0, 0.1], "a fifth; what lacks the setting says nothing of it"
    assert len(bad.values) == 8


def _run(
    count: int, sampler: RepeatableTPE, optimum: float, study: optuna.Study | None = None
) -> list[float]:
    study = study or optuna.create_study(sampler=sampler)
    for _ in range(count):
        trial = study.ask()
        score = 0.0
        for name in ("x", "y", "z"):
            score += (trial.suggest_float(name, 0.0, 1.0) - optimum) ** 2
        trial.suggest_categorical("kind", ["a", "b"])
        study.tell(trial, score)
    return [t.value for t in study.trials if t.value is not None]


def _best(values: list[float]) -> float:
    return math.sqrt(min(values))


@pytest.mark.parametrize(("optimum", "factor"), [(0.25, 0.8), (0.85, 2.0)], ids=["right", "wrong"])
def test_a_right_prior_helps_and_a_wrong_one_does_not_ruin(optimum: float, factor: float) -> None:
    priors: Mapping[str, Prior] = {name: Prior(0.2, STRENGTHS["medium"]) for name in ("x", "y", "z")}
    seeds = range(12)
    without = [_best(_run(30, RepeatableTPE(seed=s, startup_trials=8), optimum)) for s in seeds]
    having = [_best(_run(30, RepeatableTPE(seed=s, startup_trials=8, priors=priors), optimum)) for s in seeds]
    assert statistics.median(having) < factor * statistics.median(without)


def test_draws_depend_on_the_study_alone() -> None:
    priors = {name: Prior(0.2, 5.0) for name in ("x", "y")}
    ranked = [Ranked({"x": i / 10, "y": 0.5, "z": 0.1, "kind": "b"}, i / 9) for i in range(10)]

    def sampler() -> RepeatableTPE:
        return RepeatableTPE(seed=3, startup_trials=4, priors=priors, earlier=ranked)

    whole = _run(16, sampler(), 0.5)
    study = optuna.create_study(sampler=sampler())
    _run(9, sampler(), 0.5, study)
    study.sampler = sampler()  # as in a session of its own
    assert _run(7, sampler(), 0.5, study) == whole


def test_no_more_trials_are_random_than_configured_however_many_run() -> None:
    """Random draws do not depend on what happened before; TPE's do."""

    def asked(scores: list[float]) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=RepeatableTPE(seed=1, startup_trials=10))
        running: list[optuna.Trial] = []
        for _ in range(50):
            trial = study.ask()
            for name in ("x", "y", "z"):
                trial.suggest_float(name, 0.0, 1.0)
            running.append(trial)
            if len(running) == 8:
                done = running.pop(0)
                study.tell(done, scores[done.number])
        return [t.params for t in study.trials]

    rising, falling = asked([float(i) for i in range(50)]), asked([-float(i) for i in range(50)])
    same = [i for i in range(50) if rising[i] == falling[i]]
    assert same[:10] == list(range(10))
    # Trials 8 and 9 are random although fewer than ten have ended; 10 is not, although only three have.
    assert len(same) <= 10 + 2, "with one or two ended trials both orders split alike"


def _base() -> TrialConfig:
    return TrialConfig(
        task="wdbc",
        source=SourceConfig(name="docs"),
        optimizer=OptimizerConfig(lr=1e-3),
        train=TrainConfig(epochs=4, batch_size=8),
    )


def test_a_space_says_how_strongly_it_believes_in_trial_0(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "k.start:\n  float: [0.05, 1.0]\n  prior: {strength: medium}\n"
        "k.end:\n  float: [0.0, 0.8]\n  times: k.start\n  prior: {strength: 3}\n"
        "gate.kind:\n  choice: [mlp, fc]\n  prior: {strength: strong}\n"
        "gate.tau:\n  float: [2.0, 3.0]\n  prior: {strength: weak}\n"
        "optimizer.lr:\n  float: [0.1, 10]\n  log: true\n  relative: true\n"
    )
    space = Space.load(path).bind(_base())
    assert space.priors() == {
        "k.start": Prior(0.957, 2.0),
        "k.end / k.start": Prior(0.0, 3.0),
        "gate.kind": Prior("fc", 4.0),
    }, "gate.tau is 0.9 in trial 0, where the space does not reach"
    again = tmp_path / "again.yaml"
    again.write_text(space.to_yaml())
    assert Space.load(again).bind(_base()).priors() == space.priors()


@pytest.mark.parametrize(
    ("prior", "got"),
    [
        ("{strength: huge}", "'huge'"),
        ("{strength: -1}", "-1"),
        ("{strength: true}", "True"),
        ("strong", "'strong'"),
        ("{strong: 1}", "'strong'"),
    ],
)
def test_a_prior_that_says_nothing_valid_is_refused(tmp_path: Path, prior: str, got: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(f"k.start:\n  float: [0.05, 1.0]\n  prior: {prior}\n")
    with pytest.raises(ConfigError, match=rf"space\.yaml:1: prior of k\.start needs .*{got}"):
        Space.load(path)
