"""Predictors h_t and h_s: features of the encoder → classes or numbers, or a value at every position.

Layers start small (normal, 0.02, as the encoders' own) with zero bias: first predictions are near zero.
"""
# Shape suffixes: B = batch, M = features (tokens out), F = their width, C = output channels,
# H, W, L = output size.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import add, itemgetter
from typing import Literal, TypeVar, get_args

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from pare_tune.method.resize import resize_bilinear

Stages = Sequence[Tensor]
"""What the encoder hands over: its tokens, features on the way, and (B, M, F) last."""

_INIT_STD = 0.02
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


HeadKind = Literal["stages", "across", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """How a prediction at every position is read off the encoder; point heads know one way."""

    kind: HeadKind = "last"
    """last: the last stage alone, as in the paper. stages: the tokens and all stages (or four layers) together. across:
    the last, and a linear map across all tokens; of series alone."""
    width: int = 128
    """stages, across: of the features that are summed, at least."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(HeadKind):
            raise ValueError(f"HeadConfig needs a kind of {', '.join(get_args(HeadKind))}, got {self.kind!r}")
        if self.width < 1:
            raise ValueError(f"HeadConfig needs width >= 1, got {self.width}")


class PointHead(nn.Module):
    """Mean over the features, then linear: one vector of outputs a sample."""

    def __init__(self, feature_width: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = _small(nn.Linear(feature_width, num_outputs))

    def forward(self, stages: Stages) -> Tensor:
        """Last (B, M, F) → (B, num_outputs)."""
        return self.linear(stages[-1].mean(dim=1))  # type: ignore[no-any-return]


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
        if up < 1:
            raise ValueError(f"up must be at least 1, got {up}")
        self.feature_grid = feature_grid
        self.out_shape = _map_shape(out_shape)
        num_maps = self.out_shape[0] if len(self.out_shape) == 3 else 1
        self.conv = _small(nn.Conv2d(feature_width, num_maps * up**2, kernel_size=1))
        self.shuffle = nn.PixelShuffle(up)

    def forward(self, stages: Stages) -> Tensor:
        """Last (B, M, F) → (B, *out_shape).

        Raises:
            ValueError: M is not the number of features of the grid.
        """
        features_BMF, (rows, columns) = stages[-1], self.feature_grid
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

    def forward(self, stages: Stages) -> Tensor:
        """Last (B, M, F) → (B, L).

        Raises:
            ValueError: M is not `num_tokens`.
        """
        features_BMF = stages[-1]
        _check_features(features_BMF, self.num_tokens)
        series_BL: Tensor = self.linear(features_BMF).flatten(1)
        if series_BL.shape[1] == self.length:
            return series_BL
        resized = nnf.interpolate(series_BL[:, None], size=self.length, mode="linear", align_corners=False)
        return resized[:, 0]


class GridStagesHead(nn.Module):
    """A map from all stages: each is normed and projected to one width, and they are summed from the coarsest grid to
    the finest, with a depthwise convolution on each; then pixels, as in `GridDenseHead`.

    A feature pyramid (Lin et al., CVPR 2017, https://arxiv.org/abs/1612.03144) whose finest level are the tokens:
    detail that the encoder merges away is read where it still stands.
    """

    def __init__(
        self, widths: Sequence[int], grids: Sequence[tuple[int, int]], out_shape: Sequence[int], width: int
    ) -> None:
        """`widths`, `grids`: of the stages, the finest grid first; `out_shape`: (H, W), or (C, H, W) for C maps;
        `width`: what the stages are projected to, or more where a token stands for more values.

        Raises:
            ValueError: out_shape has neither two nor three axes.
        """
        super().__init__()
        self.out_shape = _map_shape(out_shape)
        self.grids = tuple(grids)
        num_maps = self.out_shape[0] if len(self.out_shape) == 3 else 1
        up = max(math.ceil(self.out_shape[-2] / grids[0][0]), math.ceil(self.out_shape[-1] / grids[0][1]))
        # Fewer features than the values that a token stands for could not tell them apart.
        width = max(width, min(2 * num_maps * up**2, max(widths)))
        self.laterals = _laterals(widths, width)
        self.mixes = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in set(grids))
        self.conv = _small(nn.Conv2d(width, num_maps * up**2, kernel_size=1))
        self.shuffle = nn.PixelShuffle(up)

    def forward(self, stages: Stages) -> Tensor:
        """(B, M, F) of every stage → (B, *out_shape).

        Raises:
            ValueError: there are not as many stages, or features in one of them, as there should be.
        """
        _check_stages(stages, self.laterals)
        x_BCHW: Tensor | None = None
        levels = list(zip(stages, self.laterals, self.grids, strict=True))
        for mix, (grid, level) in zip(self.mixes, groupby(reversed(levels), itemgetter(2)), strict=True):
            own_BMC = reduce(add, (lateral(stage_BMF) for stage_BMF, lateral, _ in level))
            _check_features(own_BMC, grid[0] * grid[1])
            own_BCHW = own_BMC.transpose(1, 2).unflatten(2, grid)
            x_BCHW = own_BCHW if x_BCHW is None else own_BCHW + resize_bilinear(x_BCHW, grid)
            x_BCHW = x_BCHW + mix(x_BCHW)
        assert x_BCHW is not None
        maps_BCHW = self.shuffle(self.conv(nnf.gelu(x_BCHW)))
        maps_BCHW = resize_bilinear(maps_BCHW, (self.out_shape[-2], self.out_shape[-1]))
        return maps_BCHW.reshape(-1, *self.out_shape)


class SequenceStagesHead(nn.Module):
    """A series from all stages: each is normed and projected to one width, and their sum, mixed with its neighbours',
    goes to a `SequenceDenseHead`."""

    def __init__(self, widths: Sequence[int], num_tokens: int, out_shape: Sequence[int], width: int) -> None:
        """`widths`: of the stages; `num_tokens`: M; `out_shape`: (L,); `width`: what the stages are projected to.

        Raises:
            ValueError: out_shape is not (L,) with L ≥ 1, or there are no tokens.
        """
        super().__init__()
        self.laterals = _laterals(widths, width)
        self.mix = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.last = SequenceDenseHead(width, num_tokens, out_shape)

    def forward(self, stages: Stages) -> Tensor:
        """(B, M, F) of every stage → (B, L).

        Raises:
            ValueError: there are not as many stages, or features in them, as there should be.
        """
        _check_stages(stages, self.laterals)
        x_BMC = reduce(add, (lateral(stage) for stage, lateral in zip(stages, self.laterals, strict=True)))
        x_BCM = self.mix(x_BMC.transpose(1, 2))
        return self.last((nnf.gelu(x_BCM).transpose(1, 2),))  # type: ignore[no-any-return]


class SequenceAcrossHead(nn.Module):
    """A series from the last features, as `SequenceDenseHead` reads them, plus a linear map of the tokens themselves.

    The map weighs tokens by how far they stand from the one that is predicted, with one Toeplitz matrix for each group
    of features. So a series that is shifted, smoothed or averaged need not go through the encoder, whose attention
    would have to learn for every place anew where to look.
    """

    GROUPS = 32
    positions_MF: Tensor
    distance_MM: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        num_tokens: int,
        out_shape: Sequence[int],
        width: int,
        positions: Tensor | None = None,
    ) -> None:
        """`widths`: of the stages, tokens first; `num_tokens`: M; `out_shape`: (L,); `width`: what tokens are
        projected to; `positions`: (M or more, F), what the embedder adds to them and the map does not see.

        Raises:
            ValueError: out_shape is not (L,) with L ≥ 1, or there are no tokens.
        """
        super().__init__()
        self.here = SequenceDenseHead(widths[-1], num_tokens, out_shape)
        self.register_buffer(
            "positions_MF",
            torch.zeros(num_tokens, widths[0]) if positions is None else positions[:num_tokens].clone(),
        )
        self.lateral = nn.Linear(widths[0], width)
        nn.init.normal_(self.lateral.weight, std=widths[0] ** -0.5)
        nn.init.zeros_(self.lateral.bias)
        # By distance, from the last token seen from the first to the first seen from the last.
        self.weights_GR = nn.Parameter(
            torch.randn(math.gcd(width, self.GROUPS), 2 * num_tokens - 1) * num_tokens**-0.5
        )
        places = torch.arange(num_tokens)
        self.register_buffer("distance_MM", places[:, None] - places + num_tokens - 1, persistent=False)
        self.across = SequenceDenseHead(width, num_tokens, out_shape)

    def forward(self, stages: Stages) -> Tensor:
        """(B, M, F) of every stage → (B, L). Raises ValueError: there are not M features."""
        series_BL = self.here(stages)
        x_BMGC = self.lateral(stages[0] - self.positions_MF).unflatten(2, (len(self.weights_GR), -1))
        x_BMGC = torch.einsum("gij,bjgc->bigc", self.weights_GR[:, self.distance_MM], x_BMGC)
        return series_BL + self.across((x_BMGC.flatten(2),))  # type: ignore[no-any-return]


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


def _laterals(widths: Sequence[int], width: int) -> nn.ModuleList:
    """Stages differ in scale (a ViT's grows with depth), hence the norms."""
    laterals = nn.ModuleList(nn.Sequential(nn.LayerNorm(w), nn.Linear(w, width)) for w in widths)
    for lateral, w in zip(laterals, widths, strict=True):
        linear = lateral[1]  # type: ignore[index]
        nn.init.normal_(linear.weight, std=(w * len(widths)) ** -0.5)
        nn.init.zeros_(linear.bias)
    return laterals


def _map_shape(out_shape: Sequence[int]) -> tuple[int, ...]:
    if len(out_shape) not in (2, 3) or min(out_shape) < 1:
        raise ValueError(f"out_shape must be (H, W) or (C, H, W), got {tuple(out_shape)}")
    return tuple(out_shape)


def _small(layer: Layer) -> Layer:
    nn.init.normal_(layer.weight, std=_INIT_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _check_stages(stages: Stages, laterals: nn.ModuleList) -> None:
    if len(stages) != len(laterals):
        raise ValueError(f"this head reads {len(laterals)} stages, got {len(stages)}")


def _check_features(features_BMF: Tensor, expected: int) -> None:
    if features_BMF.shape[1] != expected:
        raise ValueError(f"this head reads {expected} features a sample, got {tuple(features_BMF.shape)}")
