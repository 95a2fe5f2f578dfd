"""Steady Darcy flow −∇·(a ∇u) = f on the unit square, u = 0 on its edge: solved, and written as two releases are.

Finite volumes with five points: second order where a is smooth and where it jumps between grid points (a face's
conductance is the harmonic mean of both sides, so the flux through it is continuous). Two families of coefficients,
each of two values:

- Li et al. 2021 (FNO, https://arxiv.org/abs/2010.08895): 12 where a Gaussian random field is positive, else 3, on
  nodes that include the edge; f = 1. (Their generator takes arithmetic means of splines through the coefficients.)
- Takamoto et al. 2022 (PDEBench, https://arxiv.org/abs/2210.07182): 1 where a sum of bumps is high, else 0.1, on
  cell centres; f = β. (PDEBench integrates a diffusion to t = 2; its steady state is solved for here.)
"""
# Shape suffixes: B = samples, H, W = rows and columns, K = bumps.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Grid = Literal["nodes", "cells"]
"""nodes: at i / (n − 1), the edge included. cells: at (i + ½) / n."""

PDEBENCH_FILE: Final = "2D_DarcyFlow_beta0.1_Train.hdf5"
BETA: Final = 0.1

_HIGH, _LOW = 12.0, 3.0
_ROUGHNESS, _INVERSE_LENGTH = 2.0, 3.0  # covariance (−Δ + 9)⁻²
_BUMPS, _ENSEMBLE = 5, 200
_MAT_HEADER: Final = b"MATLAB 5.0 MAT-file"
_MAT_HEADER_BYTES = 116


def solve(a_HW: Array, source: float | Array, *, grid: Grid) -> Array:
    """u at the points where `a_HW` is given, (H, W) of H = W points.

    Args:
        source: f, one number or (H, W).
    """
    points = len(a_HW)
    source_HW = np.broadcast_to(np.asarray(source, np.float64), a_HW.shape)
    between_rows, between_cols = _harmonic(a_HW[:-1], a_HW[1:]), _harmonic(a_HW[:, :-1], a_HW[:, 1:])
    if grid == "nodes":
        u_HW = np.zeros_like(a_HW)
        across_rows, across_cols = between_rows[:, 1:-1], between_cols[1:-1]
        u_HW[1:-1, 1:-1] = _balance(across_rows, across_cols, source_HW[1:-1, 1:-1] / (points - 1) ** 2)
        return u_HW
    # The edge is half a cell away from the outermost centres.
    across_rows = np.concatenate([2 * a_HW[:1], between_rows, 2 * a_HW[-1:]])
    across_cols = np.concatenate([2 * a_HW[:, :1], between_cols, 2 * a_HW[:, -1:]], axis=1)
    return _balance(across_rows, across_cols, source_HW / points**2)


def random_layers(rng: np.random.Generator, points: int) -> Array:
    """FNO's coefficient, (H, W): 12 where N(0, (−Δ + 9)⁻²) with no-flux edges is positive, else 3."""
    from scipy.fft import idctn

    k2_HW = (np.arange(points)[:, None] ** 2 + np.arange(points) ** 2) * np.pi**2
    amplitude_HW = (k2_HW + _INVERSE_LENGTH**2) ** (-_ROUGHNESS / 2)
    amplitude_HW[0, 0] = 0.0  # no mean: both values are equally likely
    field_HW = idctn(amplitude_HW * rng.standard_normal((points, points)), norm="ortho")
    return np.where(field_HW >= 0, _HIGH, _LOW)


def random_bumps(rng: np.random.Generator, size: int, points: int) -> Array:
    """PDEBench's coefficients, (B, H, W): 1 where a sum of five Gaussian bumps is above the mean over this ensemble,
    else 0.1. (There an ensemble has 200, and a few samples are of one material; such are drawn again here, since they
    are one problem, which must not be both trained on and tested.)"""
    sum_BHW = _bumps(rng, size, points)
    mean = sum_BHW.mean()
    while (same := ((sum_BHW > mean) == (sum_BHW[:, :1, :1] > mean)).all(axis=(1, 2))).any():
        sum_BHW[same] = _bumps(rng, int(same.sum()), points)
    return np.where(sum_BHW > mean, 1.0, 0.1)


