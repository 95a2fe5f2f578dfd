"""The signals that end a command in order: Ctrl-C, a job scheduler's SIGTERM, a terminal that hung up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

HANG_UP: Final = getattr(signal, "SIGHUP", None)
"""None on Windows."""
_ENDING: Final = [signal.SIGINT, signal.SIGTERM, *([HANG_UP] if HANG_UP is not None else [])]

Handler = Callable[[int, FrameType | None], None]


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """What Ctrl-C does, with the signal's name unless it is that."""
    name = signal.Signals(number).name
    raise KeyboardInterrupt("interrupted" if number == signal.SIGINT else f"interrupted by {name}")


@contextmanager
def on_ending_signals(handle: Handler = interrupt) -> Iterator[None]:
    """Let `handle` take the signals that end a command, in the main thread; elsewhere they go where they went.

    A hang-up that somebody chose to ignore (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handlers_kept():
        for number in _ENDING:
            if number != HANG_UP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handle)
        yield


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers back that these signals had, whatever is set meanwhile. For the main thread."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not one of Python's
