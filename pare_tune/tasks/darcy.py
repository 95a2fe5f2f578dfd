"""Darcy flow through two materials: from the coefficient at 85×85 points to the pressure there (NAS-Bench-360).

Release: `piececonst_r421_N1024_smooth1.mat` and `…_smooth2.mat` of FNO (Li et al. 2021,
https://arxiv.org/abs/2010.08895), each with coeff and sol (1024, 421, 421). Every fifth point is used.
"""
# Shape suffixes: B = samples, H, W = rows and columns.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_finite, require_layout, to_float32
from pare_tune.data.hdf5 import get_dataset, open_hdf5
from pare_tune.data.matfiles import open_mat
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Dense, Modality, PaperSettings, Split, Task, release_at
from pare_tune.tasks.metrics import RELATIVE_L2
from pare_tune.tasks.samples.darcy_flow import write_piececonst

HOMEPAGE = "https://github.com/rtu715/NAS-Bench-360"
POINTS: Final = 85
"""Side of the grid that a finer file is subsampled to, where its step divides."""

_RELEASE = "piececonst_r421_N1024_smooth{}.mat"
_ANY = "piececonst_r*_N*_smooth{}.mat"
_MOST_TRAIN, _MOST_TEST = 1000, 100
_VAL_SHARE = 10  # one in ten
_FEWEST = 20
_EPSILON = 1e-5  # of the released normaliser

Floats = npt.NDArray[np.float32]


def read(root: Path, _seed: int) -> Mapping[Split, Iterable[Record]]:
    """coeff (85, 85) float32, normalised, and y (85, 85) float32.

    Train and val are the first 900 samples of the first file and the 100 that follow, test the first 100 of the
    second, as in the benchmark; of a smaller first file the last tenth is val. The coefficient is normalised point by
    point with the mean and spread of train. Files are read one column of grid points of all samples at a time.

    Raises:
        DataError: a file is missing, cut short, without coeff or sol, of another shape or type, or holds NaN.
    """
    with release_at(HOMEPAGE):
        coeff_BHW, sol_BHW = _load(_find(root, 1), _MOST_TRAIN)
        test_coeff_BHW, test_sol_BHW = _load(_find(root, 2), _MOST_TEST)
        count = len(coeff_BHW)
        if count < _FEWEST:
            raise DataError(f"{_find(root, 1)} must hold at least {_FEWEST} samples, found {count}")
        if test_coeff_BHW.shape[1:] != coeff_BHW.shape[1:]:
            raise DataError(
                f"{_find(root, 2)}: coeff must lie on the grid of {_find(root, 1).name}, "
                f"{coeff_BHW.shape[1:]}, found {test_coeff_BHW.shape[1:]}"
            )
    num_train = count - count // _VAL_SHARE
    mean_HW = coeff_BHW[:num_train].mean(axis=0, dtype=np.float64)
    spread_HW = coeff_BHW[:num_train].std(axis=0, ddof=1, dtype=np.float64) + _EPSILON

    def records(coeff_BHW: Floats, sol_BHW: Floats) -> Iterator[Record]:
        for coeff_HW, sol_HW in zip(coeff_BHW, sol_BHW, strict=True):
            yield {"coeff": ((coeff_HW - mean_HW) / spread_HW).astype(np.float32), "y": sol_HW}

    return {
        "train": records(coeff_BHW[:num_train], sol_BHW[:num_train]),
        "val": records(coeff_BHW[num_train:], sol_BHW[num_train:]),
        "test": records(test_coeff_BHW, test_sol_BHW),
    }


def item(record: Record, canvas: Canvas, _rng: np.random.Generator | None) -> dict[str, npt.NDArray[Any]]:
    """x (3, H, W) float32: normalised coefficient, position along the row, position along the column, both in [0, 1];
    y (H, W) float32. With `canvas` every n-th point, so that H = W = canvas.

    Raises:
        DataError: no step leads from the grid's edge to its other edge in `canvas` points.
    """
    points = len(record["y"])
    step = 1 if canvas is None else _step(points, canvas)
    coeff, y = record["coeff"][::step, ::step], record["y"][::step, ::step]
    position = np.linspace(0, 1, len(y), dtype=np.float32)
    along_row = np.broadcast_to(position, y.shape)
    return {"x": np.stack([coeff, along_row, along_row.T]), "y": np.ascontiguousarray(y)}


