"""PDEBench's 1D compressible Navier-Stokes equations, η = ζ = 0.1, periodic: from the gas at t = 0 to t = 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.store import Record
from pare_tune.tasks.base import Dense
from pare_tune.tasks.pdebench import Splits
from pare_tune.tasks.pdebench_task import first_to_last, pdebench_task
from pare_tune.tasks.solvers.compressible_1d import END_TIME, FIELDS, FILE, write_solutions

POINTS: Final = 1024

_FILE: Final = first_to_last(*FIELDS, file=FILE, points=POINTS, end_time=END_TIME)

Array = npt.NDArray[Any]


def read(root: Path, seed: int) -> Splits:
    """x (3, 1024) float32 density, pressure and velocity in the first saved frame; y (3072,) those in the last, the
    three of one point beside each other. Fewer points where the file was solved on fewer.

    Both are normalised by `normaliser`: the benchmark's scores are of normalised fields, else pressure alone, up to 200
    where velocity is 1, would be scored. Splits and errors as `ArrayFile.read`.
    """
    mean, spread = normaliser(root, seed)
    return {split: _normalised(records, mean, spread) for split, records in _FILE.read(root, seed).items()}


def normaliser(root: Path, seed: int) -> tuple[Array, Array]:
    """Mean and spread of the training inputs at each field and point, (3, X) float64; fields are spread · x + mean."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for count, record in enumerate(_FILE.read(root, seed)["train"], start=1):
        x = record["x"].astype(np.float64)
        before = x - mean
        mean = mean + before / count  # Welford 1962: one pass, no difference of large sums
        squares = squares + before * (x - mean)
    spread = np.sqrt(squares / count)
    return mean, np.where(spread > 0, spread, 1.0)


def _normalised(records: Iterator[Record], mean: Array, spread: Array) -> Iterator[Record]:
    for record in records:
        x, y = ((record[name] - mean) / spread for name in ("x", "y"))
        yield {"x": x.astype(np.float32), "y": y.T.reshape(-1).astype(np.float32)}


PDE_NAVIER_STOKES_1D = pdebench_task(
    _FILE,
    name="pde-navier-stokes-1d",
    title="1D compressible gas, density, pressure and velocity at t = 0 on 1024 points → the same at t = 1",
    output=Dense((len(FIELDS) * POINTS,)),
    read=read,
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
