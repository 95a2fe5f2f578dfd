"""What mixes target and source tokens into an intermediate modality: the seam for modes of the trainer."""
# Shape suffixes: B = batch, N = tokens, D = embedding width.

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Mixed tokens and what they are made of."""

    tokens_BND: Tensor
    lam: float
    """λ, the share of the other sample in the tokens and of its label in the loss."""
    target_weight: float
    """Weight of the target's own label in the mixed loss: 1 − λ, unless the other sample brings no label."""
    target_mask: Tensor | None = None
    """(B, N): 1 where the target token stays, 0 where it goes; None for a mixer that selects no tokens."""
    source_mask: Tensor | None = None
    """(B, N): 1 where the source token is taken; None for a mixer that takes no source tokens."""
    target_logits: Tensor | None = None
    """(B, N) gate logits without noise; None for a mixer without a gate."""
    source_logits: Tensor | None = None
    """(B, N) gate logits without noise; None for a mixer without a gate."""
    partner_B: Tensor | None = None
    """(B,) int64: which target of the batch was mixed in; None where the other sample is no target."""


class Mixer(nn.Module, ABC):
    """Mixes a share K/N of another sample into the target; abstract. A mode of the trainer is one final subclass."""

    needs_source: ClassVar[bool] = True
    """Whether the other sample comes from the source data set."""

    def forward(self, target_BND: Tensor, source_BND: Tensor | None, k: int) -> Mixed:
        """Mix; K = 0 returns the target itself, draws no random number and runs no gate.

        Raises:
            ValueError: target and source differ in shape, a source is wanted and not given, or K is not in 0 … N.
        """
        n = target_BND.shape[1]
        if not 0 <= k <= n:
            raise ValueError(f"can replace 0 to {n} of {n} tokens, got k={k}")
        if self.needs_source and (source_BND is None or target_BND.shape != source_BND.shape):
            given = None if source_BND is None else tuple(source_BND.shape)
            raise ValueError(
                f"target and source tokens must have one shape (B, N, D) to be mixed, "
                f"got {tuple(target_BND.shape)} and {given}"
            )
        if k == 0:
            keep_BN = target_BND.new_ones(target_BND.shape[:2])
            return Mixed(
                tokens_BND=target_BND,
                lam=0.0,
                target_weight=1.0,
                target_mask=keep_BN,
                source_mask=keep_BN.new_zeros(keep_BN.shape),
            )
        return self.mix(target_BND, target_BND if source_BND is None else source_BND, k)

    @abstractmethod
    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        """Mix tokens of one shape, 1 ≤ K ≤ N; a mixer that needs no source is given the target in its place."""
