"""Reads pickles of plain arrays and containers, and refuses everything else.

Several public releases are pickles (or `.npy` object arrays, which hold one), and unpickling runs whatever
code the file names. Here the file can name nothing but NumPy's array reconstruction and a few built-in types,
and even those are not NumPy's own functions: arrays and dtypes are drafted first, then built by checks here.
NumPy trusts the state it is handed: a forged dtype turns bytes into object pointers, a forged shape asks for
terabytes. A hostile file can still waste memory, but runs nothing. Reads pickles by Python 2 and 3, protocols 0
to 5, NumPy 1 and 2.
"""

from __future__ import annotations

import gzip
import math
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError, UnsafePickle

_SLAB = 1 << 22  # characters looked at together
_GZIP_MAGIC = b"\x1f\x8b"
_PLAIN_DTYPE = re.compile(r"\?|[biufcSUO]\d*")
"""Booleans, numbers, strings and objects; no release that is read here has structured or datetime arrays."""


def load_pickle(path: Path) -> object:
    """The object pickled in `path`, which may be gzipped.

    Strings written by Python 2 come back as `str`, decoded as Latin-1. Arrays may be read-only.

    Raises:
        UnsafePickle: the pickle names anything that plain arrays do not need.
        DataError: the file is missing, truncated, or declares arrays that do not fit their own bytes.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not packed:
                return read_pickle(raw, str(path))
            with gzip.open(raw, "rb") as stream:
                return read_pickle(stream, str(path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def read_pickle(stream: IO[bytes] | gzip.GzipFile, where: str) -> object:
    """The next object pickled in `stream`; `where` names it in errors. Raises as `load_pickle`."""
    try:
        return _resolve(_Unpickler(stream, where).load(), {})
    except DataError as error:
        raise type(error)(f"{where}: {error}") from None
    except (pickle.UnpicklingError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{where} is not a whole pickle ({error}); it may be cut short: get it again"
        ) from error
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        # What a malformed or hostile opcode stream makes the unpickler raise.
        reason = str(error) or type(error).__name__
        raise DataError(f"{where} is not a pickle of plain arrays ({reason}); get it again") from error


class _Unpickler(pickle._Unpickler):
    """The standard library's unpickler in Python, whose memo is a dict: the one in C keeps a list as long as the
    largest number that the file gives to an object, so that ten bytes could take all memory. Arrays are read as fast.
    """

    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, where: str) -> None:
        # Latin-1 maps each byte to one character, which is what arrays pickled by Python 2 need.
        super().__init__(stream, encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> object:
        make = _ALLOWED.get((module, name))
        if make is None:
            raise UnsafePickle(
                f"this pickle asks for {module}.{name}, which plain arrays do not need and could run code, "
                "so it was not loaded. If you trust the file, write its arrays anew with numpy.save or pickle"
            )
        return _Global(make)

    def persistent_load(self, pid: object) -> object:
        raise UnsafePickle(f"this pickle refers to an object outside the file ({pid!r}); it was not loaded")

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        data = bytearray(
            self.read(size)
        )  # read first: bytearray(size) would fill whatever size the file asks for
        if len(data) != size:
            raise EOFError(f"{size} bytes were announced, {len(data)} are left")
        self.append(data)

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


class _Global:
    """What a permitted name stands for: callable, and nothing that a pickle could alter."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self.make = make

    def __call__(self, *args: object) -> object:
        return self.make(*args)

    def __setstate__(self, state: object) -> None:
        raise UnsafePickle("this pickle tries to alter a function; it was not loaded")


class _DtypeDraft:
    """A dtype known by its code, such as `f8`, and completed by the byte order in its state."""

    __slots__ = ("dtype",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: object = None, *_: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not _PLAIN_DTYPE.fullmatch(text):
            raise DataError(
                f"arrays of dtype {text!r} are not read, only numbers, booleans, strings and objects"
            )
        self.dtype: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subdtype, names, fields, itemsize, alignment, flags). Only the byte order is
        # taken: the rest follows from the code, and a forged rest is how a pickle would get at memory.
        if not isinstance(state, tuple) or len(state) < 5:
            raise DataError("malformed dtype")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise DataError("structured dtypes are not read, only numbers, booleans, strings and objects")
        if order in ("<", ">"):
            self.dtype = np.dtype(order + self.dtype.str[1:])


class _ArrayDraft:
    """An array whose shape, dtype and contents come later; `_resolve` replaces it by the array."""

    __slots__ = ("array", "elements")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.array: npt.NDArray[Any] | None = None
        self.elements: list[object] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise DataError("malformed array")
        _, shape, draft, fortran, raw = state
        dtype, shape = _dtype(draft), _shape(shape)
        if dtype.hasobject:
            if not isinstance(raw, list) or len(raw) != math.prod(shape):
                raise DataError(f"an object array of shape {shape} does not hold that many elements")
            self.array, self.elements = np.empty(shape, dtype), raw
        else:
            self.array = _plain_array(raw, dtype, shape, "F" if fortran else "C")


def _reconstruct(subtype: object, *_: object) -> _ArrayDraft:
    if not isinstance(subtype, _Global) or subtype.make is not _not_callable:
        raise UnsafePickle("this pickle asks for a subclass of numpy.ndarray; it was not loaded")
    return _ArrayDraft()


def _from_buffer(
    raw: object, draft: object, shape: object, order: object, axes: object = None
) -> _ArrayDraft:
    """Protocol 5's contiguous array; `axes` transposes it (NumPy 2.3 and later)."""
    made = _ArrayDraft()
    memory_order = "F" if order == "F" else "C"
    array = _plain_array(raw, _dtype(draft), _shape(shape), memory_order)
    made.array = array if axes is None else array.transpose(_shape(axes))
    return made


