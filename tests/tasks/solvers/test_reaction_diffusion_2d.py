from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from scipy.fft import dctn, idctn
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from pare_tune.tasks.solvers.reaction_diffusion_2d import laplacian, solve, write_solutions

Array = npt.NDArray[np.float64]
TIMES = np.linspace(0.0, 5.0, 6)


def mode(points: int, waves_y: int, waves_x: int) -> Array:
    """cos(πm(y + 1)/2) cos(πn(x + 1)/2) at cell centres: no slope at the boundary of (-1, 1)²."""
    half_turns = (np.arange(points) + 0.5) / points
    return np.cos(np.pi * waves_y * half_turns)[:, None] * np.cos(np.pi * waves_x * half_turns)


def noise(points: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((2, points, points))


def smooth(points: int) -> Array:
    return np.stack(
        [
            0.8 * mode(points, 1, 2) + 0.3 * mode(points, 3, 0) + 0.2,
            0.5 * mode(points, 2, 1) - 0.4 * mode(points, 0, 1),
        ]
    )


def by_modes(
    start: Array, t: float, *, diffusion: tuple[float, float] = (1e-3, 5e-3), k: float = 5e-3
) -> Array:
    """The same problem by another method: cosines with exact derivatives, order 8 in time at 1e-10."""
    n = start.shape[-1]
    decay = -((np.pi / 2) ** 2) * (np.arange(n)[:, None] ** 2 + np.arange(n) ** 2)

    def rate(_t: float, flat: Array) -> Array:
        u, v = fields = flat.reshape(start.shape)
        diffused = idctn(decay * dctn(fields, axes=(1, 2)), axes=(1, 2))
        return np.stack(
            [diffusion[0] * diffused[0] + u - u**3 - k - v, diffusion[1] * diffused[1] + u - v]
        ).ravel()

    end = solve_ivp(rate, (0, t), start.ravel(), method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1]
    return end.reshape(start.shape)


def test_the_laplacian_equals_the_loop() -> None:
    field, n, spacing = noise(7)[0], 7, 0.3
    expected = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= a < n and 0 <= b < n:
                    expected[i, j] += (field[a, b] - field[i, j]) / spacing**2
    np.testing.assert_allclose(laplacian(field, spacing), expected, atol=1e-12)


def test_diffusion_alone_loses_nothing() -> None:
    np.testing.assert_allclose(laplacian(noise(16), 0.1).sum(axis=(1, 2)), 0.0, atol=1e-10)


def test_cosines_are_modes_and_converge_at_second_order() -> None:
    errors = []
    for n in (16, 32, 64):
        found = laplacian(mode(n, 2, 3), 2 / n)
        rate = (found / mode(n, 2, 3))[0, 0]
        np.testing.assert_allclose(found, rate * mode(n, 2, 3), atol=1e-9)
        errors.append(abs(rate + (np.pi / 2) ** 2 * (2**2 + 3**2)))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.05)


def test_small_waves_follow_the_exact_linear_solution() -> None:
    n, size = 32, 1e-3  # u³ is 1e-9 then
    start = np.array([1.0, -0.5]) * size
    rate = -np.array([4, 4]) / (2 / n) ** 2 * np.sin(np.pi * np.array([2, 3]) / (2 * n)) ** 2
    matrix = np.array([[1.0, -1.0], [1.0, -1.0]]) + np.diag([1e-3, 5e-3]) * rate.sum()
    end = solve(start[:, None, None] * mode(n, 2, 3), TIMES, spacing=2 / n, k=0.0)
    for t, fields in zip(TIMES, end, strict=True):
        exact = (expm(t * matrix) @ start)[:, None, None] * mode(n, 2, 3)
        np.testing.assert_allclose(fields, exact, rtol=1e-3, atol=1e-3 * size)


