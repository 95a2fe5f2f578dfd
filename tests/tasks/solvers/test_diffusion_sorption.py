from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import erfc

from pare_tune.tasks.solvers.diffusion_sorption import FILE, SOIL, Soil, solve, write_solutions
from pare_tune.tasks.solvers.initial_waves import cell_centres

START = np.array([0.0, 0.01, 0.1, 0.2])
T = np.array([5.0, 100.0, 500.0])


def orders(errors: list[float]) -> np.ndarray:
    return np.log2(np.divide(errors[:-1], errors[1:]))


def test_retardation_is_the_slope_of_the_mass() -> None:
    u, step = np.array([0.01, 0.1, 0.5, 1.0]), 1e-6
    slope = (SOIL.mass(u + step) - SOIL.mass(u - step)) / (2 * step)
    np.testing.assert_allclose(slope, SOIL.retardation(u), rtol=1e-7)
    # (1 − 0.29)/0.29 · 2880 · 3.5e-4 · 0.874 + 1
    assert SOIL.retardation(np.array(1.0)) == pytest.approx(3.1569, abs=1e-4)


def test_linear_sorption_gives_the_error_function_with_second_order() -> None:
    soil, t = Soil(n_f=1.0), np.array([10.0, 50.0])
    speed = soil.diffusion / soil.retardation(np.zeros(()))
    errors = []
    for points, steps in ((64, 100), (128, 200), (256, 400)):
        x = cell_centres(points)
        exact = START[:, None, None] + (1 - START[:, None, None]) * erfc(x / np.sqrt(4 * speed * t[:, None]))
        far_from_the_outlet = x < 0.5
        found = solve(START, t, points=points, soil=soil, steps=steps)
        errors.append(np.abs(found - exact)[..., far_from_the_outlet].max())
    assert errors[-1] < 5e-4
    np.testing.assert_allclose(orders(errors), 2.0, atol=0.25)


def test_time_steps_converge_with_second_order() -> None:
    reference = solve(START[1:3], T, points=32, steps=1000)
    errors = [np.abs(solve(START[1:3], T, points=32, steps=n) - reference).max() for n in (50, 100, 200)]
    np.testing.assert_allclose(orders(errors), 2.0, atol=0.25)


def test_cells_converge_with_second_order_also_at_the_outlet() -> None:
    fine = solve(START[1:], T, points=648)
    errors = [
        np.abs(solve(START[1:], T, points=n) - fine[..., 648 // n // 2 :: 648 // n]).max()
        for n in (24, 72, 216)
    ]
    np.testing.assert_allclose(np.log(np.divide(errors[:-1], errors[1:])) / np.log(3), 2.0, atol=0.35)


def test_an_independent_solver_agrees() -> None:
    points, width = 64, 1 / 64

    def change(_: float, u: np.ndarray) -> np.ndarray:
        wall = u[-1] / (1 + width / 2 / SOIL.diffusion)  # u_w = −D (u_w − u) / (width / 2)
        padded = np.concatenate([[2 - u[0]], u, [2 * wall - u[-1]]])
        return SOIL.diffusion * np.diff(padded, 2) / width**2 / SOIL.retardation(np.maximum(u, 0))

    reference = solve_ivp(change, (0, 500), np.full(points, 0.1), "BDF", T, rtol=1e-7, atol=1e-9).y.T
    np.testing.assert_allclose(solve(START[2:3], T, points=points, steps=400)[0], reference, atol=2e-5)


def test_in_the_end_the_outlet_takes_what_the_inlet_gives() -> None:
    found = solve(START, np.array([1e9]), points=32, steps=60)[:, 0]
    np.testing.assert_allclose(found, (1 - cell_centres(32) / 1.0005)[None].repeat(4, axis=0), atol=1e-9)


def test_concentrations_stay_between_the_walls_and_the_start() -> None:
    found = solve(START, T, points=128)
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    assert (np.diff(found, axis=2) <= 1e-12).all()  # falls from the inlet to the outlet


def test_mass_changes_by_what_crosses_the_walls() -> None:
    t = np.linspace(100.0, 110.0, 201)
    u = solve(START[2:3], t, points=64, steps=400)[0]
    inflow = SOIL.diffusion * 2 * 64 * (1 - u[:, 0]) - u[:, -1] / (1 + 1 / (2 * 64 * SOIL.diffusion))
    mass = SOIL.mass(u).mean(axis=1)
    assert mass[-1] - mass[0] == pytest.approx(np.trapezoid(inflow, t), rel=1e-5)


def test_writes_the_release_format_of_any_size_and_the_same_bytes_again(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_solutions(tmp_path / name, seed, samples=12, points=32, times=3)
    one, again, other = ((tmp_path / name / FILE).read_bytes() for name in "abc")
    assert one == again != other
    with h5py.File(tmp_path / "a" / FILE) as file:
        assert list(file) == [f"{i:04}" for i in range(12)]
        assert file["0007/data"].shape == (3, 32, 1)
        assert file["0007/data"].dtype == np.float32
        np.testing.assert_allclose(file["0007/grid/t"][:], [0, 250, 500])
        np.testing.assert_allclose(file["0007/grid/x"][:], cell_centres(32), atol=1e-7)
        starts = np.array([group["data"][0, 0, 0] for group in file.values()])
        assert (starts >= 0).all()
        assert (starts <= 0.2).all()
        assert np.ptp(starts) > 0.1
