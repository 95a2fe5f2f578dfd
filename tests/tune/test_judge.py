"""Ways to judge a trial before its end."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial

from pare_tune.tune.judge import JUDGES
from pare_tune.tune.pruner import RungPruner

EPOCHS = 20
NOBODY = np.empty((0, EPOCHS))


def power_curves(ends: list[float], falls: list[float], power: float) -> np.ndarray:
    steps = np.arange(1.0, EPOCHS + 1)
    return np.array([a + b * steps**-power for a, b in zip(ends, falls, strict=True)])


def test_the_best_so_far_and_the_newest_score() -> None:
    curves = np.array([[3.0, 1.0, 2.0], [2.0, 2.0, 1.5]])
    assert JUDGES["best"](curves, NOBODY, EPOCHS).tolist() == [1.0, 1.5]
    assert JUDGES["last"](curves, NOBODY, EPOCHS).tolist() == [2.0, 1.5]


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0, 2.0])
def test_a_power_law_is_read_off_at_the_last_epoch(power: float) -> None:
    curves = power_curves([1.0, 0.5, 2.0], [1.0, 4.0, 0.0], power)
    judged = JUDGES["power-law"](curves[:, :7], NOBODY, EPOCHS)
    assert judged == pytest.approx(curves[:, -1])
    assert JUDGES["power-law"](curves[:, :2], NOBODY, EPOCHS) == pytest.approx(curves[:, 1])


def test_a_curve_that_rises_is_judged_by_its_best() -> None:
    rising = np.linspace(1.0, 2.0, 6)[None]
    assert JUDGES["power-law"](rising, NOBODY, EPOCHS) == pytest.approx([1.0])


def test_what_is_learned_from_ended_trials_turns_the_order_round() -> None:
    """Those that mix much at first look bad early and end well."""
    early = np.linspace(0.7, 1.2, 24)
    curves = np.array([np.linspace(e, 1.4 - e, EPOCHS) for e in early])
    ended, asked = curves[::2], curves[1::2]
    judged = JUDGES["learned"](asked[:, :5], ended, EPOCHS)
    assert np.all(np.diff(judged) < 0), "the worse early, the better in the end"
    few = JUDGES["learned"](asked[:, :5], ended[:9], EPOCHS)
    assert few == pytest.approx(asked[:, :5].min(axis=1)), "nine are too few to learn from"


def scores(trial: FrozenTrial) -> list[float]:
    return list(trial.user_attrs["scores"])


@pytest.mark.parametrize(("judge", "stopped"), [("best", False), ("last", True)])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_pruner_compares_as_it_is_told(judge: str, stopped: bool, direction: str) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    pruner = RungPruner(epochs=6, first_rung=0.5, reduction=2, judge=judge, curve=scores)
    study = optuna.create_study(direction=direction, pruner=pruner)
    for curve in ([3.0, 3.0, 3.0], [2.0, 2.0, 2.0], [1.0, 4.0, 4.0]):
        trial = study.ask()
        trial.set_user_attr("scores", [sign * x for x in curve])
        for epoch in (1, 2, 3):
            trial.report(sign * min(curve[:epoch]), epoch)
    assert trial.should_prune() is stopped
