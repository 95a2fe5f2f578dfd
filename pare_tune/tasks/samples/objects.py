"""Twenty kinds of object as parametric outlines: what the pictures of the image samples show.

No two drawings of a kind are alike: proportions, colours, pose and place vary, and kinds share colours and simple
shapes, so that neither a pixel nor a mean colour tells them apart.
"""
# Shapes: V = vertices of an outline. Coordinates: x to the right, y down, the object within about [-1, 1]².

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Generator = np.random.Generator

MAIN, SECOND, DARK, LIGHT = range(4)
"""Colours of a palette."""


@dataclass(frozen=True, slots=True)
class Part:
    """One filled outline; later parts of an object hide earlier ones."""

    outline: Array
    """(V, 2), closed."""
    colour: int


@dataclass(frozen=True, slots=True)
class Object:
    """An object in its place."""

    parts: tuple[Part, ...]
    palette: Array
    """(4, 3) RGB in [0, 1], in the order of MAIN, SECOND, DARK, LIGHT."""
    material: str
    """Name in `MATERIALS`."""
    scene: str
    """Where such an object usually is."""
    pose: Array
    """(3, 2): vertex v of the kind's drawing lies at (v, 1) @ pose."""

    def grain(self, side: int) -> Array:
        """The material's pattern over a picture of S × S pixels, fixed to the object, in [-1, 1]."""
        centre = (np.arange(side) + 0.5) * 2 / side - 1
        xy = np.stack(np.meshgrid(centre, centre), axis=-1)
        uv = (xy - self.pose[2]) @ np.linalg.inv(self.pose[:2])
        return MATERIALS[self.material](uv[..., 0], uv[..., 1])


@dataclass(frozen=True, slots=True)
class _Kind:
    draw: Callable[[Generator], Sequence[Part]]
    main: tuple[str, ...]
    """Usual colours, RRGGBB."""
    second: tuple[str, ...]
    material: str
    scene: str


def draw_object(kind: str, rng: Generator, *, odd: float) -> Object:
    """A new object of one of `KINDS`, turned, stretched, perhaps mirrored and moved off the centre.

    Args:
        odd: share of colours that have any hue instead of a usual one.
    """
    chosen = KINDS[kind]
    angle = rng.normal(0.0, 0.3)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, 0.0], [rng.normal(0.0, 0.1), 1.0]])
    size = rng.uniform(0.6, 1.0) * np.exp(rng.normal(0.0, 0.12, 2))
    size[0] *= rng.choice([-1.0, 1.0])
    pose = np.concatenate([np.diag(size) @ shear @ turn, rng.uniform(-0.3, 0.3, (1, 2))])
    parts = tuple(Part(part.outline @ pose[:2] + pose[2], part.colour) for part in chosen.draw(rng))
    return Object(parts, _palette(chosen, rng, odd), chosen.material, chosen.scene, pose)


def _palette(kind: _Kind, rng: Generator, odd: float) -> Array:
    from colorsys import hsv_to_rgb, rgb_to_hsv

    colours = []
    for usual in (kind.main, kind.second, ("3a3430", "2b3540"), ("f2ead8", "dfe9f0")):
        code = usual[rng.integers(len(usual))]
        hue, saturation, value = rgb_to_hsv(*(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)))
        hue = rng.random() if rng.random() < odd else hue + rng.normal(0.0, 0.035)
        saturation = np.clip(saturation * rng.uniform(0.6, 1.2), 0.0, 1.0)
        colours.append(hsv_to_rgb(hue % 1.0, saturation, np.clip(value * rng.uniform(0.75, 1.15), 0.0, 1.0)))
    return np.array(colours)


def _polygon(*vertices: tuple[float, float]) -> Array:
    return np.array(vertices, dtype=np.float64)


def _box(left: float, top: float, right: float, bottom: float) -> Array:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _oval(x: float, y: float, a: float, b: float, start: float = 0.0, stop: float = 1.0) -> Array:
    """Part of an ellipse around (x, y), from turn `start` to turn `stop`: clockwise from the right."""
    angle = 2 * np.pi * np.linspace(start, stop, 33)
    return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], axis=1)


def _mirrored(*profile: tuple[float, float]) -> Array:
    """The right half of an outline, top to bottom, and its mirror image."""
    right = np.array(profile)
    return np.concatenate([right, right[::-1] * [-1, 1]])


