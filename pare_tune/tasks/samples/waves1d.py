"""The linear advection equation ∂u/∂t + β ∂u/∂x = 0 on the periodic unit interval, solved exactly.

u(x, t) = u₀(x − βt), evaluated from the formula of u₀ and not from its samples: no numerical diffusion, no
interpolation. u₀ is drawn from the family that PDEBench describes (Takamoto et al. 2022,
https://arxiv.org/abs/2210.07182): two sine waves of random integer wavenumber, amplitude and phase; some sums are
folded by the absolute value, flipped or cut by a smooth window. Written in PDEBench's file layout, at 256 points
and few times instead of 1024 and 201.
"""
# Shape suffixes: B = samples, W = waves of a sample, T = times, X = grid points.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FILE: Final = "1D_Advection_Sols_beta0.4.hdf5"
BETA: Final = 0.4
END_TIME: Final = 2.0
SAMPLES: Final = 600
POINTS: Final = 256
TIMES: Final = 11

_WAVES, _MAX_WAVENUMBER = 2, 8
_FOLDED, _WINDOWED = 0.1, 0.1  # shares of the samples
_BLOCK = 500  # samples solved at once
_WINDOW_EDGE = 0.01  # width of the window's tanh, in units of the interval


@dataclass(frozen=True, slots=True)
class Waves:
    """Random initial conditions as formulas, so that they can be evaluated anywhere."""

    wavenumber: Array
    amplitude: Array
    phase: Array
    """These three (B, W), the others (B,)."""
    folded: npt.NDArray[np.bool_]
    sign: Array
    windowed: npt.NDArray[np.bool_]
    window: Array
    """(B, 2), left and right edge in [0, 1]."""
    edge: float = _WINDOW_EDGE

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> Waves:
        """`size` initial conditions."""
        return cls(
            wavenumber=rng.integers(1, _MAX_WAVENUMBER + 1, (size, _WAVES)).astype(float),
            amplitude=rng.random((size, _WAVES)),
            phase=2 * np.pi * rng.random((size, _WAVES)),
            folded=rng.random(size) < _FOLDED,
            sign=rng.choice([-1.0, 1.0], size),
            windowed=rng.random(size) < _WINDOWED,
            window=np.stack([rng.uniform(0.1, 0.45, size), rng.uniform(0.55, 0.9, size)], axis=1),
        )

    def rows(self, low: int, high: int) -> Waves:
        """Those from `low` to before `high`."""
        return replace(
            self, **{f.name: getattr(self, f.name)[low:high] for f in fields(self) if f.name != "edge"}
        )

    def at(self, x_X: Array) -> Array:
        """u₀ at positions of any sign and size, (B, X); period 1."""
        x_X = np.mod(x_X, 1.0)  # the sines are periodic by themselves, the window is not
        angle_BWX = 2 * np.pi * self.wavenumber[..., None] * x_X + self.phase[..., None]
        u_BX = (self.amplitude[..., None] * np.sin(angle_BWX)).sum(axis=1)
        u_BX = self.sign[:, None] * np.where(self.folded[:, None], np.abs(u_BX), u_BX)
        left_B1, right_B1 = self.window[:, :1], self.window[:, 1:]
        window_BX = np.tanh((x_X - left_B1) / self.edge) - np.tanh((x_X - right_B1) / self.edge)
        return np.asarray(np.where(self.windowed[:, None], u_BX * window_BX / 2, u_BX))


def advect(waves: Waves, *, x_X: Array, t_T: Array, beta: float = BETA) -> Array:
    """The exact solution u₀(x − βt) at positions `x_X` and times `t_T`, (B, T, X)."""
    return np.stack([waves.at(x_X - beta * t) for t in t_T], axis=1)


@contextmanager
def new_solutions(
    path: Path, samples: int, x_X: Array, t_T: Array, names: Sequence[str] = ("tensor",)
) -> Iterator[list[Any]]:
    """A file in the layout of PDEBench's 1D solutions: the grids, and arrays (samples, T, X) float32 to be filled."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        yield [file.create_dataset(name, (samples, len(t_T), len(x_X)), np.float32) for name in names]
        file["x-coordinate"] = x_X.astype(np.float32)
        file["t-coordinate"] = t_T.astype(np.float32)


def write_groups(
    path: Path, samples: Iterable[npt.NDArray[Any]], grids: Mapping[str, npt.NDArray[Any]]
) -> None:
    """A file in PDEBench's layout of a group a sample: its fields as data, and the grids, all float32."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for index, fields in enumerate(samples):
            group = file.create_group(f"{index:04d}")
            group["data"] = fields.astype(np.float32)
            for axis, positions in grids.items():
                group[f"grid/{axis}"] = positions.astype(np.float32)


def write_solutions(
    root: Path, seed: int, *, samples: int = SAMPLES, points: int = POINTS, times: int = TIMES
) -> None:
    """Write `root/1D_Advection_Sols_beta0.4.hdf5`: tensor (n, times, points) float32, x- and t-coordinate.

    PDEBench's own has 10000 samples of 201 times at 1024 points.
    """
    waves = Waves.draw(np.random.default_rng([seed, 0x414456]), samples)
    x_X = (np.arange(points) + 0.5) / points  # cell centres, as PDEBench's
    t_T = np.linspace(0.0, END_TIME, times)
    with new_solutions(root / FILE, samples, x_X, t_T) as (tensor,):
        for low in range(0, samples, _BLOCK):
            tensor[low : low + _BLOCK] = advect(waves.rows(low, low + _BLOCK), x_X=x_X, t_T=t_T)
