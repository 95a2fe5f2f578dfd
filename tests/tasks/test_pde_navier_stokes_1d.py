from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
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


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "train.arrow", PDE_NAVIER_STOKES_1D.read(release, 0)["train"])
    record = Store(release / "train.arrow")[0]
    assert record["x"].shape == PDE_NAVIER_STOKES_1D.input_shape
    assert record["y"].shape == PDE_NAVIER_STOKES_1D.output.shape
    assert record["x"].dtype == record["y"].dtype == np.float32


def test_the_solved_file_is_read_at_its_own_resolution_and_can_be_learned(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=120, points=16, times=2)
    splits = read(tmp_path)
    assert {split: len(records) for split, records in splits.items()} == {"train": 98, "val": 10, "test": 12}
    x, y = (np.stack([r[name].reshape(-1) for r in splits["train"]]) for name in "xy")
    assert x.shape == y.shape == (98, 48)
    # Mass is conserved: the mean density of the start tells that of the end.
    density = (
        r.reshape(98, 16, 3)[..., 0].mean(axis=1) for r in (x.reshape(98, 3, 16).transpose(0, 2, 1), y)
    )
    assert np.corrcoef(*density)[0, 1] > 0.99


def test_fields_of_different_length_are_named(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        pressure = file["pressure"][:-1]
        del file["pressure"]
        file["pressure"] = pressure
    with pytest.raises(DataError, match=r"pressure must have shape \(40, any, 1024\), found \(39, 3, 1024\)"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{PDE_NAVIER_STOKES_1D.homepage}"):
        read(tmp_path)