def _smooth(*profile: tuple[float, float]) -> Array:
    """`_mirrored`, through more points of a smooth curve."""
    from scipy.interpolate import PchipInterpolator

    points = np.array(profile)
    step = np.linspace(0.0, len(points) - 1.0, 24)
    curve = PchipInterpolator(np.arange(len(points)), points)(step)
    return _mirrored(*(tuple(p) for p in curve))


def _bar(start: tuple[float, float], stop: tuple[float, float], width: float) -> Array:
    """A straight bar between two points."""
    a, b = np.array(start), np.array(stop)
    along = (b - a) / np.linalg.norm(b - a)
    across = width / 2 * np.array([-along[1], along[0]])
    return np.stack([a + across, b + across, b - across, a - across])


def _band(centre: tuple[float, float], a: float, b: float, width: float, start: float, stop: float) -> Array:
    """Part of an elliptic ring."""
    outer = _oval(*centre, a, b, start, stop)
    inner = _oval(*centre, a - width, b - width, start, stop)
    return np.concatenate([outer, inner[::-1]])


def _turned(outline: Array, angle: float, x: float = 0.0, y: float = 0.0) -> Array:
    """Turned around the origin, clockwise, then moved by (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(outline @ np.array([[cos, sin], [-sin, cos]]) + (x, y))


def _apple(rng: Generator) -> list[Part]:
    dip, wide = rng.uniform(0.1, 0.25), rng.uniform(0.75, 0.9)
    body = _smooth((0, -0.55 + dip), (wide * 0.6, -0.6), (wide, 0), (wide * 0.55, 0.75), (0, 0.8 - dip / 2))
    tip = rng.uniform(0.0, 0.25)
    leaf = _turned(_oval(0, 0, rng.uniform(0.22, 0.35), 0.1), rng.uniform(-0.8, 0.1), tip + 0.25, -0.8)
    return [Part(body, MAIN), Part(_bar((0, -0.4), (tip, -0.95), 0.09), DARK), Part(leaf, SECOND)]


def _fish(rng: Generator) -> list[Part]:
    high, tail = rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.55)
    return [
        Part(_polygon((0.4, 0), (0.95, -tail), (0.8, 0), (0.95, tail)), SECOND),
        Part(_polygon((-0.3, -high * 0.7), (0.1, -high - 0.3), (0.35, -high * 0.5)), SECOND),
        Part(_oval(-0.15, 0, 0.7, high), MAIN),
        Part(_polygon((-0.1, 0.05), (0.2, rng.uniform(0.2, 0.4)), (0.2, 0.05)), SECOND),
        Part(_oval(-0.55, -0.08, 0.11, 0.11), LIGHT),
        Part(_oval(-0.57, -0.08, 0.05, 0.05), DARK),
    ]


def _bottle(rng: Generator) -> list[Part]:
    wide, neck, shoulder = rng.uniform(0.26, 0.4), rng.uniform(0.09, 0.15), rng.uniform(-0.35, -0.05)
    body = _mirrored((neck, -0.95), (neck, shoulder - 0.2), (wide, shoulder + 0.1), (wide, 0.95))
    return [
        Part(body, MAIN),
        Part(_box(-neck - 0.03, -1.0, neck + 0.03, -0.82), SECOND),
        Part(_box(-wide, shoulder + 0.25, wide, shoulder + rng.uniform(0.55, 0.85)), LIGHT),
    ]


def _bridge(rng: Generator) -> list[Part]:
    deck, tower = rng.uniform(0.1, 0.3), rng.uniform(0.35, 0.6)
    parts = [Part(_box(x - 0.07, -0.7, x + 0.07, 0.85), SECOND) for x in (-tower, tower)]
    along = np.linspace(-1.0, 1.0, 25)
    # The cable sags as a parabola between the towers and runs straight down to the ends.
    share = np.where(np.abs(along) < tower, (along / tower) ** 2, (1 - np.abs(along)) / (1 - tower))
    height = deck + share * (-0.6 - deck)
    upper, lower = (np.stack([along, height + sag], axis=1) for sag in (0.0, 0.07))
    parts += [
        Part(_bar((float(x), float(y)), (float(x), deck), 0.035), DARK)
        for x, y in zip(along[2:-2:2], height[2:-2:2], strict=True)
        if deck - y > 0.05
    ]
    cable = np.concatenate([upper, lower[::-1]])
    return [*parts, Part(cable, DARK), Part(_box(-1.0, deck, 1.0, deck + rng.uniform(0.12, 0.2)), MAIN)]


def _bus(rng: Generator) -> list[Part]:
    top, count = rng.uniform(-0.6, -0.35), rng.integers(3, 6)
    edge = np.linspace(-0.85, 0.85, count + 1)
    windows = [Part(_box(a + 0.05, top + 0.12, b - 0.05, top + 0.42), LIGHT) for a, b in pairwise(edge)]
    at = rng.uniform(0.45, 0.65)
    wheels = [Part(_oval(x, 0.42, r, r), c) for x in (-at, at) for r, c in ((0.2, DARK), (0.09, LIGHT))]
    stripe = Part(_box(-0.95, 0.12, 0.95, 0.22), SECOND)
    return [Part(_box(-0.95, top, 0.95, 0.42), MAIN), *windows, stripe, *wheels]


def _butterfly(rng: Generator) -> list[Part]:
    parts = []
    up, low = rng.uniform(0.42, 0.55), rng.uniform(0.3, 0.42)
    for side in (-1.0, 1.0):
        upper = _turned(_oval(0.48, 0, 0.5, up * 0.65), -0.6) * [side, 1]
        lower = _turned(_oval(0.38, 0, 0.4, low * 0.75), 0.7) * [side, 1]
        spot = _turned(_oval(0.62, 0, 0.16, 0.13), -0.6) * [side, 1]
        parts += [Part(lower, SECOND), Part(upper, MAIN), Part(spot, LIGHT)]
        parts.append(Part(_bar((0, -0.4), (side * 0.25, -0.85), 0.04), DARK))
    return [*parts, Part(_oval(0, 0, 0.08, 0.5), DARK)]


def _castle(rng: Generator) -> list[Part]:
    wall, tower, wide = rng.uniform(-0.2, 0.15), rng.uniform(-0.6, -0.3), rng.uniform(0.2, 0.28)
    parts = [Part(_box(-0.7, wall, 0.7, 0.8), MAIN)]
    parts += [Part(_box(x, wall - 0.15, x + 0.14, wall), MAIN) for x in (-0.35, -0.07, 0.21)]
    for x in (-0.7, 0.7):
        parts.append(Part(_box(x - wide, tower, x + wide, 0.8), MAIN))
        parts.append(
            Part(_polygon((x - wide - 0.06, tower), (x, tower - 0.4), (x + wide + 0.06, tower)), SECOND)
        )
        parts.append(Part(_box(x - 0.06, tower + 0.15, x + 0.06, tower + 0.4), DARK))
    gate = np.concatenate([_oval(0, 0.4, 0.2, 0.2, 0.5, 1.0), _box(-0.2, 0.4, 0.2, 0.8)[2:]])
    return [*parts, Part(gate, DARK)]


def _chair(rng: Generator) -> list[Part]:
    seat, wide, high = rng.uniform(0.0, 0.2), rng.uniform(0.4, 0.55), rng.uniform(-0.95, -0.7)
    legs = [Part(_bar((x, seat), (x * rng.uniform(0.95, 1.2), 0.95), 0.1), SECOND) for x in (-wide, wide)]
    posts = [Part(_bar((x, high), (x, seat), 0.1), SECOND) for x in (-wide, wide)]
    slats = [
        Part(_box(-wide, y, wide, y + 0.12), MAIN)
        for y in np.linspace(high + 0.08, seat - 0.3, rng.integers(2, 4))
    ]
    cushion = _polygon(
        (-wide, seat - 0.05), (wide, seat - 0.05), (wide + 0.15, seat + 0.15), (-wide - 0.15, seat + 0.15)
    )
    return [*legs, *posts, *slats, Part(cushion, MAIN)]


def _clock(rng: Generator) -> list[Part]:
    radius = rng.uniform(0.72, 0.9)
    ticks = [
        Part(_turned(_box(-0.03, -radius * 0.8, 0.03, -radius * 0.68), a), DARK)
        for a in np.arange(12) * np.pi / 6
    ]
    hour, minute = rng.uniform(0, 2 * np.pi, 2)
    return [
        Part(_oval(0, 0, radius, radius), MAIN),
        Part(_oval(0, 0, radius * 0.86, radius * 0.86), LIGHT),
        *ticks,
        Part(_turned(_box(-0.05, -0.4, 0.05, 0.06), hour), DARK),
        Part(_turned(_box(-0.035, -0.58, 0.035, 0.06), minute), SECOND),
    ]


def _cup(rng: Generator) -> list[Part]:
    top, base, high = rng.uniform(0.5, 0.65), rng.uniform(0.3, 0.5), rng.uniform(0.4, 0.65)
    return [
        Part(_band((top * 0.85, 0.0), 0.4, 0.38, 0.13, -0.25, 0.25), MAIN),
        Part(_mirrored((top, -high), (base, high)), MAIN),
        Part(_box(-(top + base) / 2, -0.08, (top + base) / 2, rng.uniform(0.05, 0.2)), SECOND),
        Part(_oval(0, -high, top, 0.14), LIGHT),
        Part(_oval(0, -high + 0.02, top * 0.82, 0.09), DARK),
    ]


def _house(rng: Generator) -> list[Part]:
    wide, eaves, ridge = rng.uniform(0.6, 0.8), rng.uniform(-0.15, 0.1), rng.uniform(-0.9, -0.65)
    door = rng.uniform(-0.35, 0.1)
    chimney = Part(_box(wide * 0.4, ridge, wide * 0.6, eaves), DARK)
    roof = Part(_polygon((-wide - 0.15, eaves), (0, ridge), (wide + 0.15, eaves)), SECOND)
    panes = [Part(_box(x, eaves + 0.2, x + 0.24, eaves + 0.45), LIGHT) for x in (door - 0.3, door + 0.32)]
    return [
        chimney, Part(_box(-wide, eaves, wide, 0.85), MAIN), roof, *panes,
        Part(_box(door, eaves + 0.3, door + 0.24, 0.85), DARK),
    ]  # fmt: skip


def _lamp(rng: Generator) -> list[Part]:
    top, wide, low = rng.uniform(0.18, 0.32), rng.uniform(0.45, 0.65), rng.uniform(-0.35, -0.1)
    return [
        Part(_box(-0.05, low, 0.05, 0.85), DARK),
        Part(_mirrored((0.1, 0.78), (rng.uniform(0.3, 0.45), 0.95)), SECOND),
        Part(_mirrored((top, -0.95), (wide, low)), MAIN),
        Part(_mirrored((wide * 0.97, low - 0.1), (wide, low)), LIGHT),
    ]


def _mountain(rng: Generator) -> list[Part]:
    parts = []
    for x, colour in (
        (rng.uniform(-0.6, -0.35), SECOND),
        (rng.uniform(0.3, 0.6), SECOND),
        (rng.uniform(-0.15, 0.15), MAIN),
    ):
        top = rng.uniform(-0.5, -0.2) - 0.35 * (colour == MAIN)
        half = rng.uniform(0.45, 0.6)
        ridge = _polygon(
            (x - half, 0.7), (x - 0.4 * half, 0.1), (x, top), (x + 0.5 * half, 0.05), (x + half, 0.7)
        )
        cap = 0.3
        left, right = x - cap * 0.5 * half, x + cap * 0.6 * half
        snow = _polygon((left, top + cap), (x, top), (right, top + cap), (x + 0.05, top + cap * 0.7))
        parts += [Part(ridge, colour), Part(snow, LIGHT)]
    return parts


def _mushroom(rng: Generator) -> list[Part]:
    wide, high, rim = rng.uniform(0.7, 0.9), rng.uniform(0.6, 0.85), rng.uniform(-0.1, 0.1)
    cap = np.concatenate([_oval(0, rim, wide, high, 0.5, 1.0), _oval(0, rim, wide, 0.15, 0.0, 0.5)])
    stem = _smooth((0.16, rim), (0.17, 0.5), (rng.uniform(0.2, 0.3), 0.9))
    dots = [
        Part(_oval(x * wide, rim - y * high, 0.1, 0.09), SECOND)
        for x, y in rng.uniform((-0.55, 0.2), (0.55, 0.7), (rng.integers(2, 6), 2))
    ]
    return [Part(stem, LIGHT), Part(cap, MAIN), *dots]


def _pear(rng: Generator) -> list[Part]:
    neck, belly = rng.uniform(0.22, 0.32), rng.uniform(0.55, 0.72)
    body = _smooth(
        (0, -0.75), (neck, -0.55), (neck * 1.25, -0.15), (belly, 0.4), (belly * 0.6, 0.85), (0, 0.9)
    )
    bend = rng.uniform(-0.2, 0.2)
    leaf = _turned(_oval(0, 0, 0.22, 0.08), rng.uniform(-0.8, 0.2), bend + 0.2, -0.85)
    return [Part(_bar((0, -0.7), (bend, -1.0), 0.08), DARK), Part(body, MAIN), Part(leaf, SECOND)]


def _pine(rng: Generator) -> list[Part]:
    tiers, wide = rng.integers(3, 5), rng.uniform(0.5, 0.75)
    edge = np.linspace(-0.95, 0.6, tiers + 1)
    parts = [Part(_box(-0.09, 0.4, 0.09, 0.95), SECOND)]
    for i in reversed(range(tiers)):
        half = wide * (i + 1.5) / (tiers + 0.5)
        parts.append(Part(_polygon((0, edge[i] - 0.12), (half, edge[i + 1]), (-half, edge[i + 1])), MAIN))
    return parts


def _rocket(rng: Generator) -> list[Part]:
    wide, fin = rng.uniform(0.2, 0.32), rng.uniform(0.2, 0.35)
    body = _smooth((0, -0.95), (wide * 0.8, -0.55), (wide, 0.0), (wide * 0.75, 0.5))
    fins = [
        Part(_polygon((s * wide * 0.8, 0.1), (s * (wide + fin), 0.6), (s * wide * 0.7, 0.5)), SECOND)
        for s in (-1, 1)
    ]
    flame = _mirrored((wide * 0.6, 0.5), (wide * 0.35, 0.75), (0, rng.uniform(0.85, 1.0)))
    nose = _smooth((0, -0.95), (wide * 0.55, -0.72), (wide * 0.8, -0.55))
    return [
        Part(flame, LIGHT), *fins, Part(body, MAIN), Part(nose, SECOND),
        Part(_oval(0, -0.2, 0.13, 0.13), DARK), Part(_oval(0, -0.2, 0.08, 0.08), LIGHT),
    ]  # fmt: skip


def _skyscraper(rng: Generator) -> list[Part]:
    parts = []
    for x, wide, top, colour in (
        (rng.uniform(-0.55, -0.35), 0.25, rng.uniform(-0.3, 0.2), SECOND),
        (rng.uniform(0.35, 0.55), 0.25, rng.uniform(-0.4, 0.1), SECOND),
        (rng.uniform(-0.1, 0.1), rng.uniform(0.25, 0.35), rng.uniform(-0.9, -0.65), MAIN),
    ):
        parts.append(Part(_box(x - wide, top, x + wide, 0.95), colour))
        for y in np.arange(top + 0.1, 0.85, 0.22):
            for left in (x - wide * 0.75, x + wide * 0.15):
                parts.append(
                    Part(_box(left, y, left + wide * 0.6, y + 0.11), LIGHT if colour == MAIN else DARK)
                )
    return parts


def _sunflower(rng: Generator) -> list[Part]:
    count, long, y = rng.integers(9, 15), rng.uniform(0.5, 0.62), rng.uniform(-0.4, -0.25)
    parts = [Part(_bar((0, y), (rng.uniform(-0.15, 0.15), 1.0), 0.1), SECOND)]
    for side in (-1, 1):
        leaf = _turned(_oval(0.28, 0, 0.28, 0.11), rng.uniform(-0.6, -0.1)) * [side, 1] + [0, 0.5]
        parts.append(Part(leaf, SECOND))
    petal = _oval(long * 0.62, 0, long * 0.45, long * 1.6 / count)
    parts += [Part(_turned(petal, a, 0, y), MAIN) for a in np.arange(count) * 2 * np.pi / count]
    return [*parts, Part(_oval(0, y, long * 0.42, long * 0.42), DARK)]


def _television(rng: Generator) -> list[Part]:
    wide, top, rim = rng.uniform(0.7, 0.9), rng.uniform(-0.45, -0.25), rng.uniform(0.08, 0.15)
    aerial = [Part(_bar((0, top), (s * rng.uniform(0.3, 0.5), top - 0.5), 0.05), DARK) for s in (-1, 1)]
    legs = [Part(_bar((s * wide * 0.6, 0.6), (s * wide * 0.75, 0.9), 0.09), DARK) for s in (-1, 1)]
    right = wide - rng.uniform(0.25, 0.4)
    knobs = [Part(_oval((wide + right) / 2, y, 0.07, 0.07), DARK) for y in (top + 0.25, top + 0.5)]
    return [
        *aerial,
        *legs,
        Part(_box(-wide, top, wide, 0.65), MAIN),
        Part(_box(-wide + rim, top + rim, right, 0.65 - rim), SECOND),
        *knobs,
    ]


def _wave(x: Array, period: float) -> Array:
    return np.asarray(np.sin(2 * np.pi * x / period))


def _bricks(u: Array, v: Array) -> Array:
    row = np.floor(v / 0.28)
    joint = (np.abs(v / 0.28 % 1 - 0.5) > 0.38) | (np.abs((u + 0.2 * (row % 2)) / 0.4 % 1 - 0.5) > 0.4)
    return np.where(joint, -1.0, 0.4)


def _scales(u: Array, v: Array) -> Array:
    row = np.floor(v / 0.2)
    return np.asarray(2 * np.hypot((u + 0.13 * (row % 2)) / 0.26 % 1 - 0.5, v / 0.2 % 1) - 1)


MATERIALS: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "bands": lambda u, v: _wave(v, 0.33),
    "bars": lambda u, v: _wave(u, 0.3),
    "slants": lambda u, v: _wave(np.abs(u) - 0.8 * v, 0.36),
    "checks": lambda u, v: np.sign(_wave(u, 0.5) * _wave(v, 0.5)),
    "rings": lambda u, v: _wave(np.hypot(u, v), 0.34),
    "rays": lambda u, v: np.sin(9 * np.arctan2(v, u)),
    "dots": lambda u, v: np.where(_wave(u + v, 0.55) * _wave(u - v, 0.55) > 0.35, -1.0, 0.25),
    "blotches": lambda u, v: _wave(u + 0.2 * _wave(v, 0.7), 0.8) * _wave(v + 0.2 * _wave(u, 0.9), 0.6),
    "bricks": _bricks,
    "scales": _scales,
}
"""Patterns over an object's own coordinates, in [-1, 1]."""

