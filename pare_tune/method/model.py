"""PaRe's network: embed both modalities, mix their tokens, encode everything in one pass, predict.

PaRe (Cai et al., ICML 2024), section 3, https://arxiv.org/abs/2406.09003
"""
# Shape suffixes: B = batch, N = tokens in, D = their width, M = features out, F = their width.

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from pare_tune.method.mixers import Mixed, Mixer

Precision = Literal["bf16", "fp32"]
EmbedSource = Callable[[Tensor, str], Tensor]
"""(source samples, source kind) → (B, N, D), without gradient."""


class Encoder(Protocol):
    """The part of a pretrained backbone that the model uses; an nn.Module."""

    def embed_source(self, x: Tensor, kind: str) -> Tensor:
        """Source samples of `kind` → (B, N, D)."""

    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        """(B, N, D) → the tokens, features on the way, and (B, M, F) at the end: what heads read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PareOutput:
    """Predictions of one step; the last three are None where nothing was mixed."""

    target: Tensor
    """p_t = h_t(g(target))."""
    mixed_target: Tensor | None = None
    """p_mt = h_t(g(mixed))."""
    mixed_source: Tensor | None = None
    """p_ms = h_s(g(mixed)); None without a source head too."""
    mixed: Mixed | None = None


class PareModel(nn.Module):
    """Target embedder f_t, mixer, encoder g with its frozen source embedder f_s, heads h_t and h_s."""

    def __init__(
        self,
        encoder: Encoder,
        target_embedder: nn.Module,
        target_head: nn.Module,
        mixer: Mixer | None = None,
        source_head: nn.Module | None = None,
        embed_source: EmbedSource | None = None,
        precision: Precision = "fp32",
    ) -> None:
        """`mixer` None never mixes (naive fine-tuning); `source_head` None mixes without a source loss;
        `embed_source` replaces the encoder's own source embedder; `precision` bf16 autocasts on CUDA alone."""
        super().__init__()
        self.encoder = encoder
        self.target_embedder = target_embedder
        self.target_head = target_head
        self.mixer = mixer
        self.source_head = source_head
        self.embed_source = encoder.embed_source if embed_source is None else embed_source
        self.precision = precision

    def forward(
        self, x: Tensor, source_x: Tensor | None = None, source_kind: str | None = None, k: int = 0
    ) -> PareOutput:
        """Predict for B target samples, and for B mixed ones given a mixer, K > 0 and what it needs.

        Raises:
            ValueError: source and target batches differ in size, their tokens in shape, K is not in 0 … N, or
                the source comes without its kind.
        """
        is_half = self.precision == "bf16" and x.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if is_half else nullcontext():
            return self._forward(x, source_x, source_kind, k)

    def _forward(self, x: Tensor, source_x: Tensor | None, source_kind: str | None, k: int) -> PareOutput:
        target_BND: Tensor = self.target_embedder(x)
        if self.mixer is None or k == 0 or (self.mixer.needs_source and source_x is None):
            return PareOutput(target=_predict(self.target_head, self.encoder.stages(target_BND)))
        mixed = self._mix(self.mixer, target_BND, source_x, source_kind, k)
        b = len(target_BND)
        stages = self.encoder.stages(torch.cat([target_BND, mixed.tokens_BND]))
        mixed_stages = tuple(stage[b:] for stage in stages)
        predictions = _predict(self.target_head, stages)
        return PareOutput(
            target=predictions[:b],
            mixed_target=predictions[b:],
            mixed_source=None if self.source_head is None else _predict(self.source_head, mixed_stages),
            mixed=mixed,
        )

    def mix(self, x: Tensor, source_x: Tensor | None, source_kind: str | None, k: int) -> Mixed:
        """Embed and mix alone, without the encoder.

        Raises:
            ValueError: the model mixes nothing, or as `forward`.
        """
        if self.mixer is None:
            raise ValueError("this model has no mixer")
        return self._mix(self.mixer, self.target_embedder(x), source_x, source_kind, k)

    def _mix(
        self, mixer: Mixer, target_BND: Tensor, source_x: Tensor | None, source_kind: str | None, k: int
    ) -> Mixed:
        source_BND = None
        if mixer.needs_source and source_x is not None:
            source_BND = self._source_tokens(len(target_BND), source_x, source_kind)
        mixed: Mixed = mixer(target_BND, source_BND, k)
        return mixed

    def _source_tokens(self, size: int, source_x: Tensor, source_kind: str | None) -> Tensor:
        if source_kind is None:
            raise ValueError("a source batch needs its source_kind, got None")
        if len(source_x) != size:
            raise ValueError(
                f"source and target batches must have one size, so that every sample is mixed, "
                f"got {len(source_x)} and {size}"
            )
        return self.embed_source(source_x, source_kind)


def _predict(head: nn.Module, stages: tuple[Tensor, ...]) -> Tensor:
    """Predictions in at least float32, since losses are computed outside autocast."""
    prediction: Tensor = head(stages)
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32))
