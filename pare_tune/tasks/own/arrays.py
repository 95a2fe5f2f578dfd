"""Arrays in .npy, .npz, HDF5 and MATLAB files, and lists of arrays in those with keys; a missing key lists all."""

from __future__ import annotations

import fnmatch
import re
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pare_tune.data.arrays import NpzRows, load_npy, load_npz
from pare_tune.data.frames import TABLES
from pare_tune.data.hdf5 import Rows, datasets, get_dataset, open_hdf5, sources_of, told_as_damage
from pare_tune.data.images import natural
from pare_tune.data.matfiles import mat_names, open_mat
from pare_tune.errors import DataError
from pare_tune.tasks.own.samples import OBJECTS, Array, Each, MappedRows, Samples, Shapes, Whole, listed
from pare_tune.tasks.own.spec import ARRAYS, KEYED, At

_WILD: Final = "*?["
_SHOWN = 30
_HELD: Final = 64 << 20
"""Bytes of an archive whose one array is held in memory; of a larger one it is read in parts."""


def open_array(at: At, role: str) -> Samples:
    """An .npy, .npz, HDF5 or MATLAB file as samples.

    Raises:
        DataError: it is missing, damaged or has no such key.
    """
    path = _existing(at)
    suffix = path.suffix.lower()
    if at.columns is not None:
        raise DataError(f"{path} has no columns; columns go with a table ({', '.join(TABLES)})")
    if suffix in ARRAYS:
        if at.key is not None:
            raise DataError(f"{path} is one array, it has no keys; leave out key {at.key!r}")
        array = _npy(path, role)
        return Whole(MappedRows(path, array) if array.size else array, path.name)
    if suffix in KEYED:
        return _hdf5(path, at.key) if _is_hdf5(path) else _loaded(path, at.key)
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


def _is_hdf5(path: Path) -> bool:
    """HDF5 files, and MATLAB's of version 7.3."""
    import h5py

    return path.suffix.lower() not in (".npz", ".mat") or (
        path.suffix.lower() == ".mat" and h5py.is_hdf5(path)
    )


def _loaded(path: Path, key: str | None) -> Samples:
    """Of a file whose arrays are read whole."""
    keys = _choose(_keys(path), key, path)
    if path.suffix.lower() == ".npz" and len(keys) == 1 and path.stat().st_size > _HELD:
        return Whole(NpzRows(path, keys[0]), f"{path.name}:{keys[0]}")
    arrays = _load(path, keys, "biufcUS")
    if key is None or not _is_wild(key):
        return Whole(arrays[0], f"{path.name}:{keys[0]}")
    samples = listed(arrays, keys, f"{path.name}:{key}")
    samples.matched = _matched(key, keys)
    return samples


