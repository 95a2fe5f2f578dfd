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
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


@contextmanager
def replacing(path: Path, *, also: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Yield a path to write; `path` becomes that file when the block ends, or keeps what it held if the block raises.

    The folder of `path` is made if it is missing.

    Args:
        also: what a writer raises besides OSError when the disk refuses; torch a RuntimeError, for example.

    Raises:
        StorageError: the disk refused.
    """
    partial = _partial(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise refused(path, error) from error
    except also as error:
        raise StorageError(f"cannot write {path}: {error}; free some space on that disk") from error
    finally:
        # Never in place of the error that ended the block.
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new, empty folder to fill; it takes the place of `folder`, with all that was there, when the block ends.

    A folder cannot be renamed over another one that holds files, so for a moment there is none: a process killed just
    then leaves no `folder` at all, which its readers must take for "not made yet".

    Raises:
        StorageError: the disk refused.
    """
    staged, old = _partial(folder), _partial(folder)
    try:
        staged.mkdir(parents=True)
        yield staged
        if folder.exists():
            os.rename(folder, old)
        os.rename(staged, folder)
    except OSError as error:
        raise refused(folder, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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


def refused(path: Path, error: OSError) -> StorageError:
    """What to tell when the disk refuses to write `path`."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "free some space" if full else "check its permissions or choose another folder"
    return StorageError(f"cannot write {path}: {error.strerror or error}; {advice}")


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
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise RunBusy(f"{folder} is in use by {owner_of(folder)}; {otherwise}") from None
    except NotImplementedError as error:
        raise StorageError(
            f"{folder} is on a file system without file locks; choose another folder"
        ) from error
    except OSError as error:
        raise refused(folder, error) from error
    try:
        write_text(folder / OWNER, json.dumps(_identity()))
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()


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
