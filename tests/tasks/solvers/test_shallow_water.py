from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import brentq

from pare_tune.tasks.solvers import shallow_water
from pare_tune.tasks.solvers.shallow_water import evolve, radial_dam_break, write_solutions

Array = npt.NDArray[np.float64]
WIDTH = 5.0


def centres(cells: int) -> Array:
    return (np.arange(cells) + 0.5) * WIDTH / cells - WIDTH / 2


def still(h_YX: Array) -> Array:
    """Water at rest, (C, Y, X, 1)."""
    state = np.zeros((3, *h_YX.shape, 1))
    state[0, ..., 0] = h_YX
    return state


def coarsened(a: Array, cells: int) -> Array:
    """Means over blocks of cells, (..., cells, cells)."""
    k = a.shape[-1] // cells
    return a.reshape(*a.shape[:-2], cells, k, cells, k).mean(axis=(-3, -1))


def stoker(x: Array, t: float, *, left: float, right: float) -> tuple[Array, Array]:
    """Exact h and u after a dam between water of two depths breaks at x = 0; g = 1 (Stoker 1957)."""

    def mismatch(h: float) -> float:
        fan = 2 * (np.sqrt(left) - np.sqrt(h))
        return float(fan - (h - right) * np.sqrt((h + right) / (2 * h * right)))

    h = brentq(mismatch, right, left)
    u = 2 * (np.sqrt(left) - np.sqrt(h))
    shock = h * u / (h - right)
    s = x / t
    fan_h, fan_u = (2 * np.sqrt(left) - s) ** 2 / 9, 2 / 3 * (np.sqrt(left) + s)
    parts = [s < -np.sqrt(left), s < u - np.sqrt(h), s < shock]
    return np.select(parts, [left, fan_h, h], right), np.select(parts, [0.0, fan_u, u], 0.0)


def dam_error(cells: int, axis: int) -> float:
    """Mean error of h and u at t = 1, along one axis of a domain four cells wide in the other."""
    h = np.where(centres(cells) < 0, 2.0, 1.0)[None].repeat(4, axis=0)
    state = evolve(still(h if axis == 2 else h.T), np.array([1.0]), spacing=WIDTH / cells)[0, ..., 0]
    if axis == 1:
        state = state.transpose(0, 2, 1)[[0, 2, 1]]
    np.testing.assert_array_equal(state[:2], state[:2, :1].repeat(4, axis=1))
    np.testing.assert_array_equal(state[1], 0.0)  # nothing moves across
    within = centres(20 * cells).reshape(cells, 20)
    exact_h, exact_u = stoker(within, 1.0, left=2.0, right=1.0)
    error_h = np.abs(state[0, 0] - exact_h.mean(axis=1)).mean()
    error_u = np.abs(state[2, 0] / state[0, 0] - exact_u.mean(axis=1)).mean()
    return float(error_h + error_u)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_breaking_dam_converges_to_the_exact_solution_at_first_order(axis: int) -> None:
    errors = np.array([dam_error(cells, axis) for cells in (50, 100, 200)])
    assert errors[-1] < 6e-3
    # A shock is spread over the same number of cells whatever their size: order 1 is the best there is.
    assert (np.log2(errors[:-1] / errors[1:]) > 0.85).all()


def test_smooth_waves_converge_at_second_order() -> None:
    def solved(cells: int) -> Array:
        x = (np.arange(8 * cells) + 0.5) * WIDTH / (8 * cells) - WIDTH / 2
        bump = 1 + 0.3 * np.exp(-((x[:, None] - 0.2) ** 2) / 0.3 - (x + 0.1) ** 2 / 0.4)
        state = still(coarsened(bump, cells))
        return evolve(state, np.array([0.5]), spacing=WIDTH / cells)[0, ..., 0]

    finest = solved(160)
    errors = np.stack([np.abs(solved(n) - coarsened(finest, n)).mean(axis=(1, 2)) for n in (20, 40, 80)])
    assert (np.log2(errors[:-1] / errors[1:]) > 1.8).all()  # of h and both momenta


