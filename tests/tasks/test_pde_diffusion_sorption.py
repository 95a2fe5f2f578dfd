from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.pde_diffusion_sorption import PDE_DIFFUSION_SORPTION
from pare_tune.tasks.solvers.diffusion_sorption import FILE, write_solutions


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [dict(r) for r in records] for split, records in PDE_DIFFUSION_SORPTION.read(root, 0).items()
    }


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout, compressed as it is."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / FILE, "w") as file:
        for i in range(30):
            data = rng.random(size=(3, 1024, 1)).astype(np.float32)
            file.create_dataset(f"{i:04}/data", data=data, compression="lzf")
            file[f"{i:04}/grid/x"] = np.linspace(0, 1, 1024, dtype=np.float32)
            file[f"{i:04}/grid/t"] = np.array([0.0, 250.0, 500.0], np.float32)
    return tmp_path


def test_a_record_is_the_first_frame_and_the_last_at_full_resolution(release: Path) -> None:
    splits = read(release)
    assert {split: len(records) for split, records in splits.items()} == {"train": 25, "val": 2, "test": 3}
    with h5py.File(release / FILE) as file:
        for i, record in enumerate(splits["test"], start=27):
            np.testing.assert_array_equal(record["x"][0], file[f"{i:04}/data"][0, :, 0])
            np.testing.assert_array_equal(record["y"], file[f"{i:04}/data"][2, :, 0])
    write_store(release / "train.arrow", PDE_DIFFUSION_SORPTION.read(release, 0)["train"])
    stored = Store(release / "train.arrow")[0]
    assert stored["x"].shape == PDE_DIFFUSION_SORPTION.input_shape
    assert stored["y"].shape == PDE_DIFFUSION_SORPTION.output.shape
    assert stored["x"].dtype == stored["y"].dtype == np.float32


def test_the_solved_file_is_read_at_its_own_resolution_and_can_be_learned(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=60, points=32)
    splits = read(tmp_path)
    assert {split: len(records) for split, records in splits.items()} == {"train": 49, "val": 5, "test": 6}
    assert splits["train"][0]["x"].shape == (1, 32)
    start, profile = (np.stack([r[name].reshape(-1) for r in splits["train"]]) for name in "xy")
    assert (np.ptp(start, axis=1) == 0).all()  # one concentration everywhere
    # More at first is more in the end, at every point, by more than rounding.
    order = np.argsort(start[:, 0])
    assert (np.diff(profile[order], axis=0) > -1e-6).all()
    assert profile[:, 16].std() > 0.01


def test_a_file_of_another_length_is_named(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        file["0000/grid/t"][:] *= 5
    with pytest.raises(DataError, match=rf"{FILE}: its frames must span t = 0 to 500, found 0 to 2500"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{PDE_DIFFUSION_SORPTION.homepage}"):
        read(tmp_path)
