"""PDEBench's two HDF5 layouts, and how its tasks are cut from them: one saved time in, a later one out.

A file is either a set of arrays over all samples (`ArrayFile`) or one group a sample (`GroupFile`). Only the frames
that a task needs are read, a block of samples at a time. PDEBench: Takamoto et al. 2022,
https://arxiv.org/abs/2210.07182.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import require_finite, require_layout, to_float32
from pare_tune.data.hdf5 import get_dataset, open_hdf5
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import Split, release_at

if TYPE_CHECKING:
    import h5py

HOMEPAGE: Final = "https://doi.org/10.18419/darus-2986"
"""The data repository of all of PDEBench's files."""

_TEST_SHARE = _VAL_SHARE = 10  # one in ten
_READ_AT_ONCE = 64  # samples: 4 MiB of one 128×128 frame

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Splits = Mapping[Split, Iterator[Record]]


@dataclass(frozen=True, slots=True)
class Frame:
    """Of an `ArrayFile`: array `name`, (n, T, *axes), at saved time `time`.

    A negative `time` counts from the last one; None says that the array is (n, *axes), without times.
    """

    name: str
    time: int | None


@dataclass(frozen=True, slots=True)
class Channel:
    """Of a `GroupFile`: channel `index` of each `data`, (T, *axes, C), at saved time `time`, as in `Frame`."""

    index: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFile:
    """A file of arrays over all samples, beside `t-coordinate` and one array of positions an axis.

    Records are float32: x (inputs, *axes); y (*axes) of one target, (targets, *axes) of several.
    """

    file: str
    inputs: tuple[Frame, ...]
    targets: tuple[Frame, ...]
    points: tuple[int, ...]
    """Most grid points that the model gets, an axis. A longer axis, of a multiple of them, is subsampled; a shorter
    one, of a divisor, is of a smaller file solved elsewhere and kept as it is."""
    coordinates: tuple[str, ...] = ("x-coordinate",)
    """Arrays of the axes' positions, in the order of the axes."""
    end_time: float | None
    """Of the last frame, in the equation's unit; None where nothing depends on time."""

    def read(self, root: Path, seed: int) -> Splits:
        """The records of `root/file`, streamed; the first tenth is test, as in the benchmark, and a tenth of the
        rest, chosen by `seed`, is val.

        Raises:
            DataError: the file is missing, cut short or not laid out as PDEBench's; it spans other times; it
                holds NaN.
        """
        path = locate(root, self.file)
        with release_at(HOMEPAGE), open_hdf5(path) as file:
            count = self._check(file, path)
        num_test = count // _TEST_SHARE
        chosen = _split(np.arange(num_test), np.arange(num_test, count), seed)
        return {split: self._records(path, indices) for split, indices in chosen.items()}

    @property
    def _frames(self) -> tuple[Frame, ...]:
        return tuple(dict.fromkeys((*self.inputs, *self.targets)))

    def _check(self, file: h5py.File, path: Path) -> int:
        """The number of samples of a file that is as it should be."""
        first, num_axes = self._frames[0], len(self.points)
        whole = get_dataset(file, first.name, path).shape
        count, axes = whole[:1], whole[len(whole) - num_axes :]
        for frame in self._frames:
            array = get_dataset(file, frame.name, path)
            free = (None,) * (num_axes + 1) if frame is first else (*count, *axes)
            time = () if frame.time is None else (None,)
            shape = (free[0], *time, *free[1:])
            require_layout(array.dtype, array.shape, frame.name, path, shape=shape, kinds="f")
            if frame.time is not None:
                _require_frame(frame.time, array.shape[1], frame.name, path)
        for name, length in zip(self.coordinates, axes, strict=True):
            x = get_dataset(file, name, path)
            require_layout(x.dtype, x.shape, name, path, shape=(length,), kinds="f")
        _require_points(axes, self.points, first.name, path)
        _require_samples(int(count[0]), f"{path}: {first.name}")
        if self.end_time is not None:
            times = {get_dataset(file, f.name, path).shape[1] for f in self._frames if f.time is not None}
            for frames in times:
                _require_times(file, "t-coordinate", frames, self.end_time, path)
        return int(count[0])

    def _records(self, path: Path, indices: Indices) -> Iterator[Record]:
        with release_at(HOMEPAGE), open_hdf5(path) as file:
            for rows in np.split(indices, np.flatnonzero(np.diff(indices // _READ_AT_ONCE)) + 1):
                # One contiguous block is far quicker in HDF5 than a list of rows or a strided selection.
                low, high = int(rows[0]), int(rows[-1]) + 1
                blocks = {frame: self._block(file, frame, low, high, path) for frame in self._frames}
                for row in rows:
                    values = {
                        frame: _values(
                            block[row - low], self.points, f"{frame.name} sample {row}", frame.time, path
                        )
                        for frame, block in blocks.items()
                    }
                    yield _record([values[f] for f in self.inputs], [values[f] for f in self.targets])

    def _block(self, file: h5py.File, frame: Frame, low: int, high: int, path: Path) -> Array:
        array = file[frame.name]
        try:
            if frame.time is None:
                return np.asarray(array[low:high])
            return np.asarray(array[low:high, frame.time % array.shape[1]])
        except OSError as error:
            raise DataError(
                f"{path}: {frame.name} of samples {low} to {high - 1} cannot be read ({error}); get it again"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFile:
    """A file of one group a sample, each with `data` (T, *axes, C), `grid/t` (T,), `grid/x` and, in 2D, `grid/y`.

    Records are float32: x (inputs, *axes); y (*axes) of one target, (targets, *axes) of several.
    """

    file: str
    inputs: tuple[Channel, ...]
    targets: tuple[Channel, ...]
    channels: int
    """C, all of them, read or not."""
    points: tuple[int, ...]
    """As of `ArrayFile`."""
    end_time: float

    def read(self, root: Path, seed: int) -> Splits:
        """The records of `root/file`, streamed; the last tenth of the groups, sorted by name, is test, as in the
        benchmark, and a tenth of the rest, chosen by `seed`, is val.

        Raises:
            DataError: as `ArrayFile.read`. Data that differ from the first group's are found as they are read.
        """
        path = locate(root, self.file)
        with release_at(HOMEPAGE), open_hdf5(path) as file:
            names = sorted(file)
            shape = self._check(file, names, path)
        num_rest = len(names) - len(names) // _TEST_SHARE
        chosen = _split(np.arange(num_rest, len(names)), np.arange(num_rest), seed)
        return {
            split: self._records(path, [names[i] for i in indices], shape)
            for split, indices in chosen.items()
        }

    def _check(self, file: h5py.File, names: Sequence[str], path: Path) -> tuple[int, ...]:
        """The shape of the first group's `data`, once the file is as it should be."""
        _require_samples(len(names), f"{path}")
        where = f"{names[0]}/data"
        data = get_dataset(file, where, path)
        free = (None,) * (len(self.points) + 1)
        require_layout(data.dtype, data.shape, where, path, shape=(*free, self.channels), kinds="f")
        frames, *axes = data.shape[:-1]
        for letter, length in zip("xy", axes, strict=False):
            grid = get_dataset(file, f"{names[0]}/grid/{letter}", path)
            require_layout(
                grid.dtype, grid.shape, f"{names[0]}/grid/{letter}", path, shape=(length,), kinds="f"
            )
        _require_points(tuple(axes), self.points, where, path)
        for channel in (*self.inputs, *self.targets):
            _require_frame(channel.time, frames, where, path)
        _require_times(file, f"{names[0]}/grid/t", frames, self.end_time, path)
        return tuple(data.shape)

    def _records(self, path: Path, names: Sequence[str], shape: tuple[int, ...]) -> Iterator[Record]:
        with release_at(HOMEPAGE), open_hdf5(path) as file:
            for name in names:
                where = f"{name}/data"
                data = get_dataset(file, where, path)
                require_layout(data.dtype, data.shape, where, path, shape=shape, kinds="f")
                read = (*self.inputs, *self.targets)
                try:
                    frames = {time: np.asarray(data[time % shape[0]]) for time in {c.time for c in read}}
                except OSError as error:
                    raise DataError(f"{path}: {where} cannot be read ({error}); get it again") from error
                values = [
                    _values(frames[c.time][..., c.index], self.points, where, c.time, path) for c in read
                ]
                yield _record(values[: len(self.inputs)], values[len(self.inputs) :])


def locate(root: Path, file: str) -> Path:
    """`file` in `root`, or in a folder below it, as PDEBench's own download lays it (`1D/Advection/Train/`).

    Raises:
        DataError: several folders hold one.
    """
    if (root / file).is_file():
        return root / file
    below = sorted(path for path in root.rglob(Path(file).name) if path.is_file())
    if len(below) > 1:
        raise DataError(
            f"{root} holds {len(below)} files {file}: {', '.join(map(str, below))}; give the folder of one"
        )
    return below[0] if below else root / file


def _split(test: Indices, rest: Indices, seed: int) -> dict[Split, Indices]:
    order = np.random.default_rng(seed).permutation(len(rest))
    num_val = len(rest) // _VAL_SHARE
    return {"train": rest[np.sort(order[num_val:])], "val": rest[np.sort(order[:num_val])], "test": test}


def _record(inputs: Sequence[Array], targets: Sequence[Array]) -> Record:
    return {"x": np.stack(inputs), "y": targets[0] if len(targets) == 1 else np.stack(targets)}


def _values(frame: Array, points: tuple[int, ...], where: str, time: int | None, path: Path) -> Array:
    """The grid points of `frame` that the model gets, float32."""
    every = tuple(slice(None, None, max(1, n // most)) for n, most in zip(frame.shape, points, strict=True))
    values = to_float32(frame[every])
    named = {None: "", 0: ", first frame", -1: ", last frame"}.get(time, f", frame {time}")
    require_finite(values, where + named, path)
    return values


def _require_samples(count: int, where: str) -> None:
    if count < 2 * _TEST_SHARE:
        raise DataError(f"{where} must hold at least {2 * _TEST_SHARE} samples to be split, found {count}")


def _require_points(axes: tuple[int, ...], points: tuple[int, ...], name: str, path: Path) -> None:
    for length, most in zip(axes, points, strict=True):
        if length == 0 or (length % most and most % length):
            raise DataError(
                f"{path}: {name} must have a divisor or a multiple of {most} grid points, found {length}"
            )


def _require_frame(time: int, frames: int, name: str, path: Path) -> None:
    if not -frames <= time < frames:
        raise DataError(f"{path}: {name} must have a frame {time}, found {frames} frames")


def _require_times(file: h5py.File, name: str, frames: int, end_time: float, path: Path) -> None:
    t = get_dataset(file, name, path)
    require_layout(t.dtype, t.shape, name, path, shape=(None,), kinds="f")
    # Some of PDEBench's files list one time more than they have frames.
    if frames < 2 or len(t) not in (frames, frames + 1):
        raise DataError(
            f"{path}: {name} must have as many entries as there are frames, or one more, and at least 2; "
            f"found {len(t)} entries for {frames} frames"
        )
    first, last = float(t[0]), float(t[frames - 1])
    if not np.allclose((first, last), (0.0, end_time), atol=1e-3 * max(1.0, end_time)):
        raise DataError(f"{path}: its frames must span t = 0 to {end_time:g}, found {first:g} to {last:g}")
