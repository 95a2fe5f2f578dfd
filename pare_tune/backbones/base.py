"""The small protocol every pretrained encoder is seen through: a frozen source embedder and an encoder of tokens.

PaRe splits a pretrained transformer into embedder f, encoder g and predictor h (paper, section 3.1). A backbone here
is f_s and g; the new target embedder f_t and the heads h_t and h_s belong to `method/`.
"""
# Shape suffixes: B = batch, N = tokens into the encoder, D = their width, M = tokens out, F = their width.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Freeze = Literal["none", "layernorm", "query_key", "all"]
"""none: everything trains. layernorm: only norms train (FPT). query_key: attention's q and k are frozen (the official
code's "Wv"). all: the whole encoder is frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One of the places inside a backbone that a head may read."""

    width: int
    """Of its features."""
    grid: tuple[int, int] | None = None
    """grid: (rows, columns) of them, in reading order; None where there are as many as tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """Everything `method/` needs to build an embedder and heads that fit, without knowing the backbone."""

    name: str
    kind: Literal["grid", "sequence"]
    width: int
    """D, of the tokens that `encode` takes."""
    feature_width: int
    """F, of the features that `encode` returns."""
    image_size: int | None = None
    """grid: side of the square image that the encoder is built for."""
    patch_size: int | None = None
    """grid: side of a patch; N = (image_size / patch_size)²."""
    token_grid: tuple[int, int] | None = None
    """grid: (rows, columns) of the N tokens, in reading order."""
    feature_grid: tuple[int, int] | None = None
    """grid: (rows, columns) of the M features."""
    stages: tuple[Stage, ...] = ()
    """What `Backbone.stages` returns, in its order: the tokens themselves first, the features of `encode` last."""
    max_tokens: int | None = None
    """sequence: longest N."""
    embed_norm: bool = True
    """Whether the pretrained embedder ends with a LayerNorm (Swin, RoBERTa: yes; ViT: no)."""
    norm_eps: float = 1e-5
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    tokenizer_name: str = ""
    source_kinds: tuple[str, ...] = ("images", "masked_images")
    """Which `SourceKind`s `embed_source` understands."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchStart:
    """Where a new patch embedder can start: the pretrained one, fitted to other channels and patch lengths.

    None for a part that has no pretrained counterpart; the embedder's own initialisation stays then.
    """

    weight: Tensor | None = None
    """(D, C, P, P) of a Conv2d, or (D, C, steps) of a Conv1d."""
    bias: Tensor | None = None
    """(D,)"""
    norm_weight: Tensor | None = None
    """(D,) of the LayerNorm behind it; `norm_bias` likewise."""
    norm_bias: Tensor | None = None


class Backbone(nn.Module, ABC):
    """A pretrained encoder; abstract.

    Attributes:
        spec: shapes and settings.
        positions: (N or longest N, D) pretrained absolute position table that a new embedder starts from, or None
            where positions live inside the encoder (Swin's relative bias).
    """

    spec: BackboneSpec
    positions: Tensor | None

    @property
    def added_positions(self) -> Tensor | None:
        """What `positions` add to a token of the pretrained embedder, behind its norm if it has one."""
        return self.positions

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks, in order: what may be computed again, or shared among workers, one at a time."""

    @abstractmethod
    def embed_source(self, x: Tensor, kind: str) -> Tensor:
        """Source samples (see `sources.SourceKind`) → (B, N, D), without gradient and always in evaluation mode."""

    @abstractmethod
    def patch_start(
        self, in_channels: int, steps: int | None = None, *, resample: bool = False
    ) -> PatchStart:
        """Copies of the pretrained patch embedding for a target of `in_channels` channels.

        The official code starts its 2D target embedder so (`embedder_init`). It decides whether a small encoder
        transfers: layers that were trained on one embedder's tokens make little of a random projection.

        Args:
            steps: sequences: time steps of one token, the Conv1d's kernel.
            resample: sequences: also where the patch is too short for the pretrained filters themselves.
        """

    @abstractmethod
    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        """(B, N, D) → the tokens, features on the way (every stage of a Swin, evenly spaced layers of others), and
        last the (B, M, F) after the last norm, as `spec.stages` has them; reading order, without extra tokens ([CLS]).
        """

    def encode(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) → (B, M, F), the last of `stages`."""
        return self.stages(tokens_BND)[-1]

    @abstractmethod
    def freeze(self, rule: Freeze) -> None:
        """Set which of the encoder's parameters train; the source embedder never does."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts → token ids without special tokens (sequence backbones only)."""
        raise TypeError(f"{self.spec.name} reads no text")


def spread_layers(num_layers: int, num_stages: int = 4) -> tuple[int, ...]:
    """Which layers of a deep encoder a head reads, counted from 1: evenly spaced, the last one among them."""
    num_stages = min(num_layers, num_stages)
    return tuple(num_layers * (i + 1) // num_stages for i in range(num_stages))
