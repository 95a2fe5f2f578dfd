"""The paper's loss: the target's own, and on mixed tokens the target's and the source's in proportion.

PaRe (Cai et al., ICML 2024), equations 1 and 2, https://arxiv.org/abs/2406.09003
"""
# Shape suffixes: B = batch, H, W = size of a prediction, h, w = size of a mask.

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossParts:
    """The terms of one step, unweighted, detached and still on the device (reading them waits for it)."""

    target: Tensor
    mixed_target: Tensor
    """0 where nothing was mixed."""
    mixed_source: Tensor
    """Of the other sample's label: the source's, or the partner's where targets are mixed among themselves; 0 where
    nothing was mixed, or the mode has no such loss."""
    total: Tensor
    """The weighted sum that is minimised."""

    def to_dict(self) -> dict[str, Tensor]:
        """The terms by name."""
        return {
            "target": self.target,
            "mixed_target": self.mixed_target,
            "mixed_source": self.mixed_source,
            "total": self.total,
        }


def pare_loss(
    target: Tensor,
    mixed_target: Tensor | None,
    mixed_source: Tensor | None,
    lam: float,
    beta1: float = 1.0,
    beta2: float = 1.0,
    *,
    target_weight: float | None = None,
) -> tuple[Tensor, LossParts]:
    """L = β1·L_t + β2·[(1 − λ)·L_mt + λ·L_ms], from scalar losses; a term that is None is left out.

    `target_weight` takes the place of 1 − λ for modes whose mixed samples keep their label whole.

    At K = 0 the mixed tokens are the target's. Passing `mixed_target=target` there with λ = 0 gives the
    (β1 + β2)·L_t that the falling schedule leads to, without a second encoder pass; passing None gives
    β1·L_t, a sudden drop.

    Raises:
        ValueError: λ is outside [0, 1], or a weight is negative.
    """
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"λ = K/N must lie in [0, 1], got {lam}")
    if not (beta1 >= 0.0 and beta2 >= 0.0):
        raise ValueError(f"β1 and β2 must not be negative, got {beta1} and {beta2}")
    total = beta1 * target
    if mixed_target is not None:
        total = total + beta2 * (1.0 - lam if target_weight is None else target_weight) * mixed_target
    if mixed_source is not None:
        total = total + beta2 * lam * mixed_source
    absent = torch.zeros_like(target.detach())
    parts = LossParts(
        target=target.detach(),
        mixed_target=absent if mixed_target is None else mixed_target.detach(),
        mixed_source=absent if mixed_source is None else mixed_source.detach(),
        total=total.detach(),
    )
    return total, parts


def source_loss(prediction: Tensor, y: Tensor) -> Tensor:
    """Mean loss of the source's prediction on mixed tokens.

    Classes: prediction (B, classes) and y (B,) int64 → cross-entropy.
    Masks: prediction (B, H, W) foreground logits and y (B, h, w) in {0, 1}, resized to H×W by nearest
    neighbour so that it stays binary → binary cross-entropy per pixel.

    Raises:
        ValueError: the shapes are neither.
    """
    prediction = prediction.float()
    if prediction.ndim == 2 and y.shape == prediction.shape[:1] and y.dtype == torch.int64:
        return nnf.cross_entropy(prediction, y)
    if prediction.ndim == 3 and y.ndim == 3 and len(y) == len(prediction):
        mask = nnf.interpolate(y[:, None].to(prediction), size=prediction.shape[-2:], mode="nearest-exact")
        return nnf.binary_cross_entropy_with_logits(prediction, mask[:, 0])
    raise ValueError(
        f"source labels must be int64 classes (B,) for logits (B, classes), "
        f"or masks (B, h, w) for logits (B, H, W), "
        f"got {y.dtype} {tuple(y.shape)} for {tuple(prediction.shape)}"
    )
