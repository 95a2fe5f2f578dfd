"""The benchmarks' training losses, built once a task because some depend on its training labels.

A loss is (prediction, batch) → scalar, the MEAN over the batch's samples: gradients of several micro-batches
or processes, weighted by their sizes, then add up to those of one large batch. (The exception is torch's
weighted cross-entropy, whose mean is weighted by class.) All are computed in float32.
"""
# Shape suffixes: B = batch, K = classes, P = positions or labels, flattened, R = numbers a sample.

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pare_tune.data.store import Store
from pare_tune.errors import ConfigError, DataError, UnknownName
from pare_tune.tasks.base import Batch, Numbers, Point, Task

LossFn = Callable[[Tensor, Batch], Tensor]
LossBuilder = Callable[..., LossFn]
"""(task, training store, **task.loss_options) → loss."""


def build_loss(task: Task, train_store: Store) -> LossFn:
    """The loss that `task.loss` names, with `task.loss_options`.

    Raises:
        UnknownName: no such loss.
        ConfigError: it has no such option, or does not fit the task's output.
        DataError: class weights are asked for and a class has no training sample.
    """
    if task.loss not in LOSSES:
        raise UnknownName("loss", task.loss, LOSSES)
    builder = LOSSES[task.loss]
    takes = list(inspect.signature(builder).parameters)[2:]
    unknown = sorted(set(task.loss_options) - set(takes))
    if unknown:
        options = ", ".join(takes) or "none"
        raise ConfigError(f"loss {task.loss!r} has no option {', '.join(unknown)}; its options: {options}")
    return builder(task, train_store, **task.loss_options)


def cross_entropy(prediction_BK: Tensor, batch: Batch, *, weight_K: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy of logits (B, K) against classes y (B,); with weights, Σ w·l / Σ w."""
    weight = None if weight_K is None else weight_K.to(prediction_BK.device)
    return functional.cross_entropy(prediction_BK.float(), batch["y"], weight=weight)


def bce_with_logits(
    prediction: Tensor, batch: Batch, *, pos_weight: float = 1.0, ignore: str | None = None
) -> Tensor:
    """Binary cross-entropy of logits (B, ...) against y (B, ...) in [0, 1].

    Args:
        pos_weight: weight of the positive term; above 1 where positives are rare.
        ignore: field of the batch, (B, ...), that is 1 where a position must not count; each sample is then the mean
            over its positions that do (0 when there is none).
    """
    target = _same_shape(prediction, batch)
    weight = torch.tensor(pos_weight, device=prediction.device)
    loss_BP = functional.binary_cross_entropy_with_logits(
        prediction.float(), target, pos_weight=weight, reduction="none"
    ).flatten(1)
    return loss_BP.mean() if ignore is None else _kept_mean(loss_BP, batch[ignore])


def mse(prediction: Tensor, batch: Batch, *, ignore: str | None = None) -> Tensor:
    """Mean square error of predictions (B, ...) against y (B, ...).

    Args:
        ignore: field of the batch, (B, ...), that is 1 where a position must not count; each sample is then the mean
            over its positions that do (0 when there is none).
    """
    target = _same_shape(prediction, batch)
    if ignore is None:
        return functional.mse_loss(prediction.float(), target)
    return _kept_mean((prediction.float() - target).square().flatten(1), batch[ignore])


def _kept_mean(loss_BP: Tensor, ignored: Tensor) -> Tensor:
    keep_BP = 1.0 - ignored.float().flatten(1)
    return ((loss_BP * keep_BP).sum(dim=1) / keep_BP.sum(dim=1).clamp_min(1.0)).mean()


def scaled_mse(prediction_BR: Tensor, batch: Batch, *, spread_R: Tensor) -> Tensor:
    """Mean square error of predictions (B, R) against y (B, R), each number in units of its spread.

    Then numbers of any unit count alike, and the loss is about 1 for a model that says the mean, so that its weight
    against the source's loss does not depend on the unit.
    """
    error_BR = prediction_BR.float() - _same_shape(prediction_BR, batch)
    return (error_BR / spread_R.to(error_BR.device)).square().mean()


def number_scale(train_store: Store) -> tuple[Tensor, Tensor]:
    """Mean and spread of each number over the training samples, (R,) float32; a spread of 1 where there is none."""
    y = np.asarray(train_store.column("y"), dtype=np.float64)
    y_NR = y.reshape(len(y), -1)
    mean_R, spread_R = y_NR.mean(axis=0), y_NR.std(axis=0)
    return torch.from_numpy(mean_R).float(), torch.from_numpy(np.where(spread_R > 0, spread_R, 1.0)).float()


def rmse(prediction: Tensor, batch: Batch) -> Tensor:
    """Mean over samples of √mean((ŷ − y)²)."""
    error_B, _ = _norms(prediction, batch)
    return error_B.mean() / math.sqrt(prediction[0].numel())


def relative_l2(prediction: Tensor, batch: Batch) -> Tensor:
    """Mean over samples of ‖ŷ − y‖₂ / ‖y‖₂. (Official code sums over the batch.)"""
    error_B, target_B = _norms(prediction, batch)
    return (error_B / target_B.clamp_min(torch.finfo(torch.float32).eps)).mean()


def _norms(prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(‖ŷ − y‖₂, ‖y‖₂), each (B,)."""
    target = _same_shape(prediction, batch)
    # vector_norm, not a square root: its gradient at a perfect prediction is 0, the root's is NaN.
    error_B = torch.linalg.vector_norm((prediction.float() - target).flatten(1), dim=1)
    return error_B, torch.linalg.vector_norm(target.flatten(1), dim=1)


def _same_shape(prediction: Tensor, batch: Batch) -> Tensor:
    target = batch["y"]
    if prediction.shape != target.shape:
        # Broadcasting would train on wrong pairs without a word.
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and y {tuple(target.shape)} must have one shape"
        )
    return target.float()


