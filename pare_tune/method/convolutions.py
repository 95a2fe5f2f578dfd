"""What fixed convolutions see of a series: shares of steps above thresholds, as in MiniRocket.

Dempster et al., KDD 2021, https://arxiv.org/abs/2012.08791. Nothing in them is trained by gradients: few series are
enough for what reads them.
"""
# Shape suffixes: B = batch, C = channels, L = steps, N = tokens of L/N steps, D = dilations, P = kernels,
# Q = thresholds, F = D·P·Q features.

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from typing import Final

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

_TAPS: Final = 9
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_QUANTILE_STEPS: Final = 10_000
"""Outputs of a kernel whose quantiles are taken."""
_LEAST_SPREAD: Final = 1e-3
"""Shares that differ less between series say nothing."""


@cache
def kernels() -> Tensor:
    """MiniRocket's (P, 9): every way to have three weights of 2 among six of −1."""
    rows = torch.full((84, _TAPS), -1.0, device="cpu")  # kept, wherever the first model is built
    for row, places in zip(rows, itertools.combinations(range(_TAPS), 3), strict=True):
        row[list(places)] = 2.0
    return rows


def num_dilations(length: int) -> int:
    """1, 2, 4, …: as many as a kernel fits into the series."""
    return int(math.log2(max(1, (length - 1) // (_TAPS - 1)))) + 1


class Shares(nn.Module):
    """Kernels at several dilations over random channels, and the thresholds that their outputs are compared with."""

    channels_DPC: Tensor
    """0 or 1."""
    threshold_DPQ: Tensor

    def draw(self, num_channels: int, length: int, thresholds: int) -> None:
        """Make the buffers: channels as MiniRocket draws them, thresholds at 0."""
        rng = np.random.default_rng(0)
        num = num_dilations(length)
        channels = np.zeros((num, len(kernels()), num_channels), dtype=np.float32)
        for chosen in channels.reshape(-1, num_channels):
            count = int(2 ** rng.uniform(0, math.log2(min(num_channels, _TAPS) + 1)))
            chosen[rng.choice(num_channels, min(count, num_channels), replace=False)] = 1.0
        self.register_buffer("channels_DPC", torch.from_numpy(channels))
        self.register_buffer("threshold_DPQ", torch.zeros(num, len(kernels()), thresholds))

    @torch.no_grad()
    def set_thresholds(self, x_BCL: Tensor, quantiles_PQ: Tensor) -> None:
        """To these quantiles of what some training series give, each kernel to its own."""
        for place in range(len(self.channels_DPC)):
            given = self.convolved(x_BCL, place).transpose(0, 1).flatten(1)
            given = given[:, :: max(1, given.shape[1] // _QUANTILE_STEPS)]
            for row, outputs, quantiles in zip(self.threshold_DPQ[place], given, quantiles_PQ, strict=True):
                row.copy_(torch.quantile(outputs, quantiles))

    def convolved(self, x: Tensor, place: int) -> Tensor:
        """(B, C, L) → (B, P, L) at one dilation."""
        weight = self.channels_DPC[place, :, :, None] * kernels().to(x)[:, None, :]
        return nnf.conv1d(x, weight, padding=2**place * (_TAPS // 2), dilation=2**place)

    def above(self, x: Tensor) -> Iterator[Tensor]:
        """(B, C, L) → (B, P, L) of 0 and 1, for each dilation and threshold."""
        for place, threshold_PQ in enumerate(self.threshold_DPQ):
            convolved = self.convolved(x, place)
            for threshold_P in threshold_PQ.T:
                yield (convolved > threshold_P[:, None]).to(x.dtype)

    def shares(self, x: Tensor) -> Tensor:
        """(B, C, L) → (B, F)."""
        return torch.cat([above.mean(2) for above in self.above(x)], 1)


class ConvolutionStem(Shares):
    """Adds to every token what convolutions see in its own steps and in the whole series.

    A linear patch of a few steps shows an encoder neither frequencies nor shapes whose place varies, and a few dozen
    series do not teach it to find them.
    """

    mean_2F: Tensor
    scale_2F: Tensor

    def __init__(self, in_channels: int, length: int, num_tokens: int, width: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.draw(in_channels, length, thresholds=1)
        features = self.threshold_DPQ.numel()
        self.register_buffer("mean_2F", torch.zeros(2 * features))
        self.register_buffer("scale_2F", torch.ones(2 * features))
        self.own, self.whole = (nn.Linear(features, width, bias=False) for _ in range(2))
        bound = (2 * features) ** -0.5
        for layer in (self.own, self.whole):
            nn.init.uniform_(layer.weight, -bound, bound)

    def fit(self, x_BCL: Tensor) -> None:
        """Take thresholds and scales from training series."""
        # MiniRocket's low-discrepancy sequence of quantiles.
        quantiles = torch.arange(1, len(kernels()) + 1, dtype=torch.float64) * _GOLDEN % 1
        self.set_thresholds(x_BCL, quantiles.to(x_BCL)[:, None])
        for seen_BNF, mean_F, scale_F in zip(
            self._seen(x_BCL), self.mean_2F.chunk(2), self.scale_2F.chunk(2), strict=True
        ):
            spread_F, mean = torch.std_mean(seen_BNF.flatten(0, 1), dim=0, correction=0)
            mean_F.copy_(mean)
            scale_F.copy_(torch.where(spread_F > _LEAST_SPREAD, 1 / spread_F, 0.0))

    def forward(self, x_BCL: Tensor) -> Tensor:
        """(B, C, L) → (B, N, width)."""
        own_BNF, whole_B1F = self._seen(x_BCL)
        (own_mean_F, whole_mean_F), (own_scale_F, whole_scale_F) = (
            self.mean_2F.chunk(2),
            self.scale_2F.chunk(2),
        )
        own: Tensor = self.own((own_BNF - own_mean_F) * own_scale_F)
        whole: Tensor = self.whole((whole_B1F - whole_mean_F) * whole_scale_F)
        return own + whole

    @torch.no_grad()
    def _seen(self, x_BCL: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of each token's steps (B, N, F), and of all (B, 1, F)."""
        device = x_BCL.device.type
        # Thresholds are those of float32.
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            own = [above.unflatten(2, (self.num_tokens, -1)).mean(3) for above in self.above(x_BCL)]
        own_BNF = torch.cat(own, 1).transpose(1, 2)
        return own_BNF, own_BNF.mean(1, keepdim=True)
