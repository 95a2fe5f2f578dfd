"""PDE-Darcy: which arrays are read, at which points. (Bad files are the claims of test_pdebench.)"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pare_tune.errors import DataError
from pare_tune.tasks.pde_darcy import PDE_DARCY
from pare_tune.tasks.samples.darcy_flow import PDEBENCH_FILE, write_pdebench

COUNT = 40


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout: 128 points, the solution with an axis of one time."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / PDEBENCH_FILE, "w") as file:
        file["nu"] = rng.choice([0.1, 1.0], (COUNT, 128, 128)).astype(np.float32)
        file["tensor"] = rng.random((COUNT, 1, 128, 128)).astype(np.float32)
        file["x-coordinate"] = file["y-coordinate"] = (np.arange(128, dtype=np.float32) + 0.5) / 128
    return tmp_path


def test_every_second_point_of_the_coefficient_gives_that_of_the_solution(release: Path) -> None:
    with h5py.File(release / PDEBENCH_FILE) as file:
        nu, tensor = file["nu"][:], file["tensor"][:]
    row = {u[0, ::2, ::2].tobytes(): i for i, u in enumerate(tensor)}
    rows: dict[str, list[int]] = {}
    for split, records in PDE_DARCY.read(release, 0).items():
        for record in records:
            i = row[record["y"].tobytes()]
            rows.setdefault(split, []).append(i)
            np.testing.assert_array_equal(record["x"][0], nu[i, ::2, ::2])
            assert record["x"].shape == PDE_DARCY.input_shape
            assert record["y"].shape == PDE_DARCY.output.shape
            assert record["x"].dtype == record["y"].dtype == np.float32
    assert rows["test"] == [0, 1, 2, 3]
    assert sorted(rows["train"] + rows["val"]) == list(range(4, COUNT))
    assert len(rows["val"]) == 3


def test_the_solved_file_is_read_at_its_own_points(tmp_path: Path) -> None:
    write_pdebench(tmp_path, 0, samples=40, points=32)
    splits = {split: list(records) for split, records in PDE_DARCY.read(tmp_path, 0).items()}
    assert {split: len(records) for split, records in splits.items()} == {"train": 33, "val": 3, "test": 4}
    x, y = (np.stack([r[k] for r in splits["train"]]) for k in ("x", "y"))
    assert x.shape == (33, 1, 32, 32)
    # Less flows through the low material, so the pressure builds up.
    assert np.corrcoef(x.mean(axis=(1, 2, 3)), y.max(axis=(1, 2)))[0, 1] < -0.5


@pytest.mark.parametrize("name", ["nu", "tensor"])
def test_a_file_without_the_coefficient_or_the_solution_is_named(release: Path, name: str) -> None:
    with h5py.File(release / PDEBENCH_FILE, "a") as file:
        del file[name]
    with pytest.raises(
        DataError, match=rf"{PDEBENCH_FILE} must hold a data set '{name}'.*{PDE_DARCY.homepage}"
    ):
        PDE_DARCY.read(release, 0)
