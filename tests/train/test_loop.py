from __future__ import annotations

import math
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pare_tune.errors import DataError, TrialFailed
from pare_tune.method import METHODS
from pare_tune.tasks.base import Batch, Metric
from pare_tune.tasks.metrics import METRICS
from pare_tune.train import loop
from pare_tune.train.batches import TargetDataset
from pare_tune.train.checkpoint import BEST, LAST, load_weights
from pare_tune.train.evaluation import evaluate
from pare_tune.train.loop import Context, EpochReport

from .conftest import Toy

VOLATILE = {"seconds", "samples_per_s", "memory_mb", "influences"}
"""The last: only the worker with a folder says what its samples contribute."""


class Killed(BaseException):
    """As far as the loop can tell."""


def die(report: EpochReport) -> None:
    """In the second epoch."""
    if report.epoch == 2:
        raise Killed


def die_at_once(_: EpochReport) -> None:
    """In the first, whose checkpoint is written however short it was."""
    raise Killed


def numbers(curve: tuple[EpochReport, ...] | list[EpochReport]) -> list[dict[str, float]]:
    return [{k: v for k, v in r.to_dict().items() if k not in VOLATILE} for r in curve]


def test_the_same_seed_gives_the_same_loss_to_the_bit(toy: Toy) -> None:
    first, model = toy.run()
    second, again = toy.run()
    assert numbers(first.curve) == numbers(second.curve)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    other, _ = toy.changed(seed=1).run()
    assert numbers(other.curve) != numbers(first.curve)


def test_k_falls_with_the_schedule_and_lambda_is_its_share(toy: Toy) -> None:
    result, _ = toy.run()
    n = 12
    assert [r.k for r in result.curve] == [round(0.957 * (1 - e / 3) * n) for e in range(3)]
    assert [r.lam for r in result.curve] == [r.k / n for r in result.curve]


def test_an_interrupted_training_ends_as_an_undisturbed_one(toy: Toy, tmp_path: Path) -> None:
    whole, model = toy.run(folder=tmp_path / "whole")
    with pytest.raises(Killed):
        toy.run(folder=tmp_path / "cut", report=die)
    told: list[EpochReport] = []
    resumed, again = toy.run(folder=tmp_path / "cut", report=told.append)
    assert numbers(resumed.curve) == numbers(whole.curve)
    assert numbers(told) == numbers(whole.curve), "epochs of the checkpoint are reported again"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_of_a_release_that_kept_random_state_goes_on(toy: Toy, tmp_path: Path) -> None:
    whole, _ = toy.run()
    with pytest.raises(Killed):
        toy.run(folder=tmp_path, report=die)
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert "rng" not in state
    torch.save({**state, "rng": {"cpu": torch.get_rng_state()}}, tmp_path / LAST)
    resumed, _ = toy.run(folder=tmp_path)
    assert numbers(resumed.curve) == numbers(whole.curve)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_what_it_should(toy: Toy, method: str) -> None:
    changed = toy.changed(method=method)
    torch.manual_seed(0)
    result, model = changed.run()
    first = result.curve[0]
    assert (first.k > 0) == (METHODS[method].mixer is not None)
    assert (first.loss_mixed_target > 0) == (METHODS[method].mixer is not None)
    # The other sample's label: the source's, or another target's.
    labelled = {"pare", "random", "mixup", "cutmix", "target_mixup"}
    assert (first.loss_mixed_source > 0) == (method in labelled)
    assert math.isnan(first.gate_target) == (not METHODS[method].is_gated)
    if method == "layernorm":
        frozen = [n for n, p in model.named_parameters() if n.startswith("encoder.") and not p.requires_grad]
        assert frozen


def test_at_k_zero_the_mixed_loss_is_the_target_loss(toy: Toy) -> None:
    result, _ = toy.changed(**{"k.start": 0.0, "loss.beta1": 0.5, "loss.beta2": 2.0, "train.epochs": 1}).run()
    only = result.curve[0]
    assert only.loss_mixed_target == only.loss_target
    assert only.train_loss == pytest.approx(2.5 * only.loss_target, rel=1e-5)


