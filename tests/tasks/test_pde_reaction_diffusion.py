from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.pde_reaction_diffusion import PDE_REACTION_DIFFUSION, TARGET_FRAME
from pare_tune.tasks.solvers.reaction_diffusion_1d import FILE, write_solutions


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [dict(r) for r in records] for split, records in PDE_REACTION_DIFFUSION.read(root, 0).items()
    }


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout: 1024 points, one time more than frames."""
    with h5py.File(tmp_path / FILE, "w") as file:
        file["tensor"] = np.random.default_rng(0).random(size=(30, 4, 1024)).astype(np.float32)
        file["x-coordinate"] = np.linspace(0, 1, 1024, dtype=np.float32)
        file["t-coordinate"] = np.linspace(0, 4 / 3, 5, dtype=np.float32)
    return tmp_path


def test_training_and_test_have_their_target_at_the_same_time(release: Path) -> None:
    splits = read(release)
    assert {split: len(records) for split, records in splits.items()} == {"train": 25, "val": 2, "test": 3}
    with h5py.File(release / FILE) as file:
        tensor = file["tensor"][:]
    row = {frame.tobytes(): i for i, frame in enumerate(tensor[:, 0])}
    for records in splits.values():
        for record in records:
            assert record["x"].shape == (1, 1024)
            np.testing.assert_array_equal(record["y"], tensor[row[record["x"].tobytes()], TARGET_FRAME])


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "train.arrow", PDE_REACTION_DIFFUSION.read(release, 0)["train"])
    record = Store(release / "train.arrow")[0]
    assert record["x"].shape == PDE_REACTION_DIFFUSION.input_shape
    assert record["y"].shape == PDE_REACTION_DIFFUSION.output.shape
    assert record["x"].dtype == record["y"].dtype == np.float32


def test_the_solved_file_is_read_at_its_own_resolution_and_can_be_learned(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=200, points=32)
    splits = read(tmp_path)
    assert {split: len(records) for split, records in splits.items()} == {"train": 162, "val": 18, "test": 20}
    train, test = (
        [np.stack([r[name].reshape(-1) for r in splits[split]]) for name in "xy"]
        for split in ("train", "test")
    )
    # The level at t = 1 follows the mean and the variance of the wave, more closely than the mean alone.
    errors = []
    for powers in (1, 2):
        traits = [
            np.stack([(x**p).mean(axis=1) for p in range(powers + 1)], axis=1) for x, _ in (train, test)
        ]
        weights = np.linalg.lstsq(traits[0], train[1].mean(axis=1), rcond=None)[0]
        errors.append(np.abs(traits[1] @ weights - test[1].mean(axis=1)).mean())
    spread = np.abs(test[1].mean(axis=1) - train[1].mean()).mean()
    assert errors[1] < errors[0] < 0.3 * spread


def test_a_file_of_another_length_is_named(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        file["t-coordinate"][:] *= 2
    with pytest.raises(DataError, match=rf"{FILE}: its frames must span t = 0 to 1, found 0 to 2"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{PDE_REACTION_DIFFUSION.homepage}"):
        read(tmp_path)
