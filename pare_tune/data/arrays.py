"""Reads `.npy` and `.npz` files; where one is not as documented, says what was expected and what was found.

Plain arrays are memory-mapped. Object arrays hold a pickle, which goes through the restricted unpickler. A
header is checked against the size of its file before anything is allocated.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from pare_tune.data.pickles import read_pickle, require_characters
from pare_tune.errors import DataError

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]
"""None stands for any size."""

NUMBERS = "biuf"
"""Dtype kinds of booleans, integers and floats; "O" admits objects, "U" and "S" strings."""

_MAX_RATIO = 1100
"""Deflate makes at most 1032 bytes of one."""

_LARGEST = 1 << 62  # bytes that NumPy can count

_SLAB = 1 << 22
"""Elements checked at a time, so that a memory-mapped array never has to fit into memory."""

_KIND_NAMES = {
    "b": "bool",
    "i": "int",
    "u": "uint",
    "f": "float",
    "c": "complex",
    "O": "object",
    "U": "str",
    "S": "bytes",
}


def load_npy(path: Path, *, shape: Shape | None = None, kinds: str = NUMBERS, name: str = "array") -> Array:
    """The array in `path`: memory-mapped and read-only, except object arrays.

    Args:
        shape: what it must have, None standing for any size; None for any shape.
        kinds: dtype kinds that are accepted, for example "f", "iu", "O".
        name: of the array in messages.

    Raises:
        DataError: the file is missing, truncated or no `.npy` file, or has another shape or dtype.
        UnsafePickle: it holds objects other than plain arrays and containers.
    """
    try:
        with path.open("rb") as stream:
            header = _read_header(stream, os.fstat(stream.fileno()).st_size, str(path))
            require_layout(header.dtype, header.shape, name, path, shape=shape, kinds=kinds)
            if header.dtype.hasobject:
                return _read_objects(stream, header, str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if math.prod(header.shape) == 0:
        return np.empty(header.shape, header.dtype)  # an empty file region cannot be mapped
    array = np.memmap(
        path, header.dtype, mode="r", offset=header.offset, shape=header.shape, order=header.order
    )
    _require_characters(array, str(path))
    return array


def load_npz(path: Path, keys: Iterable[str], *, kinds: str = NUMBERS) -> dict[str, Array]:
    """The arrays named `keys` in `path`, read into memory; others are not read. Raises as `load_npy`."""
    arrays: dict[str, Array] = {}
    for key in keys:
        with _npz_member(path, key, None, kinds) as (stream, header):
            arrays[key] = _read_member(stream, header, _npz_name(path, key))
    return arrays


def stream_npz(path: Path, key: str, *, shape: Shape | None = None, kinds: str = NUMBERS) -> Iterator[Array]:
    """The array named `key` in `path` as slabs of its rows, a few megabytes each, in order.

    (An array in Fortran order is read whole first: its rows do not lie together.) The header is checked at once,
    damage further in is met on the way. Raises as `load_npy`.
    """
    with _npz_member(path, key, shape, kinds):
        return _npz_slabs(path, key, kinds)


class NpzRows:
    """The array named `key` in an archive, of which only the rows that are asked for are held.

    Rows behind those that were asked for last are quick to read; for others the archive is read from its beginning.
    """

    def __init__(self, path: Path, key: str, *, kinds: str = NUMBERS) -> None:
        """Raises as `load_npy`."""
        self._path, self._key, self._kinds = path, key, kinds
        with _npz_member(path, key, None, kinds) as (_, header):
            self.shape, self.dtype = header.shape, header.dtype
        self._slabs: Iterator[Array] = iter(())
        self._first = 0
        self._held: Array = np.empty((0, *self.shape[1:]), self.dtype)
        self._restart()

    def __getitem__(self, index: slice) -> Array:
        start, stop, _ = index.indices(self.shape[0])
        if start < self._first:
            self._restart()
        while self._first + len(self._held) < stop:
            slab = next(self._slabs)
            end = self._first + len(self._held)
            if end <= start:
                self._first, self._held = end, slab
            else:
                kept = max(0, start - self._first)
                self._first, self._held = self._first + kept, np.concatenate([self._held[kept:], slab])
        return self._held[start - self._first : stop - self._first]

    def _restart(self) -> None:
        self._slabs = stream_npz(self._path, self._key, kinds=self._kinds)
        self._first, self._held = 0, np.empty((0, *self.shape[1:]), self.dtype)


def npy_of(content: bytes, where: str) -> Array:
    """The array that the bytes of a `.npy` file hold, which is never one of objects.

    Raises:
        DataError: they are none, cut short, or hold objects or text.
    """
    stream = io.BytesIO(content)
    header = _read_header(stream, len(content), where)
    require_layout(header.dtype, header.shape, "array", where, shape=None, kinds=NUMBERS)
    flat = np.frombuffer(content, header.dtype, count=math.prod(header.shape), offset=header.offset)
    return flat.reshape(header.shape, order=header.order)


def require_array(
    value: object, name: str, file: Path | str, *, shape: Shape | None = None, kinds: str = NUMBERS
) -> Array:
    """`value` as an array of the given shape and kinds: for what came out of a pickle or another reader.

    Raises:
        DataError: it is no array, or has another shape or dtype.
    """
    if not isinstance(value, np.ndarray):
        raise DataError(f"{file}: {name} must be an array, found {type(value).__name__}")
    require_layout(value.dtype, value.shape, name, file, shape=shape, kinds=kinds)
    return value


def to_float32(array: Array) -> npt.NDArray[np.float32]:
    """`array` as float32; what is too large for it becomes infinite, quietly, for `require_finite` to find."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32)


