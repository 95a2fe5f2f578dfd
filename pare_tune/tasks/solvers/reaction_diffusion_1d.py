"""∂u/∂t = ν ∂²u/∂x² + ρ u(1 − u) on the periodic unit interval, ν = 0.5, ρ = 1, to t = 1.

Strang splitting of two flows that are both solved exactly: diffusion in Fourier modes, the logistic reaction in closed
form. Stable for any step, and second order on a mesh of times that is fine at first, when diffusion still has short
waves to flatten, and coarse later. By t = 1 the wave is flat to about 8 digits, at a height between its mean and 1.

Initial waves, scaled to span 0 to 1, and parameters: PDEBench (Takamoto et al. 2022, https://arxiv.org/abs/2210.07182).
"""
# Shape suffixes: B = samples, T = times, X = grid points, K = Fourier modes.

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.tasks.samples.waves1d import Array
from pare_tune.tasks.solvers.initial_waves import to_unit_range, write_waves

FILE: Final = "ReacDiff_Nu0.5_Rho1.0.hdf5"
NU: Final = 0.5
RHO: Final = 1.0
END_TIME: Final = 1.0
SAMPLES: Final = 400
POINTS: Final = 256
TIMES: Final = 11

STEPS: Final = 400
"""Over the whole time, beside the saved times; the splitting error is 3e-7 then."""
_GRADING = 4  # the mesh is t = (j / steps)⁴ · end
_SLOTS, _WINDOWED = 4, 0.1


def solve(u0_BX: Array, t_T: Array, *, nu: float = NU, rho: float = RHO, steps: int = STEPS) -> Array:
    """u at ascending times `t_T` ≥ 0, (B, T, X), from values in [0, 1] at t = 0 on a uniform grid, (B, X)."""
    num_points = u0_BX.shape[1]
    rate_K = -nu * (2 * np.pi * np.arange(num_points // 2 + 1)) ** 2
    mesh = np.union1d(t_T, t_T[-1] * (np.arange(steps + 1) / steps) ** _GRADING)
    solution_BTX = np.empty((len(u0_BX), len(t_T), num_points))
    u_BX = u0_BX
    for step, now in zip(np.diff(mesh, prepend=0.0), mesh, strict=True):
        half_BX = _react(u_BX, rho * step / 2)
        spread_BX = np.fft.irfft(np.exp(rate_K * step) * np.fft.rfft(half_BX), n=num_points)
        u_BX = _react(spread_BX, rho * step / 2)
        solution_BTX[:, t_T == now] = u_BX[:, None]
    return solution_BTX


def _react(u_BX: Array, time: float) -> Array:
    """The logistic flow u′ = u(1 − u)."""
    grown_BX = u_BX * math.exp(time)
    return grown_BX / (1 - u_BX + grown_BX)


def write_solutions(
    folder: Path, seed: int, *, samples: int = SAMPLES, points: int = POINTS, times: int = TIMES
) -> None:
    """Write `folder/ReacDiff_Nu0.5_Rho1.0.hdf5`: tensor (samples, times, points) float32, x- and t-coordinate.

    PDEBench's own has 10000 samples of 101 times at 1024 points.
    """
    write_waves(
        folder / FILE, lambda u0_BX, t_T: solve(to_unit_range(u0_BX), t_T), np.random.default_rng([seed, 0x5244]),
        samples=samples, points=points, t_T=np.linspace(0.0, END_TIME, times), slots=_SLOTS, windowed=_WINDOWED,
    )  # fmt: skip
