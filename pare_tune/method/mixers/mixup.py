"""Mixup of target and source at the embedding (PaRe's Table 4, https://arxiv.org/abs/2406.09003)."""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

from torch import Tensor

from pare_tune.method.mixers.base import Mixed, Mixer


class MixupMixer(Mixer):
    """Every token is (1 − λ)·target + λ·source, with λ = K/N of the schedule.

    Mixup (Zhang et al., ICLR 2018, https://arxiv.org/abs/1710.09412) draws λ from a Beta distribution; here it follows
    the schedule that every method shares, so that the comparison is of the way of mixing alone.
    """

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        lam = k / target_BND.shape[1]
        mixed_BND = target_BND.lerp(source_BND.to(target_BND.dtype), lam)
        return Mixed(tokens_BND=mixed_BND, lam=lam, target_weight=1.0 - lam)
