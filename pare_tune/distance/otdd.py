"""Optimal transport dataset distance (OTDD): how far two labelled data sets are, whatever their labels mean.

Alvarez-Melis and Fusi, NeurIPS 2020, https://arxiv.org/abs/2002.02923. A label is the distribution of its samples, so
that labels of unrelated data sets can be compared:

    OTDD² = min over π of Σ π_ij (‖x_i − x'_j‖² + W₂²(α_{y_i}, β_{y'_j}))

with uniform weights, α_y and β_y' the samples of a class. W₂ between classes is `exact`, or that of the two Gaussians
of the same means and covariances (Bures), which is a lower bound of it. The outer transport is exact (POT's network
simplex), so the distance is symmetric and zero between a data set and itself; the official code takes a debiased
Sinkhorn divergence instead.
"""
# Shape suffixes: A, B = samples of the two data sets, D = features, K, L = classes of the two.

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pare_tune.errors import DataError

Inner = Literal["exact", "gaussian"]

PSEUDO_CLASSES = 10
"""k of the k-means that stands in for classes, as in ORCA's code (`infer_labels`)."""
_PIVOTS = 10_000_000
"""The network simplex stops there; its default of 100 000 is too few for a thousand samples a side."""
_ROUNDING = 1e-12
"""Of the variance: what is left of two equal Gaussians in float64 is below it."""


def otdd(
    x_a: Tensor,
    y_a: Tensor | None,
    x_b: Tensor,
    y_b: Tensor | None,
    *,
    inner: Inner = "gaussian",
    max_samples: int = 1000,
    seed: int = 0,
) -> float:
    """The distance of two data sets, in the unit of their features; symmetric, and 0 between a data set and itself.

    Args:
        x_a: (n, d) features; anything behind the first axis is flattened.
        y_a: (n,) classes of any integer type; anything else (values, several labels, masks: (n, …)) is given
            pseudo-classes by `classes_of`. None: no labels. Without labels on both sides this is plain W₂; without
            them on one side, that side is one class.
        x_b, y_b: of the other data set, of as many features.
        inner: distance between classes. gaussian needs the samples of a class only through mean and covariance.
        max_samples: of each side; of more, a subset chosen by `seed` is taken.

    Raises:
        ValueError: shapes do not fit together.
        DataError: a feature is NaN or infinite.
    """
    a_AD, y_A = _prepared(x_a, y_a, max_samples, seed)
    b_BD, y_B = _prepared(x_b, y_b, max_samples, seed)
    with torch.no_grad():
        return float(otdd2(a_AD, y_A, b_BD, y_B, inner=inner).clamp_min(0.0).sqrt())


def otdd2(
    a_AD: Tensor, y_A: Tensor | None, b_BD: Tensor, y_B: Tensor | None, *, inner: Inner = "gaussian"
) -> Tensor:
    """OTDD squared, with its gradient into both data sets' features: a loss that pulls them together.

    The transport plans, of the outer problem and of every pair of classes, are computed on detached costs and held
    fixed; the costs are differentiated. By Danskin's theorem that is the gradient of the optimal value wherever the
    plan is unique (Peyré and Cuturi 2019, https://arxiv.org/abs/1803.00567, section 9.1). The same holds for the
    Gaussian distance, whose trace term is a maximum over orthogonal maps.

    Args:
        a_AD, b_BD: (n, d) features of one dtype, on one device.
        y_A, y_B: (n,) integer classes; None as in `otdd`.

    Returns:
        A scalar of the features' dtype.

    Raises:
        ValueError: shapes do not fit together.
    """
    _check(a_AD, y_A, b_BD, y_B)
    cost_AB = _squared_distances(a_AD, b_BD)
    if y_A is not None or y_B is not None:
        y_A = a_AD.new_zeros(len(a_AD), dtype=torch.int64) if y_A is None else y_A
        y_B = b_BD.new_zeros(len(b_BD), dtype=torch.int64) if y_B is None else y_B
        labels_KL, of_A, of_B = _between_classes(a_AD, y_A, b_BD, y_B, cost_AB, inner)
        cost_AB = cost_AB + labels_KL[of_A][:, of_B]
    return _transport_cost(cost_AB)


def classes_of(y: Tensor, *, seed: int = 0, k: int = PSEUDO_CLASSES) -> Tensor:
    """(n,) int64 classes of any targets.

    Integers (n,) are classes already. Other targets, (n,) values or (n, …) of several labels, values or masks, are
    flattened and grouped by k-means into k clusters (or as many as there are different targets), as ORCA does for dense
    and regression tasks. The same targets and seed give the same classes.

    Raises:
        DataError: a target is NaN or infinite.
    """
    if y.ndim == 1 and not y.is_floating_point():
        return y.long().cpu()
    from sklearn.cluster import KMeans

    rows = (
        y.detach().flatten(1).double().cpu().numpy()
        if y.ndim > 1
        else y.detach().double().cpu().numpy()[:, None]
    )
    if not np.isfinite(rows).all():
        raise DataError(
            "labels for a data set distance must be finite, found NaN or infinity; clean the targets"
        )
    different = len(np.unique(rows, axis=0))
    if different <= k:
        return torch.from_numpy(np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64))
    clusters = KMeans(k, n_init=4, random_state=seed).fit_predict(rows)
    return torch.from_numpy(clusters.astype(np.int64))


