from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pare_tune.tasks.solvers.initial_waves import cell_centres, draw_waves, to_unit_range
from pare_tune.tasks.solvers.reaction_diffusion_1d import FILE, NU, RHO, solve, write_solutions

T = np.array([0.0, 0.004, 0.05, 1.0])


def waves(points: int, samples: int = 20) -> np.ndarray:
    u = draw_waves(np.random.default_rng(0), samples, slots=4, windowed=0.1).at(cell_centres(points))
    return 0.1 + 0.8 * to_unit_range(u)


def test_splitting_converges_with_its_second_order() -> None:
    u0, reference = waves(64), solve(waves(64), T, steps=1600)
    errors = [np.abs(solve(u0, T, steps=steps) - reference).max() for steps in (50, 100, 200)]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.15)
    assert np.abs(solve(u0, T) - reference).max() < 5e-7


def test_an_independent_solver_agrees() -> None:
    u0 = waves(64, samples=3)
    k = 2 * np.pi * np.arange(33)

    def change(_: float, flat: np.ndarray) -> np.ndarray:
        u = flat.reshape(u0.shape)
        return (np.fft.irfft(-NU * k**2 * np.fft.rfft(u)) + RHO * u * (1 - u)).reshape(-1)

    reference = solve_ivp(change, (0, 1), u0.reshape(-1), "BDF", T, rtol=1e-7, atol=1e-9).y
    np.testing.assert_allclose(solve(u0, T).transpose(1, 0, 2), reference.T.reshape(4, *u0.shape), atol=2e-6)


def test_without_reaction_each_mode_decays_by_itself() -> None:
    x = cell_centres(32)
    u = solve((0.5 + 0.4 * np.cos(4 * np.pi * x))[None], T, rho=0.0)
    exact = 0.5 + 0.4 * np.exp(-NU * (4 * np.pi) ** 2 * T[:, None]) * np.cos(4 * np.pi * x)
    np.testing.assert_allclose(u[0], exact, atol=1e-13)


def test_without_waves_growth_is_logistic() -> None:
    start = np.array([0.0, 0.2, 1.0])
    u = solve(start[:, None].repeat(16, axis=1), T, rho=3.0)
    exact = start / (start + (1 - start) * np.exp(-3.0 * T[:, None]))
    np.testing.assert_allclose(u.transpose(1, 0, 2), exact[..., None].repeat(16, axis=2), atol=1e-12)


def test_smooth_waves_do_not_depend_on_the_resolution() -> None:
    def smooth(points: int) -> np.ndarray:
        return (0.5 + 0.3 * np.sin(2 * np.pi * cell_centres(points)))[None]

    np.testing.assert_allclose(solve(smooth(32), T), solve(smooth(96), T)[:, :, 1::3], atol=1e-12)


def test_the_end_is_flat_but_tells_samples_apart(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=60, points=64, times=3)
    with h5py.File(tmp_path / FILE) as file:
        first, last = file["tensor"][:, 0], file["tensor"][:, -1]
    np.testing.assert_allclose((first.min(axis=1), first.max(axis=1)), ([0.0] * 60, [1.0] * 60), atol=1e-6)
    assert last.std(axis=1).max() < 1e-6
    assert last.mean(axis=1).std() > 0.04
    assert last.max() < 0.97
    assert np.corrcoef(first.mean(axis=1), last.mean(axis=1))[0, 1] > 0.9


@pytest.mark.parametrize("times", [2, 5])
def test_writes_the_release_format_of_any_size_and_the_same_bytes_again(tmp_path: Path, times: int) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_solutions(tmp_path / name, seed, samples=30, points=64, times=times)
    one, again, other = ((tmp_path / name / FILE).read_bytes() for name in "abc")
    assert one == again != other
    with h5py.File(tmp_path / "a" / FILE) as file:
        assert file["tensor"].shape == (30, times, 64)
        assert file["tensor"].dtype == np.float32
        np.testing.assert_allclose(file["t-coordinate"][:], np.linspace(0, 1, times))
