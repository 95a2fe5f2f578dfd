"""Predictors h_t and h_s: features of the encoder → classes or numbers, or a value at every position.

Layers start small (normal, 0.02, as the encoders' own) with zero bias: first predictions are near zero.
"""
# Shape suffixes: B = batch, M = features (tokens out), F = their width, C = output channels,
# H, W, L = output size.

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from pare_tune.method.resize import resize_bilinear

_INIT_STD = 0.02
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class PointHead(nn.Module):
    """Mean over the features, then linear: one vector of outputs a sample."""

    def __init__(self, feature_width: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = _small(nn.Linear(feature_width, num_outputs))

    def forward(self, features_BMF: Tensor) -> Tensor:
        """(B, M, F) → (B, num_outputs)."""
        return self.linear(features_BMF.mean(dim=1))  # type: ignore[no-any-return]


class GridDenseHead(nn.Module):
    """A map: 1×1 convolution, PixelShuffle to `up` times the feature grid, bilinear resize if that does not
    fit.

    The decoder of SimMIM (Xie et al., CVPR 2022, https://arxiv.org/abs/2111.09886), which ORCA and PaRe use.
    """

    def __init__(
        self, feature_width: int, feature_grid: tuple[int, int], out_shape: Sequence[int], up: int
    ) -> None:
        """`feature_grid`: (rows, columns) of the M features; `out_shape`: (H, W), or (C, H, W) for C maps.

        Raises:
            ValueError: out_shape has neither two nor three axes, or `up` is not positive.
        """
        super().__init__()
        if len(out_shape) not in (2, 3) or min(out_shape) < 1:
            raise ValueError(f"out_shape must be (H, W) or (C, H, W), got {tuple(out_shape)}")
        if up < 1:
            raise ValueError(f"up must be at least 1, got {up}")
        self.feature_grid = feature_grid
        self.out_shape = tuple(out_shape)
        num_maps = self.out_shape[0] if len(self.out_shape) == 3 else 1
        self.conv = _small(nn.Conv2d(feature_width, num_maps * up**2, kernel_size=1))
        self.shuffle = nn.PixelShuffle(up)

    def forward(self, features_BMF: Tensor) -> Tensor:
        """(B, M, F) → (B, *out_shape).

        Raises:
            ValueError: M is not the number of features of the grid.
        """
        rows, columns = self.feature_grid
        _check_features(features_BMF, rows * columns)
        maps_BCHW = self.shuffle(self.conv(features_BMF.transpose(1, 2).unflatten(2, (rows, columns))))
        maps_BCHW = resize_bilinear(maps_BCHW, (self.out_shape[-2], self.out_shape[-1]))
        return maps_BCHW.reshape(-1, *self.out_shape)


class SequenceDenseHead(nn.Module):
    """A series: each feature gives its L/M values; where M does not divide L, ⌈L/M⌉, then resized
    linearly."""

    def __init__(self, feature_width: int, num_tokens: int, out_shape: Sequence[int]) -> None:
        """`num_tokens`: M; `out_shape`: (L,).

        Raises:
            ValueError: out_shape is not (L,) with L ≥ 1, or there are no tokens.
        """
        super().__init__()
        if len(out_shape) != 1 or out_shape[0] < 1:
            raise ValueError(f"out_shape must be (L,), got {tuple(out_shape)}")
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be at least 1, got {num_tokens}")
        self.num_tokens = num_tokens
        self.length = out_shape[0]
        self.linear = _small(nn.Linear(feature_width, math.ceil(self.length / num_tokens)))

    def forward(self, features_BMF: Tensor) -> Tensor:
        """(B, M, F) → (B, L).

        Raises:
            ValueError: M is not `num_tokens`.
        """
        _check_features(features_BMF, self.num_tokens)
        series_BL: Tensor = self.linear(features_BMF).flatten(1)
        if series_BL.shape[1] == self.length:
            return series_BL
        resized = nnf.interpolate(series_BL[:, None], size=self.length, mode="linear", align_corners=False)
        return resized[:, 0]


class TargetScale(nn.Module):
    """raw · std + mean, so that a head learns targets of any unit from predictions near zero; fixed."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | Tensor, std: float | Tensor) -> None:
        """Mean and spread of the training targets: numbers, or tensors that broadcast against one prediction.

        Raises:
            ValueError: std is not positive and finite everywhere, or mean is not finite.
        """
        super().__init__()
        mean = torch.as_tensor(mean, dtype=torch.float32).detach().clone()
        std = torch.as_tensor(std, dtype=torch.float32).detach().clone()
        if not bool(((std > 0) & std.isfinite()).all()) or not bool(mean.isfinite().all()):
            raise ValueError(f"TargetScale needs a finite mean and a finite std > 0, got {mean} and {std}")
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, raw: Tensor) -> Tensor:
        """(B, …) → (B, …) in the target's unit, in at least float32."""
        # Autocast hands over bfloat16, whose 8 bits would round a value of any size to 0.4 %.
        return raw.to(torch.promote_types(raw.dtype, torch.float32)) * self.std + self.mean


def _small(layer: Layer) -> Layer:
    nn.init.normal_(layer.weight, std=_INIT_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _check_features(features_BMF: Tensor, expected: int) -> None:
    if features_BMF.shape[1] != expected:
        raise ValueError(f"this head reads {expected} features a sample, got {tuple(features_BMF.shape)}")