def _prepared(x: Tensor, y: Tensor | None, max_samples: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """At most `max_samples` of a side, in float64 on the CPU. Equal sides are cut alike: their distance must be 0."""
    if max_samples < 1:
        raise ValueError(f"max_samples must be positive, got {max_samples}")
    if y is not None and len(y) != len(x):
        raise ValueError(f"every sample needs one label, got {len(x)} samples and {len(y)} labels")
    if len(x) > max_samples:
        chosen = np.random.default_rng(seed).choice(len(x), max_samples, replace=False)
        rows = torch.from_numpy(np.sort(chosen)).to(x.device)
        x, y = x[rows], None if y is None else y[rows.to(y.device)]
    if len(x) == 0:
        raise ValueError("a data set distance needs samples, got none")
    features = x.detach().flatten(1).cpu().double()
    if not bool(features.isfinite().all()):
        raise DataError(
            "features for a data set distance must be finite, found NaN or infinity; clean the inputs"
        )
    return features, None if y is None else classes_of(y, seed=seed)


def _check(a_AD: Tensor, y_A: Tensor | None, b_BD: Tensor, y_B: Tensor | None) -> None:
    if a_AD.ndim != 2 or b_BD.ndim != 2 or a_AD.shape[1] != b_BD.shape[1]:
        raise ValueError(
            f"both data sets must have the same features, (n, d) and (m, d), got {tuple(a_AD.shape)} and "
            f"{tuple(b_BD.shape)}"
        )
    if len(a_AD) == 0 or len(b_BD) == 0:
        raise ValueError(f"both data sets need samples, got {len(a_AD)} and {len(b_BD)}")
    for x, y in ((a_AD, y_A), (b_BD, y_B)):
        if y is not None and (y.shape != x.shape[:1] or y.is_floating_point()):
            raise ValueError(f"classes must be integers ({len(x)},), got {y.dtype} {tuple(y.shape)}")


def _squared_distances(a_AD: Tensor, b_BD: Tensor) -> Tensor:
    if not (a_AD.requires_grad or b_BD.requires_grad):
        # Not by matrix products, whose rounding would leave samples at some distance from themselves.
        return torch.cdist(a_AD, b_BD, compute_mode="donot_use_mm_for_euclid_dist").square()
    squares_AB = a_AD.square().sum(1)[:, None] + b_BD.square().sum(1)[None] - 2.0 * a_AD @ b_BD.T
    return squares_AB.clamp_min(0.0)


def _between_classes(
    a_AD: Tensor, y_A: Tensor, b_BD: Tensor, y_B: Tensor, cost_AB: Tensor, inner: Inner
) -> tuple[Tensor, Tensor, Tensor]:
    """W₂² of every pair of classes (K, L), and the row (A,) and column (B,) of each sample's class."""
    of_A = y_A.unique(return_inverse=True)[1].to(a_AD.device)
    of_B = y_B.unique(return_inverse=True)[1].to(b_BD.device)
    rows = [(of_A == k).nonzero()[:, 0] for k in range(int(of_A.max()) + 1)]
    columns = [(of_B == k).nonzero()[:, 0] for k in range(int(of_B.max()) + 1)]
    if inner == "exact":
        pairs = [[_transport_cost(cost_AB[i][:, j]) for j in columns] for i in rows]
    else:
        left, right = [_moments(a_AD[i]) for i in rows], [_moments(b_BD[j]) for j in columns]
        pairs = [[_bures2(p, q) for q in right] for p in left]
    return torch.stack([torch.stack(row) for row in pairs]), of_A, of_B


def _transport_cost(cost_AB: Tensor) -> Tensor:
    """Least mean cost of moving one uniform sample onto the other."""
    import ot

    cost: Tensor = ot.emd2([], [], cost_AB.double(), numItermax=_PIVOTS)  # with its gradient into the costs
    return cost.to(cost_AB.dtype)


_Moments = tuple[Tensor, Tensor]
"""Mean (D,), and Z (rows, D) with ZᵀZ the covariance of the sample (divided by n, not n − 1)."""


def _moments(x_ND: Tensor) -> _Moments:
    mean_D = x_ND.mean(0)
    z_ND = (x_ND - mean_D) / len(x_ND) ** 0.5
    if len(z_ND) > z_ND.shape[1] and not z_ND.requires_grad:
        z_ND = torch.linalg.qr(z_ND, mode="r").R  # the same ZᵀZ in fewer rows
    return mean_D, z_ND


def _bures2(p: _Moments, q: _Moments) -> Tensor:
    """W₂² of two Gaussians: ‖μ − ν‖² + tr Σ + tr Τ − 2 tr (Σ^½ Τ Σ^½)^½.

    With Σ = ZᵀZ and Τ = YᵀY, the last trace is the nuclear norm of Z Yᵀ: no matrix root is taken, and singular
    covariances, the rule where classes have fewer samples than features, cost no accuracy.
    """
    (mean_p, z_p), (mean_q, z_q) = p, q
    spread = z_p.square().sum() + z_q.square().sum()
    cross = z_p @ z_q.T
    left, _, right = torch.linalg.svd(cross.detach(), full_matrices=False)
    nuclear = ((left @ right) * cross).sum()  # its gradient is left @ right, without differentiating an SVD
    covariance = spread - 2.0 * nuclear
    if not covariance.requires_grad and covariance < _ROUNDING * spread:
        covariance = torch.zeros_like(covariance)
    total: Tensor = (mean_p - mean_q).square().sum() + covariance.clamp_min(0.0)
    return total
