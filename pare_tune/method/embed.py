"""New target embedders f_t: any input → (B, N, D) tokens of the width and number that the encoder takes.

All begin at random, as in the paper (section 3.1), or at what `start_from` is given, as in its code. With
`norm`, a LayerNorm with gain 1 and bias 0 gives every token zero mean and unit variance over D, the scale at
which pretrained embedders that end in a LayerNorm hand over theirs (up to the gain they learned); the
projection's own scale then only has to be far above √eps.
"""
# Shape suffixes: B = batch, C = channels, H, W = rows and columns, L = length, F = features of a table,
# N = tokens, D = embedding width.

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pare_tune.method.convolutions import ConvolutionStem
from pare_tune.method.resize import resize_bilinear


class GridEmbedder(nn.Module):
    """Images of any size and channels → patches: resize, Conv2d, LayerNorm, positions.

    The convolution starts normal with variance 1 / fan_in, so that white inputs of unit variance give tokens
    of unit variance also where the encoder wants no norm (ViT).
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        patch_size: int,
        width: int,
        norm: bool = True,
        norm_eps: float = 1e-5,
        positions: Tensor | None = None,
        bias: bool = False,
    ) -> None:
        """`positions` (N, D): where the learnable position table starts, None for no table; `bias`: let it begin at
        random, see `_begin_bias`.

        Raises:
            ValueError: the patch does not divide the image, or the table does not fit.
        """
        super().__init__()
        if patch_size < 1 or image_size < patch_size or image_size % patch_size:
            raise ValueError(
                f"image_size must be a multiple of patch_size, got {image_size} and {patch_size}"
            )
        self.image_size = image_size
        self.num_tokens = (image_size // patch_size) ** 2
        self.project = nn.Conv2d(in_channels, width, kernel_size=patch_size, stride=patch_size)
        nn.init.normal_(self.project.weight, std=(in_channels * patch_size**2) ** -0.5)
        _begin_bias(self.project, bias and norm)
        self.norm = _norm(width, norm, norm_eps)
        self.positions = _position_table(positions, self.num_tokens, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) of any H, W → (B, N, D), patches in reading order."""
        x_BCHW = resize_bilinear(x_BCHW, (self.image_size, self.image_size))
        x_BND: Tensor = self.norm(self.project(x_BCHW).flatten(2).transpose(1, 2))
        return x_BND if self.positions is None else x_BND + self.positions


class SequenceEmbedder(nn.Module):
    """Series of length L → N tokens of L/N steps each: Conv1d, LayerNorm, then positions; as in ORCA.

    With a stem, what it sees is added to the patches before the norm.
    """

    def __init__(
        self,
        in_channels: int,
        length: int,
        num_tokens: int,
        width: int,
        norm: bool = True,
        norm_eps: float = 1e-5,
        positions: Tensor | None = None,
        bias: bool = False,
        stem: bool = False,
    ) -> None:
        """`positions` (N or more, D): where the learnable position table starts, None for no table; `bias`: let it
        begin at random, see `_begin_bias`; `stem`: have a `ConvolutionStem`, which wants its `fit`.

        Raises:
            ValueError: num_tokens does not divide length, or the table does not fit.
        """
        super().__init__()
        if num_tokens < 1 or length < num_tokens or length % num_tokens:
            raise ValueError(
                f"num_tokens must divide length, got {num_tokens} and {length}; "
                "stack_size finds the most tokens that fit"
            )
        self.length = length
        self.num_tokens = num_tokens
        stack = length // num_tokens
        self.project = nn.Conv1d(in_channels, width, kernel_size=stack, stride=stack)
        nn.init.xavier_uniform_(self.project.weight, gain=math.sqrt(2.0))
        _begin_bias(self.project, bias and norm)
        self.stem = ConvolutionStem(in_channels, length, num_tokens, width) if stem else None
        self.norm = _norm(width, norm, norm_eps)
        self.positions = _position_table(
            None if positions is None else positions[:num_tokens], num_tokens, width
        )

    def forward(self, x_BCL: Tensor) -> Tensor:
        """(B, C, L) → (B, N, D).

        Raises:
            ValueError: L is not the length this was built for.
        """
        if x_BCL.shape[-1] != self.length:
            raise ValueError(f"this embedder takes series of length {self.length}, got {tuple(x_BCL.shape)}")
        x_BND: Tensor = self.project(x_BCL).transpose(1, 2)
        if self.stem is not None:
            x_BND = x_BND + self.stem(x_BCL)
        x_BND = self.norm(x_BND)
        return x_BND if self.positions is None else x_BND + self.positions


