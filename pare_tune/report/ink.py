"""Text that any terminal can take: no control characters, and ASCII stand-ins where the encoding has no better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from rich.text import Text

GOOD, WARN, BAD, ACCENT, REST = "color(28)", "color(130)", "color(160)", "color(31)", "color(244)"
"""Colours that can be read on black and on white alike (contrast of 3.9 and more); the named ones cannot: a terminal's
yellow is invisible on white, its blue on black."""

_USED = "─·–−…×→✓✂✗●▁▂▃▄▅▆▇█Åλβτµ"
"""Every non-ASCII character of the views; an encoding that lacks one gets the stand-ins."""

STAND_INS = str.maketrans(
    {
        "─": "-", "·": "|", "–": "-", "−": "-", "…": "...", "×": "x", "→": "->", "✓": "+",
        "✂": "~", "✗": "x", "●": "*", "Å": "A", "λ": "lambda", "β": "beta", "τ": "tau", "µ": "u",
    }
)  # fmt: skip

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*%#"


class Ink:
    """Makes text for one encoding. Every string that is drawn passes through it, ours and the users' alike."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        try:
            _USED.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            self.unicode = False
        else:
            self.unicode = True

    def clean(self, text: str) -> str:
        """One line without control characters (an error message may hold escape codes), encodable."""
        if not self.unicode:
            text = text.translate(STAND_INS)
        line = "".join(c if c.isprintable() else " " for c in text)
        encoding = self._encoding if self.unicode else "ascii"
        return line.encode(encoding, "replace").decode(encoding)

    def text(self, text: str, style: str = "") -> Text:
        """A `Text` that is cut, not wrapped, where it does not fit."""
        # Rich cuts with "…", which ASCII does not have.
        overflow: Literal["ellipsis", "crop"] = "ellipsis" if self.unicode else "crop"
        return Text(self.clean(text), style, no_wrap=True, overflow=overflow)

    def wrapped(self, text: str, style: str = "") -> Text:
        """A `Text` that goes on in the next line."""
        return Text(self.clean(text), style, overflow="fold")

    def spark(self, values: Sequence[float], width: int) -> str:
        """A curve in at most `width` characters, the lowest value lowest; the whole curve, averaged if it is longer."""
        bars = _BARS if self.unicode else _ASCII_BARS
        points = _resample(values, width)
        finite = [p for p in points if math.isfinite(p)]
        if not finite:
            return ""
        low, high = min(finite), max(finite)
        if high == low:
            return "".join(bars[3] if math.isfinite(p) else " " for p in points)
        scale = (len(bars) - 1) / (high - low)
        return "".join(bars[round((p - low) * scale)] if math.isfinite(p) else " " for p in points)


def _resample(values: Sequence[float], width: int) -> list[float]:
    """Means of `width` buckets; NaN where a bucket holds nothing finite."""
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    buckets = [[v for v in values[a:b] if math.isfinite(v)] for a, b in pairwise(edges)]
    return [sum(b) / len(b) if b else math.nan for b in buckets]
