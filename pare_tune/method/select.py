"""Differentiable selection of the K best of N tokens: 0/1 forward, the gradient of a relaxation backward.

Both ways choose the same tokens, the K largest of s = logits + noise, and differ only in the relaxation:

- `select_topk`: p = σ((s + ν)/τ) with one ν a row such that Σp = K. ν is found by Newton's method without
  autograd; the gradient comes from the implicit function theorem, so nothing of the search is kept.
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


def select_topk(s_BN: Tensor, k: int, tau: float) -> Tensor:
    """Mask (B, N) with exactly K ones a row, at the largest s; gradient of `soft_topk`.

    Computes in float32, or float64 where s is. K = 0 and K = N are legal and carry zero gradient.

    Raises:
        ValueError: K is not in 0 … N, or tau is not positive.
    """
    s_BN = _precise(s_BN)
    return _straight_through(hard_topk(s_BN, k), soft_topk(s_BN, k, tau))


def select_iterative(s_BN: Tensor, k: int, tau: float) -> Tensor:
    """Mask (B, N) with exactly K ones a row, at the largest s; gradient of `soft_iterative`.

    Computes in float32, or float64 where s is.

    Raises:
        ValueError: K is not in 0 … N, or tau is not positive.
    """
    s_BN = _precise(s_BN)
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


_NEWTON_STEPS = 10
"""Random, tied, bimodal, outlying and huge logits took at most 7 steps to the last bits, most of them 2 or 3."""


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
    """ν (B, 1) with Σσ((s + ν)/τ) = K, for 0 < K < N, by Newton's method inside a bracket.

    With μ = ν/τ and u = s/τ: σ(u + μ) is K/N for a token whose u is −μ + logit(K/N). Placing that point on the
    largest u makes every p at most K/N, on the smallest u at least K/N, so the answer lies between, however large
    the logits are. Newton's method runs on logit(Σp/N), which is linear in μ where the logits are alike and nearly
    so elsewhere; a step that leaves the bracket is replaced by bisection.
    """
    n = s_BN.shape[-1]
    u_BN = s_BN / tau
    goal = math.log(k / (n - k))
    low_B1 = goal - u_BN.amax(-1, keepdim=True)
    high_B1 = goal - u_BN.amin(-1, keepdim=True)
    # The cut of the hard selection is close to the answer whenever tau is small beside the spread of the logits.
    cut_B2 = u_BN.topk(k + 1, dim=-1).values[..., k - 1 :]
    mu_B1 = (-cut_B2.mean(-1, keepdim=True)).clamp(low_B1, high_B1)
    resolution = (
        4 * torch.finfo(s_BN.dtype).eps * n
    )  # of the sum: beyond it a step would follow rounding errors
    for _ in range(_NEWTON_STEPS):
        p_BN = torch.sigmoid(u_BN + mu_B1)
        sum_B1 = p_BN.sum(-1, keepdim=True)
        over_B1 = sum_B1 - k
        # Asking is free on a CPU and would wait for the device elsewhere.
        if s_BN.device.type == "cpu" and bool((over_B1.abs() <= resolution).all()):
            break
        low_B1 = torch.where(over_B1 > 0, low_B1, mu_B1)
        high_B1 = torch.where(over_B1 > 0, mu_B1, high_B1)
        slope_B1 = torch.linalg.vecdot(p_BN, 1.0 - p_BN).unsqueeze(-1)
        odds_B1 = torch.log(sum_B1 / (n - sum_B1)) - goal
        newton_B1 = mu_B1 - odds_B1 * sum_B1 * (n - sum_B1) / (n * slope_B1)
        inside_B1 = (newton_B1 >= low_B1) & (newton_B1 <= high_B1)  # False for NaN
        next_B1 = torch.where(inside_B1, newton_B1, (low_B1 + high_B1) / 2)
        mu_B1 = torch.where(over_B1.abs() > resolution, next_B1, mu_B1)
    return mu_B1 * tau


def _precise(s_BN: Tensor) -> Tensor:
    """At least float32: in half precision the sum would stay far from Σp = K."""
    return s_BN if s_BN.dtype == torch.float64 else s_BN.float()


def _straight_through(hard_BN: Tensor, soft_BN: Tensor) -> Tensor:
    # This grouping adds an exact zero; (hard − p) + p would leave masks of 0.99999994.
    return hard_BN + (soft_BN - soft_BN.detach())


def _check_k(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"can select 0 to {n} of {n} tokens, got k={k}")


def _check_tau(tau: float) -> None:
    if not tau > 0.0:
        raise ValueError(f"the relaxation needs tau > 0, got {tau}")
