"""Prepared folders: made once, by one process, whole or not at all.

Several trials of one search start together and want the same prepared data: the first takes the lock of its key and
makes the folder, the others wait.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from filelock import Timeout

from pare_tune.data.files import locked, remove_leftovers, replacing_folder

logger = logging.getLogger(__name__)

CHOOSE_ANOTHER: Final = "set PARE_TUNE_CACHE=FOLDER to keep prepared data elsewhere"
"""How to have another cache than the default one, for messages."""


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
    with _lock_of(final):
        if not final.is_dir():
            remove_leftovers(final)
            with replacing_folder(final, otherwise=CHOOSE_ANOTHER) as staged:
                make(staged)
    return final


def _lock_of(final: Path) -> AbstractContextManager[object]:
    path = final.with_name(f".{final.name}.lock")
    try:
        return locked(path, wait_s=0, otherwise=CHOOSE_ANOTHER)
    except Timeout:
        logger.info("another process is preparing %s; waiting for it", final.name)
        return locked(path, otherwise=CHOOSE_ANOTHER)
