"""Two plainer distances of samples: maximum mean discrepancy, and the mean distance of pairs (ORCA's ablation).

ORCA (Shen et al., ICML 2023, https://arxiv.org/abs/2302.05738) compares alignment by OTDD with alignment by these two.
"""
# Shape suffixes: A, B = samples of the two data sets, D = features, N = A + B.

from __future__ import annotations

import torch
from torch import Tensor

_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths, as multiples of the mean squared distance; those of ORCA's code."""


def mmd2(a_AD: Tensor, b_BD: Tensor) -> Tensor:
    """Unbiased estimate of MMD², differentiable; 0 on average for samples of one distribution, so at times negative.

    Gretton et al., JMLR 2012, equation 3: the mean kernel within both samples less twice that between them, a sample
    never paired with itself. The kernel is a sum of five Gaussians exp(−‖x − x'‖² / (f·s)), s the mean squared distance
    over all pairs of both samples (taken as a constant by the gradient).

    Args:
        a_AD: (n, d) features, n ≥ 2; `b_BD` (m, d) likewise.

    Raises:
        ValueError: shapes do not fit together, or there are fewer than two samples on a side.
    """
    _check(a_AD, b_BD, least=2)
    n, m = len(a_AD), len(b_BD)
    all_ND = torch.cat([a_AD, b_BD])
    norms_N = all_ND.square().sum(1)
    squares_NN = (norms_N[:, None] + norms_N[None] - 2.0 * all_ND @ all_ND.T).clamp_min(0.0)
    apart_NN = 1.0 - torch.eye(n + m, dtype=squares_NN.dtype, device=squares_NN.device)
    scale = (squares_NN.detach() * apart_NN).sum() / ((n + m) * (n + m - 1))
    # All samples equal: any bandwidth gives the kernel 1 everywhere.
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    kernel_NN = torch.stack([(-squares_NN / (factor * scale)).exp() for factor in _FACTORS]).sum(0) * apart_NN
    within_a = kernel_NN[:n, :n].sum() / (n * (n - 1))
    within_b = kernel_NN[n:, n:].sum() / (m * (m - 1))
    return within_a + within_b - 2.0 * kernel_NN[:n, n:].mean()


def l2(a_AD: Tensor, b_BD: Tensor) -> Tensor:
    """Mean Euclidean distance over all pairs of samples, differentiable.

    What ORCA's code estimates with random pairs. No distance between distributions: it is not 0 between a sample and
    itself, and least where all features lie in the median of the other's.

    Raises:
        ValueError: shapes do not fit together.
    """
    _check(a_AD, b_BD, least=1)
    return torch.cdist(a_AD, b_BD).mean()


def _check(a_AD: Tensor, b_BD: Tensor, *, least: int) -> None:
    if a_AD.ndim != 2 or b_BD.ndim != 2 or a_AD.shape[1] != b_BD.shape[1]:
        raise ValueError(
            f"both samples must have the same features, (n, d) and (m, d), got {tuple(a_AD.shape)} and "
            f"{tuple(b_BD.shape)}"
        )
    if min(len(a_AD), len(b_BD)) < least:
        raise ValueError(f"both sides need at least {least} samples, got {len(a_AD)} and {len(b_BD)}")