def radial_reference(radius: float, cells: int) -> tuple[Array, Array]:
    """(r, h) at t = 1 of the same flow in polar form, by another scheme: Lax-Friedrichs on cells of the radius.

    ∂(rh)/∂t + ∂(rhu)/∂r = 0,  ∂(rhu)/∂t + ∂(rhu² + rh²/2)/∂r = h²/2
    """
    dr = 3.0 / cells
    faces = np.arange(cells + 1) * dr
    r = faces[:-1] + dr / 2
    h, m, t = np.where(r < radius, 2.0, 1.0), np.zeros(cells), 0.0
    while t < 1.0:
        speed = np.abs(m / h) + np.sqrt(h)
        dt = min(0.45 * dr / speed.max(), 1.0 - t)
        padded_h, padded_m = np.pad(h, 1, mode="edge"), np.pad(m, 1, mode="edge")
        padded_m[0] = -padded_m[1]
        a = np.maximum(np.append(speed, speed[-1]), np.insert(speed, 0, speed[0]))
        push = padded_m**2 / padded_h + padded_h**2 / 2
        flux_h = faces * ((padded_m[1:] + padded_m[:-1]) - a * np.diff(padded_h)) / 2
        flux_m = faces * ((push[1:] + push[:-1]) - a * np.diff(padded_m)) / 2
        m = m - dt / (r * dr) * np.diff(flux_m) + dt * h**2 / (2 * r)
        h = h - dt / (r * dr) * np.diff(flux_h)
        t += dt
    return r, h


def test_the_radial_dam_break_converges_to_the_flow_in_polar_form() -> None:
    radius = 0.5
    r, h = radial_reference(radius, 2400)
    errors = []
    for points in (32, 64, 128):
        solved = radial_dam_break(np.array([radius]), np.array([1.0]), points=points)[0, 0]
        x = centres(8 * points)
        exact = coarsened(np.interp(np.hypot(x[:, None], x), r, h), points)
        errors.append(np.abs(solved - exact).mean())
    assert errors[-1] < 4e-3
    assert errors[0] > 1.8 * errors[1] > 1.8**2 * errors[2]  # order 0.85 or more, as at any shock


def test_a_quarter_with_walls_is_the_whole_flow() -> None:
    times = np.array([0.0, 0.4, 1.0])
    h_TYX = radial_dam_break(np.array([0.55]), times, points=32)[0]
    whole = evolve(still(h_TYX[0]), times, spacing=WIDTH / 32)[:, 0, ..., 0]
    np.testing.assert_allclose(h_TYX, whole, atol=1e-13)


def test_the_flow_is_its_own_mirror_image_in_eight_ways() -> None:
    h_YX = radial_dam_break(np.array([0.43]), np.array([1.0]), points=32)[0, 0]
    for image in (h_YX[::-1], h_YX[:, ::-1], h_YX.T):
        np.testing.assert_allclose(h_YX, image, atol=1e-13)


def test_water_at_rest_stays_at_rest() -> None:
    state = still(np.full((12, 10), 1.7))
    frames = evolve(state, np.array([0.5, 2.0]), spacing=0.1, gravity=9.81, low="wall")
    np.testing.assert_allclose(frames, np.stack([state, state]), atol=1e-14)


def test_no_water_is_lost_between_walls() -> None:
    rng = np.random.default_rng(0)
    state = still(rng.uniform(0.5, 2.0, (16, 20)))
    times = np.linspace(0, 3, 4)
    frames = evolve(state, times, spacing=0.25, low="wall", high="wall")
    np.testing.assert_allclose(frames[:, 0].sum(axis=(1, 2)), state[0].sum(), rtol=1e-13)
    energy = (frames[:, 1:] ** 2).sum(axis=1) / (2 * frames[:, 0]) + frames[:, 0] ** 2 / 2
    assert (np.diff(energy.sum(axis=(1, 2, 3))) < 0).all()  # shocks take some, nothing gives any
    assert (frames[:, 0] > 0).all()


