"""A toy where the informative tokens are known: does the gate find them from the loss alone?"""
# Shape suffixes: B = batch, N = tokens, D = width.

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pare_tune.method import (
    Gate,
    GateConfig,
    GateMixer,
    KSchedule,
    PareModel,
    PointHead,
    pare_loss,
    source_loss,
)

B, N, D, CLASSES, STEPS = 32, 32, 32, 4, 150


class ToyEncoder(nn.Module):
    """One residual layer on every token, behind a norm (as Swin and ViT begin) or not."""

    def __init__(self, *, pre_norm: bool) -> None:
        super().__init__()
        norm = nn.LayerNorm(D) if pre_norm else nn.Identity()
        self.layers = nn.Sequential(norm, nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))

    def embed_source(self, x: Tensor, kind: str) -> Tensor:
        return x

    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        return tokens_BND, tokens_BND + self.layers(tokens_BND)


class Domain:
    """A quarter of the tokens tells the class, the rest is noise.

    Informative tokens have a direction in common, partly of their domain and partly of both: one linear gate serves
    both domains, so it could not rank tokens whose marks are opposite.
    """

    def __init__(self, common_D: Tensor, generator: torch.Generator) -> None:
        self.generator = generator
        self.patterns_CD = torch.randn(CLASSES, D, generator=generator)
        self.mark_D = (common_D + torch.randn(D, generator=generator)) / 2**0.5

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, N, D), classes (B,), informative (B, N)."""
        y = torch.randint(CLASSES, (B,), generator=self.generator)
        informative_BN = torch.rand(B, N, generator=self.generator).argsort(1) < N // 4
        told_BND = (self.patterns_CD[y][:, None] + self.mark_D) * informative_BN[..., None]
        x_BND = torch.randn(B, N, D, generator=self.generator) + told_BND
        return nn.functional.layer_norm(x_BND, (D,)), y, informative_BN


def auc(logits: Tensor, positive: Tensor) -> float:
    """Chance that a positive scores above a negative (Mann and Whitney)."""
    ranks = logits.flatten().argsort().argsort().double() + 1
    positive = positive.flatten()
    p, n = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def train_gate(config: GateConfig, schedule: KSchedule, *, pre_norm: bool, seed: int) -> tuple[float, float]:
    """AUC of the trained gate on fresh target and source tokens."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    common_D = torch.randn(D, generator=generator)
    target, source = Domain(common_D, generator), Domain(common_D, generator)
    model = PareModel(
        ToyEncoder(pre_norm=pre_norm),
        nn.Identity(),
        PointHead(D, CLASSES),
        GateMixer(Gate(D, config), config),
        PointHead(D, CLASSES),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        x, y, _ = target.batch()
        source_x, source_y, _ = source.batch()
        out = model(x, source_x, "tokens", k=schedule.k_at(step, STEPS, N))
        assert out.mixed is not None
        loss, _ = pare_loss(
            source_loss(out.target, y),
            source_loss(out.mixed_target, y),
            source_loss(out.mixed_source, source_y),
            lam=out.mixed.lam,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, _, informative = target.batch()
    source_x, _, source_informative = source.batch()
    with torch.no_grad():
        gate = model.mixer.gate  # type: ignore[union-attr]
        return auc(gate(x), informative), auc(gate(source_x), source_informative)


@pytest.mark.parametrize("selection", ["topk", "iterative"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_gate_finds_the_informative_tokens(selection: str, pre_norm: bool) -> None:
    config = GateConfig(selection=selection)  # type: ignore[arg-type]
    target, source = train_gate(config, KSchedule(start=0.6, end=0.3), pre_norm=pre_norm, seed=1)
    assert target > 0.9
    assert source > 0.9
