from __future__ import annotations

import pytest
import torch
from torch import nn

from pare_tune.method import Gate, GateConfig, gumbel_like

KINDS = ["fc", "mlp", "mlp_dropout"]


@pytest.mark.parametrize("kind", KINDS)
def test_gives_one_logit_a_token_and_scores_are_its_sigmoid(kind: str) -> None:
    gate = Gate(8, GateConfig(kind=kind)).eval()
    x = torch.randn(2, 5, 8)
    assert gate(x).shape == (2, 5)
    torch.testing.assert_close(gate.scores(x), torch.sigmoid(gate(x)))


def test_fc_is_one_linear_layer() -> None:
    gate = Gate(8, GateConfig())
    assert sum(p.numel() for p in gate.parameters()) == 9


def test_mlp_has_its_hidden_width_and_dropout() -> None:
    gate = Gate(8, GateConfig(kind="mlp_dropout", hidden=5, dropout=0.3))
    assert sum(p.numel() for p in gate.parameters()) == 8 * 5 + 5 + 5 + 1
    assert [m.p for m in gate.modules() if isinstance(m, nn.Dropout)] == [0.3]
    assert not [m for m in Gate(8, GateConfig(kind="mlp")).modules() if isinstance(m, nn.Dropout)]


def test_logits_keep_their_precision_under_autocast() -> None:
    gate, x = Gate(16, GateConfig()), torch.randn(2, 50, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = gate(x)
        from_half = gate(x.bfloat16())
    assert from_half.dtype == torch.float32
    torch.testing.assert_close(logits, gate(x), rtol=0, atol=0)


def test_gumbel_noise_has_gumbels_moments_and_repeats() -> None:
    like = torch.empty(1, 200_000)
    noise = gumbel_like(like, torch.Generator().manual_seed(0))
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert noise.std() == pytest.approx(1.2825, abs=0.01)  # π/√6
    assert torch.equal(noise, gumbel_like(like, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "cnn"},
        {"hidden": 0},
        {"dropout": 1.0},
        {"noise": -1.0},
        {"noise": float("nan")},
        {"tau": 0.0},
        {"tau": float("inf")},
        {"selection": "best"},
    ],
)
def test_wrong_values_die_at_construction(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="GateConfig needs"):
        GateConfig(**wrong)
