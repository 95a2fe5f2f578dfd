from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pare_tune.distance import otdd
from pare_tune.errors import TrialFailed
from pare_tune.sources.base import SourceData, SourceKind
from pare_tune.train import align, loop
from pare_tune.train.align import align_embedder, alignment_rate
from pare_tune.train.build import ModelShape, build_model, open_backbone
from pare_tune.train.checkpoint import LAST, seed_everything
from pare_tune.train.loop import EpochReport

from .conftest import Tokens, Toy

VOLATILE = {"seconds", "samples_per_s", "memory_mb"}
N = 12
SOURCE = SourceData(name="tokens", kind=SourceKind.TEXT, dataset=Tokens(N), num_classes=2, provenance="toy")


def orca(toy: Toy, **changes: object) -> Toy:
    settings = {"method": "orca", "align.epochs": 6, "align.samples": 16, "train.epochs": 2, **changes}
    return toy.changed(**settings)


def numbers(curve: Any) -> list[dict[str, float]]:
    return [{k: v for k, v in r.to_dict().items() if k not in VOLATILE} for r in curve]


def aligned(toy: Toy) -> tuple[Any, float, float]:
    """The model, and OTDD on all samples before and after its alignment."""
    seed_everything(toy.config.seed)
    model = build_model(toy.config, ModelShape.of(toy.data, SOURCE), open_backbone(toy.config), N)
    target = torch.stack([toy.data.train.item(i)["x"] for i in range(len(toy.data.train))])
    target_y = torch.stack([toy.data.train.item(i)["y"] for i in range(len(toy.data.train))])
    items = [Tokens(N)[i] for i in range(len(Tokens(N)))]
    source_y = torch.stack([item["y"] for item in items])
    source = model.embed_source(torch.stack([item["x"] for item in items]), "text").mean(1)

    @torch.no_grad()
    def distance() -> float:
        return otdd(model.target_embedder(target).mean(1), target_y, source, source_y)

    before = distance()
    align_embedder(toy.config, model, toy.data.train, SOURCE, torch.device("cpu"))
    return model, before, distance()


@pytest.mark.parametrize(
    ("distance", "inner"), [("otdd", "exact"), ("otdd", "gaussian"), ("mmd", "exact"), ("l2", "exact")]
)
def test_aligned_embeddings_end_closer_in_otdd_than_they_began(toy: Toy, distance: str, inner: str) -> None:
    changed = orca(toy, **{"align.distance": distance, "align.inner": inner, "align.epochs": 20})
    _, before, after = aligned(changed)
    assert after < 0.9 * before


