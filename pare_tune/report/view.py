"""A search drawn in a terminal: the live view's frame, and what `pare-tune status` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pare_tune.report import simple, words
from pare_tune.report.ink import ACCENT, BAD, GOOD, REST, WARN, Ink
from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

MAX_WIDTH = 160
SIDE_BY_SIDE = 120
"""From this width on, what runs and what ended stand beside each other."""

_FIXED_LINES = 15
"""Most lines of a frame besides its lists."""

_STYLES: dict[TrialState, str] = {"complete": GOOD, "pruned": WARN, "failed": BAD}
_MARKS: dict[TrialState, str] = {"complete": "✓", "pruned": "✂", "failed": "✗"}


class SearchView:
    """Draws one snapshot; never wider than the console, and no higher when it is `live`."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        ended: Sequence[int] | None = None,
        live: bool = False,
        keys: bool = False,
    ) -> None:
        """Draw `snapshot`.

        Args:
            ended: numbers of the trials that are over, in the order in which they ended.
            live: no higher than the console.
            keys: say which keys work.
        """
        self._snapshot = snapshot
        numbers = [t.number for t in snapshot.trials if t.state in _MARKS] if ended is None else ended
        by_number = {t.number: t for t in snapshot.trials}
        self._ended = [by_number[n] for n in numbers if n in by_number]
        self._running = [t for t in snapshot.trials if t.state == "running"]
        self._live = live
        self._keys = keys

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ink = Ink(options.encoding)
        width = min(options.max_width, MAX_WIDTH)
        wide = width >= SIDE_BY_SIDE
        s = self._snapshot
        failed = [t for t in self._ended if t.state == "failed"]
        height = console.size.height if self._live else None
        confirms = s.repeats > 0 and not s.finished
        if height is not None:
            height -= confirms
        rows = fit_rows(height, len(self._running), len(self._ended), len(failed), side_by_side=wide)
        left: list[RenderableType] = []
        right: list[RenderableType] = []
        if rows.running:
            left.append(running_table(ink, s, self._running, rows=rows.running, spark=40 if wide else 24))
        if rows.ended:
            right.append(ended_table(ink, s, self._ended, rows=rows.ended))
        if rows.failed:
            right.append(failures_table(ink, failed, rows=rows.failed))
        yield Text("")
        yield header(ink, s, width)
        yield Text("")
        yield progress(ink, s, width, pulse=self._live and not any(t.curve for t in s.trials))
        if confirms:
            yield confirmation(ink, s, width)
        yield Text("")
        yield score_lines(ink, s)
        yield Text("")
        yield _beside(left, right, width) if wide and left and right else _below([*left, *right])
        yield counts_line(ink, s)
        yield from self._last_lines(ink)

    def _last_lines(self, ink: Ink) -> Iterable[RenderableType]:
        s = self._snapshot
        if (known := simple.told(s)) is not None:
            yield ink.wrapped(f" Simple models: {known}", "dim")
        if s.dashboard_url and not s.finished:
            yield ink.text(f" Ray dashboard {s.dashboard_url}", "dim")
        if self._keys and not s.finished:
            yield ink.text(" Ctrl-C stops here; everything is saved and can be resumed", "dim")


class Rows(NamedTuple):
    """How many trials each list shows."""

    running: int
    ended: int
    failed: int


def fit_rows(height: int | None, running: int, ended: int, failed: int, *, side_by_side: bool) -> Rows:
    """As many rows as fit into `height` lines (None: no limit); what runs is kept longest."""
    if height is None:
        return Rows(running, min(ended, 6), min(failed, 2))
    rows = Rows(running, min(ended, 6), min(failed, 2))
    while rows != (min(running, 1), 0, 0) and _lines(rows, running, side_by_side) > height - 1:
        if rows.ended > 3:
            rows = rows._replace(ended=rows.ended - 1)
        elif rows.failed > 1 or (rows.failed and rows.running <= 4):
            rows = rows._replace(failed=rows.failed - 1)
        elif rows.running > 4 or not rows.ended:
            rows = rows._replace(running=rows.running - 1)
        else:
            rows = rows._replace(ended=rows.ended - 1)
    return rows


def _lines(rows: Rows, running: int, side_by_side: bool) -> int:
    # Each list has a heading and an empty line; a list of running trials that was cut says so on one more.
    left = rows.running + 2 + (rows.running < running) if rows.running else 0
    right = sum(n + 2 for n in (rows.ended, rows.failed) if n)
    return _FIXED_LINES + (max(left, right) if side_by_side else left + right)


