"""PaRe: the gate's K best source tokens replace its K worst target tokens.

Cai et al., ICML 2024, section 3.3 and Algorithm 1, https://arxiv.org/abs/2406.09003
"""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

import torch
from torch import Tensor

from pare_tune.method.gate import Gate, GateConfig, gumbel_like
from pare_tune.method.mixers.base import Mixed, Mixer
from pare_tune.method.replace import patch_replace
from pare_tune.method.select import select_iterative, select_topk


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
            target_weight=1.0 - k / target_BND.shape[1],
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