def _bumps(rng: np.random.Generator, size: int, points: int) -> Array:
    row_BK, col_BK = rng.random((2, size, _BUMPS, 1))
    width_BK = 0.5 * rng.random((size, _BUMPS, 1))
    centre = (np.arange(points) + 0.5) / points
    rows_BKH = np.exp(-((centre - row_BK) ** 2) / width_BK)
    cols_BKW = np.exp(-((centre - col_BK) ** 2) / width_BK)
    return np.asarray(np.einsum("bkh,bkw->bhw", rows_BKH, cols_BKW))


def write_piececonst(root: Path, seed: int, *, train: int = 660, test: int = 66, points: int = 85) -> None:
    """Write `piececonst_r<points>_N<n>_smooth1.mat` and `…_smooth2.mat`: coeff and sol, (n, points, points) float32.

    The release has 1024 and 1024 samples of 421 points; to write as many takes 4 GB of memory.
    """
    root.mkdir(parents=True, exist_ok=True)
    for number, size in ((1, train), (2, test)):
        rng = np.random.default_rng([seed, 0x444152, number])
        coeff, sol = np.empty((2, size, points, points), np.float32)
        for i in range(size):
            a_HW = random_layers(rng, points)
            coeff[i], sol[i] = a_HW, solve(a_HW, 1.0, grid="nodes")
        name = f"piececonst_r{points}_N{size}_smooth{number}.mat"
        _write_mat(root / name, {"coeff": coeff, "sol": sol})


def write_pdebench(root: Path, seed: int, *, samples: int = 740, points: int = 64) -> None:
    """Write `root/2D_DarcyFlow_beta0.1_Train.hdf5`: nu (n, points, points), tensor (n, 1, points, points), float32.

    The release has 10,000 samples of 128 points.
    """
    import h5py

    rng = np.random.default_rng([seed, 0x504442])
    centre = ((np.arange(points) + 0.5) / points).astype(np.float32)
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / PDEBENCH_FILE, "w") as file:
        nu = file.create_dataset("nu", (samples, points, points), np.float32)
        tensor = file.create_dataset("tensor", (samples, 1, points, points), np.float32)
        for start in range(0, samples, _ENSEMBLE):
            nu_BHW = random_bumps(rng, min(_ENSEMBLE, samples - start), points)
            for i, nu_HW in enumerate(nu_BHW, start):
                nu[i], tensor[i, 0] = nu_HW, solve(nu_HW, BETA, grid="cells")
        file["x-coordinate"] = file["y-coordinate"] = centre
        file.attrs["beta"] = BETA


def _harmonic(left: Array, right: Array) -> Array:
    return 2 * left * right / (left + right)


def _balance(across_rows: Array, across_cols: Array, inflow: Array) -> Array:
    """u (H, W) at which each cell's outflow to its neighbours, and to zero beyond the edge, equals its inflow.

    Args:
        across_rows: conductances (H + 1, W) of the faces above, between and below the rows.
        across_cols: (H, W + 1), in the same way.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import splu

    width = inflow.shape[1]
    total = across_rows[:-1] + across_rows[1:] + across_cols[:, :-1] + across_cols[:, 1:]
    to_next_row = across_rows[1:-1].ravel()
    to_next_col = across_cols[:, 1:].copy()
    to_next_col[:, -1] = 0.0  # the last of a row and the first of the next are no neighbours
    next_col = to_next_col.ravel()[:-1]
    matrix = diags_array(
        [total.ravel(), -next_col, -next_col, -to_next_row, -to_next_row],
        offsets=[0, 1, -1, width, -width],
        format="csc",
    )
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return np.asarray(factors.solve(inflow.ravel())).reshape(inflow.shape)


def _write_mat(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """A MATLAB 5 file without the time of writing, so that the same arrays are the same bytes."""
    from scipy.io import savemat

    with path.open("w+b") as stream:
        savemat(stream, dict(arrays), do_compression=True)
        stream.seek(0)
        stream.write(_MAT_HEADER.ljust(_MAT_HEADER_BYTES))
