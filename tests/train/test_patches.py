from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.errors import StorageError
from pare_tune.train import loop
from pare_tune.train.patches import PATCHES, SAMPLES, picture_epochs, read_patches, record_patches

from .conftest import Tokens, Toy


def test_four_epochs_of_a_training_are_recorded_with_as_many_patches_as_k(toy: Toy, tmp_path: Path) -> None:
    result, _ = toy.changed(**{"train.epochs": 6, "k.end": 0.2}).run(folder=tmp_path)
    records = read_patches(tmp_path)
    assert [r.epoch for r in records] == [1, 2, 4, 6] == sorted(picture_epochs(6))
    for record in records:
        n = record.target_mask.shape[1]
        assert record.k == result.curve[record.epoch - 1].k
        assert (record.target_mask == 0).sum(1).tolist() == [record.k] * SAMPLES
        assert record.source_mask.sum(1).tolist() == [record.k] * SAMPLES
        assert record.grid == (1, n)
        assert record.target_x.shape[0] == record.source_x.shape[0] == SAMPLES
        order = np.argsort(record.target_score[0].astype(float), kind="stable")
        removed = set(np.flatnonzero(record.target_mask[0] == 0).tolist())
        worst = record.target_score[0][order[record.k - 1]]
        assert all(record.target_score[0][i] <= worst for i in removed), "the worst scored go"


def test_recording_changes_nothing_of_the_training(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pictures, _ = toy.run(folder=tmp_path)
    monkeypatch.setattr(loop, "record_patches", lambda *a, **k: None)
    without, _ = toy.run(folder=tmp_path / "other")
    assert [r.train_loss for r in with_pictures.curve] == [r.train_loss for r in without.curve]


@pytest.mark.parametrize("method", ["finetune", "mixup", "target_mask"])
def test_methods_that_choose_no_patches_of_both_leave_no_record(
    toy: Toy, method: str, tmp_path: Path
) -> None:
    toy.changed(method=method, **{"train.epochs": 1}).run(folder=tmp_path)
    assert not (tmp_path / PATCHES).exists()


def test_a_damaged_record_is_left_out(toy: Toy, tmp_path: Path) -> None:
    toy.changed(**{"train.epochs": 3}).run(folder=tmp_path)
    first, *rest = sorted((tmp_path / PATCHES).iterdir())
    first.write_bytes(first.read_bytes()[:100])
    (tmp_path / PATCHES / "00009.npz").write_text("not a record")
    assert [r.epoch for r in read_patches(tmp_path)] == [int(p.stem) for p in rest]


def test_a_folder_that_cannot_be_written_is_one_clear_error(toy: Toy, tmp_path: Path) -> None:
    _, model = toy.changed(**{"train.epochs": 1}).run()
    model.train()
    (tmp_path / PATCHES).write_text("in the way")
    n = model.target_embedder(toy.data.train.item(0)["x"][None]).shape[1]
    with pytest.raises(StorageError, match="patches"):
        record_patches(
            tmp_path,
            model,  # type: ignore[arg-type]
            toy.data.train,
            Tokens(n),
            source_kind="text",
            k=3,
            epoch=1,
            grid=None,
        )
    assert model.training
    assert torch.is_grad_enabled()