def test_only_the_target_embedder_moves_and_no_gradient_is_left(toy: Toy) -> None:
    changed = orca(toy)
    model, *_ = aligned(changed)
    seed_everything(changed.config.seed)
    fresh = build_model(changed.config, ModelShape.of(toy.data, SOURCE), open_backbone(changed.config), N)
    moved = {
        name.split(".")[0]
        for (name, a), b in zip(model.named_parameters(), fresh.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert moved == {"target_embedder"}
    assert all(p.grad is None for p in model.parameters())


def test_small_batches_of_the_embedder_give_the_same_alignment(toy: Toy) -> None:
    # SGD: Adam blows rounding up where gradients vanish.
    whole, *_ = aligned(orca(toy, **{"train.batch_size": 64, "optimizer.name": "sgd"}))
    parts, *_ = aligned(orca(toy, **{"train.batch_size": 3, "optimizer.name": "sgd"}))
    for a, b in zip(whole.target_embedder.parameters(), parts.target_embedder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_without_alignment_orca_is_finetune_to_the_bit(toy: Toy) -> None:
    plain, model = toy.changed(**{"method": "finetune", "train.epochs": 2}).run()
    none, same = orca(toy, **{"align.epochs": 0}).run()
    assert numbers(none.curve) == numbers(plain.curve)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    some, _ = orca(toy).run()
    assert numbers(some.curve) != numbers(plain.curve)


def test_the_same_seed_aligns_and_trains_alike(toy: Toy) -> None:
    (first, model), (second, again) = orca(toy).run(), orca(toy).run()
    assert numbers(first.curve) == numbers(second.curve)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


class Killed(BaseException):
    pass


def counted(monkeypatch: pytest.MonkeyPatch, die_at: int | None = None) -> list[int]:
    """Counts the steps' distances; the process dies in the given one."""
    calls: list[int] = []
    original: Callable[..., float] = align._backward

    def distance(*args: Any, **kwargs: Any) -> float:
        calls.append(len(calls))
        if len(calls) == die_at:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(align, "_backward", distance)
    return calls


def test_a_run_killed_after_its_alignment_goes_on_without_repeating_it(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, model = orca(toy).run(folder=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop._Fit, "_run_epoch", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            orca(toy).run(folder=tmp_path / "cut")
    assert (tmp_path / "cut" / LAST).is_file()
    calls = counted(monkeypatch)
    told: list[EpochReport] = []
    resumed, again = orca(toy).run(folder=tmp_path / "cut", report=told.append)
    assert not calls
    assert numbers(resumed.curve) == numbers(whole.curve)
    assert [r.epoch for r in told] == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_run_killed_during_its_alignment_repeats_it(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = orca(toy).run(folder=tmp_path / "whole")
    with monkeypatch.context() as patch:
        counted(patch, die_at=4)
        with pytest.raises(Killed):
            orca(toy).run(folder=tmp_path / "cut")
    assert not (tmp_path / "cut" / LAST).exists()
    calls = counted(monkeypatch)
    resumed, _ = orca(toy).run(folder=tmp_path / "cut")
    assert len(calls) == 6, "all steps"
    assert numbers(resumed.curve) == numbers(whole.curve)


def test_its_time_is_the_first_epochs(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop._Fit, "_run_epoch", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            orca(toy).run(folder=tmp_path)
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert state["alignment_s"] > 0
    torch.save({**state, "alignment_s": 1e6}, tmp_path / LAST)
    result, _ = orca(toy).run(folder=tmp_path)
    first, second = (r.seconds for r in result.curve)
    assert first > 1e6 > second


def test_the_rate_is_that_of_orcas_code() -> None:
    # Adam 1e-4 → 1e-3, and StepLR [20, 40, 60] by 0.2 of its 60 epochs.
    assert [alignment_rate(e, 60, 1e-4) for e in (0, 19, 20, 40, 59)] == pytest.approx(
        [1e-3, 1e-3, 2e-4, 4e-5, 4e-5]
    )
    assert alignment_rate(0, 60, 5e-3) == 1e-2
    assert alignment_rate(0, 60, 0.1) == 0.1


def test_a_distance_that_is_lost_ends_the_trial(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "otdd2", lambda x, *_, **__: x.sum() * math.nan)
    with pytest.raises(TrialFailed, match="step 1 of the alignment") as caught:
        orca(toy).run()
    assert caught.value.cause == "diverged"


def _worker(rank: int, toy: Toy, port: int, out: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        result, model = toy.run(rank=rank, world_size=2)
        torch.save([numbers(result.curve), list(model.state_dict().values())], f"{out}.{rank}")
    finally:
        dist.destroy_process_group()


def _second_worker(_: int, toy: Toy, port: int, out: str) -> None:
    loop.align_embedder = None  # type: ignore[assignment]
    _worker(1, toy, port, out)


def test_two_workers_follow_the_curve_of_one_and_the_first_aligns_for_both(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = orca(toy, **{"train.batch_size": 6})
    one, _ = changed.run()
    port, out = 20_000 + (os.getpid() + 7) % 20_000, str(tmp_path / "out")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    # The first worker is this process: the second one's imports are most of the test's time.
    other = mp.spawn(_second_worker, args=(changed, port, out), nprocs=1, join=False)
    _worker(0, changed, port, out)
    other.join()
    (first, a), (second, b) = (torch.load(f"{out}.{rank}", weights_only=True) for rank in range(2))
    for name in ("train_loss", "score"):
        expected = [getattr(r, name) for r in one.curve]
        assert [e[name] for e in first] == pytest.approx(expected, rel=1e-3), name
    assert [e["score"] for e in first] == [e["score"] for e in second]
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
