"""Files through Ray, for nodes that share no disk with the driver: an actor beside the driver writes and reads them."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pare_tune.data.files import is_owned, replacing, write_text
from pare_tune.data.remote import Stamp, UrlStore, stamps_below
from pare_tune.errors import ClusterError, PareTuneError, StorageError
from pare_tune.train.place import Home

_CHUNK_BYTES = 16 * 2**20
"""What travels at a time: neither side holds more of a file in memory."""
_ORPHANED_S = 5.0
_PROBE_S = 30.0


class _Keeper:
    """Runs on the driver's node, from the first worker that needs it until the session ends or the driver dies."""

    def __init__(self, folder: str, token: str) -> None:
        self._folder, self._token = Path(folder), token
        self._parts: dict[str, tuple[ExitStack, BinaryIO]] = {}
        threading.Thread(target=self._end_with_driver, daemon=True).start()

    def check(self) -> None:
        """Raise StorageError unless this is the folder of the search."""
        if not (self._folder / self._token).is_file():
            raise StorageError(
                f"{self._folder} is not seen by Ray's own processes on the machine of the search either; choose a "
                f"folder that they see"
            )

    def write(self, name: str, part: str, chunk: npt.NDArray[np.uint8] | None) -> None:
        """Add a chunk to what is being written under `part`; None makes it the file `name`."""
        begun = part in self._parts
        stack, file = self._parts.pop(part) if begun else self._begin(self._folder / name)
        with stack:
            if chunk is not None:
                file.write(chunk.data)
                self._parts[part] = stack.pop_all(), file

    def _begin(self, path: Path) -> tuple[ExitStack, BinaryIO]:
        with ExitStack() as stack:
            partial = stack.enter_context(replacing(path))
            file = stack.enter_context(partial.open("wb"))
            return stack.pop_all(), file

    def read(self, name: str, start: int) -> npt.NDArray[np.uint8]:
        """The file's next bytes, none at its end."""
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return np.frombuffer(file.read(_CHUNK_BYTES), np.uint8)

    def stamps(self, under: str) -> dict[str, Stamp]:
        """As `Store` has it."""
        own = stamps_below(self._folder / under)
        return {f"{under}/{name}".lstrip("/"): stamp for name, stamp in own.items()}

    def delete(self, name: str) -> None:
        """As `Store` has it."""
        (self._folder / name).unlink(missing_ok=True)

    def _end_with_driver(self) -> None:
        # Detached, so that it outlives the worker that asked for it first; Ray itself would keep it for ever.
        while is_owned(self._folder):
            time.sleep(_ORPHANED_S)
        os._exit(0)


class KeptFolder:
    """The `Store` of a folder that only the driver's node sees."""

    def __init__(self, home: Home) -> None:
        self._home = home
        keeper = ray.remote(num_cpus=0)(_Keeper).options(
            name=_name(home),
            get_if_exists=True,
            lifetime="detached",
            scheduling_strategy=NodeAffinitySchedulingStrategy(home.node, soft=False),
        )
        self._keeper: Any = keeper.remote(str(home.folder), home.token)
        self._told("check")

    def publish(self, local: Path, name: str) -> None:
        """Send a file, in chunks."""
        part = uuid.uuid4().hex[:12]
        with local.open("rb") as file:
            more = True
            while more:
                chunk = file.read(_CHUNK_BYTES)
                self._told("write", name, part, np.frombuffer(chunk, np.uint8))
                more = len(chunk) == _CHUNK_BYTES
        self._told("write", name, part, None)

    def fetch(self, name: str, local: Path) -> None:
        """Receive a file, in chunks."""
        with replacing(local) as partial, partial.open("wb") as file:
            while len(chunk := self._told("read", name, file.tell())):
                file.write(chunk.data)

    def stamps(self, under: str = "") -> dict[str, Stamp]:
        """Files below `under`."""
        stamps: dict[str, Stamp] = self._told("stamps", under)
        return stamps

    def delete(self, name: str) -> None:
        """Remove a file."""
        self._told("delete", name)

    def _told(self, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self._keeper, method).remote(*arguments))
        except RayTaskError as error:
            # As it was raised there; Ray's own error of both kinds tells a traceback.
            raise error.cause from error
        except RayError as error:
            where = f"{self._home.folder} on the machine of the search"
            raise StorageError(f"cannot reach {where}: {error}; look whether it still runs") from error


@contextmanager
def home_of(folder: Path, node: str, url: str | None = None) -> Iterator[Home]:
    """`folder`, a copy of what is at `url` perhaps, as workers on all nodes reach it while the block runs; the caller,
    on Ray's `node`, owns it."""
    home = Home(folder, f".session-{uuid.uuid4().hex}", node, url)
    for left in folder.glob(".session-*"):
        left.unlink(missing_ok=True)  # of drivers that were killed
    mark = folder / home.token
    write_text(mark, "")
    try:
        yield home
    finally:
        # There is no actor where no worker needed it; and to ask for one where Ray is gone would start it.
        if ray.is_initialized():
            with suppress(ValueError, RayError):
                ray.kill(ray.get_actor(_name(home)))
        mark.unlink(missing_ok=True)


def blind_nodes(home: Home) -> list[str]:
    """Addresses of the nodes that do not see the folder. Asks them all at once.

    Raises:
        ClusterError: pare-tune cannot be imported on one of them.
        StorageError: one of them cannot use the store that the run is in.
    """
    nodes = {n["NodeID"]: n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]}
    if home.url is None:
        nodes.pop(home.node, None)
    if not nodes:
        return []
    ask = ray.remote(num_cpus=0, max_retries=0)(_what_hinders)
    asked = {
        node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(home)
        for node in nodes
    }
    blind: list[str] = []
    until = time.monotonic() + _PROBE_S
    for node, reference in asked.items():
        try:
            hindrance = ray.get(reference, timeout=max(0.1, until - time.monotonic()))
        except GetTimeoutError:
            continue  # it is slow, or on its way out; its trials find out themselves
        except RayError as error:
            if "ModuleNotFoundError" in str(error) or "ImportError" in str(error):
                raise ClusterError(_missing(nodes[node], error)) from error
            continue
        if hindrance and home.url is not None:
            raise StorageError(
                f"the node {nodes[node]}: {hindrance}. Ray's processes need the credentials that this one has (AWS_…, "
                f"or a role of the machine): set them where `ray start` is called"
            )
        if hindrance:
            blind.append(nodes[node])
    return blind


def _what_hinders(home: Home) -> str:
    """Why this node cannot work on the run itself; empty where it can."""
    if home.url is None:
        return "" if home.is_here else "it does not see the folder"
    try:
        UrlStore(home.url).check_writable()
    except PareTuneError as error:
        return str(error)
    return ""


def _missing(address: str, error: Exception) -> str:
    reason = [line for line in str(error).splitlines() if "Error: " in line]
    return (
        f"the node {address} cannot run pare-tune: {reason[-1].strip() if reason else error}; install the same version "
        f"there as here, or give Ray an image that has it"
    )


def _name(home: Home) -> str:
    return f"pare-tune-keeper-{home.token}"


def told_of_blind(blind: Sequence[str]) -> str:
    """What to tell of nodes that do not see the run folder."""
    few = ", ".join(blind[:3]) + (" and others" if len(blind) > 3 else "")
    nodes, do, what = ("node", "does", "its") if len(blind) == 1 else ("nodes", "do", "their")
    return f"{len(blind)} {nodes} ({few}) {do} not see the run folder: {what} trials' files come back through Ray"
