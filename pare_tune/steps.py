"""Long steps say how far they are: a bar on a terminal, a line in a pipe, nothing where nobody watches.

What takes long (reading a release, starting Ray) lies deep below the command that somebody waits for. It announces
itself here, and whoever shows it is set once by that command:

    with watched_by(watcher):                    # the command line
        ...
            with step("reading psicov") as count:     # anywhere below
                for record in records:
                    count()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Count = Callable[[], None]
"""One more part of the step is done."""
Watcher = Callable[[str, int | None], AbstractContextManager[Count]]
"""From a title and the number of parts (None: not known) to what surrounds the step."""


def step(title: str, total: int | None = None) -> AbstractContextManager[Count]:
    """Announce a step; what it yields counts its parts.

    Args:
        title: what is done, with a small letter: "starting Ray".
        total: parts in all; None where that is not known.
    """
    watcher = _watcher.get()
    return nullcontext(_ignore) if watcher is None else watcher(title, total)


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Show the steps of this thread with `watcher`."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def _ignore() -> None:
    pass


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
