"""How files and folders get to disk whole, and how one process owns a folder.

Everything that must not be seen half-written goes through `replacing` or `replacing_folder`: the new content is made
under a name of its own beside the old one, and a rename, which is atomic, is the last act. A killed process leaves at
most a hidden leftover (`PARTIAL`), never a file that looks finished. Locks are the kernel's, so they end with
their process, however it ends.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
from filelock import FileLock, Timeout

from pare_tune.errors import RunBusy, StorageError

PARTIAL: Final = ".*.partial"
"""Glob of what writers that were killed leave beside the file they were making."""
LOCK: Final = ".lock"
OWNER: Final = ".owner.json"
"""What `owned` leaves in a folder beside the lock, for whoever comes second; a killed owner's stays."""
_ELSEWHERE: Final = "choose another folder"


@contextmanager
def replacing(
    path: Path, *, also: tuple[type[Exception], ...] = (), otherwise: str = _ELSEWHERE
) -> Iterator[Path]:
    """Yield a path to write; `path` becomes that file when the block ends, or keeps what it held if the block raises.

    The folder of `path` is made if it is missing.

    Args:
        also: what a writer raises besides OSError when the disk refuses; torch a RuntimeError, for example.
        otherwise: how to choose another place, for the message.

    Raises:
        StorageError: the disk refused to write. (What it refuses to read elsewhere passes through.)
    """
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if _is_elsewhere(error, path):
            raise
        raise refused(path, error, otherwise=otherwise) from error
    except also as error:
        raise StorageError(f"cannot write {path}: {error}; free some space on that disk") from error
    finally:
        # Never in place of the error that ended the block.
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, *, otherwise: str = _ELSEWHERE) -> Iterator[Path]:
    """Yield a new, empty folder to fill; it takes the place of `folder`, with all that was there, when the block ends.

    A folder cannot be renamed over another one that holds files, so for a moment there is none: a process killed just
    then leaves no `folder` at all, which its readers must take for "not made yet".

    Args:
        otherwise: how to choose another place, for the message.

    Raises:
        StorageError: the disk refused to write. (What it refuses to read elsewhere passes through.)
    """
    staged, old = _partial(folder), _partial(folder)
    try:
        staged.mkdir(parents=True)
        yield staged
        if folder.exists():
            os.rename(folder, old)
        os.rename(staged, folder)
    except OSError as error:
        if _is_elsewhere(error, folder):
            raise
        raise refused(folder, error, otherwise=otherwise) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder. Renamed first: a removal that is cut short leaves a hidden leftover, never half a folder.

    Raises:
        OSError: the disk refused.
    """
    leftover = folder
    if not folder.match(PARTIAL):
        leftover = _partial(folder)
        os.rename(folder, leftover)
    shutil.rmtree(leftover)


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole. Raises StorageError when the disk refuses."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, tree: Any) -> None:
    """Replace a JSON file as a whole; NaN and infinity become null. Raises StorageError when the disk refuses."""
    write_text(path, json.dumps(plain_json(tree), indent=2) + "\n")


def plain_json(value: Any) -> Any:
    """NaN and infinity have no JSON; they become null."""
    if isinstance(value, Mapping):
        return {str(k): plain_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v) for v in value]
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return None
    return value


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left beside it. Only for whom no other process can be writing it."""
    for left in path.parent.glob(PARTIAL):
        if re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}\.partial", left.name):
            shutil.rmtree(left, ignore_errors=True)


def refused(path: Path, error: OSError, *, otherwise: str = _ELSEWHERE) -> StorageError:
    """What to tell when the disk refuses to write `path`; `otherwise` is how to choose another place."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "free some space" if full else "check its permissions"
    return StorageError(f"cannot write {path}: {error.strerror or error}; {remedy} or {otherwise}")


def locked(
    path: Path, *, wait_s: float = -1.0, otherwise: str = _ELSEWHERE
) -> AbstractContextManager[object]:
    """Hold the lock file `path`, whose folder is made if it is missing, until the `with` block ends.

    Args:
        wait_s: how long to wait for whoever holds it; -1 for as long as it takes.
        otherwise: how to choose another place, for the message.

    Raises:
        Timeout: somebody else holds it.
        StorageError: the folder cannot be written, or its file system has no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path).acquire(timeout=wait_s)
    except Timeout:  # an OSError too, but not the disk's
        raise
    except NotImplementedError as error:
        raise StorageError(f"{path.parent} is on a file system without file locks; {otherwise}") from error
    except OSError as error:
        raise refused(path.parent, error, otherwise=otherwise) from error


@contextmanager
def owned(folder: Path, *, otherwise: str, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only process that writes into `folder`, which is made if it is missing.

    Args:
        otherwise: what to do when somebody else is: ends the message, "give another --out" for example.
        wait_s: how long to wait for the owner to end.

    Raises:
        RunBusy: another living process owns the folder; the message names it.
        StorageError: the folder cannot be written, or its file system has no locks.
    """
    try:
        lock = locked(folder / LOCK, wait_s=wait_s)
    except Timeout:
        raise RunBusy(f"{folder} is in use by {owner_of(folder)}; {otherwise}") from None
    with lock:
        try:
            write_text(folder / OWNER, json.dumps(_identity()))
            yield
        finally:
            with suppress(OSError):
                (folder / OWNER).unlink(missing_ok=True)


def is_owned(folder: Path) -> bool:
    """Whether a living process owns `folder`; on another machine, whether it did not say goodbye."""
    owner = _read_owner(folder)
    if owner is None or owner["host"] != socket.gethostname():
        return owner is not None
    try:
        return bool(psutil.Process(owner["pid"]).create_time() == owner["started"])
    except psutil.Error:
        return False


def owner_of(folder: Path) -> str:
    """Who owns `folder`, in words: "process 123 on host"."""
    owner = _read_owner(folder)
    return "another process" if owner is None else f"process {owner['pid']} on {owner['host']}"


def _is_elsewhere(error: OSError, path: Path) -> bool:
    """Whether an error names a file that lies neither beside `path` nor on the way to it."""
    if not isinstance(error.filename, str | bytes):
        return False
    named = Path(os.fsdecode(error.filename))
    return not named.is_relative_to(path.parent) and not path.is_relative_to(named)


def _partial(path: Path) -> Path:
    # Process numbers repeat on other nodes that share the disk, and threads share one.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")


def _identity() -> dict[str, Any]:
    # The start time tells this process from a later one that was given the same number.
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}


def _read_owner(folder: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) and owner.keys() >= {"pid", "host", "started"} else None