def test_without_differences_in_space_it_is_the_ordinary_differential_equation() -> None:
    def rate(_t: float, y: Array) -> list[float]:
        return [y[0] - y[0] ** 3 - 5e-3 - y[1], y[0] - y[1]]

    exact = solve_ivp(rate, (0, 5), [1.2, -0.7], method="DOP853", rtol=1e-12, atol=1e-12, t_eval=TIMES).y.T
    start = np.broadcast_to(np.array([1.2, -0.7])[:, None, None], (2, 4, 4))
    found = solve(np.ascontiguousarray(start), TIMES, spacing=0.5)
    np.testing.assert_allclose(found, np.broadcast_to(exact[:, :, None, None], (6, 2, 4, 4)), atol=1e-4)


def test_it_converges_at_second_order_to_a_solution_by_another_method() -> None:
    # Strong diffusion, so that the error in space is far above that in time.
    diffusion, errors = (0.02, 0.04), []
    for n in (8, 16, 32):
        found = solve(smooth(n), np.array([2.0]), spacing=2 / n, diffusion=diffusion)[0]
        errors.append(np.abs(found - by_modes(smooth(n), 2.0, diffusion=diffusion)).max())
    assert errors[-1] < 4e-3
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, atol=0.1)


def test_noise_is_solved_to_the_stated_tolerance() -> None:
    n = 32
    start, spacing = noise(n), 2 / n

    def rate(_t: float, flat: Array) -> Array:
        u, v = fields = flat.reshape(2, n, n)
        diffused = laplacian(fields, spacing)
        return np.stack([1e-3 * diffused[0] + u - u**3 - 5e-3 - v, 5e-3 * diffused[1] + u - v]).ravel()

    exact = solve_ivp(rate, (0, 5), start.ravel(), method="DOP853", rtol=1e-11, atol=1e-11, t_eval=TIMES)
    error = solve(start, TIMES, spacing=spacing) - exact.y.T.reshape(6, 2, n, n)
    assert np.abs(error).max() < 1e-3  # between steps; at the end:
    assert np.sqrt((error[-1] ** 2).mean()) < 2e-5


def test_the_boundary_is_a_mirror() -> None:
    quarter = noise(8)
    half = np.concatenate([quarter[:, ::-1], quarter], axis=1)
    whole = np.concatenate([half[..., ::-1], half], axis=2)
    alone = solve(quarter, np.array([1.0]), spacing=0.1)[0]
    np.testing.assert_allclose(solve(whole, np.array([1.0]), spacing=0.1)[0, :, 8:, 8:], alone, atol=1e-5)


def test_u_and_v_change_sign_together_without_k() -> None:
    found = solve(noise(12), TIMES, spacing=0.2, k=0.0)
    np.testing.assert_allclose(solve(-noise(12), TIMES, spacing=0.2, k=0.0), -found, atol=1e-12)


def test_the_file_has_the_layout_of_the_release(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=20, points=8)
    with h5py.File(tmp_path / "2D_diff-react_NA_NA.h5") as file:
        assert sorted(file) == [f"{i:04d}" for i in range(20)]
        group = file["0003"]
        assert group["data"].shape == (6, 8, 8, 2)
        assert {group[name].dtype for name in ("data", "grid/x", "grid/y", "grid/t")} == {np.dtype("f4")}
        np.testing.assert_allclose(group["grid/y"], (np.arange(8) + 0.5) / 4 - 1, atol=1e-6)
        np.testing.assert_allclose(group["grid/t"], TIMES, atol=1e-6)
        data = group["data"][:].astype(float)
        again = solve(data[0].transpose(2, 0, 1), TIMES, spacing=0.25)
        np.testing.assert_allclose(again.transpose(0, 2, 3, 1), data, atol=1e-5)
        start = np.stack([file[name]["data"][0] for name in file])
    assert start.mean() == pytest.approx(0.0, abs=0.08)
    assert start.std() == pytest.approx(1.0, abs=0.05)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        write_solutions(tmp_path / name, seed, samples=3, points=8)
    one, same, other = (
        (tmp_path / n / "2D_diff-react_NA_NA.h5").read_bytes() for n in ("one", "same", "other")
    )
    assert one == same != other
