"""Runs that live in a store (`--runs s3://…`): the copy of one on this disk, and how the two are kept alike.

The driver works in a folder of the cache, whose hidden file `.url` names the run; every few seconds what has changed
there goes to the store. Trials send their files to the store themselves, and the driver fetches what it reads.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from pare_tune.data.files import is_owned, locked, write_text
from pare_tune.data.remote import (
    URL,
    Outbox,
    Stamp,
    UrlStore,
    is_url,
    parent_url,
    patiently,
    stamps_below,
    url_of,
    without_secrets,
)
from pare_tune.errors import ConfigError, PareTuneError, RunBusy, StorageError
from pare_tune.tasks.load import default_cache
from pare_tune.train.checkpoint import BEST, FOLDS_DONE, LAST
from pare_tune.tune.lease import LEASE_S, Lease, is_driven

_EVERY_S = 3.0
_SHARE = 0.1
"""Of the time, that may be spent on sending: the journal is sent whole, and grows."""
_TRIALS_OWN = (LAST, BEST, FOLDS_DONE)
"""Large, and of no use to who reads a run."""
_DEEPEST = 3
"""Folders of a run that a file can be in."""
_JOURNAL = "study.journal"


def copies_of(url: str) -> Path:
    """Folder on this disk of the copies of the runs below `url`."""
    return default_cache() / "runs" / hashlib.sha1(url.encode()).hexdigest()[:12]


def local(place: Path | str) -> Path:
    """A run, or a file or folder of one, on this disk: what is at a URL is copied first, without the trials' weights.

    Raises:
        ConfigError: there is no run at the URL.
        StorageError: it cannot be read.
    """
    if not is_url(place):
        return Path(place)
    run, below = str(place), ""
    while not UrlStore(run).holds("run.yaml"):
        run, name = parent_url(run)
        below = f"{name}/{below}" if below else name
        if not is_url(run) or below.count("/") > _DEEPEST:
            raise ConfigError(f"{without_secrets(str(place))} is in no run: nowhere above it is a run.yaml")
    runs, name = parent_url(run)
    folder = copies_of(runs) / name
    with locked(folder.with_name(f"{name}.lock")):
        if not is_owned(folder):
            write_text(folder / URL, run)
            _pull(Outbox(UrlStore(run), folder))
    return folder / below


@contextmanager
def sent_back(folder: Path) -> Iterator[None]:
    """Send what changes meanwhile in `folder`, if that is a copy of what lives in a store. Raises StorageError."""
    url = url_of(folder)
    before = stamps_below(folder) if url is not None else {}
    try:
        yield
    finally:
        if url is not None:
            outbox = Outbox(UrlStore(url), folder, deletes=False)
            outbox.sent = before
            patiently(outbox.send)


def is_searched(run: Path) -> bool:
    """Whether a living process searches in `run`, here or, if it is a copy, on any machine."""
    url = url_of(run)
    return is_owned(run) or (url is not None and is_driven(UrlStore(url)))


class Mirror:
    """Keeps a store like the driver's folder.

    Args:
        refused: told once of each time that the store begins to refuse.
    """

    def __init__(self, folder: Path, url: str, refused: Callable[[str], None]) -> None:
        self._folder, self._url, self._refused = folder, url, refused
        self.store = UrlStore(url)
        self.lost: RunBusy | None = None
        """Another driver took over."""
        self._outbox = Outbox(self.store, folder, deletes=False)
        self._lease = Lease(self.store)
        self._wanted, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mirror", daemon=True)

    def open(self) -> None:
        """Claim the run, and bring both sides up to date. Raises RunBusy, StorageError."""
        self._lease.take()
        _pull(self._outbox)
        self._outbox.send()
        self._thread.start()

    def soon(self) -> None:
        """Do not wait for the next turn."""
        self._wanted.set()

    def fetch_trial(self, name: str) -> None:
        """Bring the files of a trial here, without its weights."""
        for file in self.store.stamps(name):
            if not _is_trials_own(file):
                self._outbox.fetch(file)

    def fetch(self, name: str) -> None:
        """Bring one file here; nothing where there is none. Raises StorageError."""
        patiently(lambda: self._outbox.fetch(name))

    def drop(self, unwanted: Mapping[str, Iterable[str]]) -> None:
        """Remove files there: folder of a trial → patterns of their names in it."""
        present = self.store.stamps(next(iter(unwanted)) if len(unwanted) == 1 else "trials")
        for name in present:
            folder = "/".join(name.split("/")[:2])
            if any(fnmatch(name, f"{folder}/{pattern}") for pattern in unwanted.get(folder, ())):
                self.store.delete(name)

    def close(self) -> None:
        """Send what is left and give the run back. Raises StorageError where the store still refuses."""
        self._over.set()
        self._wanted.set()
        self._thread.join()
        if self.lost is not None:
            return
        try:
            patiently(self._outbox.send)
        except StorageError as error:
            raise StorageError(f"{error}; all of the run is in {self._folder}, resume from there") from error
        finally:
            with suppress(PareTuneError):
                self._lease.release()

    def _loop(self) -> None:
        refuses, took = False, 0.0
        while not self._over.wait(min(took / _SHARE, LEASE_S / 3)) and self.lost is None:
            self._wanted.wait(_EVERY_S)
            self._wanted.clear()
            began = time.monotonic()
            try:
                self._lease.renew()
                self._outbox.send()
                refuses = False
            except RunBusy as error:
                self.lost = error
            except StorageError as error:
                if not refuses:
                    self._refused(f"{error}. The search goes on in {self._folder} and tries again")
                refuses = True
            took = time.monotonic() - began


def _pull(outbox: Outbox) -> None:
    """Fetch what the store has and the copy lacks."""
    folder = outbox.folder
    here = stamps_below(folder)
    for name, stamp in outbox.store.stamps().items():
        if _is_trials_own(name):
            continue
        if here.get(name) == stamp:
            outbox.sent[name] = stamp
        elif name != _JOURNAL or not _is_ahead(outbox, here.get(name)):
            outbox.fetch(name)


def _is_trials_own(name: str) -> bool:
    return any(fnmatch(name, f"trials/*/{pattern}") for pattern in _TRIALS_OWN)


def _is_ahead(outbox: Outbox, here: Stamp | None) -> bool:
    """Whether the journal on this disk goes on where the store's ends: its driver died before it was sent."""
    if here is None or not isinstance(outbox.store, UrlStore):
        return False
    there = outbox.store.read(_JOURNAL)
    return (outbox.folder / _JOURNAL).read_bytes().startswith(there[: there.rfind(b"\n") + 1])