def require_layout(
    dtype: np.dtype[Any],
    actual: tuple[int, ...],
    name: str,
    file: Path | str,
    *,
    shape: Shape | None = None,
    kinds: str = NUMBERS,
) -> None:
    """Raise a DataError unless an array of `dtype` and shape `actual` is of the given shape and kinds."""
    if dtype.kind not in kinds:
        wanted = " or ".join(_KIND_NAMES.get(kind, kind) for kind in kinds)
        raise DataError(f"{file}: {name} must be {wanted}, found {dtype}")
    if shape is not None and (
        len(actual) != len(shape) or any(n is not None and n != m for n, m in zip(shape, actual, strict=True))
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "")
        raise DataError(f"{file}: {name} must have shape ({wanted}), found {actual}")


def require_finite(array: Array, name: str, file: Path | str) -> None:
    """Raise a DataError that names the first NaN or infinity of `array` and its index."""
    if array.dtype.kind in "fc":
        for start, slab in _slabs(array):
            _refuse(~np.isfinite(slab), slab, start, f"{file}: {name} must be finite")


def require_range(array: Array, name: str, file: Path | str, *, low: float, high: float) -> None:
    """Raise a DataError that names the first value of `array` outside [low, high] (NaN is) and its index."""
    for start, slab in _slabs(array):
        _refuse(
            ~((slab >= low) & (slab <= high)), slab, start, f"{file}: {name} must lie in [{low:g}, {high:g}]"
        )


def whole_numbers(
    array: Array, name: str, file: Path | str, *, low: int, high: int, dtype: type[np.integer[Any]] = np.int64
) -> npt.NDArray[Any]:
    """`array` as `dtype`. Raises DataError unless its values are whole numbers in [low, high]."""
    require_range(array, name, file, low=low, high=high)
    whole = array.astype(dtype, copy=False)
    if array.dtype.kind == "f" and (whole != array).any():
        raise DataError(f"{file}: {name} must be whole numbers, found {array[whole != array][0]}")
    return whole


