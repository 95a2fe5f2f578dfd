from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest
import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.errors import ConfigError
from pare_tune.method import METHODS
from pare_tune.tasks import get_task
from pare_tune.train.memory import Rehearsal, memory_line, memory_need
from pare_tune.train.optim import make_optimizer


def planned(task: str, **values: object) -> TrialConfig:
    return default_trial(get_task(task), preset="embedded").with_values(values)


def allocated(config: TrialConfig) -> int:
    """The most bytes that torch's allocator had given out in two steps that compute."""
    with torch.profiler.profile(profile_memory=True) as profile:
        rehearsal = Rehearsal.of(config, get_task(config.task))
        optimizer = make_optimizer(rehearsal.model, config.optimizer)
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            rehearsal.loss(config.train.batch_size).backward()
            optimizer.step()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate(size for _, size in changes))


@pytest.mark.parametrize(
    "config",
    [
        planned("cifar100"),
        planned("psicov"),
        planned("ecg"),
        planned("wdbc", **{"optimizer.name": "sgd", "train.freeze": "layernorm"}),
    ],
    ids=lambda config: config.task,
)
def test_what_is_told_is_what_a_step_takes(config: TrialConfig) -> None:
    need = memory_need(config, get_task(config.task))
    assert need.peak == pytest.approx(allocated(config), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_need(method: str) -> None:
    need = memory_need(planned("balance-scale", method=method), get_task("balance-scale"))
    assert need.samples == 16 * (1 if METHODS[method].mixer is None else 2)
    assert need.weights > need.gradients > 0


def test_less_is_needed_where_less_is_kept() -> None:
    task = get_task("cifar100")
    need, light = (
        memory_need(planned("cifar100", **{"train.gradient_checkpointing": on}), task) for on in (False, True)
    )
    assert light.activations < need.activations / 3
    assert light.peak < need.peak
    two = memory_need(planned("cifar100"), task, workers=2)
    assert two.samples == need.samples / 2
    assert two.peak < need.peak


def test_an_encoder_that_is_not_here_is_no_mistake_yet(tmp_path: Path) -> None:
    config = planned("wdbc", backbone=f"hf:{tmp_path}")
    assert "not known before the encoder is here (no config.json" in memory_line(config, get_task("wdbc"))


def test_one_worker_has_nobody_to_share_with() -> None:
    config = planned("wdbc", **{"train.parallel": "fsdp"})
    with pytest.raises(
        ConfigError, match="fsdp shares a model among the workers of a trial, and there is one"
    ):
        memory_line(config, get_task("wdbc"))
