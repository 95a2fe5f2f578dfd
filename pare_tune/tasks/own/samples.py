"""Samples on disk, whatever holds them: one common shape and type, read in blocks, never all at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Shape = tuple[int | None, ...]
"""Of one sample, None where samples differ."""

BLOCK_BYTES = 4 << 20
"""Read at a time."""

OBJECTS = "objects hold a pickle, which is not read"


class Samples(ABC):
    """What a task's inputs, or dense targets, are read through; abstract.

    Attributes:
        where: file and key, for messages.
        shape: of one sample, None where samples differ.
        dtype: of all, in this machine's byte order.
        names: one a sample, where the file gives them names.
        scale: of images, what their numbers count; samples of several scales are not read together.
        notes: what was passed over or left out, for people.
        matched: what the pattern of a key (`*/x`) stood for, one a sample, where samples are arrays of their own.
    """

    where: str
    shape: Shape
    dtype: np.dtype[Any]
    names: Sequence[str] | None = None
    scale: str = ""
    notes: tuple[str, ...] = ()
    matched: tuple[str, ...] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def longest(self) -> Shape:
        """The most that samples have along each axis."""
        return self.shape

    @abstractmethod
    def blocks(self, rows: Rows) -> Iterator[Array]:
        """The samples `rows` (ascending), in order, several of one shape at a time: (b, ...)."""

    def each(self, rows: Rows) -> Iterator[Array]:
        """The samples `rows` (ascending), one by one."""
        for block in self.blocks(rows):
            yield from block


class _Rows(Protocol):
    """An array, or an HDF5 data set."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, index: slice) -> Any: ...


class MappedRows:
    """An .npy file that is mapped anew for each part of it: what stays mapped counts as this process' memory."""

    def __init__(self, path: Path, array: Array) -> None:
        """`array`: the whole of it, mapped."""
        self._path, self.shape, self.dtype = path, array.shape, array.dtype

    def __getitem__(self, index: slice) -> Array:
        return np.array(np.load(self._path, mmap_mode="r", allow_pickle=False)[index])


class Whole(Samples):
    """One array whose first axis counts the samples."""

    def __init__(self, array: _Rows, where: str) -> None:
        if len(array.shape) < 1:
            raise DataError(f"{where} is a single number; the first axis of an array counts its samples")
        self._array, self.where = array, where
        self.shape, self.dtype = tuple(array.shape[1:]), number_type(array.dtype, where)

    def __len__(self) -> int:
        return self._array.shape[0]

    def blocks(self, rows: Rows) -> Iterator[Array]:
        size = max(1, math.prod(n or 1 for n in self.shape) * self.dtype.itemsize)
        step = max(1, BLOCK_BYTES // size)
        first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
        for start in range(first - first % step, last + 1, step):
            low, high = np.searchsorted(rows, (start, start + step))
            if low < high:
                block = np.asarray(self._array[start : start + step])
                yield np.ascontiguousarray(block[rows[low:high] - start], dtype=self.dtype)


@dataclass(frozen=True)
class Shapes:
    """What is known of samples before they are read."""

    shapes: Sequence[tuple[int, ...]]
    dtypes: Sequence[np.dtype[Any]]
    names: Sequence[str]


class Each(Samples):
    """Samples that are read one by one and may differ in size."""

    def __init__(self, get: Callable[[int], Array], described: Shapes, where: str) -> None:
        """Raises DataError where samples differ in their number of axes, or there is none."""
        if not described.shapes:
            raise DataError(f"{where} holds no sample")
        self._get, self.where, self.names = get, where, described.names
        empty = next(
            (name for name, s in zip(described.names, described.shapes, strict=True) if 0 in s), None
        )
        if empty is not None:
            raise DataError(f"{where}: sample {empty} is empty; leave it out")
        axes = {len(shape) for shape in described.shapes}
        if len(axes) > 1:
            one = next(i for i, s in enumerate(described.shapes) if len(s) != len(described.shapes[0]))
            raise DataError(
                f"{where}: samples have one number of axes, found {described.shapes[0]} in {described.names[0]} and "
                f"{described.shapes[one]} in {described.names[one]}"
            )
        self.shape = tuple(
            sizes.pop() if len(sizes := set(axis)) == 1 else None
            for axis in zip(*described.shapes, strict=True)
        )
        self.dtype = number_type(np.result_type(*set(described.dtypes)), where)
        self._longest = tuple(max(axis) for axis in zip(*described.shapes, strict=True))
        self._count = len(described.shapes)

    @property
    def longest(self) -> Shape:
        return self._longest

    def __len__(self) -> int:
        return self._count

    def blocks(self, rows: Rows) -> Iterator[Array]:
        for row in rows:
            yield np.ascontiguousarray(self._get(int(row)), dtype=self.dtype)[None]


def listed(series: Sequence[Array], names: Sequence[str], where: str) -> Each:
    """Arrays that are in memory, one a sample."""
    described = Shapes([s.shape for s in series], [s.dtype for s in series], names)
    return Each(series.__getitem__, described, where)


class Joined(Samples):
    """Samples of several files in a row: those of train, val and test."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        """Raises DataError where their axes differ in number, or in size where one file's samples have one size."""
        first = parts[0]
        for part in parts[1:]:
            if len(part.shape) != len(first.shape):
                raise DataError(
                    f"samples of all splits have one shape, found {said(first.shape)} in {first.where} and "
                    f"{said(part.shape)} in {part.where}"
                )
            if part.scale != first.scale:
                raise DataError(
                    f"images of all splits have one scale, found {first.scale} in {first.where} and {part.scale} in "
                    f"{part.where}; convert them to one"
                )
        self._parts = tuple(parts)
        self.scale, self.notes = first.scale, tuple(dict.fromkeys(note for p in parts for note in p.notes))
        self._starts = np.cumsum([0, *map(len, parts)])
        self.where = ", ".join(part.where for part in parts)
        self.shape = tuple(
            a[0] if len(set(a)) == 1 else None for a in zip(*(p.shape for p in parts), strict=True)
        )
        self.dtype = np.result_type(*(p.dtype for p in parts))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def blocks(self, rows: Rows) -> Iterator[Array]:
        bounds = np.searchsorted(rows, self._starts)
        for part, start, low, high in zip(self._parts, self._starts, bounds, bounds[1:], strict=False):
            for block in part.blocks(rows[low:high] - start):
                yield block.astype(self.dtype, copy=False)


def number_type(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
    """The type that samples are kept in: their own, in native order. Raises DataError unless they are real numbers."""
    if dtype.kind == "O":
        raise DataError(
            f"{where} holds Python objects; {OBJECTS}: save arrays of numbers, and series of different lengths as one "
            f"array each (np.savez), or as the data sets of an HDF5 group"
        )
    if dtype.kind == "c":
        raise DataError(f"{where} holds complex numbers; give real and imaginary parts as two channels")
    if dtype.kind not in "biuf":
        raise DataError(f"{where} must hold numbers, found {dtype}")
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64)
    return dtype.newbyteorder("=")


def said(shape: Shape) -> str:
    """A shape for people: `8 × 500`, `3 × any`."""
    return " × ".join("any" if n is None else str(n) for n in shape) or "one number"