def test_waves_leave_through_an_open_side() -> None:
    h = 1 + 0.1 * np.exp(-(centres(100) ** 2) / 0.1)[None].repeat(4, axis=0)
    far = evolve(still(h), np.array([4.0]), spacing=WIDTH / 100)[0, 0, ..., 0]
    np.testing.assert_allclose(far, 1.0, atol=1e-3)


def test_nothing_reaches_the_boundary_of_the_dam_break_before_its_end() -> None:
    h_TYX = radial_dam_break(np.array([0.7]), np.array([0.5, 1.0]), points=32)[0]
    np.testing.assert_allclose(h_TYX[:, 0], 1.0, atol=1e-5)


def test_a_stronger_pull_is_the_same_flow_in_less_time() -> None:
    state = still(1 + 0.5 * np.exp(-(centres(24)[:, None] ** 2) - centres(24) ** 2))
    slow = evolve(state, np.array([1.0]), spacing=WIDTH / 24)[0]
    quick = evolve(state, np.array([0.5]), spacing=WIDTH / 24, gravity=4.0)[0]
    np.testing.assert_allclose(quick[0], slow[0], atol=1e-12)
    np.testing.assert_allclose(quick[1:], 2 * slow[1:], atol=1e-12)


def test_samples_do_not_depend_on_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    radii, times = np.array([0.3, 0.5, 0.7]), np.array([0.0, 1.0])
    together = radial_dam_break(radii, times, points=16)
    apart = [radial_dam_break(radii[i : i + 1], times, points=16)[0] for i in range(3)]
    np.testing.assert_array_equal(together, np.stack(apart))
    monkeypatch.setattr(shallow_water, "_AT_ONCE", 2)
    np.testing.assert_array_equal(together, radial_dam_break(radii, times, points=16))


def test_the_cylinder_begins_with_its_volume_whatever_the_cells() -> None:
    radii = np.array([0.3, 0.41, 0.7])
    for points in (16, 64):
        h = radial_dam_break(radii, np.array([0.0]), points=points)[:, 0]
        volume = (h - 1).sum(axis=(1, 2)) * (WIDTH / points) ** 2
        np.testing.assert_allclose(volume, np.pi * radii**2, rtol=2e-3)
        assert h.min() == 1.0
        assert h.max() == 2.0


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(ValueError, match="h must be above 0 everywhere, the lowest is 0"):
        evolve(still(np.zeros((4, 4))), np.array([1.0]), spacing=1.0)
    with pytest.raises(ValueError, match="times must rise from 0 on"):
        evolve(still(np.ones((4, 4))), np.array([1.0, 0.5]), spacing=1.0)
    with pytest.raises(ValueError, match="points must be even.*got 33"):
        radial_dam_break(np.array([0.5]), np.array([1.0]), points=33)


def test_the_file_has_the_layout_of_the_release(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=20, points=16)
    with h5py.File(tmp_path / "2D_rdb_NA_NA.h5") as file:
        assert sorted(file) == [f"{i:04d}" for i in range(20)]
        group = file["0019"]
        assert group["data"].shape == (6, 16, 16, 1)
        assert {group[name].dtype for name in ("data", "grid/x", "grid/y", "grid/t")} == {np.dtype("f4")}
        np.testing.assert_allclose(group["grid/x"], centres(16), atol=1e-6)
        np.testing.assert_allclose(group["grid/t"], np.linspace(0, 1, 6), atol=1e-6)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        write_solutions(tmp_path / name, seed, samples=3, points=8)
    one, same, other = ((tmp_path / n / "2D_rdb_NA_NA.h5").read_bytes() for n in ("one", "same", "other"))
    assert one == same != other
