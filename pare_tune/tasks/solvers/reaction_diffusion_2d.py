"""FitzHugh and Nagumo's reaction with diffusion in two dimensions: an activator u and an inhibitor v, from noise.

    ∂u/∂t = Dᵤ ∇²u + u − u³ − k − v,    ∂v/∂t = Dᵥ ∇²v + u − v

on (-1, 1)² with no flow through the boundary, as PDEBench sets it (Takamoto et al. 2022,
https://arxiv.org/abs/2210.07182): Dᵤ = 1e-3, Dᵥ = 5e-3, k = 5e-3, both fields standard-normal noise, cell by cell, to
t = 5. Finite volumes, second order in space; Bogacki and Shampine's embedded pair of order 3 (2) in time, with local
errors below 1e-5 of a value or 1e-6. (Diffusion bounds the step more than accuracy does, and there the pair with the
fewest stages is the quickest.) The file written here has PDEBench's layout at fewer points, samples and times. Its
noise is drawn for each cell of the grid it is solved on, so fewer points are not the same problem seen less sharply:
their noise is stronger in long waves.
"""
# Shape suffixes: F = 2 fields (u, v), Y, X = cells of the two axes, T = times.

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.tasks.samples.waves1d import Array, write_groups

FILE: Final = "2D_diff-react_NA_NA.h5"
WIDTH: Final = 2.0
"""The domain is (-1, 1)²."""
DIFFUSION: Final = (1e-3, 5e-3)
"""Of u and of v."""
REACTION: Final = 5e-3
"""k."""
END_TIME: Final = 5.0
TIMES: Final = 6

_RELATIVE_ERROR, _ABSOLUTE_ERROR = 1e-5, 1e-6


def laplacian(field: Array, spacing: float) -> Array:
    """∇² of means over square cells (..., Y, X), with no flow through the boundary; its sum over cells is 0."""
    out = np.empty_like(field)
    flow = np.diff(field, axis=-2)
    out[..., 0, :], out[..., -1, :] = flow[..., 0, :], -flow[..., -1, :]
    np.subtract(flow[..., 1:, :], flow[..., :-1, :], out=out[..., 1:-1, :])
    flow = np.diff(field, axis=-1)
    out[..., :-1] += flow
    out[..., 1:] -= flow
    out /= spacing**2
    return out


def solve(
    start_FYX: Array,
    times_T: Array,
    *,
    spacing: float,
    diffusion: tuple[float, float] = DIFFUSION,
    k: float = REACTION,
) -> Array:
    """u and v at `times_T`, from `start_FYX` at time 0: (T, F, Y, X).

    Args:
        times_T: rising, at least 0.
        spacing: side of a cell; each axis has 2 or more.
    """
    from scipy.integrate import solve_ivp

    shape, weight_F11 = start_FYX.shape, np.array(diffusion)[:, None, None]

    def rate(_t: float, flat: Array) -> Array:
        u, v = fields = flat.reshape(shape)
        out = laplacian(fields, spacing)
        out *= weight_F11
        out[0] += u - u * u * u - k - v  # the power of numpy is many times slower than two products
        out[1] += u - v
        return out.reshape(-1)

    solution = solve_ivp(
        rate,
        (0.0, float(times_T[-1])),
        start_FYX.reshape(-1),
        method="RK23",
        t_eval=times_T,
        rtol=_RELATIVE_ERROR,
        atol=_ABSOLUTE_ERROR,
    )
    if not solution.success:
        raise FloatingPointError(f"no solution beyond t = {solution.t[-1]:g}: {solution.message}")
    return np.asarray(solution.y.T.reshape(-1, *shape))


def write_solutions(folder: Path, seed: int, *, samples: int = 250, points: int = 64) -> None:
    """Write `folder/2D_diff-react_NA_NA.h5`: one group a sample, data (6, points, points, 2) = u, v and the grids.

    PDEBench's own is `samples=1000, points=128`, with 101 times; that takes about 10 minutes.
    """
    spacing = WIDTH / points
    times_T = np.linspace(0.0, END_TIME, TIMES)
    centres = ((np.arange(points) + 0.5) * spacing - WIDTH / 2).astype(np.float32)

    def fields(index: int) -> Array:
        noise_FYX = np.random.default_rng([seed, 0x524432, index]).standard_normal((2, points, points))
        return solve(noise_FYX, times_T, spacing=spacing).transpose(0, 2, 3, 1)

    write_groups(folder / FILE, map(fields, range(samples)), {"x": centres, "y": centres, "t": times_T})
