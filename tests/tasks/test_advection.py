"""Advection: its waves and what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pare_tune.tasks import TASKS, get_task
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.pdes import ADVECTION
from pare_tune.tasks.samples.waves1d import BETA, FILE, SAMPLES, Waves, advect, write_solutions

X = (np.arange(256) + 0.5) / 256


def test_it_is_listed_once_and_found_under_the_name_of_its_family_too() -> None:
    assert get_task("pde-advection") is get_task("advection") is ADVECTION
    assert "pde-advection" not in TASKS


def waves(size: int = 200) -> Waves:
    return Waves.draw(np.random.default_rng(0), size)


@pytest.mark.parametrize("cells", [1, 64, 200, 256, 1000])
def test_a_wave_moves_by_beta_t_and_comes_round(cells: int) -> None:
    start, end = advect(waves(), x_X=X, t_T=np.array([0.0, cells / 256 / BETA])).transpose(1, 0, 2)
    shifted = np.roll(start, cells, axis=1)
    score = NRMSE.score(torch.from_numpy(end), {"y": torch.from_numpy(shifted)})
    assert score < 1e-10


def test_the_solution_satisfies_the_equation() -> None:
    drawn, step = waves(), 1e-5
    t = np.array([0.7 - step, 0.7, 0.7 + step])
    before, now, after = advect(drawn, x_X=X, t_T=t).transpose(1, 0, 2)
    right, left = (drawn.at(X + shift - BETA * 0.7) for shift in (step, -step))
    u_t, u_x = (after - before) / (2 * step), (right - left) / (2 * step)
    smooth = np.abs(now) > 0.05  # the absolute value has kinks at 0
    np.testing.assert_allclose((u_t + BETA * u_x)[smooth], 0.0, atol=1e-3 * np.abs(u_x).max())


def test_initial_waves_are_periodic() -> None:
    np.testing.assert_allclose(waves().at(X), waves().at(X - 3.0), atol=1e-12)
    # Also across the seam: no jump between the last cell and the first that is not there elsewhere.
    u = waves().at((np.arange(4096) + 0.5) / 4096)
    assert np.abs(u[:, 0] - u[:, -1]).max() <= np.abs(np.diff(u, axis=1)).max()


def test_mass_energy_and_extremes_are_conserved() -> None:
    fine = (np.arange(4096) + 0.5) / 4096
    u = advect(waves(), x_X=fine, t_T=np.linspace(0, 2, 7))
    for quantity in (u.mean(axis=2), (u**2).mean(axis=2), u.max(axis=2)):
        np.testing.assert_allclose(quantity, quantity[:, :1].repeat(7, axis=1), atol=2e-3)


def test_the_family_has_folded_flipped_and_windowed_waves() -> None:
    u = waves(2000).at(X)
    one_signed = (u.min(axis=1) >= -1e-9) | (u.max(axis=1) <= 1e-9)
    quiet_edges = np.abs(u[:, :10]).max(axis=1) < 1e-4
    assert 0.06 < one_signed.mean() < 0.14
    assert 0.06 < quiet_edges.mean() < 0.14
    assert (u[one_signed].mean(axis=1) < 0).mean() == pytest.approx(0.5, abs=0.1)


def test_as_many_waves_are_solved_as_the_sample_says(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0)
    splits = {split: list(records) for split, records in ADVECTION.read(tmp_path, 0).items()}
    assert {split: len(records) for split, records in splits.items()} == {"train": 486, "val": 54, "test": 60}
    assert sum(map(len, splits.values())) == SAMPLES
    with h5py.File(tmp_path / FILE) as file:
        np.testing.assert_array_equal(splits["test"][3]["x"][0], file["tensor"][3, 0])
        np.testing.assert_array_equal(splits["test"][3]["y"], file["tensor"][3, -1])