def _build_cross_entropy(
    task: Task, train_store: Store, class_weights: str | Sequence[float] | None = None
) -> LossFn:
    if not isinstance(task.output, Point):
        raise ConfigError(
            f"loss 'cross_entropy' needs one class a sample, task {task.name!r} gives {task.output}"
        )
    if class_weights is None:
        return cross_entropy
    if class_weights == "balanced":
        return partial(cross_entropy, weight_K=_balanced_weights(train_store, task.output.num_classes))
    if isinstance(class_weights, str) or len(class_weights) != task.output.num_classes:
        raise ConfigError(
            f"class_weights is 'balanced', one number for each of {task.output.num_classes} classes, or left out; "
            f"got {class_weights!r}"
        )
    return partial(cross_entropy, weight_K=torch.tensor(class_weights, dtype=torch.float32))


def _balanced_weights(train_store: Store, num_classes: int) -> Tensor:
    """1 / frequency of each class among the training samples, (K,)."""
    count_K = np.bincount(train_store.column("y"), minlength=num_classes)
    if (count_K == 0).any():
        missing = ", ".join(map(str, np.flatnonzero(count_K == 0)))
        raise DataError(
            f"class {missing} has no training sample in {train_store.path}, so it has no balanced weight; "
            "give more data or leave class_weights out"
        )
    return torch.from_numpy(count_K.sum() / count_K).float()


def _build_bce_with_logits(
    task: Task, _train_store: Store, pos_weight: float = 1.0, ignore: str | None = None
) -> LossFn:
    if isinstance(task.output, Point | Numbers):
        raise ConfigError(
            f"loss 'bce_with_logits' needs labels or a mask, task {task.name!r} gives {task.output}"
        )
    if not pos_weight > 0:
        raise ConfigError(f"pos_weight must be above 0, got {pos_weight}")
    return partial(bce_with_logits, pos_weight=pos_weight, ignore=ignore)


def _build_scaled_mse(task: Task, train_store: Store) -> LossFn:
    if not isinstance(task.output, Numbers):
        raise ConfigError(f"loss 'scaled_mse' needs numbers a sample, task {task.name!r} gives {task.output}")
    return partial(scaled_mse, spread_R=number_scale(train_store)[1])


def _of_values(task: Task, loss: LossFn) -> LossFn:
    if isinstance(task.output, Point):
        raise ConfigError(f"loss {task.loss!r} compares values, task {task.name!r} gives {task.output}")
    return loss


LOSSES: dict[str, LossBuilder] = {
    "cross_entropy": _build_cross_entropy,
    "bce_with_logits": _build_bce_with_logits,
    "mse": lambda task, _, ignore=None: _of_values(task, partial(mse, ignore=ignore)),
    "scaled_mse": _build_scaled_mse,
    "rmse": lambda task, _: _of_values(task, rmse),
    "relative_l2": lambda task, _: _of_values(task, relative_l2),
    # √mean(e²)/√mean(y²) = ‖e‖₂/‖y‖₂: the same function under PDEBench's name.
    "nrmse": lambda task, _: _of_values(task, relative_l2),
}
