"""The shallow-water equations over a flat bed, and PDEBench's radial dam break, by finite volumes.

    ∂h/∂t + ∇·(h𝐮) = 0,    ∂(h𝐮)/∂t + ∇·(h𝐮𝐮ᵀ + ½gh² 𝐈) = 0

Second order in space and time away from shocks: limited linear reconstruction of h, u, v (van Leer 1979,
https://doi.org/10.1016/0021-9991(79)90145-1), HLLC fluxes (Toro, Spruce & Speares 1994,
https://doi.org/10.1007/BF01414629), Heun's method (Shu & Osher 1988,
https://doi.org/10.1016/0021-9991(88)90177-5). Every sample takes its own time steps, so a solution does not depend
on which others are computed beside it. Water must be everywhere: there is no treatment of dry bed.

PDEBench (Takamoto et al. 2022, https://arxiv.org/abs/2210.07182) solves the dam break with another second-order
finite-volume code at 128×128; the file written here has its layout, at fewer points, samples and times.
"""
# Shape suffixes: C = 3 components, Y, X = cells of the two axes, T = times, B = samples (last: long runs in memory).

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np

from pare_tune.tasks.samples.waves1d import Array, write_groups

Side = Literal["outflow", "wall"]
"""What lies beyond the domain. outflow: the edge goes on (Neumann). wall: the mirror image."""

FILE: Final = "2D_rdb_NA_NA.h5"
HALF_WIDTH: Final = 2.5
"""The domain is (-2.5, 2.5)²."""
INNER_HEIGHT: Final = 2.0
OUTER_HEIGHT: Final = 1.0
RADII: Final = (0.3, 0.7)
END_TIME: Final = 1.0
TIMES: Final = 6

_CFL = 0.5  # of the sum over both axes: limited reconstruction keeps h positive up to here
_GHOSTS = 2
_AT_ONCE = 16  # samples whose arrays stay in a core's cache
_CHORDS = 32  # lines a cell on which the disc's area is measured
_Y, _X = 1, 2  # axes of the arrays, and the components of momentum along them


def evolve(
    state_CYXB: Array,
    times_T: Array,
    *,
    spacing: float,
    gravity: float = 1.0,
    low: Side = "outflow",
    high: Side = "outflow",
) -> Array:
    """Means over cells of h, the momentum along y and that along x, at `times_T`: (T, C, Y, X, B).

    Args:
        state_CYXB: the same at time 0, with h above 0.
        times_T: rising, at least 0.
        spacing: side of a cell.
        low: what lies before the first cell of both axes.
        high: what lies after their last one.

    Raises:
        ValueError: h is not above 0 everywhere, or the times do not rise from 0 on.
    """
    if not (state_CYXB[0] > 0).all():
        raise ValueError(f"h must be above 0 everywhere, the lowest is {state_CYXB[0].min():g}")
    if (np.diff(times_T, prepend=0.0) < 0).any():
        raise ValueError(f"times must rise from 0 on, got {times_T}")
    q, t_B = state_CYXB, np.zeros(state_CYXB.shape[-1])
    frames: list[Array] = []
    for end in times_T:
        while (t_B < end).any():
            dt_B = np.minimum(_longest_step(q, spacing, gravity), end - t_B)
            # Heun: the mean of where two Euler steps and none lead.
            once = q + dt_B * _rate(q, spacing, gravity, low, high)
            q = 0.5 * (q + once + dt_B * _rate(once, spacing, gravity, low, high))
            t_B = np.where(dt_B < end - t_B, t_B + dt_B, end)
        frames.append(q)
    return np.stack(frames)


