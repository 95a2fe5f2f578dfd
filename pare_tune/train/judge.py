"""What held-out samples say of a trial: the score of each epoch, which epoch is kept, and how much they tell.

With a validation split the epoch of the best score is kept. With folds, which are chosen where samples are few, the
best of many epochs would be chosen by luck: in the last fold, when all samples are heard, the latest epoch is kept that
is not worse than the best by more than one standard error of their difference over the samples. It is found epoch by
epoch, so that weights are saved as they come.

`influences` splits a score into what blocks of samples contribute: their mean is the score, their spread its
uncertainty, and for two trials, block by block, that of the difference (jackknife of unequal blocks, Busing et al.
1999, https://doi.org/10.1023/A:1008800423698). For a mean over samples they are the blocks' own means.
"""
# Shape suffixes: n = held-out samples, E = epochs, G = blocks.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from pare_tune.tasks.base import Batch, Task, loss_sign
from pare_tune.tasks.load import TaskData
from pare_tune.train.evaluation import Context, Predicted, join, score_of
from pare_tune.train.held_out import HELD_OUT, HeldOut

ENOUGH: Final = 300
"""Validation samples that tell epochs apart well enough for the best of them to be taken."""
_BLOCKS: Final = 50
"""Most blocks that a score is split into; samples of one group are in one block."""
_BLOCKS_AN_EPOCH: Final = 20
"""As many are enough for a standard error."""

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoldOutputs:
    """What the model of one fold said of its held-out samples after each epoch."""

    outputs_En: Tensor
    """(E, n, ...)."""
    batch: Mapping[str, Tensor]
    """(n, ...) each."""
    index_n: Int64
    """Places in the development set."""


