"""The Darcy solver against exact solutions, and the files that are written with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from pare_tune.tasks.samples.darcy_flow import (
    PDEBENCH_FILE,
    Grid,
    random_bumps,
    random_layers,
    solve,
    write_pdebench,
    write_piececonst,
)

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


def coordinates(points: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(0, 1, points) if grid == "nodes" else (np.arange(points) + 0.5) / points
    y, x = np.meshgrid(line, line, indexing="ij")
    return x, y


def smooth() -> tuple[Field, Field, Field]:
    """a, the exact u, and the f that belongs to them: a = 2 + x + y², u = sin πx · sin 2πy."""

    def a(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 2 + x + y**2

    def u(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.sin(np.pi * x) * np.sin(2 * np.pi * y)

    def f(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u_x = np.pi * np.cos(np.pi * x) * np.sin(2 * np.pi * y)
        u_y = 2 * np.pi * np.sin(np.pi * x) * np.cos(2 * np.pi * y)
        return 5 * np.pi**2 * a(x, y) * u(x, y) - u_x - 2 * y * u_y

    return a, u, f


def layered() -> tuple[Field, Field, Field]:
    """a jumps from 3 to 12 at x = ½; u = φ(x) sin πy with the flux aφ′ = c − x, continuous and not zero there."""
    left, right = 3.0, 12.0
    c = (1 / 8 / left + 3 / 8 / right) / (1 / 2 / left + 1 / 2 / right)  # φ(1) = 0
    middle = (c / 2 - 1 / 8) / left

    def a(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(x < 0.5, left, right)

    def phi(x: np.ndarray) -> np.ndarray:
        return np.where(
            x < 0.5, (c * x - x**2 / 2) / left, middle + (c * (x - 0.5) - (x**2 - 0.25) / 2) / right
        )

    def u(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return phi(x) * np.sin(np.pi * y)

    def f(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (1 + np.pi**2 * a(x, y) * phi(x)) * np.sin(np.pi * y)

    return a, u, f


@pytest.mark.parametrize("grid", ["nodes", "cells"])
@pytest.mark.parametrize("problem", [smooth, layered])
def test_the_solution_converges_with_second_order(
    problem: Callable[[], tuple[Field, Field, Field]], grid: Grid
) -> None:
    a, u, f = problem()
    errors, steps = [], []
    for points in (16, 32, 64, 128):  # even, so that x = ½ lies between points
        at = coordinates(points, grid)
        errors.append(np.abs(solve(a(*at), f(*at), grid=grid) - u(*at)).max())
        steps.append(1 / (points - 1) if grid == "nodes" else 1 / points)
    orders = np.diff(np.log(errors)) / np.diff(np.log(steps))
    assert (orders > 1.85).all(), (errors, orders)
    assert errors[-1] < 1e-3 * np.abs(u(*coordinates(128, grid))).max()


@pytest.mark.parametrize("grid", ["nodes", "cells"])
def test_one_material_gives_the_series_of_the_square(grid: Grid) -> None:
    x, y = coordinates(65, grid)
    series = sum(
        16 * np.sin(m * np.pi * x) * np.sin(n * np.pi * y) / (np.pi**4 * m * n * (m**2 + n**2))
        for m in range(1, 60, 2)
        for n in range(1, 60, 2)
    )
    np.testing.assert_allclose(solve(np.ones((65, 65)), 1.0, grid=grid), series, atol=5e-5)


@pytest.mark.parametrize("grid", ["nodes", "cells"])
def test_the_solution_is_linear_in_the_source_and_falls_with_the_coefficient(grid: Grid) -> None:
    a = random_layers(np.random.default_rng(0), 21)
    once = solve(a, 1.0, grid=grid)
    np.testing.assert_allclose(solve(a, 0.1, grid=grid), once / 10, rtol=1e-9)
    np.testing.assert_allclose(solve(2 * a, 1.0, grid=grid), once / 2, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(solve(a.T.copy(), 1.0, grid=grid), once.T, rtol=1e-9, atol=1e-15)


def test_the_discrete_equation_holds_at_every_node() -> None:
    points = 12
    a = random_layers(np.random.default_rng(1), points)
    u = solve(a, 1.0, grid="nodes")
    assert (u[[0, -1]] == 0).all()
    assert (u[:, [0, -1]] == 0).all()
    for i in range(1, points - 1):
        for j in range(1, points - 1):
            out = 0.0
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                out += 2 / (1 / a[i, j] + 1 / a[k, m]) * (u[i, j] - u[k, m]) * (points - 1) ** 2
            assert out == pytest.approx(1.0, rel=1e-9)


def test_layers_are_of_two_materials_and_as_smooth_as_their_covariance() -> None:
    rng = np.random.default_rng(0)
    layers = np.stack([random_layers(rng, 43) for _ in range(200)])
    assert set(np.unique(layers)) == {3.0, 12.0}
    high = layers == 12
    assert high.mean() == pytest.approx(0.5, abs=0.05)
    assert high.mean(axis=0).std() < 0.06  # no place is favoured
    apart = [(high[:, :, d:] == high[:, :, : 43 - d]).mean() for d in (1, 5, 20)]
    assert apart[0] > 0.95
    assert apart[0] > apart[1] > apart[2]


def test_bumps_are_of_two_materials_and_no_two_alike() -> None:
    nu = random_bumps(np.random.default_rng(0), 1000, 32)
    assert set(np.unique(nu)) == {0.1, 1.0}
    assert (nu == 1.0).mean() == pytest.approx(0.45, abs=0.15)
    assert (nu.std(axis=(1, 2)) > 0).all()
    assert len(np.unique(nu, axis=0)) == 1000


def test_the_mat_files_hold_solutions_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    for name, seed in (("once", 0), ("again", 0), ("other", 1)):
        write_piececonst(tmp_path / name, seed, train=3, test=2, points=22)
    names = ["piececonst_r22_N2_smooth2.mat", "piececonst_r22_N3_smooth1.mat"]
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == names
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert (tmp_path / "once" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()
    train, test = (loadmat(tmp_path / "once" / name) for name in names[::-1])
    assert train["sol"].dtype == np.float32
    assert not (train["coeff"][:2] == test["coeff"]).all()
    for coeff, sol in zip(train["coeff"], train["sol"], strict=True):
        np.testing.assert_allclose(sol, solve(coeff.astype(float), 1.0, grid="nodes"), rtol=1e-6)


def test_the_hdf5_file_holds_solutions_and_is_the_same_bytes_again(tmp_path: Path) -> None:
    for name, seed in (("once", 0), ("again", 0), ("other", 1)):
        write_pdebench(tmp_path / name, seed, samples=4, points=16)
    once, again, other = ((tmp_path / n / PDEBENCH_FILE).read_bytes() for n in ("once", "again", "other"))
    assert once == again != other
    with h5py.File(tmp_path / "once" / PDEBENCH_FILE) as file:
        nu, tensor = file["nu"][:], file["tensor"][:]
    assert tensor.shape == (4, 1, 16, 16)
    for a, u in zip(nu, tensor[:, 0], strict=True):
        np.testing.assert_allclose(u, solve(a.astype(float), 0.1, grid="cells"), rtol=1e-6)
