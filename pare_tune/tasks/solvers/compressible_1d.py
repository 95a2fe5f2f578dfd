"""Viscous compressible gas on the periodic interval (−1, 1), γ = 5/3, η = ζ = 0.1, to t = 1.

    ∂ρ/∂t + ∂(ρv)/∂x = 0,   ∂(ρv)/∂t + ∂(ρv² + p)/∂x = ∂(νρ ∂v/∂x)/∂x,   ∂E/∂t + ∂((E + p)v)/∂x = ∂(νρ v ∂v/∂x)/∂x,
    E = p/(γ − 1) + ρv²/2,   ν = ζ + 4η/3.

The viscosity is kinematic (times ρ), as in PDEBench's data; there is no conduction of heat. Second order in space and
time where the flow is smooth: MUSCL-Hancock with HLLC fluxes (Toro 2009, chapters 10 and 14) for the gas, between
halves of an L-stable implicit step for the viscosity (Strang splitting), so that only sound limits the time step. Mass,
momentum and energy are conserved to rounding.

Initial fields and parameters: PDEBench (Takamoto et al. 2022, https://arxiv.org/abs/2210.07182).
"""
# Shape suffixes: V = the three fields, B = samples, T = times, X = cells, F = faces (face i is left of cell i).

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pare_tune.tasks.samples.waves1d import Array, new_solutions
from pare_tune.tasks.solvers.initial_waves import cell_centres, draw_waves, to_unit_range

FILE: Final = "1D_CFD_Rand_Eta0.1_Zeta0.1_periodic_Train.hdf5"
FIELDS: Final = ("density", "pressure", "Vx")
DOMAIN: Final = (-1.0, 1.0)
GAMMA: Final = 5 / 3
ETA: Final = 0.1
ZETA: Final = 0.1
END_TIME: Final = 1.0
SAMPLES: Final = 320
POINTS: Final = 256
TIMES: Final = 11

_CFL = 0.8
_SDIRK = 1 - 1 / math.sqrt(2)
_SLOTS, _WINDOWED = 3, 0.5
_DENSITY, _PRESSURE = (1.0, 10.0), (10.0, 100.0)  # of both offset and range, drawn evenly in their logarithm
_BLOCK = 32  # samples solved at once, few enough for the processor's cache


def draw_fields(rng: np.random.Generator, size: int, x_X: Array) -> Array:
    """`size` random initial states of density, pressure and velocity, (V, B, X)."""
    density, pressure, velocity = (
        draw_waves(rng, size, slots=_SLOTS, windowed=_WINDOWED, domain=DOMAIN).at(
            (x_X - DOMAIN[0]) / (DOMAIN[1] - DOMAIN[0])
        )
        for _ in FIELDS
    )
    return np.stack([_positive(rng, density, _DENSITY), _positive(rng, pressure, _PRESSURE), velocity])


def _positive(rng: np.random.Generator, u_BX: Array, limits: tuple[float, float]) -> Array:
    low, high = math.log(limits[0]), math.log(limits[1])
    offset_B1, range_B1 = np.exp(rng.uniform(low, high, (2, len(u_BX), 1)))
    return np.asarray(offset_B1 + range_B1 * to_unit_range(u_BX))


def solve(
    initial_VBX: Array,
    t_T: Array,
    *,
    length: float = DOMAIN[1] - DOMAIN[0],
    gamma: float = GAMMA,
    eta: float = ETA,
    zeta: float = ZETA,
    cfl: float = _CFL,
) -> Array:
    """Density, pressure and velocity at ascending times `t_T` ≥ 0, (V, B, T, X); all samples share their steps."""
    width, viscosity = length / initial_VBX.shape[2], zeta + 4 / 3 * eta
    solution_VBTX = np.empty((*initial_VBX.shape[:2], len(t_T), initial_VBX.shape[2]))
    state_VBX, now = _conserved(initial_VBX, gamma), 0.0
    for i, t in enumerate(t_T):
        pending = 0.0  # viscous time: the halves of two steps are one
        while now < t:
            density, pressure, velocity = _primitive(state_VBX, gamma)
            fastest = float((np.abs(velocity) + np.sqrt(gamma * pressure / density)).max())
            steps = math.ceil((t - now) * fastest / (cfl * width))
            step = (t - now) / steps
            state_VBX = _diffuse(state_VBX, pending + step / 2, width, viscosity)
            state_VBX = _transport(state_VBX, step, width, gamma)
            pending, now = step / 2, t if steps == 1 else now + step
        state_VBX = _diffuse(state_VBX, pending, width, viscosity)
        solution_VBTX[:, :, i] = _primitive(state_VBX, gamma)
    return solution_VBTX


