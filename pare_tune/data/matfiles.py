"""Reads real numeric arrays of MATLAB 5 files (`save -v6` and `-v7`), one plane at a time.

scipy.io.loadmat loads an array whole, and crashes the process on some damaged files (SciPy 1.17, found by flipping
bits). The format: "MAT-File Format", The MathWorks, R2023b, chapter 1. Files of MATLAB 7.3 are HDF5.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_TYPES: Final = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
"""How numbers are stored: often smaller than their class says."""
_CLASSES: Final = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_COMPLEX = 0x08

_MAX_AXES = 32
_MAX_NAME = 4096
_MAX_RATIO = 1100
"""Deflate makes at most 1032 bytes of one."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class MatArray:
    """One variable of a file; its numbers are still on disk."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """As MATLAB had it; `planes` come in it."""

    def planes(self) -> Iterator[npt.NDArray[Any]]:
        """array[..., j] for each j of the last axis, which lie one behind the other on disk.

        Raises:
            DataError: the file is cut short or damaged.
        """
        with _reading(self.path) as stream:
            for variable in _variables(stream, self.path):
                if variable.array == self:
                    yield from variable.planes()
                    return
        raise DataError(f"{self.path} was changed while it was read")


def mat_names(path: Path) -> list[str]:
    """Names of all variables. Raises as `open_mat`."""
    with _reading(path) as stream:
        return [variable.array.name for variable in _variables(stream, path)]


def open_mat(path: Path, name: str) -> MatArray:
    """The variable `name`: a real array of numbers.

    Raises:
        DataError: the file is missing, damaged or no MATLAB 5 file, or has no such variable.
    """
    names = []
    with _reading(path) as stream:
        for variable in _variables(stream, path):
            if variable.array.name == name:
                if variable.problem:
                    raise DataError(
                        f"{path}: {name} must be an array of real numbers, found {variable.problem}"
                    )
                return variable.array
            names.append(variable.array.name)
    raise DataError(f"{path} must hold a field {name!r}, found {', '.join(names) or 'nothing'}")


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as stream:
            yield stream
    except _Damaged as error:
        raise DataError(f"{path} is not a whole MATLAB 5 file ({error}); get it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


class _Damaged(Exception):
    pass


class _Bytes(Protocol):
    """Of one element, in the file or decompressed."""

    left: int
    """Most bytes that can still come."""

    def take(self, count: int) -> bytes: ...


class _Plain:
    def __init__(self, stream: IO[bytes], count: int) -> None:
        self._stream, self.left = stream, count

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _Damaged(f"{count:,} bytes are announced where {self.left:,} are left")
        raw = self._stream.read(count)
        if len(raw) != count:
            raise _Damaged("it ends too early")
        self.left -= count
        return raw


class _Inflated:
    def __init__(self, stream: IO[bytes], count: int) -> None:
        self._packed, self._inflate = _Plain(stream, count), zlib.decompressobj()
        self._ready = b""
        self.left = count * _MAX_RATIO

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _Damaged(f"{count:,} bytes are announced where at most {self.left:,} can be left")
        parts, missing = [], count
        while missing:
            if not self._ready:
                self._ready = self._more(missing)
            part, self._ready = self._ready[:missing], self._ready[missing:]
            parts.append(part)
            missing -= len(part)
        self.left -= count
        return b"".join(parts)

    def _more(self, most: int) -> bytes:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._packed.take(min(_BLOCK, self._packed.left))
            try:
                plain = self._inflate.decompress(packed, min(most, _BLOCK))
            except zlib.error as error:
                raise _Damaged(str(error)) from error
            if plain:
                return plain
            if not self._packed.left and not self._inflate.unconsumed_tail:
                break
        raise _Damaged("compressed numbers end too early")


@dataclass(frozen=True, slots=True)
class _Variable:
    array: MatArray
    problem: str
    """What it is instead of an array of real numbers; empty where it is one."""
    order: str
    content: _Bytes

    def planes(self) -> Iterator[npt.NDArray[Any]]:
        kind, count, short = _tag(self.content, self.order)
        stored = np.dtype(self.order + _stored(kind))
        shape = self.array.shape
        if count != math.prod(shape) * stored.itemsize:
            raise _Damaged(f"{self.array.name} of shape {shape} has {count:,} bytes of {stored}")
        content = self.content if short is None else _Plain(io.BytesIO(short), count)
        plane = shape[:-1]
        for _ in range(shape[-1]):
            raw = content.take(math.prod(plane) * stored.itemsize)
            yield np.frombuffer(raw, stored).reshape(plane, order="F").astype(self.array.dtype)


def _variables(stream: IO[bytes], path: Path) -> Iterator[_Variable]:
    size = os.fstat(stream.fileno()).st_size
    head = stream.read(_HEADER)
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if order is None or struct.unpack(f"{order}H", head[124:126])[0] != 0x0100:
        raise _Damaged("its header is not one")
    at = _HEADER
    while at + 8 <= size:
        stream.seek(at)
        kind, count = struct.unpack(f"{order}II", stream.read(8))
        if kind not in (_MATRIX, _COMPRESSED) or count > size - at - 8:
            raise _Damaged(f"element {kind} of {count:,} bytes at {at:,} of {size:,}")
        content: _Bytes = _Plain(stream, count)
        if kind == _COMPRESSED:
            content = _Inflated(stream, count)
            if _tag(content, order)[0] != _MATRIX:
                raise _Damaged("a compressed element holds no array")
        yield _variable(content, order, path)
        at += 8 + count


def _variable(content: _Bytes, order: str, path: Path) -> _Variable:
    flags = np.frombuffer(_part(content, order, _UINT32, 8), f"{order}u4")
    if len(flags) != 2:
        raise _Damaged("an array has no flags")
    kind, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) >> 8 & _COMPLEX)
    shape = tuple(np.frombuffer(_part(content, order, _INT32, 4 * _MAX_AXES), f"{order}i4").tolist())
    name = _part(content, order, _INT8, _MAX_NAME).decode("latin1")
    if len(shape) < 2 or min(shape) < 0:
        raise _Damaged(f"{name} has the shape {shape}")
    problem = "complex numbers" if is_complex else "" if kind in _CLASSES else f"MATLAB's class {kind}"
    dtype = np.dtype(_CLASSES.get(kind, "u1"))
    if not problem and math.prod(shape) > content.left:
        raise _Damaged(f"{name} of shape {shape} is longer than the file")
    return _Variable(MatArray(path, name, shape, dtype), problem, order, content)


def _part(content: _Bytes, order: str, wanted: int, most: int) -> bytes:
    """The content of a small element of a known type."""
    kind, count, short = _tag(content, order)
    if kind != wanted or count > most or (wanted != _INT8 and count % 4):
        raise _Damaged(f"element {kind} of {count:,} bytes where one of type {wanted} belongs")
    if short is not None:
        return short
    return content.take(count + -count % 8)[:count]


def _tag(content: _Bytes, order: str) -> tuple[int, int, bytes | None]:
    """Type and length of the next element, and its content where that is short enough to stand in the tag."""
    tag = content.take(8)
    kind, count = struct.unpack(f"{order}II", tag)
    if kind >> 16 == 0:
        return kind, count, None
    length = kind >> 16
    if length > 4:
        raise _Damaged(f"a short element of {length} bytes")
    return kind & 0xFFFF, length, tag[4 : 4 + length]


def _stored(kind: int) -> str:
    if kind not in _TYPES:
        raise _Damaged(f"numbers of type {kind}")
    return _TYPES[kind]
