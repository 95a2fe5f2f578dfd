"""The live view of a search as the output of a notebook's cell, which is drawn anew in its place."""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console

from pare_tune.report.view import SearchView
from pare_tune.tune.snapshot import Snapshot

_WIDTH: Final = 100
_HTML: Final = (
    "<pre style=\"font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace; line-height: 1.25; "
    'white-space: pre; overflow-x: auto">{code}</pre>'
)


def in_notebook() -> bool:
    """Whether this process is a kernel that shows what is displayed; IPython on a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookView:
    """Shows snapshots as they come; what was drawn last stays. Only for a notebook."""

    def __init__(self) -> None:
        self._display: Any = None
        self._last: Snapshot | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None:
            self._draw(SearchView(self._last))

    def update(self, snapshot: Snapshot) -> None:
        """Show `snapshot`."""
        self._last = snapshot
        self._draw(SearchView(snapshot, live=True))

    def _draw(self, view: SearchView) -> None:
        from IPython.display import display

        content = drawn(view)
        if self._display is None:
            self._display = display(content, raw=True, display_id=True)
        else:
            self._display.update(content, raw=True)


def drawn(view: SearchView) -> dict[str, str]:
    """The view by MIME type: HTML for notebooks, text for what shows no HTML."""
    console = Console(
        file=io.StringIO(), record=True, width=_WIDTH, height=60, force_terminal=True, force_jupyter=False,
        color_system="truecolor", legacy_windows=False,
    )  # fmt: skip
    console.print(view)
    return {
        "text/html": console.export_html(code_format=_HTML, inline_styles=True, clear=False),
        "text/plain": console.export_text(),
    }
