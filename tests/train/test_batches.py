from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from pare_tune.config import TrainConfig
from pare_tune.errors import ConfigError
from pare_tune.train.batches import Step, StepBatches, plan_epoch, source_stream


class Numbers:
    """Sample i is the number i, plus noise from the training generator."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        noise = 0.0 if rng is None else float(rng.random())
        return {
            "x": torch.tensor([index + noise]),
            "y": torch.tensor(index),
            "process": torch.tensor(os.getpid()),
        }

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.item(index)


def test_an_epoch_takes_every_target_once_and_pairs_every_one() -> None:
    steps = plan_epoch(10, 7, 4, seed=0, epoch=2)
    assert [(s.count, s.group, s.ends) for s in steps] == [(4, 4, True), (4, 4, True), (2, 2, True)]
    assert sorted(i for s in steps for i in s.target) == list(range(10))
    assert all(len(s.source) == len(s.target) for s in steps)


def test_the_source_is_an_endless_stream_without_seams() -> None:
    stream = source_stream(7, 0, 70, seed=3)
    for cycle in range(10):
        assert sorted(stream[cycle * 7 : cycle * 7 + 7]) == list(range(7))
    assert (source_stream(7, 23, 20, seed=3) == stream[23:43]).all()


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("count", "batch_size", "accumulation"), [(5, 4, 1), (16, 1, 8), (50, 3, 4), (9, 4, 1)]
)
def test_workers_share_the_steps_of_one(workers: int, count: int, batch_size: int, accumulation: int) -> None:
    settings = TrainConfig(epochs=1, batch_size=batch_size, accumulation=accumulation)
    size, passes = settings.per_worker(workers)
    plans = [
        groups_of(plan_epoch(count, 6, size, settings.group, seed=1, epoch=0, rank=r, world_size=workers))
        for r in range(workers)
    ]
    alone = groups_of(plan_epoch(count, 6, batch_size, settings.group, seed=1, epoch=0))
    assert {len(plan) for plan in plans} == {len(alone)}
    for index, whole in enumerate(alone):
        group = [step for plan in plans for step in plan[index]]
        pairs = [pair for s in group if s.count for pair in zip(s.target, s.source, strict=True)]
        assert sorted(pairs) == sorted(p for s in whole for p in zip(s.target, s.source, strict=True))
        assert {s.group for s in group} == {len(pairs)} == {sum(s.count for s in group)}
        assert max(s.count for s in group) <= batch_size
        assert max(len(plan[index]) for plan in plans) <= passes
        if index < len(alone) - 1:
            assert min(s.count for s in group) > 0, "an idle pass in the middle of an epoch"


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "workers", "expected"),
    [
        (1, 32, 8, (1, 4)),  # PSICOV: fewer passes
        (64, 1, 8, (8, 1)),  # no pass to spare: smaller ones
        (4, 8, 16, (2, 1)),  # both
        (4, 3, 8, (2, 1)),  # 12 samples: four workers take two, four take one
        (16, 2, 1, (16, 2)),
    ],
)
def test_several_workers_keep_the_samples_of_a_step(
    batch_size: int, accumulation: int, workers: int, expected: tuple[int, int]
) -> None:
    settings = TrainConfig(epochs=1, batch_size=batch_size, accumulation=accumulation)
    assert settings.per_worker(workers) == expected


def test_more_workers_than_samples_of_a_step_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="8 workers cannot share an optimiser step of 4 samples .* at most 4 workers"
    ):
        TrainConfig(epochs=1, batch_size=2, accumulation=2).per_worker(8)


def test_weighted_worker_means_average_to_the_mean_of_the_step() -> None:
    values = np.random.default_rng(0).random(9)
    plans = [groups_of(plan_epoch(9, 0, 2, 6, seed=1, epoch=0, rank=r, world_size=2)) for r in range(2)]
    for index, (whole,) in enumerate(groups_of(plan_epoch(9, 0, 6, seed=1, epoch=0))):
        # As the loop weighs them: gradients are added over passes and averaged over workers.
        sums = [
            sum(values[list(s.target)].mean() * s.count * 2 / s.group for s in plan[index]) for plan in plans
        ]
        assert np.mean(sums) == pytest.approx(values[list(whole.target)].mean())


def groups_of(steps: list[Step]) -> list[list[Step]]:
    """Passes by the optimiser's steps."""
    groups: list[list[Step]] = [[]]
    for step in steps:
        groups[-1].append(step)
        if step.ends:
            groups.append([])
    assert groups.pop() == [], "the epoch ends with a step of the optimiser"
    return groups


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [i for s in plan_epoch(50, 0, 8, seed=seed, epoch=epoch) for i in s.target]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_batches_are_the_same_in_this_process_and_in_others(loader_workers: int) -> None:
    batches = StepBatches(Numbers(6), Numbers(4), seed=0, loader_workers=loader_workers)
    processes = set()
    for epoch in (1, 2):
        plan = plan_epoch(6, 4 if epoch == 1 else 0, 4, seed=0, epoch=epoch)
        made = list(batches.epoch(plan, epoch))
        assert [b.count for b in made] == [4, 2]
        for step, batch in zip(plan, made, strict=True):
            assert tuple(batch.target["y"].tolist()) == step.target
            assert (batch.source is None) == (epoch == 2)
            if batch.source is not None:
                assert tuple(batch.source["y"].tolist()) == step.source
        expected = [np.random.default_rng((0, 3, epoch, i)).random() + i for i in plan[0].target]
        assert made[0].target["x"].squeeze(1).tolist() == pytest.approx(expected)
        processes |= {int(batch.target["process"][0]) for batch in made}
    assert len(processes) == max(1, loader_workers), "processes live through the epochs"
