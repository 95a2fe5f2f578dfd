"""Arrays in .npy, .npz and HDF5 files, and lists of arrays in the latter two; a missing key lists those there are."""

from __future__ import annotations

import fnmatch
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pare_tune.data.arrays import load_npy, load_npz
from pare_tune.data.hdf5 import Rows, open_hdf5, require_stored, told_as_damage
from pare_tune.data.images import natural
from pare_tune.errors import DataError
from pare_tune.tasks.own.samples import OBJECTS, Array, Each, Samples, Shapes, Whole, listed
from pare_tune.tasks.own.spec import ARRAYS, KEYED, TABLES, At

_WILD: Final = "*?["
_SHOWN = 30


def open_array(at: At, role: str) -> Samples:
    """An .npy, .npz or HDF5 file as samples. Raises DataError where it is missing, damaged or has no such key."""
    path = _existing(at)
    suffix = path.suffix.lower()
    if at.columns is not None:
        raise DataError(f"{path} has no columns; columns go with a table ({', '.join(TABLES)})")
    if suffix in ARRAYS:
        if at.key is not None:
            raise DataError(f"{path} is one array, it has no keys; leave out key {at.key!r}")
        return Whole(_npy(path, role), path.name)
    if suffix == ".npz":
        return _npz(path, at.key, role)
    if suffix in KEYED:
        return _hdf5(path, at.key, role)
    if path.is_dir():
        raise DataError(f"{path} is a folder; the {role} of this task must be a file")
    raise DataError(
        f"{path}: {role} are read from {', '.join((*ARRAYS, *KEYED, *TABLES))} or a folder of images"
    )


def _existing(at: At) -> Path:
    assert at.file is not None
    if not at.file.exists():
        raise DataError(f"no file or folder {at.file}")
    return at.file


def _npy(path: Path, role: str) -> Array:
    try:
        return load_npy(path, kinds="biufcUS", name=role)
    except DataError as error:
        raise _about_objects(error) from None


def _about_objects(error: DataError) -> DataError:
    if "found object" not in str(error):
        return error
    return DataError(
        f"{error}; {OBJECTS}: save numbers or text, and series of different lengths as one array each: "
        f"np.savez(path, **{{f'x{{i}}': series for i, series in enumerate(all_series)}})"
    )


def _npz(path: Path, key: str | None, role: str) -> Samples:
    keys = _choose(sorted(_members(path), key=natural), key, path)
    try:
        arrays = load_npz(path, keys, kinds="biufcUS")
    except DataError as error:
        raise _about_objects(error) from None
    if key is None or not _is_wild(key):
        return Whole(arrays[keys[0]], f"{path.name}:{keys[0]}")
    return listed([arrays[k] for k in keys], keys, f"{path.name}:{key}")


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, ValueError, struct.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a whole .npz file ({error})") from error


def _choose(keys: Sequence[str], key: str | None, path: Path) -> list[str]:
    """The keys that `key` names: itself, those that match a pattern, or the only one there is."""
    if key is None:
        found = list(keys) if len(keys) == 1 else []
    elif _is_wild(key):
        found = [k for k in keys if fnmatch.fnmatchcase(k, key)]
    else:
        found = [k for k in keys if k == key]
    if found:
        return found
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    has = f"it has {', '.join(keys[:_SHOWN])}{more}" if keys else "it is empty"
    if key is not None:
        raise DataError(f"{path} has no array {key!r}; {has}")
    raise DataError(
        f"{path} has several arrays: say which one, as {path.name}:KEY, or {path.name}:* where each is a sample; {has}"
    )


def _is_wild(key: str) -> bool:
    return any(sign in key for sign in _WILD)


def _hdf5(path: Path, key: str | None, role: str) -> Samples:
    import h5py

    with told_as_damage(path):
        file = h5py.File(path, "r")
        if key is not None and isinstance(file.get(key), h5py.Group):
            key = f"{key.strip('/')}/*"
        keys = _datasets(file)
        wanted = None if key is None else key.strip("/")
        found = _choose(sorted(keys, key=natural), wanted, path)
        if wanted is not None and _is_wild(wanted):
            sets = [Rows(file[k], path) for k in found]
            known = Shapes(
                [s.shape for s in sets], [s.dtype for s in sets], [k.rsplit("/", 1)[-1] for k in found]
            )
            return Each(lambda i: sets[i][()], known, f"{path.name}:{wanted}")
        return _dataset(file[found[0]], path, f"{path.name}:{found[0]}")


def _datasets(file: Any) -> list[str]:
    import h5py

    keys: list[str] = []
    file.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
    return keys


def _dataset(data: Any, path: Path, where: str) -> Samples:
    import h5py

    require_stored(data, path)
    inner = h5py.check_vlen_dtype(data.dtype)
    if inner is not None and not isinstance(inner, type):
        lists = list(data[()])
        return listed([np.asarray(v) for v in lists], [f"sample {i}" for i in range(len(lists))], where)
    return Whole(Rows(data, path), where)


def read_array(at: At, role: str) -> Array:
    """A small array, whole: labels, groups. Raises as `open_array`."""
    path = _existing(at)
    if path.suffix.lower() in (".h5", ".hdf5", ".hdf"):
        return _hdf5_labels(path, at.key, role)
    if path.suffix.lower() == ".npz":
        keys = _choose(sorted(_members(path), key=natural), at.key, path)
        try:
            return load_npz(path, keys[:1], kinds="biufUS")[keys[0]]
        except DataError as error:
            raise _about_objects(error) from None
    if path.suffix.lower() in ARRAYS:
        return np.asarray(_npy(path, role))
    raise DataError(f"{path}: {role} is read from {', '.join((*ARRAYS, *KEYED, *TABLES))}")


def _hdf5_labels(path: Path, key: str | None, role: str) -> Array:
    import h5py

    with open_hdf5(path) as file:
        wanted = None if key is None else key.strip("/")
        data = file[_choose(sorted(_datasets(file), key=natural), wanted, path)[0]]
        require_stored(data, path)
        if h5py.check_string_dtype(data.dtype) is not None:
            return np.asarray(data.asstr()[()], dtype=np.str_)
        if data.dtype.kind not in "biufUS":
            raise DataError(f"{path}: {role} must be numbers or text, found {data.dtype}")
        return np.asarray(data[()])