KINDS: Final = {
    "apple": _Kind(_apple, ("c23b2e", "7fae3a", "d9a92e"), ("4c7d2f",), "blotches", "table"),
    "fish": _Kind(_fish, ("e07b2c", "4c86b8", "c9a53a"), ("d9572b", "3a6ea5"), "scales", "water"),
    "bottle": _Kind(_bottle, ("2f6b46", "7a4a26", "5c8fa8"), ("a83232", "c9a53a"), "bars", "table"),
    "bridge": _Kind(_bridge, ("8a8f94", "a5563c"), ("b1553d", "6f767c"), "slants", "water"),
    "bus": _Kind(_bus, ("d9a92e", "c23b2e", "3a6ea5"), ("7a4a26", "e8e2d0"), "bands", "street"),
    "butterfly": _Kind(_butterfly, ("e07b2c", "4c6fc2", "d9c13a"), ("8a4fa0", "c23b2e"), "dots", "meadow"),
    "castle": _Kind(_castle, ("9a958a", "b39b72"), ("a5563c", "4a6a8a"), "bricks", "rocks"),
    "chair": _Kind(_chair, ("a5693c", "7a4a26", "b8433a"), ("7a4a26", "5f6468"), "bands", "tiles"),
    "clock": _Kind(_clock, ("7a4a26", "3a6ea5", "c9a53a"), ("c23b2e", "333333"), "rings", "tiles"),
    "cup": _Kind(_cup, ("d8d2c4", "3a6ea5", "c23b2e"), ("3a6ea5", "d9a92e"), "checks", "table"),
    "house": _Kind(_house, ("d2b48c", "b8433a", "d8d2c4"), ("8a3f2c", "5f6468"), "bricks", "meadow"),
    "lamp": _Kind(_lamp, ("d9c07a", "c97a4a", "6f9a86"), ("7a4a26", "5f6468"), "bars", "tiles"),
    "mountain": _Kind(_mountain, ("6f767c", "7d6a55"), ("8a9299", "66785a"), "blotches", "sky"),
    "mushroom": _Kind(_mushroom, ("c23b2e", "9a6a42", "d8b98a"), ("f0e6d2",), "dots", "meadow"),
    "pear": _Kind(_pear, ("b8b83a", "8fae3a", "c9863a"), ("4c7d2f",), "dots", "table"),
    "pine": _Kind(_pine, ("2f6b3a", "3f7d5a"), ("6b4526",), "slants", "rocks"),
    "rocket": _Kind(_rocket, ("d8d8d8", "c23b2e"), ("c23b2e", "3a6ea5"), "checks", "sky"),
    "skyscraper": _Kind(_skyscraper, ("5c7f9a", "7f7a74"), ("8f8a84", "4a5f70"), "bars", "street"),
    "sunflower": _Kind(_sunflower, ("e3b52a", "e08a2c"), ("4c7d2f",), "rays", "meadow"),
    "television": _Kind(_television, ("7a4a26", "4a4f54", "b8433a"), ("7fa8b8", "5f7f8a"), "bands", "tiles"),
}
"""What can be drawn, by name."""
