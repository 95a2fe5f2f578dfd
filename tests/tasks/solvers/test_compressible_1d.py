from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import brentq

from pare_tune.tasks.solvers.compressible_1d import (
    DOMAIN,
    ETA,
    FIELDS,
    FILE,
    GAMMA,
    ZETA,
    _Ring,
    draw_fields,
    solve,
    write_solutions,
)
from pare_tune.tasks.solvers.initial_waves import cell_centres

INVISCID = {"eta": 0.0, "zeta": 0.0}


def orders(errors: list[float]) -> np.ndarray:
    return np.log2(np.divide(errors[:-1], errors[1:]))


def riemann(left: tuple[float, float, float], right: tuple[float, float, float], s: np.ndarray) -> np.ndarray:
    """Exact density, pressure, velocity at x/t = s, for a shock to the right and a fan to the left; γ = 1.4."""
    g = 1.4
    (rho_l, p_l, v_l), (rho_r, p_r, v_r) = left, right
    c_l = np.sqrt(g * p_l / rho_l)

    def behind_fan(p: float) -> float:
        return float(v_l + 2 * c_l / (g - 1) * (1 - (p / p_l) ** ((g - 1) / (2 * g))))

    def behind_shock(p: float) -> float:
        return float(v_r + (p - p_r) * np.sqrt(2 / (rho_r * ((g + 1) * p + (g - 1) * p_r))))

    p = brentq(lambda q: behind_fan(q) - behind_shock(q), p_r, p_l)
    v, c_star = behind_fan(p), c_l * (p / p_l) ** ((g - 1) / (2 * g))
    rho_fan = rho_l * (p / p_l) ** (1 / g)
    ratio = (g - 1) / (g + 1)
    rho_shock = rho_r * (p / p_r + ratio) / (ratio * p / p_r + 1)
    shock = v_r + np.sqrt((p / p_r * (g + 1) + g - 1) / (2 * g) * g * p_r / rho_r)
    c = 2 / (g + 1) * (c_l + (g - 1) / 2 * (v_l - s))
    fan = [rho_l * (c / c_l) ** (2 / (g - 1)), p_l * (c / c_l) ** (2 * g / (g - 1)), s + c]
    where = [s < v_l - c_l, s < v - c_star, s < v, s < shock]
    states = [left, fan, (rho_fan, p, v), (rho_shock, p, v)]
    return np.stack([np.select(where, [state[i] for state in states], right[i]) for i in range(3)])


def test_sods_shock_tube_converges_to_the_exact_solution() -> None:
    high, low, t = (1.0, 1.0, 0.0), (0.125, 0.1, 0.0), 0.2
    errors = []
    for points in (100, 200, 400):
        x = cell_centres(points, DOMAIN)
        # Periodic, so the two meet at x = ±1 as well, too far away to be felt.
        start = np.where(x < 0, np.array(high)[:, None], np.array(low)[:, None])
        near = np.abs(x) < 0.6
        found = solve(start[:, None], np.array([t]), gamma=1.4, **INVISCID)[:, 0, 0]
        errors.append(np.abs(found - riemann(high, low, x / t))[:, near].mean())
    assert errors[-1] < 3e-3
    assert (orders(errors) > 0.75).all()  # a scheme of any order is of first at shocks, of less at contacts


def test_a_contact_moves_without_a_trace_in_pressure_and_velocity() -> None:
    x = cell_centres(64, DOMAIN)
    density = 1 + 9 * (np.abs(x) < 0.5)
    start = np.stack([density, np.full(64, 20.0), np.full(64, 0.5)])[:, None]
    found = solve(start, np.array([4.0]))[:, 0, 0]  # once around
    np.testing.assert_allclose(found[1], 20.0, atol=1e-11)
    np.testing.assert_allclose(found[2], 0.5, atol=1e-11)
    assert np.abs(found[0] - density).mean() < 0.6
    assert 1 - 1e-11 < found[0].min() < found[0].max() < 10 + 1e-11


def sound(points: int, t: np.ndarray, viscosity: float) -> tuple[np.ndarray, np.ndarray]:
    """A wave of all kinds in gas at rest: the start and, from the linearised equations, the exact end."""
    x, k, size = cell_centres(points, DOMAIN), 2 * np.pi, 1e-6
    rest, wave = np.array([1.5, 2.0, 0.0]), size * np.array([1.0, 0.7j, 0.3])
    rates = np.array(
        [
            [0, 0, -1j * k * rest[0]],
            [0, 0, -1j * k * GAMMA * rest[1]],
            [0, -1j * k / rest[0], -viscosity * k**2],
        ]
    )
    fields = [
        rest[:, None] + np.real((expm(rates * now) @ wave)[:, None] * np.exp(1j * k * x)) for now in (0.0, *t)
    ]
    return fields[0][:, None], np.stack(fields[1:], axis=1)[:, None]


