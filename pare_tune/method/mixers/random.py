"""Patch replacement without a gate (PaRe's Table 5, https://arxiv.org/abs/2406.09003)."""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

import torch
from torch import Tensor

from pare_tune.method.mixers.base import Mixed, Mixer
from pare_tune.method.replace import patch_replace
from pare_tune.method.select import hard_topk


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
        return Mixed(
            tokens_BND=mixed_BND,
            lam=k / n,
            target_weight=1.0 - k / n,
            target_mask=keep_BN,
            source_mask=take_BN,
        )

    def _select(self, tokens_BND: Tensor, k: int) -> Tensor:
        # float32 whatever the tokens are: bfloat16 draws tie, and ties would favour some positions.
        order_BN = torch.rand(tokens_BND.shape[:2], device=tokens_BND.device, generator=self.generator)
        return hard_topk(order_BN, k)