def read_text(path: Path, remedy: str) -> str:
    """A small file of UTF-8 text. Raises DataError, which ends with `remedy`, where it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); {remedy}") from error


def require_keys(content: object, keys: Sequence[str], file: Path | str) -> Mapping[str, Any]:
    """`content`, which came out of a pickle, as a dict. Raises DataError unless it is one that holds `keys`."""
    if not isinstance(content, dict) or not set(keys) <= content.keys():
        found = f"keys {sorted(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{file} must hold a dict with keys {' and '.join(keys)}, found {found}")
    return content


def _slabs(array: Array) -> Iterable[tuple[int, Array]]:
    if array.ndim == 0:
        yield 0, array
        return
    rows = max(1, _SLAB // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def _refuse(bad: npt.NDArray[np.bool_], slab: Array, start: int, rule: str) -> None:
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    shown = (index[0] + start, *index[1:]) if index else ()
    at = f" at index [{', '.join(map(str, shown))}]" if shown else ""
    raise DataError(f"{rule}, found {slab[index]}{at}")


@contextmanager
def _npz_member(path: Path, key: str, shape: Shape | None, kinds: str) -> Iterator[tuple[IO[bytes], _Header]]:
    """The array's bytes and its header, which is as asked for."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if key not in members:
                raise DataError(f"{path} has no array {key!r}; it has {', '.join(sorted(members)) or 'none'}")
            member = members[key]
            # The archive's own word on how long a member is could be any number.
            size = min(member.file_size, _MAX_RATIO * member.compress_size, _MAX_RATIO * path.stat().st_size)
            with archive.open(member) as stream:
                header = _read_header(stream, size, _npz_name(path, key))
                require_layout(header.dtype, header.shape, key, path, shape=shape, kinds=kinds)
                yield stream, header
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (
        EOFError,
        LookupError,
        RuntimeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # RuntimeError: encrypted or compressed in a way that NumPy does not. ValueError: names in no encoding.
        raise DataError(f"{path} is not a whole .npz file ({error}); get it again") from error


def _npz_name(path: Path, key: str) -> str:
    return f"{path}, array {key!r}"


def _npz_slabs(path: Path, key: str, kinds: str) -> Iterator[Array]:
    with _npz_member(path, key, None, kinds) as (stream, header):
        if header.order == "F" or header.dtype.hasobject or not header.shape:
            yield from (slab for _, slab in _slabs(_read_member(stream, header, _npz_name(path, key))))
            return
        count, *row = header.shape
        rows = max(1, _SLAB // max(1, math.prod(row) * header.dtype.itemsize))
        for start in range(0, count, rows):
            part = _Header((min(rows, count - start), *row), False, header.dtype, header.offset)
            yield _read_member(stream, part, _npz_name(path, key))


class _Header:
    __slots__ = ("dtype", "offset", "order", "shape")

    def __init__(self, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], offset: int) -> None:
        self.shape, self.dtype, self.offset = shape, dtype, offset
        self.order: Any = "F" if fortran else "C"


def _read_header(stream: IO[bytes], size: int, where: str) -> _Header:
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format version {version} is only used for structured arrays")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # headers by Python 2 are fine, only slower
            shape, fortran, dtype = read(stream)
    except (
        EOFError,
        LookupError,
        MemoryError,
        OverflowError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
        tokenize.TokenError,
    ) as error:
        # The header is a Python literal, and deeply nested brackets exhaust its parser.
        raise DataError(f"{where} is not a .npy array ({error}); get it again") from error
    # Strings of no characters would become strings of one, and an axis of 0 would hide what the others claim.
    claimed = math.prod(n for n in shape if n) * dtype.itemsize
    if dtype.itemsize == 0 or claimed > _LARGEST or any(n < 0 for n in shape):
        raise DataError(f"{where}: its header gives the impossible shape {shape} of {dtype}; get it again")
    header = _Header(shape, fortran, dtype, stream.tell())
    # Python integers cannot overflow, so an absurd shape is seen before anything is allocated or mapped.
    needed = header.offset + (0 if dtype.hasobject else math.prod(shape) * dtype.itemsize)
    if size < needed:
        raise DataError(
            f"{where} is cut short: {dtype} {shape} needs {needed:,} bytes, found {size:,}; get it again"
        )
    return header


def _read_objects(stream: IO[bytes], header: _Header, where: str) -> Array:
    value = read_pickle(stream, where)
    if not isinstance(value, np.ndarray) or value.size != math.prod(header.shape):
        raise DataError(f"{where}: its contents do not have the shape {header.shape} that its header gives")
    return value.reshape(header.shape)


def _read_member(stream: IO[bytes], header: _Header, where: str) -> Array:
    if header.dtype.hasobject:
        return _read_objects(stream, header, where)
    array = np.empty(header.shape, header.dtype, order=header.order)
    view = array.reshape(-1, order="A").view(np.uint8)
    filled = 0
    while filled < array.nbytes:
        part = stream.read(min(array.nbytes - filled, _SLAB))
        if not part:
            raise DataError(f"{where} is cut short after {filled:,} bytes; get it again")
        view[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    _require_characters(array, where)
    return array


def _require_characters(array: Array, where: str) -> None:
    try:
        require_characters(array)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
