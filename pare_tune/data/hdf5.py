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
    data = group.get(leaf)
    if not isinstance(data, h5py.Dataset):
        raise DataError(
            f"{where} must hold a data set {leaf!r}, found {', '.join(sorted(group)) or 'nothing'}"
        )
    require_stored(data, path)
    return data


def require_stored(data: h5py.Dataset, path: Path) -> None:
    """Raise a DataError where a data set claims more than the file holds: what was never written is read as zeros.

    The parts of a virtual data set must be there; chunks may be missing where the writer chose what stands for them.
    """
    import h5py

    name = data.name.strip("/")
    if data.is_virtual:
        for source in sources_of(data, path):
            if not source.is_file():
                raise DataError(f"{path}: {name} is put together from other files, and {source} is missing")
        return
    plist = data.id.get_create_plist()
    if data.chunks is not None:
        whole = math.prod(-(-n // chunk) for n, chunk in zip(data.shape, data.chunks, strict=True))
        written = data.id.get_num_chunks()
        if written < whole and plist.fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED:
            raise DataError(
                f"{path}: {written:,} of {whole:,} chunks of {name} {data.dtype} {data.shape} were written, the others "
                f"would be read as zeros; cut it to what was written, or create it with a fillvalue if that is meant"
            )
    needed, stored = math.prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()
    if needed > stored * (_MAX_RATIO if data.chunks is not None else 1):
        raise DataError(
            f"{path}: {name} {data.dtype} {data.shape} needs {needed:,} bytes, found {stored:,}; "
            f"{'get it again' if stored else 'nothing was written into it'}"
        )


def datasets(file: h5py.File) -> Iterator[str]:
    """Names of all data sets, those behind soft and external links too; each object once."""
    import h5py

    seen: set[tuple[str, int]] = set()

    def under(group: h5py.Group, prefix: str) -> Iterator[str]:
        for name in group:
            try:
                item = group[name]
            except (KeyError, OSError):
                continue  # a link to what is not there
            if isinstance(item, h5py.Dataset):
                yield f"{prefix}{name}"
            elif isinstance(item, h5py.Group):
                place = (item.file.filename, h5py.h5o.get_info(item.id).addr)
                if place not in seen:  # groups may link to each other
                    seen.add(place)
                    yield from under(item, f"{prefix}{name}/")

    yield from under(file, "")


def sources_of(data: h5py.Dataset, path: Path) -> Iterator[Path]:
    """The other files that a data set is read from: behind a link, or as parts of a virtual data set."""
    own = Path(data.file.filename)
    if own.absolute() != path.absolute():
        yield own
    for part in data.virtual_sources() if data.is_virtual else ():
        # "." is the file itself, and a pattern of HDF5's stands for any number of files.
        if part.file_name != "." and "%" not in part.file_name:
            yield own.parent / part.file_name
