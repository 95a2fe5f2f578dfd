from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.errors import DataError, StorageError
from pare_tune.train import checkpoint
from pare_tune.train.checkpoint import (
    StateWriter,
    load_state,
    load_weights,
    save_state,
    save_weights,
    seed_noise,
)


def test_state_comes_back(tmp_path: Path) -> None:
    state = {"model": {"w": torch.randn(3)}, "step": 4, "curve": [{"epoch": 1, "score": float("nan")}]}
    save_state(tmp_path / "last.pt", state)
    found = load_state(tmp_path / "last.pt")
    assert found is not None
    torch.testing.assert_close(found["model"]["w"], state["model"]["w"])  # type: ignore[index]
    assert found["step"] == 4
    assert list(tmp_path.iterdir()) == [tmp_path / "last.pt"]


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_state_counts_as_none(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"w": torch.randn(100)})
    path.write_bytes(path.read_bytes()[:keep])
    assert load_state(path) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xcf\xeb\x0f\xa3!\xd7", id="UnpicklingError"),
        pytest.param(b"r\xaa\xa3\xbca\xcf", id="IndexError"),
        pytest.param(b"G" * 5, id="struct.error"),
        pytest.param(b"PK\x03\x04" + b"\xff" * 100, id="a zip"),
        *(pytest.param(np.random.default_rng(seed).bytes(300), id=f"seed {seed}") for seed in range(5)),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_bytes_count_as_no_state(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    assert load_state(tmp_path / "last.pt") is None


def test_code_in_a_state_file_does_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"w": Attack()}, tmp_path / "last.pt")
    assert load_state(tmp_path / "last.pt") is None
    assert not (tmp_path / "owned").exists()


def test_weights_carry_what_they_are(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 3)
    save_weights(tmp_path / "best.safetensors", model, {"epoch": 4, "shape": [1, 2]})
    tensors, about = load_weights(tmp_path / "best.safetensors")
    torch.testing.assert_close(tensors["weight"], model.weight.data)
    assert about == {"epoch": 4, "shape": [1, 2]}


def test_shared_tensors_can_be_saved(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_weights(tmp_path / "m.safetensors", model, {})
    assert set(load_weights(tmp_path / "m.safetensors")[0]) == {"0.weight", "0.bias", "1.weight", "1.bias"}


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_damaged_weights_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        load_weights(path)


def test_a_full_disk_leaves_the_previous_state_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path / "last.pt", {"step": 1})

    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        save_state(tmp_path / "last.pt", {"step": 2})
    assert load_state(tmp_path / "last.pt") == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_noise_follows_from_seed_epoch_and_rank_alone() -> None:
    def drawn(*key: int) -> list[float]:
        seed_noise(*key)
        return [*torch.rand(2).tolist(), *np.random.rand(2)]  # noqa: NPY002

    first = drawn(3, 1, 0)
    torch.rand(100)
    assert drawn(3, 1, 0) == first
    others = [drawn(*key) for key in ((4, 1, 0), (3, 2, 0), (3, 1, 1), (3, 0, 1))]
    assert len({tuple(one) for one in [first, *others]}) == 5


@pytest.mark.parametrize("large", [0, 2**30])
def test_a_state_is_written_as_it_was_when_it_was_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(checkpoint, "_LARGE", large)
    weights = torch.zeros(1000)
    with closing(StateWriter()) as writer:
        for step in (1, 2):
            weights.fill_(step)
            writer.write(
                tmp_path / "last.pt", {"model": {"w": weights}, "step": step, "curve": [{"epoch": step}]}
            )
            weights.fill_(-1.0)
    found = load_state(tmp_path / "last.pt")
    assert found is not None
    assert found["model"]["w"].unique().tolist() == [2.0]
    assert (found["step"], found["curve"]) == (2, [{"epoch": 2}])


def test_a_refusal_beside_the_training_is_told_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_LARGE", 0)
    (tmp_path / "file").touch()
    writer = StateWriter()
    writer.write(tmp_path / "file" / "last.pt", {"step": 1})
    with pytest.raises(StorageError, match="cannot write"):
        writer.close()


@pytest.mark.parametrize(
    ("takes_s", "after_s", "due"),
    [(0.1, 4.9, False), (0.1, 5.1, True), (60.0, 29.0, False), (60.0, 31.0, True)],
    ids=["short epochs", "two percent", "a slow disk", "never later than that"],
)
def test_states_are_written_as_often_as_is_cheap(
    takes_s: float, after_s: float, due: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def save(path: Path, state: Mapping[str, Any]) -> None:
        nonlocal now
        now += takes_s

    monkeypatch.setattr(checkpoint, "save_state", save)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    writer = StateWriter()
    assert writer.is_due
    writer.write(tmp_path / "last.pt", {})
    now += after_s
    assert writer.is_due is due
    writer.close()
