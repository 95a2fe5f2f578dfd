"""Diffusion with sorption, R(u) ∂u/∂t = D ∂²u/∂x² on the unit interval, to t = 500.

R(u) = 1 + (1 − φ)/φ · ρ_s k_f n_f u^(n_f − 1) is Freundlich's retardation. The water comes in at u(0) = 1 and leaves at
u(1) = −D ∂u/∂x(1), which is PDEBench's outflow as its code has it (its paper writes the other sign, with which the
problem would be ill-posed). All is at one random concentration at first.

Solved for the mass M(u) with M′ = R: ∂M/∂t = D ∂²u/∂x², by finite volumes of second order and an L-stable implicit
method of second order, since the start is at odds with the boundary. The steps grow with time.

Parameters and initial values: PDEBench (Takamoto et al. 2022, https://arxiv.org/abs/2210.07182).
"""
# Shape suffixes: B = samples, T = times, X = cells.

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.tasks.samples.waves1d import Array, write_groups
from pare_tune.tasks.solvers.initial_waves import cell_centres

FILE: Final = "1D_diff-sorp_NA_NA.h5"
END_TIME: Final = 500.0
HIGHEST_START: Final = 0.2
SAMPLES: Final = 400
POINTS: Final = 256
TIMES: Final = 11

STEPS: Final = 100
"""Over the whole time, beside the saved times."""
_GRADING = 3  # the mesh is t = (j / steps)³ · end
_GAMMA = 1 - 1 / math.sqrt(2)  # of the two-stage, L-stable SDIRK method
_NEWTON_STEPS, _TOLERANCE = 30, 1e-11
_BLOCK = 64  # samples solved at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Soil:
    """What the water flows through, in PDEBench's units."""

    diffusion: float = 5e-4
    porosity: float = 0.29
    density: float = 2880.0
    k_f: float = 3.5e-4
    n_f: float = 0.874
    floor: float = 1e-6
    """Added to u in R, whose slope at u = 0 is infinite otherwise."""

    @property
    def sorption(self) -> float:
        """(1 − φ)/φ · ρ_s k_f"""
        return (1 - self.porosity) / self.porosity * self.density * self.k_f

    def retardation(self, u: Array) -> Array:
        """R(u)"""
        return 1 + self.sorption * self.n_f * np.asarray((u + self.floor) ** (self.n_f - 1))

    def mass(self, u: Array) -> Array:
        """M(u) = ∫R du, up to a constant."""
        return u + self.sorption * np.asarray((u + self.floor) ** self.n_f)


SOIL: Final = Soil()


def solve(u0_B: Array, t_T: Array, *, points: int, soil: Soil = SOIL, steps: int = STEPS) -> Array:
    """u at cell centres and ascending times `t_T` ≥ 0, (B, T, X), from initial concentrations (B,)."""
    mesh = np.union1d(t_T, t_T[-1] * (np.arange(steps + 1) / steps) ** _GRADING)
    solution_BTX = np.empty((len(u0_B), len(t_T), points))
    u_BX = np.repeat(u0_B[:, None], points, axis=1)
    for step, now in zip(np.diff(mesh, prepend=0.0), mesh, strict=True):
        if step > 0:
            mass_BX = soil.mass(u_BX)
            first_BX = _implicit(u_BX, mass_BX, _GAMMA * step, soil)
            mass_BX = mass_BX + (1 - _GAMMA) * step * _inflow(first_BX, soil)
            u_BX = _implicit(first_BX, mass_BX, _GAMMA * step, soil)
        solution_BTX[:, t_T == now] = u_BX[:, None]
    return solution_BTX


def _inflow(u_BX: Array, soil: Soil) -> Array:
    """D ∂²u/∂x²: what flows into each cell, over its width."""
    width = 1 / u_BX.shape[1]
    left_B, right_B = _boundary_conductance(soil, width)
    flux = np.empty((len(u_BX), u_BX.shape[1] + 1))  # to the right, through the faces
    flux[:, 1:-1] = -soil.diffusion / width * np.diff(u_BX, axis=1)
    flux[:, 0] = left_B * (1 - u_BX[:, 0])
    flux[:, -1] = right_B * u_BX[:, -1]
    return np.asarray(-np.diff(flux, axis=1) / width)


def _boundary_conductance(soil: Soil, width: float) -> tuple[float, float]:
    """Flux over difference of concentrations: from the inlet at 1, and to the outlet at 0."""
    half = 2 * soil.diffusion / width
    # At the outlet u_w = −D ∂u/∂x: a conductance of 1 from the wall on, behind that of half a cell.
    return half, half / (1 + half)


def _implicit(guess_BX: Array, mass_BX: Array, step: float, soil: Soil) -> Array:
    """u with M(u) − step · D ∂²u/∂x² = `mass_BX`, by Newton's method: a tridiagonal system for all samples at once."""
    from scipy.linalg import solve_banded

    num_samples, points = guess_BX.shape
    width = 1 / points
    left, right = _boundary_conductance(soil, width)
    coupling = step * soil.diffusion / width**2
    diagonal_X = np.full(points, 2 * coupling)
    diagonal_X[0] = coupling + step * left / width
    diagonal_X[-1] = coupling + step * right / width
    off_BX = np.full((num_samples, points), -coupling)
    off_BX[:, -1] = 0.0  # samples do not touch
    bands = np.zeros((3, num_samples * points))
    bands[0, 1:] = bands[2, :-1] = off_BX.reshape(-1)[:-1]
    u_BX = guess_BX
    for _ in range(_NEWTON_STEPS):
        residual_BX = soil.mass(u_BX) - step * _inflow(u_BX, soil) - mass_BX
        bands[1] = (soil.retardation(u_BX) + diagonal_X).reshape(-1)
        change_BX = solve_banded((1, 1), bands, residual_BX.reshape(-1)).reshape(num_samples, points)
        # M is concave with an almost infinite slope at 0: a full step may overshoot below 0, where it ends.
        u_BX = np.maximum(u_BX - change_BX, 0.0)
        if float(np.abs(change_BX).max()) < _TOLERANCE:
            return np.asarray(u_BX)
    raise ArithmeticError(f"Newton's method did not converge in {_NEWTON_STEPS} steps")


def write_solutions(
    folder: Path, seed: int, *, samples: int = SAMPLES, points: int = POINTS, times: int = TIMES
) -> None:
    """Write `folder/1D_diff-sorp_NA_NA.h5`: groups 0000, 0001, … of data (times, points, 1), grid/x and grid/t.

    PDEBench's own has 10000 groups of 101 times at 1024 points.
    """
    x_X, t_T = cell_centres(points), np.linspace(0.0, END_TIME, times)
    start_B = np.random.default_rng([seed, 0x4453]).uniform(0.0, HIGHEST_START, samples)
    blocks = (solve(start_B[low : low + _BLOCK], t_T, points=points) for low in range(0, samples, _BLOCK))
    solutions = (solution_TX[..., None] for block_BTX in blocks for solution_TX in block_BTX)
    write_groups(folder / FILE, solutions, {"x": x_X, "t": t_T})
