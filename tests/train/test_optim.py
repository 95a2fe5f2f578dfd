from __future__ import annotations

import pytest
import torch

from pare_tune.config import OptimizerConfig
from pare_tune.train.optim import learning_rate, make_optimizer


def test_the_rate_rises_then_falls_to_zero_at_the_end_of_the_run() -> None:
    config = OptimizerConfig(lr=1.0, warmup=0.1, decay=1.0)
    rates = [learning_rate(s, 100, config) for s in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert max(rates) == 1.0
    assert rates[10:] == pytest.approx([(100 - s) / 90 for s in range(10, 100)])


def test_a_longer_decay_ends_above_zero_as_the_papers_cifar_100() -> None:
    # 60 epochs, warm-up 5, decay 200: the factor at the end is (200 - 60) / (200 - 5).
    config = OptimizerConfig(lr=1.0, warmup=5 / 60, decay=200 / 60)
    assert learning_rate(6000, 6000, config) == pytest.approx(140 / 195)


def test_no_step_has_rate_zero() -> None:
    config = OptimizerConfig(lr=1e-3, warmup=0.5)
    assert all(learning_rate(s, 7, config) > 0 for s in range(7))


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_frozen_parameters_are_left_out(name: str, kind: str) -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    optimizer = make_optimizer(layer.parameters(), OptimizerConfig(name=name, lr=0.1))  # type: ignore[arg-type]
    assert type(optimizer).__name__ == kind
    assert [p is layer.weight for p in optimizer.param_groups[0]["params"]] == [True]
