"""Labelled pictures of twenty kinds of object in four styles, in the formats of CIFAR-100 and miniDomainNet.

The styles are those of the four domains: the same kinds of object in flat colours with outlines (clipart), in brush
strokes (painting), with light, shadow, texture and noise (real), and in pen lines (sketch). The kinds take twenty of
the releases' 100 and 126 classes: a few samples of each class could not teach them all.
"""
# Shapes: S = side of the picture. Pictures under way are float (S, S, 3) in [0, 1], masks float (S, S).

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.tasks.samples.objects import DARK, KINDS, Array, Generator, Object, draw_object

Pixels = npt.NDArray[np.uint8]

ODD: Final = 0.4
"""Share of colours that are unusual for the kind of object, where nothing else is said."""

CIFAR_SIZES: Final = {"train": 1000, "test": 200}
"""A fifth of train is taken for validation."""
CIFAR_SIDE: Final = 32
CIFAR_CLASSES: Final = {
    "apple": 0, "fish": 1, "bottle": 9, "bridge": 12, "bus": 13, "butterfly": 14, "castle": 17, "chair": 20,
    "clock": 22, "cup": 28, "house": 37, "lamp": 40, "mountain": 49, "mushroom": 51, "pear": 57, "pine": 59,
    "rocket": 69, "skyscraper": 76, "sunflower": 82, "television": 87,
}  # fmt: skip
"""Kind → CIFAR-100's fine label of that class (fish: aquarium_fish, pine: pine_tree)."""

DOMAIN_SIZES: Final = {"train": 1000, "test": 200}
"""A fifth of train is taken for validation."""
DOMAIN_SIDE: Final = 96

SCENES: Final = {
    "sky": (3, 3),
    "water": (13, 3),
    "meadow": (3, 16),
    "rocks": (9, 9),
    "street": (16, 16),
    "table": (24, 2),
    "tiles": (1, 1),
}
"""Backgrounds: bumps of their texture, down and across the picture. (Those of tiles are drawn otherwise.)"""

_OVERSAMPLING = 2


def write_cifar100(root: Path, seed: int) -> None:
    """Write `cifar-100-python/{train,test}` under `root`, pickles as in CIFAR-100's Python release."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, 0xC1FA5])
    for part, size in CIFAR_SIZES.items():
        images, labels = cifar_pictures(size, rng)
        batch = {"data": images.reshape(size, -1), "fine_labels": labels.tolist()}
        (folder / part).write_bytes(pickle.dumps(batch, protocol=2))


def cifar_pictures(
    count: int, rng: Generator, kinds: Sequence[str] = tuple(KINDS), *, odd: float = ODD
) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Photograph-like pictures (n, 3, 32, 32) and their fine labels (n,): kinds equally often, in random order."""
    names = [kinds[i] for i in rng.permutation(np.arange(count) % len(kinds))]
    images = np.stack([draw(name, "real", CIFAR_SIDE, rng, odd=odd) for name in names])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), np.array([CIFAR_CLASSES[n] for n in names])


def write_domain(root: Path, seed: int, *, domain: str) -> None:
    """Write `domainnet/splits_mini/<domain>_{train,test}.txt` under `root`, and the JPEG files that they list.

    An object's class is its position in `KINDS`.
    """
    from PIL import Image

    folder, kinds = root / "domainnet", list(KINDS)
    (folder / "splits_mini").mkdir(parents=True)
    for kind in kinds:
        (folder / domain / kind).mkdir(parents=True)
    rng = np.random.default_rng([seed, 0xD0741, list(STYLES).index(domain)])
    for part, size in DOMAIN_SIZES.items():
        lines = []
        for number, label in enumerate(rng.permutation(np.arange(size) % len(kinds))):
            name = f"{domain}/{kinds[label]}/{domain}_{part}_{number:06d}.jpg"
            picture = draw(kinds[label], domain, DOMAIN_SIDE, rng)
            Image.fromarray(picture).save(folder / name, quality=92)
            lines.append(f"{name} {label}\n")
        (folder / "splits_mini" / f"{domain}_{part}.txt").write_text("".join(lines), encoding="utf-8")


def draw(kind: str, style: str, side: int, rng: Generator, *, odd: float = ODD) -> Pixels:
    """A new picture of one of `KINDS` in one of `STYLES`, (S, S, 3); a share `odd` of its colours is unusual."""
    picture = STYLES[style](draw_object(kind, rng, odd=odd), side, rng)
    return np.asarray((255.0 * np.clip(picture, 0.0, 1.0)).round(), dtype=np.uint8)