def _conserved(primitive_VBX: Array, gamma: float) -> Array:
    """Density, pressure, velocity → density, energy, momentum."""
    density, pressure, velocity = primitive_VBX
    energy = pressure / (gamma - 1) + 0.5 * density * velocity**2
    return np.stack([density, energy, density * velocity])


def _primitive(state_VBX: Array, gamma: float) -> Array:
    density, energy, momentum = state_VBX
    velocity = momentum / density
    return np.stack([density, (gamma - 1) * (energy - 0.5 * momentum * velocity), velocity])


def _transport(state_VBX: Array, step: float, width: float, gamma: float) -> Array:
    """One MUSCL-Hancock step without viscosity: limited slopes, half a step within each cell, fluxes between cells."""
    primitive_VBX = _primitive(state_VBX, gamma)
    # Two cells more on each side, for the slopes of one more.
    padded = np.concatenate([primitive_VBX[..., -2:], primitive_VBX, primitive_VBX[..., :2]], axis=-1)
    slope = _limited_slope(np.diff(padded, axis=-1))
    (density, pressure, velocity), (d_density, d_pressure, d_velocity) = padded[..., 1:-1], slope
    middle = np.stack(
        [
            velocity * d_density + density * d_velocity,
            velocity * d_pressure + gamma * pressure * d_velocity,
            velocity * d_velocity + d_pressure / density,
        ]
    )
    middle *= -0.5 * step / width
    middle += padded[..., 1:-1]
    slope *= 0.5
    flux_VBF = _hllc((middle + slope)[..., :-1], (middle - slope)[..., 1:], gamma)
    return state_VBX - step / width * np.diff(flux_VBF, axis=-1)


def _limited_slope(difference: Array) -> Array:
    """The monotonised central slope (van Leer 1977) times the width, from the differences to both neighbours."""
    before, after = difference[..., :-1], difference[..., 1:]
    size = np.minimum(np.abs(before), np.abs(after))
    size *= 2
    np.minimum(size, 0.5 * np.abs(before + after), out=size)
    return size * (0.5 * (np.sign(before) + np.sign(after)))


def _hllc(left: Array, right: Array, gamma: float) -> Array:
    """Fluxes of density, energy and momentum between two states; contacts are resolved exactly (Toro et al. 1994)."""
    (density_l, pressure_l, velocity_l), (density_r, pressure_r, velocity_r) = left, right
    sound_l, sound_r = np.sqrt(gamma * pressure_l / density_l), np.sqrt(gamma * pressure_r / density_r)
    slowest = np.minimum(velocity_l - sound_l, velocity_r - sound_r)
    fastest = np.maximum(velocity_l + sound_l, velocity_r + sound_r)
    inertia_l, inertia_r = density_l * (slowest - velocity_l), density_r * (fastest - velocity_r)
    contact = pressure_r - pressure_l + inertia_l * velocity_l - inertia_r * velocity_r
    contact /= inertia_l - inertia_r
    # Only the side of the contact that the face lies on is needed, and its star state unless the whole fan has passed.
    from_left = contact >= 0
    density, pressure, velocity = np.where(from_left, left, right)
    wave = np.where(from_left, slowest, fastest)
    inertia = np.where(from_left, inertia_l, inertia_r)
    energy = pressure / (gamma - 1) + 0.5 * density * velocity**2
    star_pressure = pressure + inertia * (contact - velocity)
    star_energy = (wave - velocity) * energy - pressure * velocity + star_pressure * contact
    own = np.stack([density, energy, pressure, velocity])
    star = np.stack([inertia, star_energy, star_pressure, contact])
    star[:2] /= wave - contact
    density, energy, pressure, velocity = np.where(wave * np.where(from_left, 1, -1) >= 0, own, star)
    momentum = density * velocity
    return np.stack([momentum, (energy + pressure) * velocity, momentum * velocity + pressure])