def _step(points: int, canvas: int) -> int:
    if canvas < 2 or (points - 1) % (canvas - 1):
        fit = [str(n) for n in range(16, points + 1) if (points - 1) % (n - 1) == 0]
        raise DataError(
            f"input.canvas of darcy must reach both edges of {points} points in equal steps: {', '.join(fit)}; "
            f"got {canvas}"
        )
    return (points - 1) // (canvas - 1)


def _find(root: Path, number: int) -> Path:
    path = root / _RELEASE.format(number)
    if path.is_file():
        return path
    others = sorted(root.glob(_ANY.format(number)))
    if len(others) == 1:
        return others[0]
    names = ", ".join(other.name for other in others) or "none"
    raise DataError(f"no file {path}; of other sizes one is read, found {names}")


def _load(path: Path, most: int) -> tuple[Floats, Floats]:
    """coeff and sol of the first `most` samples at the points that are used, each (B, H, W)."""
    import h5py

    read_field = _read_hdf5 if h5py.is_hdf5(path) else _read_mat5
    coeff_BHW, sol_BHW = (read_field(path, name, most) for name in ("coeff", "sol"))
    if sol_BHW.shape != coeff_BHW.shape:
        raise DataError(f"{path}: sol must have the shape of coeff, {coeff_BHW.shape}, found {sol_BHW.shape}")
    require_finite(coeff_BHW, "coeff", path)
    require_finite(sol_BHW, "sol", path)
    return coeff_BHW, sol_BHW


def _read_mat5(path: Path, name: str, most: int) -> Floats:
    array = open_mat(path, name)
    every = _every(array.dtype, array.shape, name, path)
    columns = [plane[:most, ::every] for col, plane in enumerate(array.planes()) if col % every == 0]
    return to_float32(np.stack(columns, axis=2))


def _read_hdf5(path: Path, name: str, most: int) -> Floats:
    """MATLAB 7.3 is HDF5 with the axes in reverse."""
    with open_hdf5(path) as file:
        data = get_dataset(file, name, path)
        every = _every(data.dtype, data.shape[::-1], name, path)
        # A column of grid points of all samples is one block on disk, and small.
        columns = [data[col][::every, :most].T for col in range(0, data.shape[0], every)]
        return to_float32(np.stack(columns, axis=2))


def _every(dtype: np.dtype[Any], shape: tuple[int, ...], name: str, path: Path) -> int:
    """The step over the points of an array of samples on a square grid: to 85 points where it divides, else 1."""
    require_layout(dtype, shape, name, path, shape=(None, None, None), kinds="fiu")
    count, rows, cols = shape
    if count == 0 or rows != cols or rows < 2:
        raise DataError(f"{path}: {name} must be samples on a square grid, found shape {shape}")
    return max(1, (rows - 1) // (POINTS - 1)) if (rows - 1) % (POINTS - 1) == 0 else 1


DARCY = Task(
    name="darcy",
    title="Darcy flow: coefficient of two materials on 85×85 points → pressure",
    modality=Modality.DENSE_2D,
    input_shape=(3, POINTS, POINTS),
    output=Dense((POINTS, POINTS)),
    loss="relative_l2",
    metric=RELATIVE_L2,
    paper=PaperSettings.of("darcy"),
    embedded_provenance="solved",
    homepage=HOMEPAGE,
    files=(_RELEASE.format(1), _RELEASE.format(2)),
    read=read,
    make=write_piececonst,
    release_size={"train": 1024, "test": 1024, "points": 421},
    item=item,
    scale_target="pointwise",
    # At the modality's rate of 2e-3 it stays behind a linear model.
    embedded={"optimizer.lr": 5e-4, "train.epochs": 10, "train.batch_size": 8},
)
