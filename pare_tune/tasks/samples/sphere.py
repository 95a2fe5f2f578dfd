"""Pictures projected onto randomly turned spheres, in the pickle of NAS-Bench-360's spherical CIFAR-100.

The projection is that of the public data (Cohen et al., Spherical CNNs, ICLR 2018,
https://arxiv.org/abs/1801.10130): the picture lies in the plane under the south pole, each point of the sphere
takes the colour where the ray from the north pole meets that plane, and the sphere is sampled on the
equiangular grid of Driscoll and Healy. Only the picture is not CIFAR's, and each has a rotation of its own (their
script gives 500 pictures in a row the same one).
"""
# Shape suffixes: P = points of the grid, by colatitude and longitude; C = colours.

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.tasks.samples.objects import Array, Generator
from pare_tune.tasks.samples.pictures import Pixels, cifar_pictures

FILE: Final = "s2_cifar100.gz"
BANDWIDTH: Final = 30
SIDE: Final = 2 * BANDWIDTH
"""Rings of the grid, and points of each."""
SPHERE_KINDS: Final = (
    "fish",
    "bottle",
    "butterfly",
    "castle",
    "clock",
    "mushroom",
    "pine",
    "skyscraper",
    "sunflower",
    "television",
)
"""Half of the kinds that can be drawn: turned to any side, all of them would take more samples to learn."""
SIZES: Final = {"train": 1000, "test": 200}
"""A fifth of train is taken for validation."""

_HALF_WIDTH = 1.5
"""Of the picture, in radii of the sphere: the middles of its edges lie at 16° south, its corners beyond the equator."""


def write_sample(root: Path, seed: int) -> None:
    """Write `s2_cifar100.gz` under `root`: {"train", "test"} → {"images" (n, 3, 60, 60) uint8, "labels" (n,)}."""
    rng = np.random.default_rng([seed, 0x5F3E4E])
    content = {}
    for part, size in SIZES.items():
        pictures, labels = cifar_pictures(size, rng, SPHERE_KINDS, odd=0.0)
        spheres = np.stack([project(picture, rotation(rng)) for picture in pictures])
        content[part] = {"images": spheres, "labels": labels}
    # A time stamp would make every file differ.
    packed = gzip.compress(pickle.dumps(content, protocol=4), compresslevel=6, mtime=0)
    (root / FILE).write_bytes(packed)


def rotation(rng: Generator) -> Array:
    """A rotation matrix, uniform over all of them."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_quat(rng.normal(size=4)).as_matrix())


def project(picture: Pixels, turn: Array) -> Pixels:
    """A picture (C, S, S) on the sphere turned by the rotation matrix `turn`: (C, 60, 60), black around the picture."""
    from scipy.ndimage import map_coordinates

    point_P3 = grid() @ turn
    plane_P2 = 2.0 * point_P3[..., :2] / np.maximum(1.0 - point_P3[..., 2:], 0.5)
    pixel_P2 = (plane_P2 / _HALF_WIDTH + 1.0) / 2.0 * picture.shape[-1] - 0.5
    # The picture does not reach the far north, and the pole itself has no ray: both are looked up outside of it.
    pixel_P2[point_P3[..., 2] > 0.5] = -2.0
    at = np.moveaxis(pixel_P2, -1, 0)
    colours = [map_coordinates(channel.astype(np.float64), at, order=1, cval=0.0) for channel in picture]
    return np.stack(colours).round().astype(np.uint8)


def grid() -> Array:
    """Points of the unit sphere, (60, 60, 3): colatitudes jπ/60 from the north pole, longitudes kπ/30."""
    step = np.arange(SIDE)
    colatitude, longitude = np.meshgrid(np.pi * step / SIDE, np.pi * step / BANDWIDTH, indexing="ij")
    across = np.sin(colatitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), np.cos(colatitude)], axis=-1)