def _diffuse(state_VBX: Array, step: float, width: float, viscosity: float) -> Array:
    """One step of viscosity alone: ρ stays, v diffuses, what it loses becomes heat."""
    if viscosity == 0:
        return state_VBX
    density, energy, momentum = state_VBX
    stiff_BF = 0.5 * viscosity / width * (density + _previous(density))

    def forces(velocity: Array) -> Array:
        """Of momentum and energy per cell, (2, B, X)."""
        stress_BF = stiff_BF * (velocity - _previous(velocity))
        power_BF = stress_BF * 0.5 * (velocity + _previous(velocity))
        return np.stack([_next(stress_BF) - stress_BF, _next(power_BF) - power_BF]) / width

    system = _Ring(density, _SDIRK * step / width * stiff_BF)
    first = forces(system.solve(momentum))
    momentum_so_far = momentum + (1 - _SDIRK) * step * first[0]
    second = forces(system.solve(momentum_so_far))
    change = step * ((1 - _SDIRK) * first + _SDIRK * second)
    return np.stack([density, energy + change[1], momentum + change[0]])


class _Ring:
    """Symmetric, positive definite, periodic tridiagonal systems, one a sample, solved as one.

    (Ax)_i = diagonal_i x_i + link_i (x_i − x_{i−1}) + link_{i+1} (x_i − x_{i+1}). The link between the last cell and
    the first is opened and put back by Sherman and Morrison's formula.
    """

    def __init__(self, diagonal_BX: Array, link_BF: Array) -> None:
        from scipy.linalg.lapack import dpttrf

        self._seam_B1 = link_BF[:, :1]
        open_BF = link_BF.copy()
        open_BF[:, 0] = 0.0
        total_BX = diagonal_BX + open_BF + _next(open_BF)
        *self._factor, failed = dpttrf(total_BX.reshape(-1), -open_BF.reshape(-1)[1:])
        assert failed == 0, "links are positive, so the system is positive definite"
        ends_BX = np.zeros_like(link_BF)
        ends_BX[:, 0], ends_BX[:, -1] = 1.0, -1.0
        self._response_BX = self._solve_open(ends_BX)

    def _solve_open(self, right_BX: Array) -> Array:
        from scipy.linalg.lapack import dpttrs

        flat: Array = dpttrs(*self._factor, right_BX.reshape(-1))[0]
        return flat.reshape(right_BX.shape)

    def solve(self, right_BX: Array) -> Array:
        """x of A x = right, (B, X)."""
        x_BX = self._solve_open(right_BX)
        response_BX = self._response_BX
        jump_B1 = x_BX[:, :1] - x_BX[:, -1:]
        own_B1 = response_BX[:, :1] - response_BX[:, -1:]
        return x_BX - self._seam_B1 * jump_B1 / (1 + self._seam_B1 * own_B1) * response_BX


def _previous(u: Array) -> Array:
    return np.concatenate([u[..., -1:], u[..., :-1]], axis=-1)


def _next(u: Array) -> Array:
    return np.concatenate([u[..., 1:], u[..., :1]], axis=-1)


def write_solutions(
    folder: Path, seed: int, *, samples: int = SAMPLES, points: int = POINTS, times: int = TIMES
) -> None:
    """Write `folder/1D_CFD_Rand_Eta0.1_Zeta0.1_periodic_Train.hdf5`: density, pressure and Vx, each (samples, times,
    points) float32, x- and t-coordinate.

    PDEBench's own has 10000 samples of 101 times at 1024 points.
    """
    x_X, t_T = cell_centres(points, DOMAIN), np.linspace(0.0, END_TIME, times)
    initial_VBX = draw_fields(np.random.default_rng([seed, 0x434644]), samples, x_X)
    with new_solutions(folder / FILE, samples, x_X, t_T, FIELDS) as arrays:
        for rows in _blocks(initial_VBX):
            for array, solved_BTX in zip(arrays, solve(initial_VBX[:, rows], t_T), strict=True):
                array[rows] = solved_BTX


def _blocks(initial_VBX: Array) -> Iterator[npt.NDArray[np.int64]]:
    """Samples of like speed of sound together, since the fastest sets the step for its block."""
    density, pressure, velocity = initial_VBX
    fastest_B = (np.abs(velocity) + np.sqrt(GAMMA * pressure / density)).max(axis=1)
    order = np.argsort(fastest_B, kind="stable")
    for low in range(0, len(order), _BLOCK):
        yield np.sort(order[low : low + _BLOCK])