def radial_dam_break(radius_B: Array, times_T: Array, *, points: int) -> Array:
    """h at `times_T` after a cylinder of water is let go at the centre: (B, T, points, points).

    Cells that the cylinder's rim crosses begin at their mean height. (PDEBench's begin at the height of their centre,
    by which many radii are one initial state: 24 in all at 64 points.) The flow is its own mirror image in both axes,
    so one quarter is computed, with walls at the centre.

    Raises:
        ValueError: `points` is odd.
    """
    if points % 2:
        raise ValueError(f"points must be even, so that the domain has a middle, got {points}")
    spacing = 2 * HALF_WIDTH / points
    quarters: list[Array] = []
    for start in range(0, len(radius_B), _AT_ONCE):
        share_YXB = _disc_shares(radius_B[start : start + _AT_ONCE], points // 2, spacing)
        state = np.zeros((3, *share_YXB.shape))
        state[0] = OUTER_HEIGHT + (INNER_HEIGHT - OUTER_HEIGHT) * share_YXB
        h_TYXB = evolve(state, times_T, spacing=spacing, low="wall", high="outflow")[:, 0]
        quarters.append(h_TYXB.transpose(3, 0, 1, 2))
    quarter_BTYX = np.concatenate(quarters)
    half = np.concatenate([quarter_BTYX[:, :, ::-1], quarter_BTYX], axis=2)
    return np.concatenate([half[..., ::-1], half], axis=3)


def write_solutions(folder: Path, seed: int, *, samples: int = 250, points: int = 64) -> None:
    """Write `folder/2D_rdb_NA_NA.h5`: one group a sample, with data (6, points, points, 1), grid/x, grid/y, grid/t.

    PDEBench's own is `samples=1000, points=128`, with 101 times. The radius is uniform in (0.3, 0.7).
    """
    radius_B = np.random.default_rng([seed, 0x524442]).uniform(*RADII, samples)
    times_T = np.linspace(0.0, END_TIME, TIMES)
    centres = ((np.arange(points) + 0.5) * (2 * HALF_WIDTH / points) - HALF_WIDTH).astype(np.float32)
    # A few at a time, so that the largest file takes no more memory than the smallest.
    parts = (radius_B[start : start + _AT_ONCE] for start in range(0, samples, _AT_ONCE))
    heights = (h_TYX[..., None] for part in parts for h_TYX in radial_dam_break(part, times_T, points=points))
    write_groups(folder / FILE, heights, {"x": centres, "y": centres, "t": times_T})


def _disc_shares(radius_B: Array, cells: int, spacing: float) -> Array:
    """Share of each cell of the first quadrant that lies within each radius, (Y, X, B)."""
    y = (np.arange(cells * _CHORDS) + 0.5) * (spacing / _CHORDS)
    chord = np.sqrt(np.maximum(radius_B**2 - y[:, None] ** 2, 0.0))  # (lines, B), exact along the line
    left = np.arange(cells) * spacing
    share = np.clip((chord[:, None] - left[:, None]) / spacing, 0.0, 1.0)  # (lines, X, B)
    share_YXB = share.reshape(cells, _CHORDS, cells, -1).mean(axis=1)
    return np.asarray(0.5 * (share_YXB + share_YXB.transpose(1, 0, 2)))  # exact chords along both axes alike


def _longest_step(q: Array, spacing: float, gravity: float) -> Array:
    """The longest stable time step of each sample, (B,)."""
    speed = (np.abs(q[_Y]) + np.abs(q[_X])) / q[0] + 2 * np.sqrt(gravity * q[0])
    return np.asarray(_CFL * spacing / speed.max(axis=(0, 1)))


def _rate(q: Array, spacing: float, gravity: float, low: Side, high: Side) -> Array:
    """∂q/∂t: what flows into each cell less what flows out, over its side."""
    w = np.concatenate([q[:1], q[1:] / q[0]])  # limited in h, u, v: no new extremes of the velocity
    change = np.zeros_like(q)
    for axis in (_Y, _X):
        flux = _fluxes(w, axis, gravity, low, high)
        change -= np.diff(flux, axis=axis)
    return change / spacing


def _fluxes(w: Array, axis: int, gravity: float, low: Side, high: Side) -> Array:
    """HLLC flux of (h, momenta) through all faces across `axis`: one more than cells."""
    n = w.shape[axis]
    padded = _padded(w, axis, low, high)
    difference = np.diff(padded, axis=axis)
    half = 0.5 * _limited(_cut(difference, axis, 0, n + 2), _cut(difference, axis, 1, n + 3))
    inner = _cut(padded, axis, 1, n + 3)
    left, right = _cut(inner + half, axis, 0, n + 1), _cut(inner - half, axis, 1, n + 2)

    along, across = axis, _Y + _X - axis
    sound_l, sound_r = np.sqrt(gravity * left[0]), np.sqrt(gravity * right[0])
    # The slowest and fastest signals, as seen from both sides; 0 between them keeps one formula for all cases.
    slow = np.minimum(np.minimum(left[along] - sound_l, right[along] - sound_r), 0.0)
    fast = np.maximum(np.maximum(left[along] + sound_l, right[along] + sound_r), 0.0)
    mass_l, mass_r = left[0] * left[along], right[0] * right[along]
    push_l = mass_l * left[along] + 0.5 * gravity * left[0] ** 2
    push_r = mass_r * right[along] + 0.5 * gravity * right[0] ** 2

    flux = np.empty_like(left)
    both, width = slow * fast, fast - slow
    flux[0] = (fast * mass_l - slow * mass_r + both * (right[0] - left[0])) / width
    flux[along] = (fast * push_l - slow * push_r + both * (mass_r - mass_l)) / width
    # The transverse velocity rides with the water: the wave that HLL alone smears.
    flux[across] = flux[0] * np.where(flux[0] > 0, left[across], right[across])
    return flux


def _limited(a: Array, b: Array) -> Array:
    """Monotonised central slope: the mean of both differences, at most twice either, 0 at an extreme."""
    least = np.minimum(np.minimum(2 * np.abs(a), 2 * np.abs(b)), 0.5 * np.abs(a + b))
    return np.asarray(np.where(a * b > 0, np.copysign(least, a), 0.0))


def _padded(w: Array, axis: int, low: Side, high: Side) -> Array:
    n = w.shape[axis]
    before, after = _cut(w, axis, 0, _GHOSTS), _cut(w, axis, n - _GHOSTS, n)
    return np.concatenate([_beyond(before, axis, low, 0), w, _beyond(after, axis, high, -1)], axis=axis)


def _beyond(edge: Array, axis: int, side: Side, last: int) -> Array:
    """Two ghost cells next to the two cells of `edge`, of which `last` touches the boundary."""
    if side == "outflow":
        return np.repeat(np.take(edge, [last], axis=axis), _GHOSTS, axis=axis)
    ghosts = np.flip(edge, axis=axis).copy()
    ghosts[axis] *= -1.0  # component number = axis: the velocity into the wall
    return ghosts


def _cut(a: Array, axis: int, start: int, stop: int) -> Array:
    index = [slice(None)] * a.ndim
    index[axis] = slice(start, stop)
    return a[tuple(index)]
