"""The epochs of a training that runs in other processes, told as these write them down."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pare_tune.data.files import plain_json

Observer = Callable[[dict[str, Any]], object]
"""Takes one epoch's numbers."""

_EVERY_S = 0.5


@contextmanager
def follow_epochs(curve: Path, observers: Sequence[Observer]) -> Iterator[None]:
    """Tell `observers` each line of `curve` once and in order, from its first: while the block runs, and at its end.

    They are called in a thread of their own. One that raises is told no more, and a RuntimeWarning says so when the
    block has ended: a view that broke must end neither the training nor what the others are told.

    Args:
        curve: JSON objects, one a line; need not exist yet.
    """
    follower = _Follower(curve, observers)
    over = threading.Event()

    def loop() -> None:
        while not over.wait(_EVERY_S):
            follower.tell()

    thread = threading.Thread(target=loop, name="epochs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        follower.tell()
        for complaint in follower.complaints:
            warnings.warn(complaint, RuntimeWarning, stacklevel=3)


class _Follower:
    def __init__(self, curve: Path, observers: Sequence[Observer]) -> None:
        self._curve, self._observers = curve, list(observers)
        self._told = 0
        """Bytes; always whole lines."""
        self.complaints: list[str] = []

    def tell(self) -> None:
        for line in self._new_lines():
            epoch = json.loads(line)
            for observer in list(self._observers):
                self._tell_one(observer, plain_json(epoch))

    def _new_lines(self) -> list[bytes]:
        try:
            with self._curve.open("rb") as file:
                file.seek(self._told)
                added = file.read()
        except OSError:  # not there yet, or a shared disk that is away for a moment
            return []
        whole = added[: added.rfind(b"\n") + 1]  # the last line may still be being written
        self._told += len(whole)
        return whole.splitlines()

    def _tell_one(self, observer: Observer, epoch: Mapping[str, Any]) -> None:
        try:
            observer(dict(epoch))
        except Exception as error:
            self._observers.remove(observer)
            self.complaints.append(
                f"the observer {getattr(observer, '__qualname__', observer)} was told nothing after epoch "
                f"{epoch.get('epoch')}, on which it raised {type(error).__name__}: {error}"
            )
