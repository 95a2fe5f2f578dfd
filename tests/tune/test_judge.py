"""Ways to judge a trial before its end."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial

from pare_tune.tune.judge import learned
from pare_tune.tune.pruner import Curve, RungPruner

EPOCHS = 20


def test_what_is_learned_from_ended_trials_turns_the_order_round() -> None:
    """Those that mix much at first look bad early and end well."""
    early = np.linspace(0.7, 1.2, 24)
    curves = np.array([np.linspace(e, 1.4 - e, EPOCHS) for e in early])
    ended, asked = curves[::2], curves[1::2]
    expected = learned(asked[:, :5], ended)
    assert np.all(np.diff(expected) < 0), "the worse early, the better in the end"
    few = learned(asked[:, :5], ended[:9])
    assert few == pytest.approx(asked[:, :5].min(axis=1)), "nine are too few to learn from"


def scores(trial: FrozenTrial) -> list[float]:
    return list(trial.user_attrs["scores"])


@pytest.mark.parametrize(("curve", "stopped"), [(None, True), (scores, False)])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_pruner_compares_as_it_is_told(curve: Curve | None, stopped: bool, direction: str) -> None:
    """What begins worst ends best here, and only the trials that have ended say so."""
    sign = 1.0 if direction == "minimize" else -1.0
    pruner = RungPruner(epochs=4, first_rung=0.5, reduction=2, curve=curve)
    study = optuna.create_study(direction=direction, pruner=pruner)

    def begin(early: float) -> optuna.Trial:
        trial = study.ask()
        losses = [early, early, 2.0 - early, 2.0 - early]
        trial.set_user_attr("scores", [sign * x for x in losses])
        for epoch in (1, 2):
            trial.report(sign * early, epoch)
        return trial

    for early in np.linspace(1.1, 1.5, 12):
        study.tell(begin(float(early)), sign * (2.0 - early))
    assert begin(1.6).should_prune() is stopped
