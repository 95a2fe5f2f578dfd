"""`pare-tune data clean`: removes what no present code would open from the cache.

A store's name holds a digest of the code that made it, so a new version makes its own and leaves the old one behind.
Only folders that are known by their name are touched: stores of the registered tasks and sources, and what a killed
process left half made. Stores of a user's own tasks stay, and so does a folder that another process is making.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from pare_tune.data.files import locked, remove_folder
from pare_tune.errors import PareTuneError, StorageError
from pare_tune.inspect.listing import folder_bytes
from pare_tune.sources import SOURCES
from pare_tune.sources.stored import FOLDER as SOURCE_STORES
from pare_tune.sources.stored import code_of
from pare_tune.tasks import get_task
from pare_tune.tasks.stores import PREPARED, SAMPLES, opened_by_this_code, task_of

_SOURCE = re.compile(r"(?P<name>.+?)(-[0-9a-f]{16})+")
_UNFINISHED = re.compile(r"^\.(.+?)(\.[0-9a-f]{12})?\.partial$")


@dataclass(frozen=True, slots=True)
class Stale:
    """A folder of the cache that is of no use."""

    path: Path
    num_bytes: int
    why: str
    """other code, or unfinished."""


def find_stale(cache: Path) -> list[Stale]:
    """What `remove` may take out of the cache folder `cache`; nothing where there is no such folder."""
    return [
        Stale(path, folder_bytes(path), why)
        for place in (PREPARED, SAMPLES, SOURCE_STORES)
        for path in sorted(_folders(cache / place))
        if (why := _why(place, path.name)) is not None and not _is_busy(path)
    ]


def remove(stale: Stale) -> bool:
    """Remove the folder and its lock; False where another process has begun to make it meanwhile.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        with locked(_lock(stale.path), wait_s=0):
            remove_folder(stale.path)
            _lock(stale.path).unlink(missing_ok=True)
    except Timeout:
        return False
    except OSError as error:
        raise StorageError(f"cannot remove {stale.path} ({error.strerror}); remove it by hand") from error
    return True


def _folders(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from (path for path in place.iterdir() if path.is_dir() and not path.is_symlink())


def _why(place: str, name: str) -> str | None:
    if name.startswith("."):
        return "unfinished" if name.endswith(".partial") else None
    current = _source_is_current(name) if place == SOURCE_STORES else _task_is_current(place, name)
    return "other code" if current is False else None


def _task_is_current(place: str, name: str) -> bool | None:
    """None where it is of no registered task."""
    task = task_of(place, name)
    if task is None:
        return None
    try:
        return opened_by_this_code(get_task(task), place, name)
    except PareTuneError:
        return None


def _source_is_current(name: str) -> bool | None:
    """None where it is of no source."""
    match = _SOURCE.fullmatch(name)
    source = SOURCES.get(match["name"]) if match is not None else None
    return None if source is None else name.startswith(f"{source.name}-{code_of(source)}-")


def _is_busy(path: Path) -> bool:
    lock = _lock(path)
    if not lock.exists():
        return False
    try:
        with locked(lock, wait_s=0):
            return False
    except (Timeout, StorageError):
        return True


def _key(path: Path) -> str:
    """The store that a folder is, or was to become: `KEY`, `.KEY.partial`, `.KEY.0123456789ab.partial`."""
    return _UNFINISHED.sub(r"\1", path.name)


def _lock(path: Path) -> Path:
    return path.parent / f".{_key(path)}.lock"