@pytest.mark.parametrize("viscous", [False, True])
def test_sound_travels_and_fades_with_second_order(viscous: bool) -> None:
    parameters = {} if viscous else INVISCID
    t = np.array([0.15, 0.4])
    errors = []
    for points in (64, 128, 256):
        start, exact = sound(points, t, ZETA + 4 / 3 * ETA if viscous else 0.0)
        errors.append(np.abs(solve(start, t, **parameters) - exact).mean() / 1e-6)
    assert errors[-1] < 1e-3
    np.testing.assert_allclose(orders(errors), 2.0, atol=0.4)


def test_a_nonlinear_flow_converges_with_second_order() -> None:
    def start(points: int) -> np.ndarray:
        # Means over the cells: they, not values, are what the scheme keeps.
        wave = np.sin(np.pi * cell_centres(points, DOMAIN)) * np.sinc(1 / points)
        density, momentum = 2 + wave, 2 * wave + wave**2
        return np.stack([density, 10 - 3 * wave, momentum / density])[:, None]

    def end(points: int) -> np.ndarray:
        return solve(start(points), np.array([0.3]))[:, 0, 0]

    fine = end(512)
    errors = [np.abs(end(n) - fine.reshape(3, n, -1).mean(axis=2)).mean() for n in (32, 64, 128)]
    np.testing.assert_allclose(orders(errors), 2.0, atol=0.4)


def test_mass_momentum_and_energy_are_conserved_while_motion_turns_to_heat() -> None:
    start = draw_fields(np.random.default_rng(0), 6, cell_centres(64, DOMAIN))
    density, pressure, velocity = solve(start, np.array([0.0, 0.1, 1.0]))
    kinetic = 0.5 * density * velocity**2
    for quantity in (density, density * velocity, kinetic + pressure / (GAMMA - 1)):
        total = quantity.sum(axis=2)
        np.testing.assert_allclose(total, total[:, :1].repeat(3, axis=1), rtol=1e-11, atol=1e-9)
    entropy = (density * np.log(pressure / density**GAMMA)).sum(axis=2)
    assert (np.diff(entropy, axis=1) > 0).all()


def test_periodic_systems_are_solved() -> None:
    rng = np.random.default_rng(0)
    diagonal, link, right = rng.uniform(0.5, 2, (3, 4, 7))
    found = _Ring(diagonal, link).solve(right)
    for d, f, b, x in zip(diagonal, link, right, found, strict=True):
        matrix = np.diag(d + f + np.roll(f, -1))
        for i in range(7):
            matrix[i, i - 1] -= f[i]
            matrix[i - 1, i] -= f[i]
        np.testing.assert_allclose(matrix @ x, b, atol=1e-12)


def test_initial_fields_are_those_of_the_benchmark() -> None:
    density, pressure, velocity = draw_fields(np.random.default_rng(0), 2000, cell_centres(128, DOMAIN))
    for field, low, high in ((density, 1.0, 10.0), (pressure, 10.0, 100.0)):
        offset, spread = field.min(axis=1), np.ptp(field, axis=1)
        for drawn in (offset, spread):  # evenly in the logarithm
            np.testing.assert_allclose((drawn.min(), drawn.max()), (low, high), rtol=0.02)
            assert np.log10(drawn / low).mean() == pytest.approx(0.5, abs=0.03)
        assert abs(np.corrcoef(offset, spread)[0, 1]) < 0.1
    assert np.abs(velocity).max() < 3.0
    windowed = np.ptp(velocity[:, :64], axis=1) < 1e-6  # nothing moves left of the window
    assert windowed.mean() == pytest.approx(0.5, abs=0.05)


def test_writes_the_release_format_of_any_size_and_the_same_bytes_again(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_solutions(tmp_path / name, seed, samples=40, points=16, times=3)
    one, again, other = ((tmp_path / name / FILE).read_bytes() for name in "abc")
    assert one == again != other
    x = cell_centres(16, DOMAIN)
    with h5py.File(tmp_path / "a" / FILE) as file:
        found = np.stack([file[name][:] for name in FIELDS])
        np.testing.assert_allclose(file["x-coordinate"][:], x, atol=1e-7)
        np.testing.assert_allclose(file["t-coordinate"][:], [0, 0.5, 1])
    assert found.shape == (3, 40, 3, 16)
    assert found.dtype == np.float32
    # Blocks sort samples by their speed of sound; each comes back to its place.
    start = draw_fields(np.random.default_rng([0, 0x434644]), 40, x)
    np.testing.assert_allclose(found[:, :, 0], start, rtol=1e-5, atol=1e-5)
    alone = solve(start[:, 7:8], np.array([0.0, 0.5, 1.0]))[:, 0]
    np.testing.assert_allclose(found[:, 7], alone, rtol=0.02, atol=0.05)
