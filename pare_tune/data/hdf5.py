"""Opens HDF5 files so that a damaged one is one message, whatever h5py makes of it, and none takes all memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pare_tune.errors import DataError

if TYPE_CHECKING:
    import h5py
    import numpy as np

_MAX_RATIO: Final = 1100
"""Deflate makes at most 1032 bytes of one; the other filters less."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file, for reading, in a `with` block that also reads from it.

    Raises:
        DataError: the file is missing or no HDF5 file; or it turns out to be damaged inside the block.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"no file {path}")
    with told_as_damage(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def told_as_damage(path: Path) -> Iterator[None]:
    """Around everything that reads from the open file `path`: whatever h5py raises becomes a DataError."""
    try:
        yield
    # Depending on what is damaged, h5py raises RuntimeError, OSError, KeyError, ValueError, or lists names as bytes.
    except (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a whole HDF5 file ({reason}); get it again") from error


class Rows:
    """A data set of a file that stays open, whose damage is found as it is read."""

    def __init__(self, data: h5py.Dataset, path: Path) -> None:
        """Raises DataError where it claims more numbers than the file holds."""
        with told_as_damage(path):
            require_stored(data, path)
            self.shape: tuple[int, ...] = tuple(data.shape)
            self.dtype: np.dtype[Any] = data.dtype
        self._data, self._path = data, path

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        with told_as_damage(self._path):
            return self._data[index]


def get_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Data set `name`, groups before it separated by `/`; its numbers are really there.

    Raises:
        DataError: there is none, or it claims more numbers than the file holds.
    """
    import h5py

    *parents, leaf = name.split("/")
    group, where = file, str(path)
    for parent in parents:
        group, where = group.get(parent), f"{where}, {parent}"
        if not isinstance(group, h5py.Group):
            raise DataError(f"{path} must hold a group {parent!r} with {leaf!r} in it")
    found = group.get(leaf)
    if not isinstance(found, h5py.Dataset):
        raise DataError(
            f"{where} must hold a data set {leaf!r}, found {', '.join(sorted(group)) or 'nothing'}"
        )
    require_stored(found, path)
    return found


def require_stored(data: h5py.Dataset, path: Path) -> None:
    """Raise a DataError where a data set claims more than the file holds: what was never written is read as zeros."""
    needed = math.prod(data.shape) * data.dtype.itemsize
    stored = data.id.get_storage_size()
    packed = data.id.get_create_plist().get_nfilters() > 0
    if needed > stored * (_MAX_RATIO if packed else 1):
        raise DataError(
            f"{path}: {data.name.strip('/')} {data.dtype} {data.shape} needs {needed:,} bytes, found {stored:,}; "
            f"get it again"
        )
