"""Where a worker keeps the files of a training: in the run folder where its node sees that, else on a disk of its own,
from which they travel by themselves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pare_tune.data.files import is_owned, owned
from pare_tune.data.remote import Outbox, Store, UrlStore, patiently
from pare_tune.errors import RunBusy, StorageError

_SCRATCH = "pare-tune-scratch-"
_ATTEMPT = ".attempt"
_LOOK_S = 2.0
_YOUNG_S = 3600.0
"""A scratch folder that nobody owns may still be filled; after so long its process is dead."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that files belong to, as every node of a cluster can reach it. Travels to the workers."""

    folder: Path
    """Absolute, on the driver's disk."""
    token: str
    """Name of a file in `folder` while the session lasts: who finds it sees this very folder, not one of its name."""
    node: str
    """Ray's name of the driver's node."""
    url: str | None
    """Where the run is, if `folder` is only the driver's copy."""

    @property
    def is_here(self) -> bool:
        """Whether this process sees `folder`, and files belong there."""
        return self.url is None and (self.folder / self.token).is_file()

    def store(self) -> Store:
        """The way to the run's files from where they are not seen."""
        if self.url is not None:
            return UrlStore(self.url)
        from pare_tune.train.keeper import KeptFolder

        return KeptFolder(self)


class Place:
    """A folder to work in, whose files are where they belong, or on their way."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def publish(self) -> None:
        """Ask for what has changed to be sent on, which takes no time unless the last time is not over yet."""

    def fetch(self, name: str) -> None:
        """Bring one file up to date that another worker may have written; nothing where there is none."""


@contextmanager
def workplace(
    home: Home, name: str = "", *, only: Collection[str] | None = None, attempt: int | None = None
) -> Iterator[Place]:
    """A place to work on what belongs to `home.folder`/`name`.

    Where that is not seen, it is a new folder with the files that are there so far, and what changes is sent back: in
    the background when asked, and all at the end, also where the block raises.

    Args:
        only: patterns of the files that are needed here and fetched at the beginning; None is all of them.
        attempt: how often this was begun before, somewhere else: files are taken from the newest attempt alone. None
            where there can be no other.

    Raises:
        StorageError: they could not be fetched, or in the end not be sent.
        RunBusy: a newer attempt has begun.
    """
    if home.is_here:
        folder = home.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        yield Place(folder, name)
        return
    _sweep()
    root = Path(tempfile.mkdtemp(prefix=_SCRATCH))
    try:
        with owned(root, otherwise="start again"):
            folder = root / (name.rpartition("/")[2] or home.folder.name)
            store = home.store() if attempt is None else _NewestAttempt(home.store(), name, attempt, root)
            place = _Away(store, name, folder)
            place.fetch_all(only)
            try:
                yield place
            finally:
                place.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _sweep() -> None:
    """Remove what killed processes left on this node."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        try:
            left = folder.stat().st_uid == os.getuid() and time.time() - folder.stat().st_mtime > _YOUNG_S
        except OSError:
            continue
        if left and not is_owned(folder):
            shutil.rmtree(folder, ignore_errors=True)


class _NewestAttempt:
    """A store that takes a trial's files from one attempt, until a newer one begins.

    A worker whose node is cut off trains on, and may reach the store although its trial goes on elsewhere. Stores have
    no locks, so each attempt leaves its number there, and a file is sent only while no higher one is there. What was on
    its way in that moment still arrives: before the newer attempt has an epoch to send, if a file takes no longer.

    Args:
        root: a folder of this process alone.
    """

    def __init__(self, store: Store, name: str, attempt: int, root: Path) -> None:
        self._store, self._attempt = store, attempt
        self._mark, self._local = f"{name}/{_ATTEMPT}", root / _ATTEMPT
        self.fetch, self.stamps = store.fetch, store.stamps
        if attempt and self._newest() < attempt:
            self._local.write_text(str(attempt))
            store.publish(self._local, self._mark)

    def publish(self, local: Path, name: str) -> None:
        """As `Store` has it. Raises RunBusy."""
        self._check()
        self._store.publish(local, name)

    def delete(self, name: str) -> None:
        """As `Store` has it. Raises RunBusy."""
        self._check()
        self._store.delete(name)

    def _check(self) -> None:
        if self._newest() > self._attempt:
            raise RunBusy(
                f"{self._mark.rpartition('/')[0]} goes on elsewhere; this worker was taken for dead"
            )

    def _newest(self) -> int:
        try:
            self._store.fetch(self._mark, self._local)
        except FileNotFoundError:
            return 0
        return int(self._local.read_text())


class _Away(Place):
    """A folder of this node whose files go to a store, one epoch behind at most."""

    def __init__(self, store: Store, name: str, folder: Path) -> None:
        super().__init__(folder, name)
        folder.mkdir(parents=True)
        self._outbox = Outbox(store, folder, f"{name}/" if name else "")
        self._wanted, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._closing = False
        self._superseded: RunBusy | None = None
        self._thread = threading.Thread(target=self._loop, name="publish", daemon=True)
        self._thread.start()

    def fetch_all(self, only: Collection[str] | None) -> None:
        for name in self._outbox.store.stamps(self.name):
            local = name.removeprefix(f"{self.name}/")
            if only is None or any(fnmatch(local, pattern) for pattern in only):
                self.fetch(local)

    def fetch(self, name: str) -> None:
        self._outbox.fetch(name)

    def publish(self) -> None:
        self._idle.wait()
        if self._superseded is not None:
            raise self._superseded
        self._idle.clear()
        self._wanted.set()

    def close(self) -> None:
        """Send what is left and wait for it. Raises StorageError where it cannot be sent."""
        self._idle.wait()
        self._closing = True
        self._wanted.set()
        self._thread.join()
        if self._superseded is None:
            patiently(self._outbox.send)

    def _loop(self) -> None:
        while True:
            asked = self._wanted.wait(_LOOK_S)  # a large checkpoint is there some time after its epoch
            self._wanted.clear()
            if self._closing:
                return
            try:
                self._outbox.send()
            except RunBusy as error:
                self._superseded = error
            except StorageError:
                if asked:
                    traceback.print_exc()  # to the log; the next epoch tries again
            finally:
                if not self._wanted.is_set():  # asked for in the moment of a look, it is done with that
                    self._idle.set()