class _Sheet:
    """A finer picture to draw on, in the coordinates of `objects`."""

    def __init__(self, side: int, mode: str = "RGB", ground: Any = 0) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new(mode, (_OVERSAMPLING * side,) * 2, ground)
        self._pen = ImageDraw.Draw(self.image)

    def fill(self, outline: Array, colour: Any) -> None:
        self._pen.polygon(self._pixels(outline), fill=colour)

    def disc(self, radius: float, colour: Any) -> None:
        self._pen.ellipse(self._pixels(np.array([[-radius, -radius], [radius, radius]])), fill=colour)

    def stroke(self, line: Array, colour: Any, width: float) -> None:
        """`width` in pixels of the picture."""
        thick = max(1, round(_OVERSAMPLING * width))
        self._pen.line(self._pixels(line), fill=colour, width=thick, joint="curve")

    def picture(self) -> Array:
        """(S, S, 3) or, for a mode with one channel, (S, S)."""
        return np.asarray(self.image.reduce(_OVERSAMPLING), dtype=np.float64) / 255.0

    def _pixels(self, points: Array) -> list[tuple[float, float]]:
        return [(x, y) for x, y in ((points + 1.0) * (self.image.width / 2)).tolist()]


def _clipart(thing: Object, side: int, rng: Generator) -> Array:
    """Flat saturated colours, even outlines, on a plain ground or a disc."""
    white, tint = np.ones(3), 1.0 - 0.25 * rng.random(3)
    sheet = _Sheet(side, ground=_rgb(white if rng.random() < 0.5 else tint))
    if rng.random() < 0.4:
        sheet.disc(rng.uniform(0.7, 0.95), _rgb(rng.uniform(0.4, 1.0, 3)))
    width = side * rng.uniform(0.01, 0.03)
    for part in thing.parts:
        colour = thing.palette[part.colour]
        vivid = colour.mean() + 1.4 * (colour - colour.mean())
        sheet.fill(part.outline, _rgb(vivid))
        sheet.stroke(_closed(part.outline), _rgb(thing.palette[DARK] * 0.5), width)
    return sheet.picture()


def _sketch(thing: Object, side: int, rng: Generator) -> Array:
    """Wavering pen lines, some drawn twice, the material as tone, on paper of any grey."""
    sheet = _Sheet(side, "L", 255)
    ink, width = int(rng.integers(0, 80)), side * rng.uniform(0.01, 0.025)
    for part in thing.parts:
        sheet.fill(part.outline, 110 + ink if part.colour == DARK else 255)
        for _ in range(rng.integers(1, 3)):
            sheet.stroke(_wavering(part.outline, rng), ink, width)
    _, mask = _filled(thing, side)
    tone = mask * (thing.grain(side) > 0.2) * rng.uniform(0.15, 0.45)
    paper = rng.uniform(0.6, 1.0) - 0.1 * _noise(side, (24, 24), rng)[..., None] * rng.uniform(0.3, 1.0, 3)
    return np.asarray((sheet.picture() * (1.0 - tone))[..., None] * paper)


def _real(thing: Object, side: int, rng: Generator) -> Array:
    """Light from one side, a shadow on the ground, a lens that blurs and a sensor that adds noise."""
    from scipy.ndimage import gaussian_filter, shift

    colour, mask = _filled(thing, side)
    ground = _ground(thing.scene, side, rng)
    light = rng.normal(size=2)
    light /= np.linalg.norm(light)
    shadow = gaussian_filter(shift(mask, -light * side * rng.uniform(0.03, 0.08), order=1), side * 0.03)
    ground *= 1.0 - rng.uniform(0.3, 0.6) * shadow[..., None]
    slope = np.stack(np.gradient(gaussian_filter(mask, side * 0.06)), axis=-1)
    lit = 1.0 + side * 0.09 * slope @ light + 0.25 * (_noise(side, (6, 6), rng) - 0.5)
    picture = _over(colour * lit[..., None], ground, mask)
    blur = rng.uniform(0.2, 0.8) * side / 96
    picture = gaussian_filter(picture, (blur, blur, 0.0))
    picture *= rng.normal(1.0, 0.06, 3) * rng.uniform(0.7, 1.2)
    return np.asarray(picture + rng.normal(0.0, rng.uniform(0.01, 0.04), picture.shape))


