"""Masking of target tokens (PaRe's Table 18, https://arxiv.org/abs/2406.09003)."""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pare_tune.method.mixers.base import Mixed, Mixer
from pare_tune.method.select import hard_topk


class TargetMaskMixer(Mixer):
    """K random target tokens are set to zero, and the label stays whole: L_mt counts with weight 1.

    Random masking as of He et al., CVPR 2022 (https://arxiv.org/abs/2111.06377), as an augmentation. No source takes
    part.
    """

    needs_source: ClassVar[bool] = False

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        order_BN = torch.rand(target_BND.shape[:2], device=target_BND.device)
        keep_BN = 1.0 - hard_topk(order_BN, k)
        return Mixed(
            tokens_BND=target_BND * keep_BN.to(target_BND.dtype)[..., None],
            lam=k / target_BND.shape[1],
            target_weight=1.0,
            target_mask=keep_BN,
        )
