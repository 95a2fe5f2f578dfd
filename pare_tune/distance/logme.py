"""LogME: how well frozen features explain labels, without training anything.

You et al., ICML 2021, https://arxiv.org/abs/2102.11005: the largest evidence, per sample, of a Bayesian linear model of
the labels on the features, over the precisions of its weights (α) and of the noise (β).
"""
# Shape suffixes: N = samples, D = features, C = columns of labels, R = min(N, D).

from __future__ import annotations

import math

import torch
from torch import Tensor

from pare_tune.errors import DataError

_STEPS = 200
_TOLERANCE = 1e-8
_TINY = 1e-12
"""Keeps precisions finite where features explain labels to the last bit, or not at all."""


def logme(x_ND: Tensor, y: Tensor) -> float:
    """Mean over the label columns of max log p(y | features) / n; larger is better, comparable for equal labels only.

    Args:
        x_ND: (n, d) features, used as they are (no column of ones is added).
        y: (n,) integer classes, one column each as 0 or 1; or values (n,) or (n, c).

    Raises:
        ValueError: shapes do not fit together.
        DataError: a feature or label is NaN or infinite.
    """
    features_ND, labels_NC = _checked(x_ND, y)
    return float(_evidence(features_ND, labels_NC).mean())


def logme_gain(x_ND: Tensor, y: Tensor) -> float:
    """How much the features explain: LogME of centred features and standardised labels, over that of no features.

    In nats per sample and label column, 0 where features say nothing. Unlike LogME itself, it can be compared between
    labels of different number and spread: the log-density of a rare class is high without any feature.

    Raises:
        ValueError, DataError: as `logme`.
    """
    features_ND, labels_NC = _checked(x_ND, y)
    labels_NC = labels_NC - labels_NC.mean(0)
    spread_C = labels_NC.square().mean(0).sqrt()
    vary = spread_C > 1e-9 * spread_C.max()
    if not bool(vary.any()):
        return 0.0
    labels_NC = labels_NC[:, vary] / spread_C[vary]
    without = -0.5 * (math.log(2.0 * math.pi) + 1.0)  # a normal of variance 1 on labels of variance 1
    return float(_evidence(features_ND - features_ND.mean(0), labels_NC).mean()) - without


def _checked(x_ND: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x_ND.ndim != 2 or len(y) != len(x_ND) or y.ndim not in (1, 2) or len(y) == 0:
        raise ValueError(
            f"LogME needs features (n, d) and labels (n,) or (n, c), got {tuple(x_ND.shape)} and {tuple(y.shape)}"
        )
    features_ND = x_ND.detach().cpu().double()
    if y.ndim == 1 and not y.is_floating_point():
        labels_NC = torch.nn.functional.one_hot(y.long().cpu().unique(return_inverse=True)[1]).double()
    else:
        labels_NC = y.detach().cpu().double().reshape(len(y), -1)
    if not bool(features_ND.isfinite().all() and labels_NC.isfinite().all()):
        raise DataError("LogME needs finite features and labels, found NaN or infinity; clean the data")
    return features_ND, labels_NC


def _evidence(x_ND: Tensor, y_NC: Tensor) -> Tensor:
    """(C,) largest log evidence / n, by MacKay's fixed point for α and β in the features' singular directions."""
    n, d = x_ND.shape
    left_NR, singular_R, _ = torch.linalg.svd(x_ND, full_matrices=False)
    square_R1 = singular_R.square()[:, None]
    inside_RC = left_NR.T @ y_NC
    outside_C = (y_NC.square().sum(0) - inside_RC.square().sum(0)).clamp_min(0.0)
    alpha_C, beta_C = torch.ones_like(outside_C), torch.ones_like(outside_C)
    for _ in range(_STEPS):
        shrink_RC = alpha_C + beta_C * square_R1
        effective_C = (beta_C * square_R1 / shrink_RC).sum(0)
        weights_C = _weights(beta_C, square_R1, inside_RC, shrink_RC)
        residual_C = _residual(alpha_C, inside_RC, outside_C, shrink_RC)
        new_alpha_C = effective_C / weights_C.clamp_min(_TINY)
        new_beta_C = (n - effective_C).clamp_min(_TINY) / residual_C.clamp_min(_TINY)
        moved = ((new_alpha_C / alpha_C).log().abs() + (new_beta_C / beta_C).log().abs()).max()
        alpha_C, beta_C = new_alpha_C.clamp(_TINY, 1 / _TINY), new_beta_C.clamp(_TINY, 1 / _TINY)
        if moved < _TOLERANCE:
            break
    shrink_RC = alpha_C + beta_C * square_R1
    rest = d - len(singular_R)
    log_det_C = shrink_RC.log().sum(0) + rest * alpha_C.log()
    total_C = (
        0.5 * n * (beta_C / (2.0 * math.pi)).log()
        + 0.5 * d * alpha_C.log()
        - 0.5 * beta_C * _residual(alpha_C, inside_RC, outside_C, shrink_RC)
        - 0.5 * alpha_C * _weights(beta_C, square_R1, inside_RC, shrink_RC)
        - 0.5 * log_det_C
    )
    # The fixed point can end in a local maximum; features of weight 0 (α → ∞) are a choice too.
    without_C = -0.5 * ((2.0 * math.pi / n * y_NC.square().sum(0).clamp_min(_TINY)).log() + 1.0)
    evidence_C: Tensor = torch.maximum(total_C / n, without_C)
    return evidence_C


def _weights(beta_C: Tensor, square_R1: Tensor, inside_RC: Tensor, shrink_RC: Tensor) -> Tensor:
    """‖m‖² of the posterior mean weights."""
    square_C: Tensor = (beta_C.square() * square_R1 * inside_RC.square() / shrink_RC.square()).sum(0)
    return square_C


def _residual(alpha_C: Tensor, inside_RC: Tensor, outside_C: Tensor, shrink_RC: Tensor) -> Tensor:
    """‖Fm − y‖²."""
    inside_C: Tensor = (alpha_C.square() * inside_RC.square() / shrink_RC.square()).sum(0)
    return inside_C + outside_C