def test_accumulated_small_batches_step_like_one_large_batch(toy: Toy) -> None:
    # 22 samples: groups of 8, 8 and 6, whether at once or in pairs of 4, 4 / 4, 4 / 4, 2.
    # SGD: Adam divides by gradients that are zero up to rounding, and blows rounding up to whole steps.
    base = {"method": "finetune", "train.epochs": 2, "optimizer.name": "sgd", "optimizer.lr": 0.01}
    _, large = toy.changed(**base).run()
    _, small = toy.changed(**base, **{"train.batch_size": 4, "train.accumulation": 2}).run()
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_divergence_ends_the_trial_with_its_cause(toy: Toy) -> None:
    with pytest.raises(TrialFailed, match="diverged: loss became") as caught:
        toy.changed(
            **{"optimizer.lr": 10.0, "optimizer.name": "sgd", "optimizer.clip": None, "train.epochs": 30}
        ).run(validate=False)
    assert caught.value.cause == "diverged"


class OneClass:
    """A split whose samples are all of class 1."""

    def __init__(self, split: TargetDataset) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, torch.Tensor]:
        return {**self._split.item(index, rng), "y": torch.tensor(1)}


def scored_by(toy: Toy, metric: Metric, **changes: object) -> Toy:
    return replace(toy, data=replace(toy.data, task=replace(toy.data.task, metric=metric), **changes))


def test_a_metric_that_the_split_leaves_undefined_is_no_divergence(toy: Toy) -> None:
    changed = scored_by(toy, METRICS["auroc_error"], val=OneClass(toy.data.val))
    with pytest.raises(DataError, match=r"auroc_error is not defined on the validation split, 9 samples"):
        changed.run()
    _, model = toy.run()
    split, context = changed.data.val, Context(report=lambda r: None)
    assert math.isnan(evaluate(model, split, METRICS["auroc_error"], batch_size=4, context=context))


def test_predictions_without_a_score_end_their_trial_alone(toy: Toy) -> None:
    """Other trials may well have one, so the search goes on."""

    def correlation(predictions: torch.Tensor, batch: Batch) -> float:
        return 1.0 if (predictions >= 0).all() else math.nan

    with pytest.raises(TrialFailed, match="validation score became nan in epoch 1") as caught:
        scored_by(toy, replace(METRICS["auroc_error"], score=correlation)).run()
    assert caught.value.cause == "diverged"


def test_running_out_of_memory_is_told_apart(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(loop, "pare_loss", refuse)
    with pytest.raises(TrialFailed) as caught:
        toy.run()
    assert caught.value.cause == "out_of_memory"


def test_the_best_epoch_is_the_metrics_best(toy: Toy) -> None:
    result, _ = toy.run()
    scores = [r.score for r in result.curve]
    assert result.best_score == min(scores)
    assert result.best_epoch == scores.index(min(scores)) + 1
    assert [r.best_score for r in result.curve] == [min(scores[: i + 1]) for i in range(len(scores))]


def test_without_validation_there_is_no_score(toy: Toy) -> None:
    result, _ = toy.run(validate=False)
    assert all(math.isnan(r.score) for r in result.curve)
    assert result.best_epoch == 0


Curve = list[dict[str, float]]


def quiet(toy: Toy) -> Toy:
    return toy.changed(**{"gate.noise": 0.0, "train.batch_size": 6, "train.accumulation": 2})


def small(toy: Toy) -> Toy:
    """Steps of 9 samples in passes of 3: two workers make two each, of 3 and of 1 or 2. No part is ever idle."""
    always = {"k.end": 0.1, "gate.noise": 0.0}
    return toy.changed(**always, **{"train.batch_size": 3, "train.accumulation": 3})


def shared(toy: Toy) -> Toy:
    """A model that the workers share."""
    return quiet(toy).changed(**{"train.parallel": "fsdp", "train.gradient_checkpointing": True})


def _worker(rank: int, toy: Toy, port: int, out: Path) -> None:
    """Leaves {out}/{rank}.pt: curves without noise, with it, of a shared model, and of trainings that were cut short
    and went on."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)

    def curve(toy: Toy, **options: Any) -> Curve:
        return numbers(toy.run(rank=rank, world_size=2, **options)[0].curve)

    try:
        curves = {"quiet": curve(quiet(toy)), "small": curve(small(toy)), "whole": curve(toy)}
        with pytest.raises(Killed):
            curve(toy, folder=out, report=die)
        dist.barrier()
        curves["resumed"] = curve(toy, folder=out)
        with pytest.raises(Killed):
            curve(shared(toy), folder=out / "shared", report=die_at_once)
        dist.barrier()
        if rank == 0:
            shutil.copy(out / "shared" / LAST, out / "killed.pt")
        result, model = shared(toy).run(rank=rank, world_size=2, folder=out / "shared")
        curves["shared"] = numbers(result.curve)
        torch.save(model.state_dict(), out / f"shared-{rank}.pt")
        torch.save(curves, out / f"{rank}.pt")
        # Gloo aborts where one side hangs up while the other still talks.
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they leave what they leave."""
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two_workers(toy: Toy, two_workers_folder: Path) -> list[dict[str, Curve]]:
    """What each of two workers saw."""
    out = two_workers_folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_worker, args=(toy, port, out), nprocs=2)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("batches", [quiet, small, shared])