def _painting(thing: Object, side: int, rng: Generator) -> Array:
    """Strokes of the scene's own colours along a flowing field, coarse ones first, then fine ones, on canvas."""
    from PIL import Image

    colour, mask = _filled(thing, side)
    light = 1.0 + rng.uniform(0.1, 0.3) * np.linspace(-1.0, 1.0, side)[:, None, None]
    model = _over(colour * light, _ground(thing.scene, side, rng) * 0.9 + 0.1, mask)
    flow = 2.0 * np.pi * _noise(side, (3, 3), rng)
    sheet = _Sheet(side)
    under = Image.fromarray((255.0 * np.clip(model, 0.0, 1.0)).astype(np.uint8))
    sheet.image.paste(under.resize(sheet.image.size))
    for count, length, width in ((350, 0.18, 0.045), (900, 0.1, 0.02)):
        column, row = rng.integers(0, side, (2, count))
        colours = model[row, column] + rng.normal(0.0, 0.04, (count, 1)) + rng.normal(0.0, 0.02, (count, 3))
        angle = flow[row, column] + rng.normal(0.0, 0.3, count)
        centre = np.stack([column, row], axis=1) * 2.0 / side - 1.0
        reach = length / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for line, c in zip(np.stack([centre - reach, centre + reach], axis=1), colours, strict=True):
            sheet.stroke(line, _rgb(c), width * side)
    weave = 1.0 + 0.03 * np.sin(2.1 * np.arange(side))[:, None] * np.sin(2.3 * np.arange(side))
    return np.asarray(sheet.picture() * weave[..., None])


STYLES: Final[dict[str, Callable[[Object, int, Generator], Array]]] = {
    "clipart": _clipart,
    "painting": _painting,
    "real": _real,
    "sketch": _sketch,
}
"""How an object can be drawn, by the name of the domain."""


def _filled(thing: Object, side: int) -> tuple[Array, Array]:
    """The object's colours and material, and its mask."""
    sheet, stencil = _Sheet(side), _Sheet(side, "L")
    for part in thing.parts:
        sheet.fill(part.outline, _rgb(thing.palette[part.colour]))
        stencil.fill(part.outline, 255)
    mask = stencil.picture()
    # At the edges reducing mixed the colours with black. Undo that: blending with the ground is the mask's work.
    colour = sheet.picture() / np.maximum(mask, 1 / 255)[..., None]
    return colour * (1.0 + 0.4 * thing.grain(side)[..., None]), mask


def _ground(scene: str, side: int, rng: Generator) -> Array:
    """A background: a muted colour that runs into another, with the texture of the scene, rarely of another."""
    if rng.random() < 0.15:
        scene = list(SCENES)[rng.integers(len(SCENES))]
    first, second = rng.uniform(0.15, 0.9, (2, 3)) * 0.5 + rng.uniform(0.1, 0.5, (2, 1))
    ground = first + (second - first) * _noise(side, (3, 3), rng)[..., None]
    texture = _tiles(side, rng) if scene == "tiles" else _noise(side, SCENES[scene], rng)
    return np.asarray(ground + rng.uniform(0.25, 0.45) * (texture[..., None] - 0.5))


def _tiles(side: int, rng: Generator) -> Array:
    at = np.arange(side) / side
    down, across = (np.abs((n * at + rng.random()) % 1.0 - 0.5) > 0.4 for n in (4, 5))
    return np.where(down[:, None] | across, 0.0, 0.7)


def _noise(side: int, bumps: tuple[int, int], rng: Generator) -> Array:
    """Smooth noise (S, S) in [0, 1] with so many bumps down and across."""
    from PIL import Image

    coarse = Image.fromarray(rng.random(bumps, dtype=np.float32))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    return np.clip(smooth, 0.0, 1.0)


def _wavering(outline: Array, rng: Generator) -> Array:
    """The closed outline as a hand draws it: nearly true, a little past its start."""
    line = np.concatenate([outline, outline[:2]])
    at = np.linspace(0, len(line) - 2, max(40, len(line)))
    knots, every = rng.normal(0.0, 0.012, (8, 2)), np.linspace(0, 7, len(at))
    axes = [np.interp(at, np.arange(len(line)), line[:, i]) for i in (0, 1)]
    return np.stack([axes[i] + np.interp(every, np.arange(8), knots[:, i]) for i in (0, 1)], axis=1)


def _closed(outline: Array) -> Array:
    return np.concatenate([outline, outline[:1]])


def _over(front: Array, back: Array, mask: Array) -> Array:
    return np.asarray(back + (front - back) * mask[..., None])


def _rgb(colour: Array) -> tuple[int, int, int]:
    red, green, blue = (int(255 * min(max(c, 0.0), 1.0)) for c in colour.tolist())
    return red, green, blue
