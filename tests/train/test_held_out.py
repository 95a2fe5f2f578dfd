from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.errors import DataError
from pare_tune.tasks.metrics import METRICS
from pare_tune.train import held_out
from pare_tune.train.checkpoint import load_weights
from pare_tune.train.held_out import HELD_OUT, HeldOut

from .conftest import Toy


def some() -> HeldOut:
    rng = np.random.default_rng(0)
    batch = {"y": torch.arange(6) % 3, "clip": torch.arange(6) // 2}
    return HeldOut.of(
        np.arange(10, 16), torch.from_numpy(rng.normal(size=(6, 3)).astype("f")), batch, epoch=4
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    kept = some()
    assert kept.write(tmp_path / HELD_OUT)
    again = HeldOut.read(tmp_path / HELD_OUT)
    assert again.epoch == 4
    for name in ("index_N", "outputs", "targets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
        assert getattr(again, name).dtype == getattr(kept, name).dtype
    np.testing.assert_array_equal(again.others["clip"], kept.others["clip"])


@pytest.mark.parametrize(("most", "is_kept"), [(72, True), (71, True), (36, True), (35, False)])
def test_large_outputs_are_halved_or_left_out(
    most: int, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some().write(tmp_path / HELD_OUT)
    monkeypatch.setattr(held_out, "_MOST_BYTES", most)
    assert some().write(tmp_path / HELD_OUT) is is_kept
    assert (tmp_path / HELD_OUT).is_file() is is_kept, "none rather than an older epoch's"
    if is_kept:
        np.testing.assert_allclose(HeldOut.read(tmp_path / HELD_OUT).outputs, some().outputs, rtol=2e-3)


@pytest.mark.parametrize("content", [None, b"", b"no safetensors"])
def test_a_damaged_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / HELD_OUT).write_bytes(content)
    with pytest.raises(DataError, match=HELD_OUT):
        HeldOut.read(tmp_path / HELD_OUT)


def test_the_kept_epoch_of_a_training_is_the_one_that_is_scored(toy: Toy, tmp_path: Path) -> None:
    result, _ = toy.run(folder=tmp_path)
    kept = HeldOut.read(tmp_path / HELD_OUT)
    assert kept.epoch == result.best_epoch == load_weights(tmp_path / "best.safetensors")[1]["epoch"]
    assert METRICS["error_rate"].score(*kept.predictions) == result.best_score
    assert kept.index_N.tolist() == list(range(22, 31)), "behind 22 training samples"
    assert kept.targets.tolist() == [i % 3 for i in range(9)]
