"""Scores token embeddings, so that the informative ones survive mixing.

PaRe (Cai et al., ICML 2024), section 3.3 and Table 6, https://arxiv.org/abs/2406.09003
"""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

GateKind = Literal["fc", "mlp", "mlp_dropout"]
Selection = Literal["topk", "iterative"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """What the gate is and how tokens are selected by its scores."""

    kind: GateKind = "fc"
    """fc: one linear layer, the paper's choice. mlp, mlp_dropout: one hidden layer with ReLU (Table 6)."""
    hidden: int = 64
    """Width of the hidden layer; MLPs only."""
    dropout: float = 0.5
    """Dropout after the hidden layer; mlp_dropout only."""
    noise: float = 1.0
    """Scale of the Gumbel noise on the logits while training: 0 always selects the best-scored tokens."""
    tau: float = 0.9
    """Temperature of the relaxation that carries the gradient: low ones favour tokens near the cut."""
    selection: Selection = "topk"
    """topk: one threshold a row. iterative: the paper's K successive softmaxes, same tokens, far slower."""

    def __post_init__(self) -> None:
        if self.kind not in ("fc", "mlp", "mlp_dropout"):
            raise ValueError(f"GateConfig needs a kind of fc, mlp, mlp_dropout, got {self.kind!r}")
        if self.hidden < 1:
            raise ValueError(f"GateConfig needs hidden >= 1, got {self.hidden}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"GateConfig needs 0 <= dropout < 1, got {self.dropout}")
        if not 0.0 <= self.noise < float("inf"):
            raise ValueError(f"GateConfig needs a finite noise >= 0, got {self.noise}")
        if not 0.0 < self.tau < float("inf"):
            raise ValueError(f"GateConfig needs a finite tau > 0, got {self.tau}")
        if self.selection not in ("topk", "iterative"):
            raise ValueError(f"GateConfig needs a selection of topk, iterative, got {self.selection!r}")


class Gate(nn.Module):
    """One logit z per token; source and target share the gate, so their scores compare."""

    def __init__(self, width: int, config: GateConfig) -> None:
        super().__init__()
        self.layers = _layers(width, config)

    def forward(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) → logits (B, N), in the gate's own precision (not autocast's)."""
        dtype = next(self.parameters()).dtype
        # bfloat16 has 8 significant bits: most of 3136 logits would tie, and the cut would be arbitrary.
        with torch.autocast(device_type=x_BND.device.type, enabled=False):
            z_BN1: Tensor = self.layers(x_BND.to(dtype))
        return z_BN1.squeeze(-1)

    def scores(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) → the paper's scores S = σ(z) in (0, 1), (B, N)."""
        return torch.sigmoid(self(x_BND))


def gumbel_like(logits_BN: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Gumbel(0, 1) noise of the logits' shape and type: −log of an Exponential(1) draw."""
    return torch.empty_like(logits_BN).exponential_(generator=generator).log_().neg_()


def _layers(width: int, config: GateConfig) -> nn.Sequential:
    if config.kind == "fc":
        return nn.Sequential(nn.Linear(width, 1))
    hidden: list[nn.Module] = [nn.Linear(width, config.hidden), nn.ReLU()]
    if config.kind == "mlp_dropout":
        hidden.append(nn.Dropout(config.dropout))
    return nn.Sequential(*hidden, nn.Linear(config.hidden, 1))
