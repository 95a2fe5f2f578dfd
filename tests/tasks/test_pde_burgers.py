from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.pde_burgers import PDE_BURGERS
from pare_tune.tasks.solvers.burgers import FILE, write_solutions


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in PDE_BURGERS.read(root, 0).items()}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout: 1024 points, one time more than frames."""
    with h5py.File(tmp_path / FILE, "w") as file:
        file["tensor"] = np.random.default_rng(0).normal(size=(30, 3, 1024)).astype(np.float32)
        file["x-coordinate"] = np.linspace(0, 1, 1024, dtype=np.float32)
        file["t-coordinate"] = np.array([0.0, 1.0, 2.0, 3.0], np.float32)
    return tmp_path


def test_a_record_is_the_first_frame_and_the_last_at_full_resolution(release: Path) -> None:
    splits = read(release)
    assert {split: len(records) for split, records in splits.items()} == {"train": 25, "val": 2, "test": 3}
    with h5py.File(release / FILE) as file:
        for i, record in enumerate(splits["test"]):
            np.testing.assert_array_equal(record["x"], file["tensor"][i, :1])
            np.testing.assert_array_equal(record["y"], file["tensor"][i, 2])
    write_store(release / "train.arrow", PDE_BURGERS.read(release, 0)["train"])
    stored = Store(release / "train.arrow")[0]
    assert stored["x"].shape == PDE_BURGERS.input_shape
    assert stored["y"].shape == PDE_BURGERS.output.shape
    assert stored["x"].dtype == stored["y"].dtype == np.float32


def test_the_solved_file_is_read_at_its_own_resolution_and_leaves_the_mean(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=60, points=64)
    splits = read(tmp_path)
    assert {split: len(records) for split, records in splits.items()} == {"train": 49, "val": 5, "test": 6}
    for record in splits["train"]:
        assert record["x"].shape == (1, 64)
        np.testing.assert_allclose(record["y"], record["x"].mean(), atol=1e-6)


def test_a_file_of_another_equation_is_named(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        file["t-coordinate"][:] /= 2
    with pytest.raises(DataError, match=rf"{FILE}: its frames must span t = 0 to 2, found 0 to 1"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{PDE_BURGERS.homepage}"):
        read(tmp_path)