def header(ink: Ink, s: Snapshot, width: int) -> RenderableType:
    """Task, provenance, metric, preset and backbone, on as many lines as they need."""
    pieces = [
        ink.text(s.task, "bold"),
        ink.text(f"data: {s.provenance}", "" if s.provenance == "real" else f"bold {WARN}"),
        ink.text(words.metric_line(s)),
        ink.text(f"{s.preset} preset, {s.backbone}", "dim"),
    ]
    return Group(*flow(ink, pieces, width))


def flow(ink: Ink, pieces: Sequence[Text], width: int) -> list[Text]:
    """Pieces one after the other with dots between them; a piece that does not fit starts a line."""
    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + piece.cell_len + 3 <= width:
            lines[-1].append(ink.clean(" · "), "dim").append_text(piece)
        else:
            line = ink.text("", "").append(" ").append_text(piece)
            line.overflow = piece.overflow
            lines.append(line)
    return lines


def progress(ink: Ink, s: Snapshot, width: int, *, pulse: bool = False) -> RenderableType:
    """The budget as a bar, and the time that went and is left; `pulse` while nothing is known of either."""
    share = f"{100 * s.spent:.0f} % of {s.budget}"
    return Group(_bar(ink, s.spent, share, width, pulse=pulse), ink.text(f" {time_line(s)}", "dim"))


def confirmation(ink: Ink, s: Snapshot, width: int) -> RenderableType:
    """How far the trials with fresh seeds are, by their epochs."""
    again = [t for t in s.trials if t.repeats is not None]
    done = sum(t.state in _MARKS for t in again)
    epochs = sum(t.epochs if t.state in _MARKS else t.epoch for t in again)
    share = epochs / (s.repeats * again[0].epochs) if again else 0.0
    return _bar(ink, min(share, 1.0), f"{done} of {s.repeats} with fresh seeds", width)


def _bar(ink: Ink, share: float, text: str, width: int, *, pulse: bool = False) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(
        total=None if pulse else 1.0,
        completed=share,
        width=max(min(width - 36, 60), 8),
        pulse=pulse,
        style=REST,
        complete_style=ACCENT,
        finished_style=ACCENT,
        pulse_style=ACCENT,
    )
    grid.add_row(Text(""), bar, ink.text(text))
    return grid


def time_line(s: Snapshot) -> str:
    """Never a guess: without a measured epoch there is no time left."""
    spent = words.duration(s.elapsed_s)
    if s.finished:
        return f"done in {spent}"
    if not s.is_running:
        return f"stopped after {spent}"
    if s.remaining_s is None:
        return f"{spent} so far · time left is known after the first epoch"
    if s.remaining_s < 1.0:
        return f"{spent} so far · nearly done"
    return f"{spent} so far · about {words.duration(s.remaining_s)} left"


def score_lines(ink: Ink, s: Snapshot, *, compared: bool = True) -> RenderableType:
    """The best and the default, one below the other; `compared` says by how much they differ."""
    best, default = s.best, s.default
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=len(" Best so far"), no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()  # the one that gives way where it is narrow
    if best is None:
        grid.add_row(
            ink.text(" Best so far"), ink.text(words.NONE), ink.text("no trial has finished yet", "dim")
        )
    else:
        grid.add_row(
            ink.text(" Best" if s.finished else " Best so far"),
            ink.text(words.judged(s, best), f"bold {GOOD}"),
            _best_comment(ink, s, best, compared),
        )
    shown = words.NONE if default is None else words.judged(s, default)
    grid.add_row(ink.text(" Default"), ink.text(shown), ink.text(_default_comment(default), "dim"))
    return grid


def _best_comment(ink: Ink, s: Snapshot, best: TrialView, compared: bool) -> Text:
    if best.number == 0:
        return ink.text("trial 0, the default itself", "dim")
    comparison = words.compare(s)
    text = ink.text("").append(f"trial {best.number}", "dim")
    if not compared:
        text.append(f", epoch {best.best_epoch} of {best.length}", "dim")
    elif comparison is not None:
        text.append("  ").append(ink.clean(f"{comparison.text} better"))
        if comparison.may_be_noise:
            text.append(ink.clean(" (may be noise)"), WARN)
    return text


