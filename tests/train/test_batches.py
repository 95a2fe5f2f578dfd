from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pare_tune.train.batches import StepBatches, plan_epoch, source_stream


class Numbers:
    """Sample i is the number i, plus noise from the training generator."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        noise = 0.0 if rng is None else float(rng.random())
        return {"x": torch.tensor([index + noise]), "y": torch.tensor(index)}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.item(index)


def test_an_epoch_takes_every_target_once_and_pairs_every_one() -> None:
    steps = plan_epoch(10, 7, 4, seed=0, epoch=2)
    assert [s.size for s in steps] == [4, 4, 2]
    assert sorted(i for s in steps for i in s.target) == list(range(10))
    assert all(len(s.source) == len(s.target) for s in steps)


def test_the_source_is_an_endless_stream_without_seams() -> None:
    stream = source_stream(7, 0, 70, seed=3)
    for cycle in range(10):
        assert sorted(stream[cycle * 7 : cycle * 7 + 7]) == list(range(7))
    assert (source_stream(7, 23, 20, seed=3) == stream[23:43]).all()


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("count", [5, 8, 9, 16])
def test_workers_share_the_batches_of_one(world_size: int, count: int) -> None:
    whole = plan_epoch(count, 6, 4, seed=1, epoch=0)
    shares = [
        plan_epoch(count, 6, 4, seed=1, epoch=0, rank=r, world_size=world_size) for r in range(world_size)
    ]
    assert {len(s) for s in shares} == {len(whole)}
    for index, step in enumerate(whole):
        parts = [s[index] for s in shares if s[index].share > 0]
        pairs = {pair for p in parts for pair in zip(p.target, p.source, strict=True)}
        assert pairs == set(zip(step.target, step.source, strict=True))
        assert sum(s[index].share for s in shares) == pytest.approx(world_size)
        # share · size / world_size is the number of samples here
        assert [p.share * step.size / world_size for p in parts] == pytest.approx(
            [len(p.target) for p in parts]
        )


def test_weighted_worker_means_average_to_the_global_mean() -> None:
    values = np.random.default_rng(0).random(9)
    shares = [plan_epoch(9, 0, 4, seed=1, epoch=0, rank=r, world_size=2) for r in range(2)]
    for index, step in enumerate(plan_epoch(9, 0, 4, seed=1, epoch=0)):
        weighted = [values[list(s[index].target)].mean() * s[index].share for s in shares]
        assert np.mean(weighted) == pytest.approx(values[list(step.target)].mean())


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [i for s in plan_epoch(50, 0, 8, seed=seed, epoch=epoch) for i in s.target]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_batches_are_the_same_in_this_process_and_in_others(loader_workers: int) -> None:
    plan = plan_epoch(6, 4, 4, seed=0, epoch=1)
    batches = list(StepBatches(plan, Numbers(6), Numbers(4), seed=0, epoch=1, loader_workers=loader_workers))
    assert [b.size for b in batches] == [4, 2]
    for step, batch in zip(plan, batches, strict=True):
        assert tuple(batch.target["y"].tolist()) == step.target
        assert batch.source is not None
        assert tuple(batch.source["y"].tolist()) == step.source
    expected = [np.random.default_rng((0, 3, 1, i)).random() + i for i in plan[0].target]
    assert batches[0].target["x"].squeeze(1).tolist() == pytest.approx(expected)
