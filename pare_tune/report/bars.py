"""Long steps as they go on: a bar on a terminal, a line in a pipe. The search itself has a view of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from pare_tune.report import words
from pare_tune.report.ink import ACCENT, REST, Ink
from pare_tune.steps import Count

Mode = Literal["live", "plain"]

_SHOW_AFTER_S = 0.5
"""Steps that are over sooner have no bar: it would only flicker."""
_TELL_AFTER_S = 2.0
"""Steps that are over sooner have no line."""
_BAR = 24


def mode_of(out: Console, err: Console) -> Mode:
    """Bars only where both streams are a terminal: they share its screen."""
    return "live" if out.is_terminal and err.is_terminal and not err.is_dumb_terminal else "plain"


class Bars:
    """A `Watcher` of long steps; several at a time stand below each other and vanish when they are over.

    Args:
        console: where to draw.
        mode: live draws bars, plain writes a line when a step turns out to be long and one at its end.
    """

    def __init__(self, console: Console, *, mode: Mode = "live") -> None:
        self._console, self._mode = console, mode
        self._ink = Ink(console.encoding)
        self._lock = threading.Lock()
        self._progress: Progress | None = None

    def __call__(self, title: str, total: int | None) -> AbstractContextManager[Count]:
        """Show one step."""
        return self._with_bar(title, total) if self._mode == "live" else self._with_lines(title)

    @contextmanager
    def training(self, out: Console) -> Iterator[TrainingBar]:
        """The final training, epoch by epoch; without bars its lines go to `out`."""
        bar = TrainingBar(self, None if self._mode == "live" else out)
        try:
            yield bar
        finally:
            bar.close()

    def add(self, title: str, total: int | None) -> TaskID:
        """A new bar."""
        with self._lock:
            if self._progress is None:
                self._progress = _progress(self._console, self._ink)
                self._progress.start()
            return self._progress.add_task(self._ink.clean(title), total=total, note="")

    def update(self, bar: TaskID, **changes: Any) -> None:
        """Change `title`, `total`, `completed` or `note` of a bar, or `advance` it."""
        with self._lock:
            if self._progress is not None:
                if "title" in changes:
                    changes["description"] = self._ink.clean(changes.pop("title"))
                self._progress.update(bar, **changes)

    def print(self, line: str) -> None:
        """A line that stays, above the bars."""
        with self._lock:
            console = self._console if self._progress is None else self._progress.console
            console.print(self._ink.clean(line), highlight=False, markup=False, soft_wrap=True)

    def remove(self, bar: TaskID) -> None:
        """Take a bar away, and with the last one all that was drawn."""
        with self._lock:
            if self._progress is None:
                return
            self._progress.remove_task(bar)
            if not self._progress.tasks:
                self._progress.stop()
                self._progress = None

    @contextmanager
    def _with_bar(self, title: str, total: int | None) -> Iterator[Count]:
        done = 0
        drawn_at = 0.0
        bar: TaskID | None = None
        over = False
        gate = threading.Lock()

        def show() -> None:
            nonlocal bar
            with gate:
                if not over:
                    bar = self.add(title, total)
                    self.update(bar, completed=done)

        def count() -> None:
            nonlocal done, drawn_at
            done += 1
            # A release has a million records; the eye needs ten numbers a second.
            if bar is not None and time.monotonic() - drawn_at > 0.1:
                self.update(bar, completed=done)
                drawn_at = time.monotonic()

        timer = threading.Timer(_SHOW_AFTER_S, show)
        timer.daemon = True
        timer.start()
        try:
            yield count
        finally:
            timer.cancel()
            with gate:
                over = True
            if bar is not None:
                self.remove(bar)

    @contextmanager
    def _with_lines(self, title: str) -> Iterator[Count]:
        started = time.monotonic()
        done = 0

        def count() -> None:
            nonlocal done
            done += 1

        timer = threading.Timer(_TELL_AFTER_S, lambda: self.print(f"{_told(title, 0)} …"))
        timer.daemon = True
        timer.start()
        try:
            yield count
        finally:
            timer.cancel()
            took = time.monotonic() - started
            if took >= _TELL_AFTER_S:
                self.print(f"{_told(title, done)}: {words.duration(took)}")


class TrainingBar:
    """The epochs of the final training as they are reported."""

    def __init__(self, bars: Bars, out: Console | None) -> None:
        self._bars, self._out = bars, out
        self._seconds: list[float] = []
        self._bar = bars.add("training starts", None) if out is None else None

    def epoch(self, report: dict[str, Any]) -> None:
        """One more epoch is done."""
        if self._out is not None:
            self._out.print(epoch_line(report), highlight=False, markup=False, soft_wrap=True)
        if self._bar is None:
            return
        self._bars.print(epoch_line(report))
        self._seconds.append(float(report["seconds"]))
        done, total = int(report["epoch"]), int(report["epochs"])
        left = (total - done) * sum(self._seconds) / len(self._seconds)
        title = "training" if done < total else "scoring the test split"
        note = f"about {words.duration(left)} left" if done < total else ""
        self._bars.update(self._bar, title=title, total=total, completed=done, note=note)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bars.remove(self._bar)
            self._bar = None


def epoch_line(report: dict[str, Any]) -> str:
    """`epoch   3/9  loss 1.234  val 2.931  k 40  4.1 s`."""
    score = report["score"]
    shown = "" if score is None else f"  val {score:.4g}"
    return (
        f"epoch {report['epoch']:>3}/{report['epochs']}  loss {report['train_loss']:.4g}{shown}"
        f"  k {report['k']}  {report['seconds']:.1f} s"
    )


def _told(title: str, done: int) -> str:
    """A title that ends with what is counted says how many: `preparing the data of psicov, 600 samples`."""
    head, comma, what = title.rpartition(", ")
    if not comma:
        return title
    return f"{head}, {done:,} {what}" if done else head


def _progress(console: Console, ink: Ink) -> Progress:
    return Progress(
        TextColumn(" {task.description}", markup=False),
        BarColumn(_BAR, style=REST, complete_style=ACCENT, finished_style=ACCENT, pulse_style=ACCENT),
        _Done(ink),
        console=console,
        transient=True,
    )


class _Done(ProgressColumn):
    """How far, how long, and what else is known."""

    def __init__(self, ink: Ink) -> None:
        super().__init__()
        self._ink = ink

    def render(self, task: Task) -> Text:
        done = f"{task.completed:,.0f}" if task.completed or task.total else ""
        share = f"{done}/{task.total:,.0f}" if task.total is not None else done
        parts = [share, words.duration(task.elapsed or 0.0), task.fields.get("note", "")]
        return self._ink.text(" · ".join(p for p in parts if p), "dim")
