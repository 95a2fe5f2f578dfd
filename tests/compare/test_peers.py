"""Every peer that is installed learns a toy of each kind that it suits, and gives outputs that its metric can score."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import optuna
import pytest
import torch
from torch import nn

from pare_tune.compare.peers import PEERS
from pare_tune.compare.peers.base import Examples, Problem, field_channels, logits_of, one_hot
from pare_tune.compare.peers.network import train_network
from pare_tune.compare.peers.search import score_outputs
from pare_tune.errors import ConfigError, TrialFailed
from pare_tune.tasks.base import Dense, Task

ProblemOf = Callable[..., Problem]
TestSplit = Callable[[str], Examples]

SMALL: Mapping[str, Mapping[str, object]] = {
    "perceiver": {"latents": 8, "width": 16, "layers": 1, "lr": 1e-2},
    "fno": {"width": 16, "modes": 4, "layers": 2, "lr": 1e-2},
    "unet": {"width": 8, "lr": 1e-2},
    "minirocket": {"n_kernels": 500},
    "catboost": {"iterations": 30},
    "xgboost": {"n_estimators": 20},
    "lightgbm": {"n_estimators": 20, "min_child_samples": 5},
    "hist-gradient-boosting": {"max_iter": 20, "min_samples_leaf": 5},
}
"""Settings with which a test takes no time."""
GOOD = {
    "toy-series": 45.0,
    "toy-table": 0.35,
    "toy-labels": 0.3,
    "toy-line": 0.4,
    "toy-plane": 0.5,
    "toy-mask": 0.4,
}
"""Halfway between chance and what can be learned of 48 samples, or better."""
CASES = [
    *(("linear", toy) for toy in GOOD),
    *((name, "toy-table") for name in ("hist-gradient-boosting", "xgboost", "lightgbm", "catboost")),
    *((name, toy) for name in ("fno", "unet") for toy in ("toy-line", "toy-plane", "toy-mask")),
    *(("minirocket", toy) for toy in ("toy-series", "toy-labels")),
]


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(("name", "toy"), CASES)
def test_a_peer_learns(name: str, toy: str, problem_of: ProblemOf, test_split: TestSplit) -> None:
    peer, problem = PEERS[name], problem_of(toy, epochs=12)
    if importlib.util.find_spec(peer.module) is None:
        pytest.skip(f"{peer.module} is not installed")
    assert peer.suits(problem.data.task) is None
    fitted = peer.fit(problem, SMALL.get(name, {}), 0)
    test = test_split(toy)
    outputs = fitted.predict(test.x)
    assert outputs.dtype == np.float32
    assert score_outputs(problem, test, outputs) < GOOD[toy]
    np.testing.assert_allclose(fitted.predict(test.x[:5]), outputs[:5], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("toy", ["toy-series", "toy-labels", "toy-plane"])
def test_the_perceiver_reads_any_array_and_repeats_itself(toy: str, problem_of: ProblemOf) -> None:
    problem = problem_of(toy, epochs=1)
    peer = PEERS["perceiver"]
    first, again = (peer.fit(problem, SMALL["perceiver"], 3) for _ in range(2))
    outputs = first.predict(problem.val.x)
    assert first.epochs == 1
    assert math.isfinite(score_outputs(problem, problem.val, outputs))
    np.testing.assert_array_equal(outputs, again.predict(problem.val.x))


def test_a_network_keeps_its_best_epoch_and_speaks_the_targets_unit(problem_of: ProblemOf) -> None:
    problem = problem_of("toy-line", epochs=6)

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[:, 0]

    start = train_network(Field, problem_of("toy-line", epochs=1), {"lr": 1e-9}, 0)
    fitted = train_network(Field, problem, {"lr": 0.05}, 0)
    outputs = fitted.predict(problem.val.x)
    assert abs(start.predict(problem.val.x).mean() - problem.val.y.mean()) < 5, (
        "before it has learned anything"
    )
    score = score_outputs(problem, problem.val, outputs)
    assert score < 0.1
    wild = train_network(Field, problem, {"lr": 50.0}, 0)
    assert math.isfinite(score_outputs(problem, problem.val, wild.predict(problem.val.x)))


def test_a_network_that_diverges_says_so(problem_of: ProblemOf) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(float("inf")))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 0] * self.w

    with pytest.raises(TrialFailed, match="diverged: loss became") as caught:
        train_network(Broken, problem_of("toy-line"), {}, 0)
    assert caught.value.cause == "diverged"


@pytest.mark.parametrize("name", list(PEERS))
def test_every_peer_asks_for_settings_that_its_space_can_hold(name: str, problem_of: ProblemOf) -> None:
    peer = PEERS[name]
    toy = next(t for t in GOOD if peer.suits(problem_of(t).data.task) is None)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = peer.suggest(study.ask(), problem_of(toy))
    assert bool(found) == peer.has_choices
    assert peer.name == name


@pytest.mark.parametrize(
    ("name", "toy", "reason"),
    [
        ("xgboost", "toy-series", "learns tables, toy-series is of modality sequence_1d"),
        ("fno", "toy-table", "predicts a value at every position, toy-table has one class a sample"),
        ("unet", "toy-labels", "toy-labels has several labels a sample"),
        ("minirocket", "toy-plane", "learns one output a series, toy-plane is of modality dense_2d"),
    ],
)
def test_what_a_peer_is_not_for_is_said(name: str, toy: str, reason: str, toys: Mapping[str, Task]) -> None:
    assert reason in (PEERS[name].suits(toys[toy]) or "")
    assert PEERS["linear"].suits(toys[toy]) is None
    assert PEERS["perceiver"].suits(toys[toy]) is None


def test_a_table_of_labels_is_not_for_classifiers(toys: Mapping[str, Task]) -> None:
    task = replace(toys["toy-table"], output=toys["toy-labels"].output)
    assert "one class a sample" in (PEERS["catboost"].suits(task) or "")


def test_a_missing_library_is_one_message_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'fno' needs the library neuralop.*pare-tune\[baselines\]"):
        PEERS["fno"].require_ready()


def test_classes_that_training_never_saw_have_a_logit_too() -> None:
    logits = logits_of(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([0, 2]), 4)
    assert logits.shape == (2, 4)
    np.testing.assert_allclose(logits[0, [0, 2]], np.log([0.25, 0.75]), rtol=1e-6)
    assert np.isfinite(logits).all()
    assert logits[1].argmax() == 0
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[-1, -1, 1], [1, -1, -1]])


def test_several_fields_in_a_row_are_channels_and_other_grids_are_refused(problem_of: ProblemOf) -> None:
    problem = problem_of("toy-line")
    assert field_channels(problem) == 1
    three = replace(problem, data=replace(problem.data, output=Dense((120,))))
    assert field_channels(three) == 3
    with pytest.raises(TrialFailed, match="does not lie on the input's grid"):
        field_channels(replace(problem, data=replace(problem.data, output=Dense((50,)))))