def _keys(path: Path) -> list[str]:
    if path.suffix.lower() == ".mat":
        return mat_names(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, ValueError, struct.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a whole .npz file ({error})") from error


def _load(path: Path, keys: Sequence[str], kinds: str) -> list[Array]:
    if path.suffix.lower() == ".mat":
        return [np.stack([*open_mat(path, key).planes()], axis=-1) for key in keys]
    try:
        arrays = load_npz(path, keys, kinds=kinds)
    except DataError as error:
        raise _about_objects(error) from None
    return [arrays[key] for key in keys]


def _choose(keys: Sequence[str], key: str | None, path: Path) -> list[str]:
    """The keys that `key` names, in natural order: itself, those that match a pattern, or the only one there is."""
    if key is None:
        chosen = list(keys) if len(keys) == 1 else []
    elif _is_wild(key):
        chosen = sorted((k for k in keys if fnmatch.fnmatchcase(k, key)), key=natural)
    else:
        chosen = [k for k in keys if k == key]
    if chosen:
        return chosen
    ordered = sorted(keys, key=natural)
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    has = f"it has {', '.join(ordered[:_SHOWN])}{more}" if keys else "it is empty"
    if key is not None:
        raise DataError(f"{path} has no array {key!r}; {has}")
    raise DataError(
        f"{path} has several arrays: say which one, as {path.name}:KEY, or {path.name}:* where each is a sample; {has}"
    )


def _is_wild(key: str) -> bool:
    return any(sign in key for sign in _WILD)


def _matched(pattern: str, keys: Sequence[str]) -> tuple[str, ...]:
    """What the stars of a pattern stand for in each of the keys that it matches."""
    stars = {"*": "(.*)", "?": "(.)"}
    match = re.compile("".join(stars.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL)
    parts = [match.fullmatch(key) for key in keys]
    return tuple("/".join(m.groups()) if m is not None else key for m, key in zip(parts, keys, strict=True))


def _wanted(file: Any, key: str | None) -> str | None:
    """The key or pattern that `key` means: that of an HDF5 group stands for every data set in it."""
    import h5py

    if key is not None and isinstance(file.get(key), h5py.Group):
        return f"{key.strip('/')}/*"
    return None if key is None else key.strip("/")


def _hdf5(path: Path, key: str | None) -> Samples:
    import h5py

    with told_as_damage(path):
        file = h5py.File(path, "r")
        wanted = _wanted(file, key)
        keys = _choose([*datasets(file)], wanted, path)
        if wanted is None or not _is_wild(wanted):
            return _dataset(get_dataset(file, keys[0], path), path, f"{path.name}:{keys[0]}")
        sets = [Rows(file[k], path) for k in keys]
        matched = _matched(wanted, keys)
        leaves = [k.rsplit("/", 1)[-1] for k in keys]
        shapes = Shapes(
            [s.shape for s in sets],
            [s.dtype for s in sets],
            leaves if len(set(leaves)) == len(keys) else matched,
        )
        samples = Each(lambda i: sets[i][()], shapes, f"{path.name}:{wanted}")
        samples.matched = matched
        return samples


def _dataset(data: Any, path: Path, where: str) -> Samples:
    import h5py

    inner = h5py.check_vlen_dtype(data.dtype)
    if inner is not None and not isinstance(inner, type):
        lists = list(data[()])
        return listed([np.asarray(v) for v in lists], [f"sample {i}" for i in range(len(lists))], where)
    if path.suffix.lower() == ".mat":
        return Whole(np.asarray(data[()]).T, where)  # MATLAB counts axes from the other end
    return Whole(Rows(data, path), where)


@dataclass(frozen=True)
class Labels:
    """A small array that was read whole."""

    values: Array
    matched: tuple[str, ...] | None = None
    """As of `Samples`, where a pattern named one array a sample."""


def read_labels(at: At, role: str) -> Labels:
    """Labels, groups or splits: one array, or one small array (a number, a text) a sample. Raises as `open_array`."""
    path = _existing(at)
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return Labels(np.asarray(_npy(path, role)))
    if suffix not in KEYED:
        raise DataError(f"{path}: {role} is read from {', '.join((*ARRAYS, *KEYED, *TABLES))}")
    if _is_hdf5(path):
        with open_hdf5(path) as file:
            wanted = _wanted(file, at.key)
            keys = _choose([*datasets(file)], wanted, path)
            arrays = [_small(get_dataset(file, key, path), path, role) for key in keys]
    else:
        wanted = at.key
        keys = _choose(_keys(path), wanted, path)
        arrays = _load(path, keys, "biufUS")
    if suffix == ".mat":
        # MATLAB has no arrays of one axis: labels are a row or a column.
        arrays = [a.reshape(-1) if a.ndim == 2 and 1 in a.shape else a for a in arrays]
    if wanted is None or not _is_wild(wanted):
        return Labels(arrays[0])
    if len({a.shape for a in arrays}) > 1:
        raise DataError(f"{path}: {role}s of all samples have one shape, found {wanted} of several")
    return Labels(np.stack(arrays), _matched(wanted, keys))


def _small(data: Any, path: Path, role: str) -> Array:
    import h5py

    if h5py.check_string_dtype(data.dtype) is not None:
        return np.asarray(data.asstr()[()], dtype=np.str_)
    if data.dtype.kind not in "biufUS":
        raise DataError(f"{path}: {role} must be numbers or text, found {data.dtype}")
    values = np.asarray(data[()])
    return values.T if path.suffix.lower() == ".mat" else values


def linked_files(at: At) -> list[Path]:
    """Other HDF5 files that the arrays of one come from, by links or as parts of virtual data sets."""
    path = _existing(at)
    with open_hdf5(path) as file:
        keys = _choose([*datasets(file)], _wanted(file, at.key), path)
        return sorted({source for key in keys for source in sources_of(file[key], path)})
