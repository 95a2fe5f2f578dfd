"""Which samples meet in which step, the same for any number of workers.

The epoch's permutation is cut into the groups of the optimiser's steps, as large whatever the number of workers; worker
r of W takes every W-th sample of each, in as few forward passes as their size allows. Source batches have exactly the
size of target batches: the source is an endless stream of its own permutations, so no step goes unmixed (the official
code skips every step whose two batches differ). Everything follows from (seed, epoch), so a resumed run sees what an
undisturbed one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pare_tune.sources.base import SourceDataset


class TargetDataset(Protocol):
    """What a split of a task offers (`tasks.load.TaskDataset`)."""

    def __len__(self) -> int: ...

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass of one worker."""

    target: tuple[int, ...]
    source: tuple[int, ...]
    count: int
    """Samples that count; 0 for a worker that only keeps step with the others, in an epoch's last group."""
    group: int
    """Samples of the optimiser's step, over all its forward passes and all workers."""
    ends: bool
    """Whether the optimiser steps behind it."""


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The tensors of one `Step`."""

    target: dict[str, Tensor]
    source: dict[str, Tensor] | None
    count: int
    group: int
    ends: bool


def plan_epoch(
    num_target: int,
    num_source: int,
    size: int,
    group: int | None = None,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
) -> list[Step]:
    """The steps of one epoch for one worker; `num_source` 0 means no source.

    Args:
        size: samples of a forward pass, at most.
        group: samples of an optimiser step, over all workers; by default one pass of this one.
    """
    order = np.random.default_rng((seed, 1, epoch)).permutation(num_target)
    partners = source_stream(num_source, epoch * num_target, num_target, seed=seed) if num_source else None
    group = group or size
    steps: list[Step] = []
    for start in range(0, num_target, group):
        stop = min(start + group, num_target)
        mine = range(start + rank, stop, world_size)
        places = mine or range(start, start + 1)
        for first in range(0, len(places), size):
            part = places[first : first + size]
            steps.append(
                Step(
                    target=tuple(int(order[i]) for i in part),
                    source=() if partners is None else tuple(int(partners[i]) for i in part),
                    count=len(part) if mine else 0,
                    group=stop - start,
                    ends=first + size >= len(places),
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
    """Makes the batches of every epoch, in this process or in `loader_workers` others that live as long as this."""

    def __init__(
        self,
        target: TargetDataset,
        source: SourceDataset | None,
        *,
        seed: int,
        loader_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._plan: list[tuple[int, Step]] = []
        self._loader: DataLoader[StepBatch] = DataLoader(
            _StepDataset(target, source, seed=seed),
            batch_size=None,
            sampler=_Rereadable(self._plan),
            num_workers=loader_workers,
            pin_memory=pin_memory,
            # A GPU or gRPC thread in the parent does not survive a fork.
            multiprocessing_context="spawn" if loader_workers else None,
            persistent_workers=loader_workers > 0,
        )

    def epoch(self, steps: Sequence[Step], epoch: int) -> Iterator[StepBatch]:
        """The batches of a plan, in its order."""
        self._plan[:] = [(epoch, step) for step in steps]
        return iter(self._loader)


class _Rereadable(Sampler[tuple[int, Step]]):
    """What the list holds when it is begun."""

    def __init__(self, plan: list[tuple[int, Step]]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[tuple[int, Step]]:
        return iter(tuple(self._plan))

    def __len__(self) -> int:
        return len(self._plan)


class _StepDataset(Dataset[StepBatch]):
    def __init__(self, target: TargetDataset, source: SourceDataset | None, *, seed: int) -> None:
        self._target, self._source, self._seed = target, source, seed

    def __getitem__(self, index: tuple[int, Step]) -> StepBatch:
        epoch, step = index
        items = [self._target.item(i, np.random.default_rng((self._seed, 3, epoch, i))) for i in step.target]
        source = self._source_batch(step.source)
        return StepBatch(stack(items), source, step.count, step.group, step.ends)

    def _source_batch(self, indices: Sequence[int]) -> dict[str, Tensor] | None:
        return stack(fetch(self._source, indices)) if self._source is not None and indices else None


def fetch(dataset: SourceDataset, rows: Sequence[int]) -> list[dict[str, Tensor]]:
    """Items of a source, at once where it can."""
    at_once = getattr(dataset, "__getitems__", None)
    return list(at_once(list(rows))) if at_once is not None else [dataset[row] for row in rows]


def stack(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Items → one batch, field by field."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}