def test_two_workers_follow_the_curve_of_one(
    toy: Toy, two_workers: list[dict[str, Curve]], batches: Callable[[Toy], Toy]
) -> None:
    """Same samples a step, no noise: equal up to the order of float32 sums (1e-4 of the loss)."""
    one, _ = batches(toy).changed(**{"train.parallel": "ddp"}).run()
    first, second = (curves[batches.__name__] for curves in two_workers)
    for name in ("train_loss", "loss_target", "loss_mixed_target", "loss_mixed_source", "score", "grad_norm"):
        expected = [getattr(r, name) for r in one.curve]
        assert [e[name] for e in first] == pytest.approx(expected, rel=1e-4), name
    assert [e["score"] for e in first] == [e["score"] for e in second]


def test_two_interrupted_workers_end_as_two_undisturbed_ones(two_workers: list[dict[str, Curve]]) -> None:
    """With noise, which every worker draws for itself."""
    for rank, curves in enumerate(two_workers):
        # The checkpoint holds what the first worker saw.
        went_on = slice(0 if rank == 0 else 2, None)
        for resumed, whole in zip(curves["resumed"][went_on], curves["whole"][went_on], strict=True):
            assert resumed == pytest.approx(whole, rel=1e-6)
    gates = [curves["whole"][0]["gate_target"] for curves in two_workers]
    assert gates[0] != gates[1]


def test_what_a_shared_model_leaves_is_whole(
    toy: Toy, two_workers: list[dict[str, Curve]], two_workers_folder: Path, tmp_path: Path
) -> None:
    """As one worker leaves it, to the order of float32 sums; another number of workers could go on from it."""
    alone = quiet(toy)
    with pytest.raises(Killed):
        alone.run(folder=tmp_path, report=die_at_once)
    states = [
        torch.load(path, weights_only=True) for path in (two_workers_folder / "killed.pt", tmp_path / LAST)
    ]
    torch.testing.assert_close(states[0]["model"], states[1]["model"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        states[0]["optimizer"]["state"], states[1]["optimizer"]["state"], rtol=1e-2, atol=1e-4
    )
    _, model = alone.run(folder=tmp_path)
    for rank in range(2):
        last = torch.load(two_workers_folder / f"shared-{rank}.pt", weights_only=True)
        torch.testing.assert_close(last, dict(model.state_dict()), rtol=1e-3, atol=1e-4)
    best, about = load_weights(two_workers_folder / "shared" / BEST)
    expected, _ = load_weights(tmp_path / BEST)
    torch.testing.assert_close(best, expected, rtol=1e-3, atol=1e-4)
    assert about["epoch"] == alone.run(folder=tmp_path)[0].best_epoch
