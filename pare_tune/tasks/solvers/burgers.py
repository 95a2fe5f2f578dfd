"""Burgers' equation ∂u/∂t + ∂(u²/2)/∂x = (ν/π) ∂²u/∂x² on the periodic unit interval, ν = 1, to t = 2.

Solved exactly in time. Seen from a frame that moves with the mean ū, w = u − ū has no mean, and Cole and Hopf's
φ = exp(−∫w dx / 2κ), κ = ν/π, obeys the heat equation, whose Fourier modes decay independently; w = −2κ ∂φ/∂x / φ. In
space the error is that of the Fourier series of the initial wave: rounding for smooth waves, second order for folded
ones. At ν = 1 a wave is gone long before t = 2: what is left is ū to about 11 digits, and that is the benchmark's task.

Initial waves and parameters: PDEBench (Takamoto et al. 2022, https://arxiv.org/abs/2210.07182).
"""
# Shape suffixes: B = samples, T = times, X = grid points, K = Fourier modes.

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.tasks.samples.waves1d import Array
from pare_tune.tasks.solvers.initial_waves import write_waves

FILE: Final = "1D_Burgers_Sols_Nu1.0.hdf5"
NU: Final = 1.0
END_TIME: Final = 2.0
SAMPLES: Final = 400
POINTS: Final = 256
TIMES: Final = 11

_SLOTS, _WINDOWED = 4, 0.1
_LARGEST_EXPONENT = 12.0  # φ spans e²⁴ then, and keeps five digits where it is smallest


def solve(u0_BX: Array, t_T: Array, *, nu: float = NU) -> Array:
    """u at times `t_T`, (B, T, X), from cell centres or nodes of a uniform grid (B, X) over one period.

    Raises:
        ValueError: the wave is too steep for ν: φ would not keep its digits.
    """
    kappa, num_points = nu / np.pi, u0_BX.shape[1]
    mean_B1 = u0_BX.mean(axis=1, keepdims=True)
    ik_K = 2j * np.pi * np.arange(num_points // 2 + 1)
    w_BK = np.fft.rfft(u0_BX - mean_B1)
    w_BK[:, 0] = 0.0
    potential_BX = np.fft.irfft(w_BK / np.where(ik_K == 0, 1.0, ik_K), n=num_points) / (-2 * kappa)
    if (largest := float(np.abs(potential_BX).max())) > _LARGEST_EXPONENT:
        raise ValueError(f"Cole and Hopf's exponent must stay below {_LARGEST_EXPONENT:g}, got {largest:.3g}")
    phi_BK = np.fft.rfft(np.exp(potential_BX))
    solution_BTX = np.empty((len(u0_BX), len(t_T), num_points))
    for i, t in enumerate(t_T):
        now_BK = phi_BK * np.exp((kappa * ik_K**2 - ik_K * mean_B1) * t)
        phi_BX, slope_BX = (np.fft.irfft(modes, n=num_points) for modes in (now_BK, ik_K * now_BK))
        solution_BTX[:, i] = mean_B1 - 2 * kappa * slope_BX / phi_BX
    return solution_BTX


def write_solutions(
    folder: Path, seed: int, *, samples: int = SAMPLES, points: int = POINTS, times: int = TIMES
) -> None:
    """Write `folder/1D_Burgers_Sols_Nu1.0.hdf5`: tensor (samples, times, points) float32, x- and t-coordinate.

    PDEBench's own has 10000 samples of 201 times at 1024 points.
    """
    write_waves(
        folder / FILE, solve, np.random.default_rng([seed, 0x425552]),
        samples=samples, points=points, t_T=np.linspace(0.0, END_TIME, times), slots=_SLOTS, windowed=_WINDOWED,
    )  # fmt: skip
