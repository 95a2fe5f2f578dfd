"""Source `shapes`: textured shapes pasted on crops of free photographs, with exact foreground masks.

Stands in for the paper's dense source (PASCAL VOC, foreground against background) where no data are at hand.
"""
# Shapes: S = side of the image.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pare_tune.data.store import Record
from pare_tune.sources import photographs as pictures
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.photographs import Photograph
from pare_tune.sources.stored import chunk_seed, image_size, open_stored

NUM_IMAGES: Final = 2000
"""Images in the source's prepared store: 33 MB at 64×64, 401 MB at 224×224."""

FOREGROUND: Final = (0.05, 0.6)
"""Least and largest share of an image that its shapes cover."""

_IMAGES_AT_ONCE: Final = 250


def paste_shapes(
    photos: list[Photograph], n: int, size: int, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """One to three shapes on each of `n` photograph crops.

    Returns:
        (n, 3, size, size) images and (n, size, size) masks, 1 exactly where a shape's pixel was pasted.
    """
    images, _ = pictures.crops(photos, n, size, chunk_seed(seed, 0))
    fillings, _ = pictures.crops(photos, n, size, chunk_seed(seed, 1))
    rng = np.random.default_rng([seed, n, size])
    masks = np.empty((n, size, size), dtype=np.uint8)
    for image, filling, mask in zip(images, fillings, masks, strict=True):
        silhouettes = _silhouettes(size, rng)
        for silhouette in silhouettes:
            texture = filling if rng.random() < 0.5 else _texture(size, rng)
            image[:, silhouette] = texture[:, silhouette]
        mask[:] = np.any(silhouettes, axis=0)
    return images, masks


def _silhouettes(size: int, rng: np.random.Generator) -> list[npt.NDArray[np.bool_]]:
    """One to three masks (S, S) that together cover a share within `FOREGROUND`."""
    while True:
        silhouettes = [_silhouette(size, rng) for _ in range(rng.integers(1, 4))]
        if FOREGROUND[0] <= np.any(silhouettes, axis=0).mean() <= FOREGROUND[1]:
            return silhouettes


def _silhouette(size: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    outline = _OUTLINES[rng.integers(len(_OUTLINES))](rng)
    placed = size * (rng.uniform(0.2, 0.8, 2) + rng.uniform(0.12, 0.38) * outline)
    canvas = Image.new("1", (size, size))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in placed], fill=1)
    return np.asarray(canvas)


def _polygon(rng: np.random.Generator) -> npt.NDArray[Any]:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    return _polar(angles, rng.uniform(0.6, 1, len(angles)))


def _ellipse(rng: np.random.Generator) -> npt.NDArray[Any]:
    circle = _polar(np.linspace(0, 2 * np.pi, 64, endpoint=False), np.ones(64))
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned: npt.NDArray[Any] = circle * [1, rng.uniform(0.35, 1)] @ rotation
    return turned


def _blob(rng: np.random.Generator) -> npt.NDArray[Any]:
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    order = np.arange(2, 6)[:, None]
    waves = rng.uniform(0, 0.22, (4, 1)) * np.cos(order * angles + rng.uniform(0, 2 * np.pi, (4, 1)))
    return _polar(angles, 0.75 + waves.sum(axis=0))


def _polar(angles: npt.NDArray[Any], radii: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


_OUTLINES: Final = (_polygon, _ellipse, _blob)
"""Each draws (vertices, 2) around the origin, within a circle of radius about 1."""


def _texture(size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(3, S, S): two random colours mixed by stripes, squares, speckles, a ramp or not at all."""
    turn, period = rng.uniform(0, np.pi), size / rng.uniform(4, 16)
    row, column = np.mgrid[:size, :size]
    along = column * np.cos(turn) + row * np.sin(turn)
    across = row * np.cos(turn) - column * np.sin(turn)
    mixes = (
        lambda: (along % period < period / 2).astype(float),
        lambda: ((along // (period / 2) + across // (period / 2)) % 2).astype(float),
        lambda: rng.random((size, size)),
        lambda: (along - along.min()) / np.ptp(along),
        lambda: np.zeros((size, size)),
    )
    mix = mixes[rng.integers(len(mixes))]()
    first, second = rng.uniform(0, 255, (2, 3, 1, 1))
    colours: npt.NDArray[np.uint8] = np.round(first + (second - first) * mix).astype(np.uint8)
    return colours


def _open_shapes(request: SourceRequest) -> SourceData:
    photos, size = pictures.photographs(), image_size(request)

    def records() -> Iterator[Record]:
        for start in range(0, NUM_IMAGES, _IMAGES_AT_ONCE):
            count = min(_IMAGES_AT_ONCE, NUM_IMAGES - start)
            images, masks = paste_shapes(photos, count, size, chunk_seed(request.seed, start))
            for x, y in zip(images, masks, strict=True):
                yield {"x": x, "y": y}

    pixels = pictures.digest(photos)
    return open_stored(
        SHAPES,
        request,
        records,
        class_names=("foreground",),
        provenance=f"shapes on {len(photos)} photographs shipped with scikit-image, all CC0 or public domain",
        pixels=pixels,
        size=size,
        seed=request.seed,
    )


SHAPES = Source(
    name="shapes",
    title="shapes pasted on free photographs, with their masks",
    kind=SourceKind.MASKED_IMAGES,
    classes=1,
    embedded=True,
    open=_open_shapes,
    uses=(pictures,),
)
