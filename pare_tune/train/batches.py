"""Which samples meet in which step, the same for any number of workers.

The epoch's permutation is cut into global batches; worker r of W takes every W-th sample of each. Source batches have
exactly the size of target batches: the source is an endless stream of its own permutations, so no step goes unmixed
(the official code skips every step whose two batches differ). Everything follows from (seed, epoch), so a resumed run
sees what an undisturbed one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pare_tune.sources.base import SourceDataset


class TargetDataset(Protocol):
    """What a split of a task offers (`tasks.load.TaskDataset`)."""

    def __len__(self) -> int: ...

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One worker's share of one global batch."""

    target: tuple[int, ...]
    source: tuple[int, ...]
    share: float
    """Samples here over the mean number a worker has: the loss is multiplied by it, so that the average over workers
    is the mean over the global batch. 0 for a worker that only keeps step with the others."""
    size: int
    """Samples in the global batch."""


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The tensors of one `Step`."""

    target: dict[str, Tensor]
    source: dict[str, Tensor] | None
    share: float
    size: int


def plan_epoch(
    num_target: int,
    num_source: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
) -> list[Step]:
    """The steps of one epoch for one worker; `num_source` 0 means no source."""
    order = np.random.default_rng((seed, 1, epoch)).permutation(num_target)
    partners = source_stream(num_source, epoch * num_target, num_target, seed=seed) if num_source else None
    steps: list[Step] = []
    for start in range(0, num_target, batch_size):
        stop = min(start + batch_size, num_target)
        mine = range(start + rank, stop, world_size) or range(start, start + 1)
        share = len(range(start + rank, stop, world_size)) * world_size / (stop - start)
        steps.append(
            Step(
                target=tuple(int(order[i]) for i in mine),
                source=() if partners is None else tuple(int(partners[i]) for i in mine),
                share=share,
                size=stop - start,
            )
        )
    return steps


def source_stream(num_source: int, start: int, count: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Entries [start, start + count) of the endless stream of permutations of the source."""
    parts: list[npt.NDArray[np.int64]] = []
    while count > 0:
        cycle, offset = divmod(start, num_source)
        part = np.random.default_rng((seed, 2, cycle)).permutation(num_source)[offset : offset + count]
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


class StepBatches:
    """Iterates over the batches of a plan, in this process or in `loader_workers` others."""

    def __init__(
        self,
        steps: Sequence[Step],
        target: TargetDataset,
        source: SourceDataset | None,
        *,
        seed: int,
        epoch: int,
        loader_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._loader: DataLoader[StepBatch] = DataLoader(
            _StepDataset(target, source, seed=seed, epoch=epoch),
            batch_size=None,
            sampler=list(steps),
            num_workers=loader_workers,
            pin_memory=pin_memory,
            # A GPU or gRPC thread in the parent does not survive a fork.
            multiprocessing_context="spawn" if loader_workers else None,
        )

    def __iter__(self) -> Iterator[StepBatch]:
        return iter(self._loader)


class _StepDataset(Dataset[StepBatch]):
    def __init__(self, target: TargetDataset, source: SourceDataset | None, *, seed: int, epoch: int) -> None:
        self._target, self._source, self._seed, self._epoch = target, source, seed, epoch

    def __getitem__(self, step: Step) -> StepBatch:
        items = [
            self._target.item(i, np.random.default_rng((self._seed, 3, self._epoch, i))) for i in step.target
        ]
        return StepBatch(stack(items), self._source_batch(step.source), step.share, step.size)

    def _source_batch(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        return stack(fetch(self._source, indices)) if self._source is not None and indices else None


def fetch(dataset: SourceDataset, rows: Sequence[int]) -> list[dict[str, Tensor]]:
    """Items of a source, at once where it can."""
    at_once = getattr(dataset, "__getitems__", None)
    return list(at_once(list(rows))) if at_once is not None else [dataset[row] for row in rows]


def stack(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Items → one batch, field by field."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}
