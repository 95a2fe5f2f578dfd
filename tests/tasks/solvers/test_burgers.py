from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pare_tune.tasks.solvers.burgers import END_TIME, FILE, NU, solve, write_solutions
from pare_tune.tasks.solvers.initial_waves import cell_centres, draw_waves

KAPPA = NU / np.pi


def smooth(points: int) -> np.ndarray:
    """Waves with a mean, to 2·10⁻¹⁶ of a band-limited function."""
    waves = draw_waves(np.random.default_rng(0), 40, slots=4, windowed=0.0)
    return waves.at(cell_centres(points))[~waves.folded]


@pytest.mark.parametrize("mean", [0.0, 0.7])
def test_equals_a_solution_in_closed_form(mean: float) -> None:
    # φ = 1 + a cos(2πx) e^(−4π²κt), seen from a frame that moves with the mean
    x, a, t = cell_centres(64), 0.6, np.array([0.0, 0.01, 0.05])[:, None]

    def exact(position: np.ndarray, time: np.ndarray) -> np.ndarray:
        decayed = a * np.exp(-4 * np.pi**2 * KAPPA * time)
        moved = 2 * np.pi * (position - mean * time)
        return mean + 4 * np.pi * KAPPA * decayed * np.sin(moved) / (1 + decayed * np.cos(moved))

    u = solve(exact(x, t[0])[None], t[:, 0])
    np.testing.assert_allclose(u[0], exact(x, t), atol=1e-12)


def finite_volumes(u: np.ndarray, end: float) -> np.ndarray:
    """An independent solver: central fluxes, classical Runge-Kutta."""
    width = 1 / u.shape[1]
    steps = int(np.ceil(end / (0.3 * width**2 / KAPPA)))

    def change(v: np.ndarray) -> np.ndarray:
        left = np.roll(v, 1, axis=1)
        flux = 0.25 * (v**2 + left**2) - KAPPA * (v - left) / width
        return -(np.roll(flux, -1, axis=1) - flux) / width

    h = end / steps
    for _ in range(steps):
        k1 = change(u)
        k2 = change(u + h / 2 * k1)
        k3 = change(u + h / 2 * k2)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + change(u + h * k3))
    return u


def test_finite_volumes_converge_to_it_with_their_second_order() -> None:
    end = 0.02
    errors = [
        np.abs(finite_volumes(smooth(points), end) - solve(smooth(points), np.array([end]))[:, 0]).max()
        for points in (32, 64, 128)
    ]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert errors[-1] < 2e-3
    np.testing.assert_allclose(orders, 2.0, atol=0.25)


def test_the_resolution_does_not_matter_for_smooth_waves() -> None:
    t = np.array([0.003, 0.1, 2.0])
    coarse, fine = solve(smooth(64), t), solve(smooth(192), t)[:, :, 1::3]
    np.testing.assert_allclose(coarse, fine, atol=1e-9)


def test_only_the_mean_is_left_in_the_end() -> None:
    u0 = smooth(256)
    end = solve(u0, np.array([END_TIME]))[:, 0]
    np.testing.assert_allclose(end, u0.mean(axis=1, keepdims=True).repeat(256, axis=1), atol=1e-9)


def test_a_wave_too_steep_for_the_viscosity_is_refused() -> None:
    with pytest.raises(ValueError, match="exponent must stay below 12, got"):
        solve(smooth(64), np.array([1.0]), nu=1e-3)


def test_writes_the_release_format_of_any_size_and_the_same_bytes_again(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_solutions(tmp_path / name, seed, samples=30, points=64, times=5)
    one, again, other = ((tmp_path / name / FILE).read_bytes() for name in "abc")
    assert one == again != other
    with h5py.File(tmp_path / "a" / FILE) as file:
        assert file["tensor"].shape == (30, 5, 64)
        assert file["tensor"].dtype == np.float32
        np.testing.assert_allclose(file["x-coordinate"][:], cell_centres(64), atol=1e-7)
        np.testing.assert_allclose(file["t-coordinate"][:], [0, 0.5, 1, 1.5, 2])
        assert 0.3 < file["tensor"][:, -1].std() < 1.0
