"""Random periodic waves as PDEBench's generators really draw them (Takamoto et al. 2022).

Each of `slots` wavenumbers 1, 2, … has a random amplitude and phase, and two picks, possibly the same, say which are
waves: one that is picked twice has twice its wavenumber, one that is not picked has wavenumber 0 and is a constant.
So the mean is random too, which is all that is left of a wave once diffusion is done with it. Some waves are folded by
the absolute value, half of all flipped, some cut by a smooth window.
"""
# Shape suffixes: B = samples, S = slots, T = times, X = grid points.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pare_tune.tasks.samples.waves1d import Array, Waves, new_solutions

_PICKS = 2
_FOLDED = 0.1  # share of the samples
_LEFT, _RIGHT = (0.1, 0.45), (0.55, 0.9)  # where a window's edges lie
_EDGE = 0.01  # width of a window's tanh
_BLOCK = 64  # samples solved at once


def draw_waves(
    rng: np.random.Generator,
    size: int,
    *,
    slots: int,
    windowed: float,
    domain: tuple[float, float] = (0.0, 1.0),
) -> Waves:
    """`size` initial conditions on `domain`, which `Waves` sees as the unit interval.

    Args:
        windowed: share of the samples that are cut by a window; its edges are positions in `domain`.
    """
    start, length = domain[0], domain[1] - domain[0]
    picks_BS = (rng.integers(slots, size=(size, _PICKS, 1)) == np.arange(slots)).sum(axis=1)
    edges_B2 = np.stack([rng.uniform(*_LEFT, size), rng.uniform(*_RIGHT, size)], axis=1)
    return Waves(
        wavenumber=(picks_BS * np.arange(1, slots + 1)).astype(float),
        amplitude=rng.random((size, slots)),
        phase=2 * np.pi * rng.random((size, slots)),
        folded=rng.random(size) < _FOLDED,
        sign=rng.choice([-1.0, 1.0], size),
        windowed=rng.random(size) < windowed,
        window=(edges_B2 - start) / length,
        edge=_EDGE / length,
    )


def to_unit_range(u_BX: Array) -> Array:
    """Each sample shifted and scaled to span 0 to 1."""
    u_BX = u_BX - u_BX.min(axis=1, keepdims=True)
    return np.asarray(u_BX / u_BX.max(axis=1, keepdims=True))


def cell_centres(points: int, domain: tuple[float, float] = (0.0, 1.0)) -> Array:
    """Where PDEBench's grids have their points, (X,)."""
    return domain[0] + (domain[1] - domain[0]) * (np.arange(points) + 0.5) / points


def write_waves(
    path: Path,
    solve: Callable[[Array, Array], Array],
    rng: np.random.Generator,
    *,
    samples: int,
    points: int,
    t_T: Array,
    slots: int,
    windowed: float,
) -> None:
    """Draw waves as `draw_waves`, solve them block by block, and write them in PDEBench's layout.

    Args:
        solve: (waves (B, X), times (T,)) → (B, T, X).
    """
    x_X = cell_centres(points)
    with new_solutions(path, samples, x_X, t_T) as (tensor,):
        for low in range(0, samples, _BLOCK):
            waves = draw_waves(rng, min(_BLOCK, samples - low), slots=slots, windowed=windowed)
            tensor[low : low + _BLOCK] = solve(waves.at(x_X), t_T)
