"""The search as it goes on: a calm live view on a terminal, one line an event in a pipe, JSON for scripts."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live

from pare_tune.data.files import plain_json
from pare_tune.report import events
from pare_tune.report.ink import Ink
from pare_tune.report.view import SearchView
from pare_tune.tune.snapshot import Snapshot

Mode = Literal["auto", "live", "plain", "json"]


class LiveView:
    """Shows snapshots as they come. The caller decides how often; nothing is drawn in between.

    Example:
        with LiveView(console) as view:
            while searching:
                view.update(run.snapshot())
            view.close(run.snapshot())
    """

    def __init__(self, console: Console, *, mode: Mode = "auto", before: Snapshot | None = None) -> None:
        """Show on `console`.

        Args:
            mode: auto is live on a terminal and plain elsewhere.
            before: the search as it was when this session began, for a resumed one: what happened until then is
                not told again.
        """
        if mode == "auto":
            mode = "live" if console.is_terminal and not console.is_dumb_terminal else "plain"
        self._console = console
        self._mode = mode
        self._seen = before
        self._started = False
        self._closed = False
        # In the order in which they ended; a snapshot knows only their numbers.
        self._ended = [t.number for t in before.trials if t.state in _OVER] if before is not None else []
        # Redrawn by `update` only: a timer of its own would draw half a frame into a Ctrl-C.
        self._live = Live(console=console, auto_refresh=False) if mode == "live" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def update(self, snapshot: Snapshot) -> None:
        """Show `snapshot`."""
        if self._closed:
            return
        before, self._seen = self._seen, snapshot
        if self._live is not None:
            self._draw(snapshot)
        else:
            if not self._started:
                self._say(events.started(before, snapshot), snapshot)
            for event in events.between(before, snapshot):
                self._say(event, snapshot)
        self._started = True

    def close(self, snapshot: Snapshot) -> None:
        """Show the last snapshot and stop; what was drawn stays on the screen."""
        if self._closed:
            return
        self.update(snapshot)
        if self._live is None:
            self._say(events.ended(snapshot), snapshot)
        self._stop()

    def _stop(self) -> None:
        self._closed = True
        if self._live is not None and self._live.is_started and self._seen is not None:
            with _whole_frame():
                self._live.update(SearchView(self._seen, ended=self._ended, live=True))
                self._live.stop()

    def _draw(self, snapshot: Snapshot) -> None:
        assert self._live is not None
        over = {t.number for t in snapshot.trials if t.state in _OVER}
        self._ended = [n for n in self._ended if n in over]
        self._ended += sorted(over.difference(self._ended))
        with _whole_frame():
            self._live.update(SearchView(snapshot, ended=self._ended, live=True, keys=True))
            if not self._live.is_started:
                self._live.start()
            self._live.refresh()

    def _say(self, event: events.Event, snapshot: Snapshot) -> None:
        out = self._console.file
        if self._mode == "json":
            out.write(json.dumps(plain_json({"event": event.name, **event.fields}), allow_nan=False) + "\n")
        else:
            # Written past rich, which would wrap the line at a width that a pipe does not have.
            ink = Ink(self._console.encoding)
            out.write(ink.clean(f"{snapshot.task} [data: {snapshot.provenance}] {event.line}") + "\n")
        out.flush()


@contextmanager
def _whole_frame() -> Iterator[None]:
    """Ctrl-C waits until the frame is drawn: after half a one, the next would erase lines above it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


_OVER = frozenset({"complete", "pruned", "failed"})