class Judge:
    """Scores epochs; the same on every worker, though rank 0 alone has outputs.

    Args:
        earlier: of the folds before this one; None where there is a validation split.
    """

    def __init__(
        self, data: TaskData, context: Context, earlier: Sequence[FoldOutputs] | None = None
    ) -> None:
        self._metric, self._data, self._context = data.task.metric, data, context
        self._earlier, self.fold = earlier, len(earlier or ())
        self._is_last = context.folds is not None and self.fold == context.folds.count - 1
        self.best_epoch, self.best_score = 0, math.nan
        """Of the epoch that is kept; counted from 1."""
        self.outputs: list[Tensor] = []
        """With folds: of each epoch so far."""
        self._batch: Mapping[str, Tensor] = {}
        self._values: list[Float64] = []
        self._scores: list[float] = []
        self._kept: Predicted | None = None

    def hear(self, predicted: Predicted | None) -> tuple[float, bool]:
        """(score of the next epoch, whether it is the one to keep so far).

        Raises:
            DataError: the metric is not defined on these samples.
        """
        if self._earlier is not None and predicted is not None:
            self.outputs.append(predicted[0])
            self._batch = predicted[1]
            predicted = self._with_earlier(len(self.outputs) - 1)
        score = score_of(predicted, self._metric, context=self._context, split="validation")
        keep = not math.isnan(score) and (self.best_epoch == 0 or self._is_to_keep(score, predicted))
        self._scores.append(score)
        if keep:
            self.best_epoch, self.best_score, self._kept = len(self._scores), score, predicted
        return score, keep

    def continues(self, state: Mapping[str, Any]) -> bool:
        """Whether a checkpoint is of this fold and holds what is needed (final trainings of before kept no outputs)."""
        return state.get("fold", 0) == self.fold and (self._earlier is None or "outputs" in state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        if self._earlier is not None:
            batch = state["batch"]
            heard = [(output, batch) for output in state["outputs"]] if self._context.is_main else None
            for epoch in range(len(state["curve"])):
                self.hear(None if heard is None else heard[epoch])
            return
        self._scores = [math.nan] * len(state["curve"])
        self.best_epoch, self.best_score = state["best_epoch"], state["best_score"]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        best = {"best_epoch": self.best_epoch, "best_score": self.best_score, "fold": self.fold}
        return (
            best if self._earlier is None else {**best, "outputs": self.outputs, "batch": dict(self._batch)}
        )

    def write_held_out(self, path: Path) -> None:
        """Keep the outputs of the epoch that is kept, on rank 0."""
        if self._kept is not None:
            kept = HeldOut.of(self._index, *self._kept, epoch=self.best_epoch).write(path)
            if not kept and self.best_epoch == 1:
                print(f"{path.name} is not kept: the outputs of {len(self._index):,} samples are too large")

    def influences(self, folder: Path) -> tuple[float, ...]:
        """Of the score that is kept; none where its outputs are not kept."""
        if not (folder / HELD_OUT).is_file():
            return ()
        return contributions(self._data.task, HeldOut.read(folder / HELD_OUT))

    @property
    def record(self) -> FoldOutputs:
        """Of a fold that is done, on rank 0."""
        return FoldOutputs(torch.stack(self.outputs), self._batch, self._data.val_index)

    @property
    def _index(self) -> Int64:
        return np.concatenate([*(fold.index_n for fold in self._earlier or ()), self._data.val_index])

    def _with_earlier(self, epoch: int) -> Predicted:
        """Out-of-fold outputs of all folds so far, after one and the same epoch."""
        assert self._earlier is not None
        outputs = [fold.outputs_En[epoch] for fold in self._earlier]
        return torch.cat([*outputs, self.outputs[epoch]]), join(
            [*(f.batch for f in self._earlier), self._batch]
        )

    def _is_to_keep(self, score: float, predicted: Predicted | None) -> bool:
        if not self._is_last:
            return self._metric.better(score, self.best_score)
        verdict = [False]
        if predicted is not None:
            if not self._values:
                self._values.append(self._influences_of(self._kept))
            self._values.append(self._influences_of(predicted))
            scores = [*self._scores, score]
            verdict = [is_kept(np.stack(self._values), scores, loss_sign(self._metric.direction))]
        if self._context.world_size > 1:
            dist.broadcast_object_list(verdict, src=0)
        return verdict[0]

    def _influences_of(self, predicted: Predicted | None) -> Float64:
        assert predicted is not None
        return influences(
            self._metric.score, *predicted, blocks(units_of(self._data.task, self._index), _BLOCKS_AN_EPOCH)
        )


def is_kept(values_EG: Float64, scores_E: Sequence[float], sign: float) -> bool:
    """Whether the last epoch is not worse than the best one by more than a standard error of the difference."""
    best = int(np.argmin(sign * np.asarray(scores_E)))
    worse_G = sign * (values_EG[-1] - values_EG[best])
    return bool(worse_G.mean() <= standard_error(worse_G))


def contributions(task: Task, kept: HeldOut) -> tuple[float, ...]:
    """What blocks of held-out samples contribute to the score of these outputs, with four digits more than people read.

    The blocks are the same whoever predicted the samples, in whatever order.
    """
    block_n = blocks(units_of(task, kept.index_N), _BLOCKS)
    return tuple(float(f"{v:.8g}") for v in influences(task.metric.score, *kept.predictions, block_n))


def units_of(task: Task, index_n: Int64) -> Int64:
    """What each development sample belongs to that must not be torn apart."""
    return index_n if task.units is None else task.units()[index_n]


def blocks(units_n: Int64, most: int) -> Int64:
    """The block of each sample, (n,) of 0 … G − 1: every unit whole, and units shuffled over at most `most` blocks."""
    _, unit_n = np.unique(units_n, return_inverse=True)
    shuffled = np.random.default_rng(0).permutation(int(unit_n.max()) + 1)
    block_n: Int64 = shuffled[unit_n] % most
    return block_n


def influences(
    score: Callable[[Tensor, Batch], float], outputs: Tensor, batch: Batch, block_n: Int64
) -> Float64:
    """What each block contributes to the score, (G,): their mean is about the score, whatever the blocks' sizes."""
    num_blocks = int(block_n.max()) + 1
    whole = score(outputs, batch)
    share_G = np.bincount(block_n, minlength=num_blocks) / len(block_n)
    without_G = np.full(num_blocks, whole)
    for block in range(num_blocks):
        rest = torch.from_numpy(np.flatnonzero(block_n != block))
        if len(rest):
            value = float(score(outputs[rest], {name: v[rest] for name, v in batch.items()}))
            without_G[block] = value if math.isfinite(value) else whole  # not defined without this block
    return whole + num_blocks * (1 - share_G) * (whole - without_G)


def standard_error(values_G: Float64) -> float:
    """Of the mean of independent blocks."""
    return float(np.std(values_G, ddof=1)) / math.sqrt(len(values_G))