class TableEmbedder(nn.Module):
    """A table's row → one token a feature, with a direction and a bias of its own for each.

    The numerical tokenizer of FT-Transformer (Gorishniy et al., NeurIPS 2021,
    https://arxiv.org/abs/2106.11959) and its initialisation, uniform within ±1/√D. The bias tells features
    apart, so no positions are needed.
    """

    def __init__(
        self, in_channels: int, num_features: int, width: int, norm: bool = True, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.num_tokens = num_features
        self.weight = nn.Parameter(torch.empty(num_features, in_channels, width))
        self.bias = nn.Parameter(torch.empty(num_features, width))
        bound = width**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.norm = _norm(width, norm, norm_eps)

    def forward(self, x_BCF: Tensor) -> Tensor:
        """(B, C, F) → (B, F, D)."""
        x_BFD: Tensor = self.norm(torch.einsum("bcf,fcd->bfd", x_BCF, self.weight) + self.bias)
        return x_BFD


def start_from(
    embedder: GridEmbedder | SequenceEmbedder | TableEmbedder,
    *,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
) -> None:
    """Let a new embedder begin at pretrained values instead; a part that is None keeps its random start.

    Args:
        weight: of the projection, (D, C, P, P) or (D, C, steps); with `bias` (D,). Tables have none of their own kind.
        norm_weight: of the LayerNorm, (D,); with `norm_bias`. Left alone where the embedder has no norm.

    Raises:
        ValueError: a shape differs from the embedder's own.
    """
    pairs: list[tuple[Tensor, Tensor | None]] = []
    if not isinstance(embedder, TableEmbedder):
        pairs += [(embedder.project.weight, weight), (_bias(embedder.project), bias)]
    if isinstance(embedder.norm, nn.LayerNorm):
        pairs += [(embedder.norm.weight, norm_weight), (embedder.norm.bias, norm_bias)]
    for own, given in pairs:
        if given is not None and given.shape != own.shape:
            raise ValueError(f"the embedder has {tuple(own.shape)} there, got {tuple(given.shape)}")
    with torch.no_grad():
        for own, given in pairs:
            if given is not None:
                own.copy_(given)


class FixedNorm(nn.LayerNorm):
    """A LayerNorm that divides every token by one and the same spread: tokens stay linear in what they show.

    A LayerNorm divides each by its own, so that amplitudes are read from its tokens only in part and bent.
    """

    spread: Tensor

    def __init__(self, norm: nn.LayerNorm, spread: Tensor) -> None:
        super().__init__(norm.normalized_shape, eps=norm.eps)
        self.load_state_dict(norm.state_dict())
        self.register_buffer("spread", spread)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) → (…, D)."""
        return (x - x.mean(dim=-1, keepdim=True)) / self.spread * self.weight + self.bias


@torch.no_grad()
def fix_norm(embedder: GridEmbedder | SequenceEmbedder | TableEmbedder) -> None:
    """Give an embedder that has a LayerNorm a `FixedNorm` in its place, for white inputs of unit variance.

    Raises:
        ValueError: the embedder has no norm.
    """
    if not isinstance(embedder.norm, nn.LayerNorm):
        raise ValueError("this embedder has no norm to fix")
    weight_ID: Tensor
    bias: Tensor
    if isinstance(embedder, TableEmbedder):
        weight_ID, bias = embedder.weight.flatten(0, 1) / math.sqrt(embedder.num_tokens), embedder.bias
    else:
        weight_ID, bias = embedder.project.weight.flatten(1).T, _bias(embedder.project)
    variance = weight_ID.var(dim=1, correction=0).sum() + bias.var(dim=-1, correction=0).mean()
    if isinstance(embedder, SequenceEmbedder) and embedder.stem is not None:
        # Shares have unit variance each.
        variance = variance + sum(
            layer.weight.var(dim=0, correction=0).sum() for layer in (embedder.stem.own, embedder.stem.whole)
        )
    embedder.norm = FixedNorm(embedder.norm, variance.sqrt())


def stack_size(length: int, max_tokens: int) -> int:
    """Steps per token: the smallest divisor of `length` that leaves at most `max_tokens` tokens.

    Raises:
        ValueError: length or max_tokens is not positive.
    """
    if length < 1 or max_tokens < 1:
        raise ValueError(f"length and max_tokens must be positive, got {length} and {max_tokens}")
    return next(i for i in range(1, length + 1) if length % i == 0 and length // i <= max_tokens)


def _begin_bias(layer: nn.Conv1d | nn.Conv2d, random: bool) -> None:
    """Zero, as in ORCA, or as strong as what the layer makes of white inputs of unit variance.

    Behind a projection without bias, a LayerNorm keeps the direction alone: x and 3x become the same token.
    """
    if random:
        nn.init.normal_(
            _bias(layer), std=float(layer.weight.detach().flatten(1).norm(dim=1).square().mean().sqrt())
        )
    else:
        nn.init.zeros_(_bias(layer))


def _norm(width: int, norm: bool, eps: float) -> nn.Module:
    return nn.LayerNorm(width, eps=eps) if norm else nn.Identity()


def _position_table(positions: Tensor | None, num_tokens: int, width: int) -> nn.Parameter | None:
    if positions is None:
        return None
    if positions.shape != (num_tokens, width):
        raise ValueError(f"positions must be ({num_tokens}, {width}), got {tuple(positions.shape)}")
    return nn.Parameter(positions.detach().clone())


def _bias(layer: nn.Conv1d | nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
