"""Mixup among target samples alone (PaRe's Table 18, https://arxiv.org/abs/2406.09003)."""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pare_tune.method.mixers.base import Mixed, Mixer


class TargetMixupMixer(Mixer):
    """Every token is (1 − λ)·target + λ·another target of the batch; both labels count, λ = K/N of the schedule.

    Manifold Mixup (Verma et al., ICML 2019, https://arxiv.org/abs/1806.05236) at the embedding. No source takes part.
    """

    needs_source: ClassVar[bool] = False

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        batch, n = target_BND.shape[:2]
        # A random cycle: nobody is their own partner (unless alone).
        order_B = torch.randperm(batch, device=target_BND.device)
        partner_B = torch.empty_like(order_B)
        partner_B[order_B] = order_B.roll(1)
        lam = k / n
        return Mixed(
            tokens_BND=target_BND.lerp(target_BND[partner_B], lam),
            lam=lam,
            target_weight=1.0 - lam,
            partner_B=partner_B,
        )
