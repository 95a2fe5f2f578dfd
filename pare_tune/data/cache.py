"""Prepared folders: made once, by one process, whole or not at all.

Several trials of one search start together and want the same prepared data. The first takes a file lock and
makes the folder under another name; renaming it is the last act, so a killed process leaves nothing that
looks finished.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from pare_tune.errors import StorageError

logger = logging.getLogger(__name__)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})


def fingerprint(**parts: Any) -> str:
    """16 hexadecimal digits that change with any of `parts` (JSON values; anything else by its `str`)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prepared(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `folder/key`, made by `make` if it is not there yet.

    Args:
        folder: where prepared data lie; made if missing.
        key: a file name that tells all versions of the content apart (end it with a `fingerprint`).
        make: fills the empty folder it is given. Its exceptions pass through, and what it wrote is removed.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    final = folder / key
    if final.is_dir():
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{key}.lock"):
            if not final.is_dir():
                _make(final, make)
    except OSError as error:
        explained = _explained(error, folder)
        if explained is None:
            raise
        raise explained from error
    return final


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is preparing %s; waiting for it", path.name.removesuffix(".lock")[1:])
        lock.acquire()
    except NotImplementedError as error:
        raise StorageError(
            f"{path.parent} is on a file system without file locks; choose another cache folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _make(final: Path, make: Callable[[Path], None]) -> None:
    partial = final.parent / f".{final.name}.partial"
    # The lock is held, so whoever began this folder was killed.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        make(partial)
        os.replace(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _explained(error: OSError, folder: Path) -> StorageError | None:
    """What an error of the disk means to the user; None where it is not about the cache (data being read)."""
    if error.errno in _FULL:
        return StorageError(
            f"the disk of {folder} is full ({error.strerror}): free some space or choose another cache "
            f"folder, then run the same command again; the unfinished data were removed"
        )
    if error.errno in _FORBIDDEN and error.filename is not None:
        place = Path(os.fsdecode(error.filename))
        if place.is_relative_to(folder) or folder.is_relative_to(place):
            return StorageError(
                f"{folder} cannot be written ({error.strerror}): give yourself the right to write there or "
                f"choose another cache folder"
            )
    return None
