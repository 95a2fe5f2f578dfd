"""Pictures of the selection: which target patches were removed and which source patches came in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pare_tune.train.patches import PatchRecord

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

REMOVED, TAKEN = (213, 94, 0), (0, 114, 178)
"""Okabe and Ito's vermilion and blue, which colour-blind readers can tell apart."""

_TILE, _STRIP = 192, (384, 96)
_GAP = 6
_CHANNEL_INKS = ((30, 30, 30), (0, 158, 115), (150, 150, 150))

Array = npt.NDArray[Any]


def draw(record: PatchRecord) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8: a row a sample, the target with removed patches left, the source with taken ones right.

    Images have the patches framed and tinted, series and text the spans shaded; text shows no more than its spans.
    """
    rows = []
    for target, source, keep, take in zip(
        record.target_x, record.source_x, record.target_mask, record.source_mask, strict=True
    ):
        left = draw_sample(target, 1 - keep, record.grid, REMOVED)
        right = draw_sample(source, take, record.grid, TAKEN)
        rows.append(
            np.concatenate([left, np.full((len(left), _GAP, 3), 255, np.uint8), _fitted(right, len(left))], 1)
        )
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1])


def captioned(record: PatchRecord) -> npt.NDArray[np.uint8]:
    """`draw` under two lines that say what it shows."""
    from PIL import Image, ImageDraw, ImageFont

    picture = draw(record)
    width = picture.shape[1]
    size = width // 32  # TensorBoard shows all pictures in one width
    line = size * 3 // 2
    page = Image.new("RGB", (width, 2 * line), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=size)
    right = (width + _GAP) // 2
    heading = f"epoch {record.epoch}: {record.k} of {record.target_mask.shape[1]} patches"
    pen.text((2, 0), heading, "black", font)
    for x, text, ink in ((2, "target, removed", REMOVED), (right, "source, put in", TAKEN)):
        top = line + size // 4
        pen.rectangle((x, top, x + size, top + size), fill=ink)
        pen.text((x + size * 3 // 2, line), text, "black", font)
    return np.concatenate([np.asarray(page), picture])


def draw_sample(
    x: Array, marked: Array, grid: tuple[int, int], ink: tuple[int, int, int]
) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8: one sample as in a record, with the tokens of `marked` (N,) in `ink`."""
    if x.ndim == 3:
        return _image(x.astype(np.float32), marked.reshape(grid), ink)
    series = x.astype(np.float32) if x.ndim == 2 else np.zeros((0, len(x)), np.float32)
    return _series(series, marked, ink)


def _image(x_CHW: Array, marked: Array, ink: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(_visible(x_CHW)).resize((_TILE, _TILE), Image.Resampling.NEAREST)
    overlay = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(overlay)
    rows, columns = marked.shape
    for row, column in np.argwhere(marked).tolist():
        box = (
            column * _TILE // columns,
            row * _TILE // rows,
            (column + 1) * _TILE // columns - 1,
            (row + 1) * _TILE // rows - 1,
        )
        pen.rectangle(box, fill=(*ink, 70), outline=(*ink, 255))
    return _flat(picture, overlay)


def _series(x_CL: Array, marked: Array, ink: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    width, height = _STRIP
    picture = Image.new("RGB", _STRIP, "white")
    overlay = Image.new("RGBA", _STRIP)
    pen = ImageDraw.Draw(overlay)
    for position in np.flatnonzero(marked).tolist():
        box = (position * width // len(marked), 0, (position + 1) * width // len(marked) - 1, height)
        pen.rectangle(box, fill=(*ink, 90))
    for channel, line in enumerate(x_CL):
        _polyline(pen, line, _CHANNEL_INKS[channel % len(_CHANNEL_INKS)])
    return _flat(picture, overlay)


def _polyline(pen: ImageDraw, line_L: Array, ink: tuple[int, int, int]) -> None:
    width, height = _STRIP
    low, high = float(line_L.min()), float(line_L.max())
    span = high - low or 1.0
    x = (np.arange(len(line_L)) + 0.5) * width / len(line_L)
    y = (height - 5) - (line_L - low) / span * (height - 10)
    points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    whole = points if len(points) > 1 else [(0.0, points[0][1]), (float(width), points[0][1])]
    pen.line(whole, fill=(*ink, 255), width=2)


def _visible(x_CHW: Array) -> npt.NDArray[np.uint8]:
    """(H, W, 3): three channels as colours, fewer as grey; stretched between the 1st and 99th percentile."""
    shown = x_CHW if len(x_CHW) == 3 else np.repeat(x_CHW[:1], 3, axis=0)
    low, high = np.percentile(shown, (1, 99))
    scaled = (shown - low) / (high - low if high > low else 1.0)
    pixels: npt.NDArray[np.uint8] = (scaled.clip(0, 1) * 255).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


def _flat(picture: Image, overlay: Image) -> npt.NDArray[np.uint8]:
    picture.paste(overlay, (0, 0), overlay)
    return np.asarray(picture)


def _fitted(tile: npt.NDArray[np.uint8], height: int) -> npt.NDArray[np.uint8]:
    """A strip beside an image, or the reverse, padded or cut to its height."""
    missing = height - len(tile)
    return (
        tile[:height] if missing <= 0 else np.pad(tile, ((0, missing), (0, 0), (0, 0)), constant_values=255)
    )
