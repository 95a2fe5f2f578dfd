from __future__ import annotations

import pytest
import torch

from pare_tune.config import OptimizerConfig
from pare_tune.train.optim import learning_rate, make_optimizer, set_rate


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
    optimizer = make_optimizer(layer, OptimizerConfig(name=name, lr=0.1))  # type: ignore[arg-type]
    assert type(optimizer).__name__ == kind
    assert [p is layer.weight for p in optimizer.param_groups[0]["params"]] == [True]


def small_model() -> torch.nn.ModuleDict:
    encoder = torch.nn.ModuleDict({"attention": torch.nn.Linear(2, 2), "norm": torch.nn.LayerNorm(2)})
    encoder.register_parameter("positions", torch.nn.Parameter(torch.zeros(3, 2)))
    return torch.nn.ModuleDict(
        {"encoder": encoder, "target_head": torch.nn.Linear(2, 1), "mixer": torch.nn.Linear(2, 1)}
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, dict.fromkeys(("weight", "bias", "norm", "positions", "head", "head bias", "gate"), (1.0, 0.1))),
        (
            {"new_parts": 3.0, "gate": 10.0, "decays": "matrices"},
            {"weight": (1.0, 0.1), "bias": (1.0, 0.0), "norm": (1.0, 0.0), "positions": (1.0, 0.0),
             "head": (3.0, 0.1), "head bias": (3.0, 0.0), "gate": (30.0, 0.1)},
        ),
    ],
)  # fmt: skip
def test_new_parts_have_their_own_rate_and_only_matrices_decay(
    settings: dict[str, object], expected: dict[str, tuple[float, float]]
) -> None:
    model = small_model()
    optimizer = make_optimizer(model, OptimizerConfig(lr=1.0, weight_decay=0.1, **settings))  # type: ignore[arg-type]
    set_rate(optimizer, 0.5)
    encoder = model["encoder"]
    parameters = {
        "weight": encoder["attention"].weight,
        "bias": encoder["attention"].bias,
        "norm": encoder["norm"].weight,
        "positions": encoder.positions,
        "head": model["target_head"].weight,
        "head bias": model["target_head"].bias,
        "gate": model["mixer"].weight,
    }
    told = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(told) == len(list(model.parameters()))
    assert {name: told[id(p)] for name, p in parameters.items()} == {
        name: (0.5 * factor, decay) for name, (factor, decay) in expected.items()
    }


def test_without_groups_a_checkpoint_of_one_group_goes_on() -> None:
    # What a release before the groups wrote: no factor in it.
    model = small_model()
    saved = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True).state_dict()
    optimizer = make_optimizer(model, OptimizerConfig(lr=0.1))
    optimizer.load_state_dict(saved)
    set_rate(optimizer, 0.7)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7]
