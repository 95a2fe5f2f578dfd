"""Files that are not on this disk, by their names below a folder ("trials/0007/last.pt"): what every such place offers,
and the one that a URL names (s3://, gs://, abfs://, hdfs://, file://, and what fsspec knows beside them).
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from pare_tune.data.files import replacing
from pare_tune.errors import ConfigError, StorageError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://[^?]+(\?.*)?")
_WHOLE: Final = frozenset({"s3", "gcs", "abfs"})
"""Kinds of stores where a file appears once all of it has arrived; elsewhere it is renamed."""
URL: Final = ".url"
"""In the copy of a run on this disk: the run's URL."""
_CHUNK_BYTES: Final = 16 * 2**20
_WAITS_S: Final = (1.0, 4.0, 15.0)
"""Between tries of what must not fail."""
_REASONS: Final = (
    ("NO_SUCH_BUCKET", "there is no such bucket", "make it, or mend the URL"),
    ("ACCESS_DENIED", "access is denied", "look at the credentials and what they allow"),
    (
        "INVALID_ACCESS_KEY_ID",
        "the credentials are wrong",
        "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    ("SIGNATURE_DOES_NOT_MATCH", "the credentials are wrong", "look at AWS_SECRET_ACCESS_KEY"),
    ("NETWORK_CONNECTION", "no connection", "look at the network and at the URL's endpoint"),
)
"""A word of the library's message, what it means, what to do."""

Stamp = tuple[int, int]
"""Bytes of a file, and the time of its last change in nanoseconds, as the clock of its place has it."""


class Store(Protocol):
    """Where files go that are needed elsewhere. Every method raises StorageError where the other side refuses."""

    def publish(self, local: Path, name: str) -> None:
        """Make `name` the bytes of a local file, at once and as a whole."""

    def fetch(self, name: str, local: Path) -> None:
        """Write `name` to a local file, as a whole. Raises FileNotFoundError where there is none."""

    def stamps(self, under: str = "") -> dict[str, Stamp]:
        """The files below the folder `under`, those left out that are hidden or in hidden folders."""

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""


class Outbox:
    """What of a folder on this disk a store has not got yet.

    Args:
        prefix: of the folder's files in the store, "trials/0007/" for example.
        deletes: whether what vanishes here vanishes there.
    """

    def __init__(self, store: Store, folder: Path, prefix: str = "", *, deletes: bool = True) -> None:
        self.store = store
        self.folder, self._prefix, self._deletes = folder, prefix, deletes
        self.sent: dict[str, Stamp] = {}
        """What the store has, by the stamps of the local files."""

    def fetch(self, name: str) -> bool:
        """Bring one file here; False where there is none."""
        try:
            self.store.fetch(self._prefix + name, self.folder / name)
        except FileNotFoundError:
            return False
        self.sent[name] = _stamp(self.folder / name)
        return True

    def send(self) -> None:
        """Publish what has changed since the last time, in the order in which it was written: a checkpoint must not
        arrive before the weights that it calls the best. Raises StorageError."""
        present = stamps_below(self.folder)
        for name, stamp in sorted(present.items(), key=lambda item: item[1][1]):
            if self.sent.get(name) != stamp:
                with suppress(FileNotFoundError):  # it was replaced or removed just now
                    self.store.publish(self.folder / name, self._prefix + name)
                    self.sent[name] = stamp
        for name in self.sent.keys() - present.keys() if self._deletes else ():
            self.store.delete(self._prefix + name)
            del self.sent[name]


def patiently(act: Callable[[], object]) -> None:
    """Do what a store may refuse for a moment. Raises StorageError where it refuses for good."""
    for wait_s in _WAITS_S:
        with suppress(StorageError):
            act()
            return
        time.sleep(wait_s)
    act()


def stamps_below(folder: Path) -> dict[str, Stamp]:
    """Files that are whole, by their names below `folder`; locks and half-written ones are hidden."""
    stamps = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(root, name)
            with suppress(FileNotFoundError):  # of a writer that is at work
                if not name.startswith("."):
                    stamps[path.relative_to(folder).as_posix()] = _stamp(path)
    return stamps


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def is_url(place: str | Path) -> bool:
    """Whether a place is in a store. A path that went through `Path` has lost its second slash."""
    return isinstance(place, str) and _URL.fullmatch(place) is not None


def join_url(url: str, name: str) -> str:
    """The URL of what is called `name` below `url`, whose query stays its own."""
    base, mark, query = url.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{query}"


def parent_url(url: str) -> tuple[str, str]:
    """The folder that a URL is in, and its name there."""
    base, mark, query = url.partition("?")
    parent, _, name = base.rstrip("/").rpartition("/")
    return f"{parent}{mark}{query}", name


def url_of(path: Path) -> str | None:
    """The URL that `path` is a copy of; None if it is none."""
    for folder in (path, *path.absolute().parents):
        if (folder / URL).is_file():
            url = (folder / URL).read_text(encoding="utf-8").strip()
            below = path.absolute().relative_to(folder.absolute()).as_posix()
            return url if below == "." else join_url(url, below)
    return None


@dataclass(frozen=True)
class UrlStore:
    """A folder of an object store or of a file system. Travels to other processes as its URL."""

    url: str

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.url,))

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system and the folder in it."""
        import pyarrow as pa  # 0.2 s that only who has a URL waits for
        from pyarrow import fs

        try:
            system, path = fs.FileSystem.from_uri(_with_small_files_at_once(self.url))
        except (pa.ArrowInvalid, OSError) as error:
            if "Unrecognized filesystem type" not in str(error):
                raise ConfigError(
                    f"{without_secrets(self.url)} cannot be opened: {_first_line(error)}"
                ) from error
            system, path = self._by_fsspec()
        return system, path.rstrip("/")

    def _by_fsspec(self) -> tuple[Any, str]:
        import fsspec
        from pyarrow import fs

        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            scheme = self.url.partition("://")[0]
            raise ConfigError(
                f"{without_secrets(self.url)}: nothing here serves {scheme}:// ({_first_line(error)}); use s3://, "
                f"gs://, abfs://, hdfs://, file:// or a folder"
            ) from error
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path

    def publish(self, local: Path, name: str) -> None:
        """As `Store` has it."""
        with local.open("rb") as file, self._replaced(name) as stream:
            shutil.copyfileobj(file, stream, _CHUNK_BYTES)

    def write(self, name: str, content: bytes) -> None:
        """Make `name` these bytes."""
        with self._replaced(name) as stream:
            stream.write(content)

    @contextmanager
    def _replaced(self, name: str) -> Iterator[Any]:
        system, root = self._opened
        path = f"{root}/{name}"
        with self._told("write"):
            if system.type_name in _WHOLE:
                with system.open_output_stream(path) as stream:
                    yield stream
                return
            folder, _, last = path.rpartition("/")
            partial = f"{folder}/.{last}.{uuid.uuid4().hex[:12]}.partial"
            system.create_dir(folder, recursive=True)
            try:
                with system.open_output_stream(partial) as stream:
                    yield stream
                if system.type_name != "local":
                    self._delete(path)  # only a local rename takes the place of what is there
                system.move(partial, path)
            except BaseException:
                with suppress(OSError):
                    system.delete_file(partial)
                raise

    def fetch(self, name: str, local: Path) -> None:
        """As `Store` has it; the file gets the time that the store has for it."""
        system, root = self._opened
        with self._told("read"):
            source = system.open_input_stream(f"{root}/{name}")
            changed = _time(system.get_file_info(f"{root}/{name}"))
        with source, replacing(local) as partial:
            with partial.open("wb") as file, self._told("read"):
                while chunk := source.read(_CHUNK_BYTES):
                    file.write(chunk)
            os.utime(partial, ns=(changed, changed))

    def read(self, name: str) -> bytes:
        """A small file. Raises FileNotFoundError."""
        system, root = self._opened
        with self._told("read"), system.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read())

    def stamps(self, under: str = "") -> dict[str, Stamp]:
        """As `Store` has it."""
        return {n: s for n, s in self.all_stamps(under).items() if not any(p[0] == "." for p in n.split("/"))}

    def all_stamps(self, under: str = "") -> dict[str, Stamp]:
        """`stamps` with the hidden files."""
        from pyarrow import fs

        system, root = self._opened
        folder = f"{root}/{under}".rstrip("/")
        with self._told("read"):
            infos = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        return {
            info.path.removeprefix(f"{root}/"): (info.size or 0, _time(info))
            for info in infos
            if info.is_file
        }

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        system, root = self._opened
        with self._told("read"):
            return bool(system.get_file_info(f"{root}/{name}").is_file)

    def delete(self, name: str) -> None:
        """As `Store` has it."""
        with self._told("write"):
            self._delete(f"{self._opened[1]}/{name}")

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._opened[0].delete_file(path)

    def check_writable(self) -> None:
        """Write and remove a small file. Raises ConfigError or StorageError where this cannot be done."""
        name = f".probe-{uuid.uuid4().hex[:12]}"
        self.write(name, b"probe")
        self.delete(name)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if what == "read" and isinstance(error, FileNotFoundError):
                raise
            text = _first_line(error)
            known = (f"{why}; {advice}" for word, why, advice in _REASONS if word in text)
            reason = next(known, f"{text}; look at its permissions")
            raise StorageError(f"cannot {what} {without_secrets(self.url)}: {reason}") from error


def _with_small_files_at_once(url: str) -> str:
    """A file of less than 10 MB in one request to S3, where pyarrow (26) by default takes three."""
    if not url.startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"


def without_secrets(url: str) -> str:
    """As people may see it: without a password and without what is asked of the store."""
    return re.sub(r"//[^/@:]*:[^/@]*@", "//", url.partition("?")[0])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _time(info: Any) -> int:
    return int(info.mtime_ns or 0)
