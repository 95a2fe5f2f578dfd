"""PDE-Navier-Stokes-1D: its normaliser, and what the solved file holds. (The rest is held by test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.tasks.pde_navier_stokes_1d import _FILE, PDE_NAVIER_STOKES_1D, normaliser
from pare_tune.tasks.solvers.compressible_1d import FIELDS, FILE, write_solutions


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [dict(r) for r in records] for split, records in PDE_NAVIER_STOKES_1D.read(root, 0).items()
    }


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout: three fields of very different size at 1024 points, one time more than frames."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / FILE, "w") as file:
        for name, mean, spread in zip(FIELDS, (5.0, 60.0, 0.0), (2.0, 30.0, 0.5), strict=True):
            file[name] = (mean + spread * rng.normal(size=(40, 3, 1024))).astype(np.float32)
        file["x-coordinate"] = np.linspace(-1, 1, 1024, dtype=np.float32)
        file["t-coordinate"] = np.array([0.0, 0.5, 1.0, 1.5], np.float32)
    return tmp_path


def test_training_inputs_have_no_mean_and_unit_spread_at_every_field_and_point(release: Path) -> None:
    train = np.stack([r["x"] for r in read(release)["train"]]).astype(np.float64)
    assert train.shape == (33, 3, 1024)
    np.testing.assert_allclose(train.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1.0, atol=1e-5)


def test_fields_come_back_with_the_normaliser_point_by_point(release: Path) -> None:
    mean, spread = normaliser(release, 0)
    with h5py.File(release / FILE) as file:
        fields = np.stack([file[name][:] for name in FIELDS])
    for i, record in enumerate(read(release)["test"]):
        np.testing.assert_allclose(record["x"] * spread + mean, fields[:, i, 0], rtol=1e-4, atol=1e-4)
        of_points = record["y"].reshape(1024, 3)  # the three fields of a point beside each other
        np.testing.assert_allclose(of_points.T * spread + mean, fields[:, i, 2], rtol=1e-4, atol=1e-4)


def test_the_normaliser_does_not_know_validation_and_test(release: Path) -> None:
    before = normaliser(release, 0)
    held_out = {r["x"][0].tobytes() for split in ("val", "test") for r in _FILE.read(release, 0)[split]}
    with h5py.File(release / FILE, "a") as file:
        rows = [i for i, values in enumerate(file["density"][:, 0]) if values.tobytes() in held_out]
        assert len(rows) == 7
        for row in rows:
            file["density"][row] = 1e6
    np.testing.assert_array_equal(normaliser(release, 0), before)


def test_a_field_that_is_the_same_everywhere_does_not_divide_by_zero(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        file["Vx"][:] = 0.25
    for records in read(release).values():
        assert all((r["x"][2] == 0).all() and np.isfinite(r["y"]).all() for r in records)


def test_the_mean_density_of_the_start_tells_that_of_the_end(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=120, points=16, times=2)
    x, y = (np.stack([r[name].reshape(-1) for r in read(tmp_path)["train"]]) for name in "xy")
    assert x.shape == y.shape == (98, 48)
    # Mass is conserved.
    density = (
        r.reshape(98, 16, 3)[..., 0].mean(axis=1) for r in (x.reshape(98, 3, 16).transpose(0, 2, 1), y)
    )
    assert np.corrcoef(*density)[0, 1] > 0.99