def _scalar(draft: object, raw: object = b"") -> object:
    dtype = _dtype(draft)
    if dtype.hasobject:
        raise DataError("a NumPy scalar of dtype object is not read")
    return _plain_array(raw, dtype, (1,), "C")[0]


def _plain_array(raw: object, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if dtype.hasobject or not isinstance(data, bytes | bytearray | memoryview):
        raise DataError("malformed array contents")
    # Python integers cannot overflow, so an absurd shape is seen before anything is allocated.
    expected, actual = math.prod(shape) * max(dtype.itemsize, 1), memoryview(data).nbytes
    if expected != actual:
        raise DataError(f"an array of {dtype} {shape} needs {expected} bytes, the pickle holds {actual}")
    array = np.ndarray(shape, dtype, buffer=data, order="F" if order == "F" else "C")
    require_characters(array)
    return array


def require_characters(array: npt.NDArray[Any]) -> None:
    """Raise a DataError where an array of strings holds numbers that stand for no character: Python fails on these
    long after."""
    if array.dtype.kind != "U" or not array.size or not array.dtype.itemsize:
        return
    codes = array.reshape(-1, order="A").view(f"{array.dtype.str[0]}u4")
    for start in range(0, len(codes), _SLAB):
        slab = codes[start : start + _SLAB]
        odd = slab[(slab > 0x10FFFF) | ((slab >= 0xD800) & (slab < 0xE000))]
        if len(odd):
            raise DataError(f"text holds {int(odd[0]):#x}, which is no character; get it again")


def _dtype(draft: object) -> np.dtype[Any]:
    if not isinstance(draft, _DtypeDraft):
        raise DataError("malformed array: its dtype is not one")
    return draft.dtype


def _shape(shape: object) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sizes, tuple) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise DataError(f"malformed array: shape {shape!r}")
    return sizes


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """How protocols 0 to 2 spell bytes. Other codecs (zip bombs, slow ones) are no part of that."""
    if not isinstance(text, str) or str(encoding).replace("-", "") != "latin1":
        raise UnsafePickle(f"this pickle asks for the codec {encoding!r}; it was not loaded")
    return text.encode("latin1")


def _bytes(data: object = b"", encoding: object = "latin1") -> bytes:
    # Never bytes(n): that would allocate whatever size the file asks for.
    if isinstance(data, str):
        return _encode(data, encoding)
    if not isinstance(data, bytes | bytearray):
        raise DataError("malformed bytes")
    return bytes(data)


def _bytearray(data: object = b"", encoding: object = "latin1") -> bytearray:
    return bytearray(_bytes(data, encoding))


def _complex(real: object, imag: object) -> complex:
    if not isinstance(real, int | float) or not isinstance(imag, int | float):
        raise DataError("malformed complex number")
    return complex(real, imag)


def _collect(kind: Callable[[list[object]], object]) -> Callable[[object], object]:
    def make(items: object = ()) -> object:
        if not isinstance(items, list | tuple | set | frozenset):
            raise DataError("malformed container")
        return kind(list(items))

    return make


def _not_callable(*_: object) -> object:
    """`numpy.ndarray` itself, which a pickle only passes on to `_reconstruct`."""
    raise UnsafePickle("this pickle calls numpy.ndarray, which could allocate any size; it was not loaded")


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _not_callable,
    ("numpy", "dtype"): _DtypeDraft,
    ("_codecs", "encode"): _encode,
    ("codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _from_buffer
for _builtins in ("builtins", "__builtin__"):
    _ALLOWED[_builtins, "bytes"] = _bytes
    _ALLOWED[_builtins, "bytearray"] = _bytearray
    _ALLOWED[_builtins, "complex"] = _complex
    _ALLOWED[_builtins, "set"] = _collect(set)
    _ALLOWED[_builtins, "frozenset"] = _collect(frozenset)


def _resolve(value: object, done: dict[int, tuple[object, object]]) -> object:
    """`value` with every draft replaced by its array, in place where the container allows it.

    Args:
        done: id → (object met before, what it became), so that shared and cyclic objects stay so. Holding the
            object keeps its id from being given to another.
    """
    if isinstance(value, _ArrayDraft):
        return _resolve_array(value)
    if isinstance(value, _DtypeDraft):
        return value.dtype
    if isinstance(value, _Global):
        raise UnsafePickle("this pickle holds a function or class, not data; it was not loaded")
    if not isinstance(value, list | dict | tuple | set | frozenset):
        return value
    if id(value) in done:
        return done[id(value)][1]
    done[id(value)] = value, value
    if isinstance(value, list):
        value[:] = [_resolve(item, done) for item in value]
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_key(key)
            value[key] = _resolve(item, done)
    elif isinstance(value, tuple):
        done[id(value)] = value, tuple([_resolve(item, done) for item in value])
    else:
        for item in value:
            _check_key(item)
    return done[id(value)][1]


def _resolve_array(draft: _ArrayDraft) -> npt.NDArray[Any]:
    if draft.array is None:
        raise DataError("malformed array: it has no contents")
    if draft.elements is not None:
        elements, draft.elements = draft.elements, None  # first, so that an array inside itself ends
        flat = draft.array.reshape(-1)
        done: dict[int, tuple[object, object]] = {}
        for index, element in enumerate(elements):
            flat[index] = _resolve(element, done)
    return draft.array


def _check_key(key: object) -> None:
    """Dict keys and set members cannot be arrays; functions could hide there, even inside a tuple."""
    if isinstance(key, tuple | frozenset):
        for part in key:
            _check_key(part)
    elif isinstance(key, _Global | _DtypeDraft):
        raise UnsafePickle("this pickle holds a function or class, not data; it was not loaded")