def _default_comment(default: TrialView | None) -> str:
    if default is None:
        return "trial 0 has not started"
    match default.state:
        case "complete":
            return "trial 0"
        case "failed":
            return f"trial 0 failed: {words.cause(default)}"
        case "pruned":
            return f"trial 0 was stopped after epoch {default.epoch} of {default.epochs}"
        case _:
            return f"trial 0 is at epoch {default.epoch} of {default.epochs}"


def running_table(
    ink: Ink, s: Snapshot, running: Sequence[TrialView], *, rows: int, spark: int
) -> RenderableType:
    """What runs now, one line a trial with its curve."""
    table = _list_table(ink, "running", "epoch", "score", "k", "λ")
    table.add_column(ink.text("curve", "dim"))
    best = s.best
    for t in running[:rows]:
        last = t.curve[-1] if t.curve else None
        leads = best is None or (
            t.best_score is not None
            and best.best_score is not None
            and s.better(t.best_score, best.best_score)
        )
        table.add_row(
            ink.text(str(t.number), "bold"),
            ink.text(f"{t.epoch}/{t.epochs}"),
            ink.text(words.score(words.scores(t)[-1] if last else None, s.unit), GOOD if leads else ""),
            ink.text(str(last["k"]) if last else words.NONE),
            ink.text(f"{last['lam']:.2f}" if last else words.NONE),
            ink.text(ink.spark(words.scores(t), spark), ACCENT),
        )
    more = len(running) - rows
    return Group(table, ink.text(f"         and {more} more", "dim")) if more > 0 else table


def ended_table(ink: Ink, s: Snapshot, ended: Sequence[TrialView], *, rows: int) -> RenderableType:
    """The trials that ended last, newest first."""
    table = _list_table(ink, "ended", "epoch", "score")
    table.add_column()
    best = s.best
    for t in list(reversed(ended))[:rows]:
        how = words.cause(t) if t.state == "failed" else words.STATES[t.state]
        how += f" · repeats {t.repeats}" if t.repeats is not None else ""
        line = ink.text("").append(ink.clean(_MARKS[t.state]), _STYLES[t.state]).append(ink.clean(f" {how}"))
        if best is not None and best.number == t.number:
            line.append(ink.clean(" · best"), GOOD)
        shown = None if t.state == "failed" else t.best_score
        table.add_row(
            ink.text(str(t.number), "bold"),
            ink.text(f"{t.epoch}/{t.epochs}"),
            ink.text(words.score(shown, s.unit)),
            line,
        )
    return table


def failures_table(ink: Ink, failed: Sequence[TrialView], *, rows: int) -> RenderableType:
    """Why trials failed: the newest messages, cut to the width."""
    table = _list_table(ink, "failed")
    table.add_column()
    for t in list(reversed(failed))[:rows]:
        table.add_row(ink.text(str(t.number), f"bold {BAD}"), ink.text(t.message or words.cause(t)))
    return table


def counts_line(ink: Ink, s: Snapshot) -> Text:
    """How many trials are in which state, failures by cause."""
    parts = [f"{s.count(state)} {words.STATES[state]}" for state in ("complete", "pruned")]
    causes = Counter(words.cause(t) for t in s.trials if t.state == "failed")
    parts.append(f"{sum(causes.values())} failed")
    if causes:
        kinds = [f"{n} {name}" if len(causes) > 1 else name for name, n in sorted(causes.items())]
        parts[-1] += f" ({', '.join(kinds)})"
    parts += [f"{s.count(state)} {state}" for state in ("running", "waiting") if s.count(state)]
    return ink.text(" " + " · ".join(parts))


def _list_table(ink: Ink, first: str, *numbers: str) -> Table:
    """A table whose first column is as wide as that of the other lists."""
    table = Table(box=None, padding=(0, 1), header_style="")
    table.add_column(ink.text(first, "dim"), justify="right", min_width=len("running"), no_wrap=True)
    for name in numbers:
        table.add_column(ink.text(name, "dim"), justify="right", no_wrap=True)
    return table


def _below(parts: Sequence[RenderableType]) -> RenderableType:
    """Parts with an empty line after each."""
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))


def _beside(left: Sequence[RenderableType], right: Sequence[RenderableType], width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    half = min((width - 4) // 2, 72)
    grid.add_column(width=half)
    grid.add_column(width=width - 4 - half)
    grid.add_row(_below(left), _below(right))
    return grid
