"""Differentiable selection of the K best of N tokens: 0/1 forward, the gradient of a relaxation backward.

Both ways choose the same tokens, the K largest of s = logits + noise, and differ only in the relaxation:

- `select_topk`: p = σ((s + ν)/τ) with one ν a row such that Σp = K. ν is found by bisection without autograd;
  the gradient comes from the implicit function theorem, so nothing of the search is kept.
- `select_iterative`: the paper's K successive softmaxes (relaxed subset sampling, Xie and Ermon, IJCAI 2019,
  https://arxiv.org/abs/1901.10517). Costs K sequential steps, all kept for autograd; its weights can exceed
  1.
"""
# Shape suffixes: B = batch, N = tokens, K = tokens selected.

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def select_topk(logits_BN: Tensor, k: int, tau: float, noise_BN: Tensor | None = None) -> Tensor:
    """Mask (B, N) with exactly K ones a row, at the largest of logits + noise; gradient of `soft_topk`.

    Computes in float32, or float64 where the logits are. K = 0 and K = N are legal and carry zero gradient.

    Raises:
        ValueError: K is not in 0 … N, or tau is not positive.
    """
    s_BN = _perturbed(logits_BN, noise_BN)
    return _straight_through(hard_topk(s_BN, k), soft_topk(s_BN, k, tau))


def select_iterative(logits_BN: Tensor, k: int, tau: float, noise_BN: Tensor | None = None) -> Tensor:
    """Mask (B, N) with exactly K ones a row, at the largest of logits + noise; gradient of `soft_iterative`.

    Raises:
        ValueError: K is not in 0 … N, or tau is not positive.
    """
    s_BN = _perturbed(logits_BN, noise_BN)
    return _straight_through(hard_topk(s_BN, k), soft_iterative(s_BN, k, tau))


def hard_topk(s_BN: Tensor, k: int) -> Tensor:
    """Mask (B, N), ones at the K largest of each row; no gradient.

    Raises:
        ValueError: K is not in 0 … N.
    """
    _check_k(k, s_BN.shape[-1])
    best_BK = s_BN.detach().topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(s_BN).scatter_(-1, best_BK, 1.0)


def soft_topk(s_BN: Tensor, k: int, tau: float) -> Tensor:
    """p (B, N) in [0, 1] with Σp = K a row: p = σ((s + ν)/τ). Differentiable once.

    ∂L/∂s = w ⊙ (g − Σ(g·w)/Σw) with w = p(1 − p)/τ and g = ∂L/∂p.

    Raises:
        ValueError: K is not in 0 … N, or tau is not positive.
    """
    _check_k(k, s_BN.shape[-1])
    _check_tau(tau)
    return cast("Tensor", _SoftTopK.apply(s_BN, k, tau))


def soft_iterative(s_BN: Tensor, k: int, tau: float) -> Tensor:
    """Sum of K successive softmaxes (B, N), Σ = K a row; every one lowers what the ones before have taken.

    Raises:
        ValueError: K is not in 0 … N, or tau is not positive.
    """
    _check_k(k, s_BN.shape[-1])
    _check_tau(tau)
    tiny = torch.finfo(s_BN.dtype).tiny
    khot_BN = onehot_BN = 0.0 * s_BN  # not zeros_like: K = 0 has a gradient too, of zero
    for _ in range(k):
        s_BN = s_BN + (1.0 - onehot_BN).clamp_min(tiny).log()
        onehot_BN = (s_BN / tau).softmax(dim=-1)
        khot_BN = khot_BN + onehot_BN
    return khot_BN


class _SoftTopK(torch.autograd.Function):
    """`soft_topk`, with the implicit gradient."""

    @staticmethod
    def forward(ctx: Any, s_BN: Tensor, k: int, tau: float) -> Tensor:
        if k in (0, s_BN.shape[-1]):  # ν is infinite
            p_BN = torch.full_like(s_BN, float(k > 0))
        else:
            p_BN = torch.sigmoid((s_BN + _threshold(s_BN, k, tau)) / tau)
        ctx.save_for_backward(p_BN)
        ctx.tau = tau
        return p_BN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BN: Tensor) -> tuple[Tensor, None, None]:
        (p_BN,) = ctx.saved_tensors
        w_BN = p_BN * (1.0 - p_BN) / ctx.tau
        # Where every p is 0 or 1 the weights vanish and so does the gradient; the clamp only avoids 0/0.
        total_B1 = w_BN.sum(-1, keepdim=True).clamp_min(torch.finfo(w_BN.dtype).tiny)
        mean_B1 = (g_BN * w_BN).sum(-1, keepdim=True) / total_B1
        return w_BN * (g_BN - mean_B1), None, None


def _threshold(s_BN: Tensor, k: int, tau: float) -> Tensor:
    """ν (B, 1) with Σσ((s + ν)/τ) = K, for 0 < K < N, by bisection.

    σ((s + ν)/τ) is K/N for a token whose s is −ν + τ·logit(K/N). Placing that point on the largest s makes
    every p at most K/N, on the smallest s at least K/N, so the answer lies between, however large the logits
    are.
    """
    n = s_BN.shape[-1]
    middle = tau * math.log(k / (n - k))
    low_B1 = middle - s_BN.amax(-1, keepdim=True)
    high_B1 = middle - s_BN.amin(-1, keepdim=True)
    # One bit a step: enough to reach the last bit of the type from any sane bracket.
    for _ in range(32 if s_BN.dtype == torch.float32 else 64):
        nu_B1 = (low_B1 + high_B1) / 2
        too_many_B1 = torch.sigmoid((s_BN + nu_B1) / tau).sum(-1, keepdim=True) > k
        low_B1 = torch.where(too_many_B1, low_B1, nu_B1)
        high_B1 = torch.where(too_many_B1, nu_B1, high_B1)
    return (low_B1 + high_B1) / 2


def _perturbed(logits_BN: Tensor, noise_BN: Tensor | None) -> Tensor:
    """logits + noise in at least float32: bisection in half precision would stop far from Σp = K."""
    s_BN = logits_BN if logits_BN.dtype == torch.float64 else logits_BN.float()
    return s_BN if noise_BN is None else s_BN + noise_BN.to(s_BN.dtype)


def _straight_through(hard_BN: Tensor, soft_BN: Tensor) -> Tensor:
    # This grouping adds an exact zero; (hard − p) + p would leave masks of 0.99999994.
    return hard_BN + (soft_BN - soft_BN.detach())


def _check_k(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"can select 0 to {n} of {n} tokens, got k={k}")


def _check_tau(tau: float) -> None:
    if not tau > 0.0:
        raise ValueError(f"the relaxation needs tau > 0, got {tau}")
