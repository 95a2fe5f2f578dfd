"""Ways of mixing target and source tokens into an intermediate modality; the seam for modes of the trainer.

PaRe (Cai et al., ICML 2024), section 3.3 and Table 5, https://arxiv.org/abs/2406.09003
"""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pare_tune.method.gate import Gate, GateConfig, gumbel_like
from pare_tune.method.replace import patch_replace
from pare_tune.method.select import hard_topk, select_iterative, select_topk


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Mixed tokens and what they are made of."""

    tokens_BND: Tensor
    lam: float
    """λ = K/N, the share of the source in the tokens and in the loss."""
    target_mask: Tensor | None
    """(B, N): 1 where the target token stays, 0 where it goes; None for a mixer that selects no tokens."""
    source_mask: Tensor | None
    """(B, N): 1 where the source token is taken; None for a mixer that selects no tokens."""
    target_logits: Tensor | None = None
    """(B, N) gate logits without noise; None for a mixer without a gate."""
    source_logits: Tensor | None = None
    """(B, N) gate logits without noise; None for a mixer without a gate."""


class Mixer(nn.Module, ABC):
    """Mixes K of N tokens; abstract. A mode of the trainer is one final subclass that writes `mix`."""

    def forward(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        """Mix; K = 0 returns the target itself, draws no random number and runs no gate.

        Raises:
            ValueError: target and source differ in shape, or K is not in 0 … N.
        """
        if target_BND.shape != source_BND.shape:
            raise ValueError(
                f"target and source tokens must have one shape (B, N, D) to be mixed, "
                f"got {tuple(target_BND.shape)} and {tuple(source_BND.shape)}"
            )
        n = target_BND.shape[1]
        if not 0 <= k <= n:
            raise ValueError(f"can replace 0 to {n} of {n} tokens, got k={k}")
        if k == 0:
            keep_BN = target_BND.new_ones(target_BND.shape[:2])
            take_BN = torch.zeros_like(keep_BN)
            return Mixed(tokens_BND=target_BND, lam=0.0, target_mask=keep_BN, source_mask=take_BN)
        return self.mix(target_BND, source_BND, k)

    @abstractmethod
    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        """Mix tokens of one shape, 1 ≤ K ≤ N."""


class GateMixer(Mixer):
    """PaRe: the gate's K best source tokens replace its K worst target tokens."""

    def __init__(self, gate: Gate, config: GateConfig) -> None:
        """Of `config` only noise, tau and selection are read here; the rest made the gate."""
        super().__init__()
        self.gate = gate
        self.noise = config.noise
        self.tau = config.tau
        self.selection = config.selection

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        target_BN, source_BN = self.gate(target_BND), self.gate(source_BND)
        keep_BN, take_BN = self._select(self._perturbed(target_BN), self._perturbed(source_BN), k)
        return Mixed(
            tokens_BND=patch_replace(target_BND, source_BND, keep_BN, take_BN),
            lam=k / target_BND.shape[1],
            target_mask=keep_BN,
            source_mask=take_BN,
            target_logits=target_BN,
            source_logits=source_BN,
        )

    def _select(self, target_s_BN: Tensor, source_s_BN: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Masks of the target tokens that stay and of the source tokens that come."""
        if self.selection == "iterative":
            kept = target_s_BN.shape[1] - k
            return select_iterative(target_s_BN, kept, self.tau), select_iterative(source_s_BN, k, self.tau)
        # The N − K best stay where the K best of the negated logits go, relaxation included: one call serves both.
        drop_BN, take_BN = select_topk(torch.cat([-target_s_BN, source_s_BN]), k, self.tau).chunk(2)
        return 1.0 - drop_BN, take_BN

    def _perturbed(self, logits_BN: Tensor) -> Tensor:
        # On the logit, not on the score in (0, 1): there, noise this wide makes selection near-random.
        if not self.training or self.noise == 0.0:
            return logits_BN
        return logits_BN + gumbel_like(logits_BN) * self.noise


class RandomMixer(Mixer):
    """The paper's Table 5 control: the tokens to remove and to take are uniformly random in every step."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        """`generator` must live on the tokens' device; None draws from torch's global one."""
        super().__init__()
        self.generator = generator

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        n = target_BND.shape[1]
        keep_BN = self._select(target_BND, n - k)
        take_BN = self._select(source_BND, k)
        mixed_BND = patch_replace(target_BND, source_BND, keep_BN, take_BN)
        return Mixed(tokens_BND=mixed_BND, lam=k / n, target_mask=keep_BN, source_mask=take_BN)

    def _select(self, tokens_BND: Tensor, k: int) -> Tensor:
        # float32 whatever the tokens are: bfloat16 draws tie, and ties would favour some positions.
        order_BN = torch.rand(tokens_BND.shape[:2], device=tokens_BND.device, generator=self.generator)
        return hard_topk(order_BN, k)
