"""How every figure looks, and how its files get onto the disk: PNG, SVG, the numbers as CSV, and a caption."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pare_tune.data.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 3.25
"""Inches: one column of a two-column page."""

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One beside each colour, so that a figure can also be read in grey."""

_STYLE: Final[Mapping[Any, Any]] = {
    "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "figure.titlesize": 8, "legend.fontsize": 6.5,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "axes.linewidth": 0.6, "lines.linewidth": 1.2,
    "lines.markersize": 3.5, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "savefig.dpi": 300, "axes.axisbelow": True,
    # Outlines, not a font that the reader may lack; ids that the same figure always has.
    "svg.fonttype": "path", "svg.hashsalt": "pare-tune",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One figure, finished but not written."""

    stem: str
    """Of its files: "1a-loss-landscape"."""
    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    """The numbers that are drawn, one row a point."""
    caption: str
    """What is shown, how it was computed, and what to see in it."""


@contextmanager
def style() -> Iterator[None]:
    """Draw and write figures inside it, so that they all look alike."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own matplotlibrc says
        for key, value in _STYLE.items():
            mpl.rcParams[key] = value
        yield


def new_figure(height: float, title: str, subtitle: str) -> Figure:
    """An empty figure, one column wide and `height` inches high, under two lines of title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(f"{title}\n{subtitle}")
    return figure


def bare(axes: Axes) -> None:
    """Take ticks and frame away, where a picture has no axes."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def write(folder: Path, drawing: Drawing) -> list[Path]:
    """Write the four files of a figure; none is touched before all are made.

    Raises:
        StorageError: the folder cannot be written.
    """
    writers: Mapping[str, Callable[[Path], None]] = {
        ".png": lambda path: drawing.figure.savefig(path, format="png", metadata={"Software": None}),
        ".svg": lambda path: drawing.figure.savefig(path, format="svg", metadata={"Date": None}),
        ".csv": lambda path: _write_csv(path, drawing),
        ".txt": lambda path: _write_caption(path, drawing.caption),
    }
    files = {folder / f"{drawing.stem}{suffix}": save for suffix, save in writers.items()}
    with ExitStack() as made, style():
        for path, save in files.items():
            save(made.enter_context(replacing(path)))
    return list(files)


def number(value: object) -> object:
    """A value as it stands in a CSV: nine significant digits, which bring a float32 back."""
    return f"{value:.9g}" if isinstance(value, float) else value


def _write_csv(path: Path, drawing: Drawing) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(drawing.columns)
        writer.writerows([number(value) for value in row] for row in drawing.rows)


def _write_caption(path: Path, caption: str) -> None:
    path.write_text(textwrap.fill(" ".join(caption.split()), 100) + "\n", encoding="utf-8")
