"""Simulated Hubble frames of resolved galaxies with cosmic rays, in the files of deepCR's ACS/WFC data.

A visit looks at one field several times: the same stars (power law of fluxes, undersampled point spread function that
breathes from visit to visit) and the same galaxies (exponential discs), under a sky of its own level, while cosmic
rays fall anew on every exposure: straight tracks of fast particles, curling tracks of slow electrons, and single hits.
Photons and read-out add noise. As in the release the mask holds what a comparison of exposures would find, charge
above three times the noise; saturated and hot pixels are to be ignored. A cosmic ray is no brighter than a star: it is
known by its shape, being sharper than the point spread function.
"""
# Shape suffixes: H, W = rows and columns of a stamp, S = stars, P = points that a track deposits charge at.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_FILTER = "f435w"
_READ_NOISE = 4.0  # electrons, as all charge and light here
_FULL_WELL = 8e4
_DETECTED = 3.0  # times the noise
_STARS_PER_PIXEL = (0.015, 0.06)
_FLUX_RANGE, _FLUX_SLOPE = (300.0, 3e5), 0.8  # number above F falls as F^−slope
_RAYS_PER_PIXEL = 0.002
_TRACK_STEP = 0.25  # pixels between the points of a track
_CHARGE_PER_PIXEL, _CHARGE_SCATTER = 350.0, 0.9  # median, and spread of its logarithm between rays
_DIFFUSION = 0.25  # pixels that charge wanders before it is collected
_HOT_PER_PIXEL = 5e-4


@dataclass(frozen=True, slots=True)
class _Seeing:
    """One visit's optics and sky."""

    core: float
    """Standard deviation of the point spread function's core, in pixels; a fifth of the light is in a wide halo."""
    stars_per_pixel: float
    sky: Array
    """Of each exposure."""


def write_sample(
    root: Path,
    seed: int,
    *,
    train_visits: int = 30,
    test_visits: int = 4,
    exposures: int = 3,
    stamps: int = 4,
    side: int = 64,
) -> None:
    """Write `cosmic/npy_{train,test}/f435w/<proposal>/<visit>/<exposure>_<stamp>.npy`, (3, side, side) float32, a
    sky.npy in every visit, and the indices `cosmic/{train,test}_dirs.npy`.

    The release has 4,830 and 420 stamps of 256 pixels, of which the middle 128 are used.
    """
    folder = root / "cosmic"
    for part, split, visits in ((0, "train", train_visits), (1, "test", test_visits)):
        names: list[str] = []
        for visit in range(visits):
            rng = np.random.default_rng([seed, 0x434F53, part, visit])
            place = f"npy_{split}/{_FILTER}/{90001 + part}/{visit + 1:02d}"
            (folder / place).mkdir(parents=True)
            seeing = _draw_seeing(rng, exposures)
            np.save(folder / place / "sky.npy", seeing.sky.astype(np.float32))
            for stamp in range(1, stamps + 1):
                scene_HW = _scene(rng, seeing, side)
                for exposure, sky in enumerate(seeing.sky, start=1):
                    name = f"{place}/{exposure}_{stamp}.npy"
                    np.save(folder / name, _expose(rng, scene_HW, float(sky)).astype(np.float32))
                    names.append(f"./cosmic/{name}")
        np.save(folder / f"{split}_dirs.npy", names)


def _draw_seeing(rng: np.random.Generator, exposures: int) -> _Seeing:
    low, high = np.log(_STARS_PER_PIXEL)
    return _Seeing(
        core=rng.uniform(0.75, 0.95),
        stars_per_pixel=float(np.exp(rng.uniform(low, high))),
        sky=rng.lognormal(np.log(60.0), 0.5) * rng.uniform(0.85, 1.15, exposures),
    )


def _scene(rng: np.random.Generator, seeing: _Seeing, side: int) -> Array:
    """Light of stars and galaxies alone, (H, W); sources may lie a little outside."""
    margin = 6
    count = rng.poisson(seeing.stars_per_pixel * (side + 2 * margin) ** 2)
    row_S, col_S = rng.uniform(-margin, side + margin, (2, count))
    low, high = (f**-_FLUX_SLOPE for f in _FLUX_RANGE)
    flux_S = (high + (low - high) * rng.random(count)) ** (-1 / _FLUX_SLOPE)
    scene_HW = np.zeros((side, side))
    for share, width in ((0.8, seeing.core), (0.2, 3.5 * seeing.core)):
        scene_HW += (share * flux_S * _profile(row_S, width, side)) @ _profile(col_S, width, side).T
    for _ in range(rng.poisson(1.5 * side**2 / 64**2)):
        scene_HW += _disc(rng, side)
    return scene_HW


def _profile(centre_S: Array, width: float, side: int) -> Array:
    """Share of a Gaussian's light in each row (or column) of pixels, (side, S)."""
    from scipy.special import ndtr

    edge = np.arange(side + 1)[:, None] - 0.5
    return np.asarray(np.diff(ndtr((edge - centre_S) / width), axis=0))


def _disc(rng: np.random.Generator, side: int) -> Array:
    row, col = rng.uniform(0, side, 2)
    length, flatness, angle = rng.uniform(1.5, 8.0), rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
    y_H1, x_1W = np.arange(side)[:, None] - row, np.arange(side) - col
    along = x_1W * np.cos(angle) + y_H1 * np.sin(angle)
    across = (y_H1 * np.cos(angle) - x_1W * np.sin(angle)) / flatness
    brightness = rng.lognormal(np.log(100.0), 1.0)
    return np.asarray(brightness * np.exp(-np.hypot(along, across) / length))


def _expose(rng: np.random.Generator, scene_HW: Array, sky: float) -> Array:
    """One exposure: image, mask of cosmic rays and mask of pixels to ignore, (3, H, W)."""
    light_HW = scene_HW + sky
    charge_HW = _cosmic_rays(rng, len(scene_HW))
    noise_HW = np.sqrt(light_HW + _READ_NOISE**2)
    image_HW = rng.poisson(light_HW) + charge_HW + _READ_NOISE * rng.standard_normal(light_HW.shape)
    hot_HW = rng.random(light_HW.shape) < _HOT_PER_PIXEL
    image_HW[hot_HW] += rng.lognormal(np.log(3000.0), 1.0, int(hot_HW.sum()))
    ignore_HW = hot_HW | (image_HW >= _FULL_WELL)
    return np.stack(
        [np.minimum(image_HW, _FULL_WELL), (charge_HW > _DETECTED * noise_HW) & ~hot_HW, ignore_HW]
    )


def _cosmic_rays(rng: np.random.Generator, side: int) -> Array:
    """Charge of all cosmic rays of an exposure, (H, W)."""
    charge_HW = np.zeros((side, side))
    for kind in rng.choice(3, rng.poisson(_RAYS_PER_PIXEL * side**2), p=(0.5, 0.25, 0.25)):
        start, heading = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        if kind == 0:  # straight
            length, bend = 2.0 + rng.exponential(8.0), 0.0
        elif kind == 1:  # curling
            length, bend = 4.0 + rng.exponential(8.0), 0.35
        else:  # a hit from above
            length, bend = rng.uniform(0.1, 1.0), 0.0
        points = max(1, round(length / _TRACK_STEP))
        heading_P = heading + np.cumsum(bend * rng.standard_normal(points))
        steps_P2 = _TRACK_STEP * np.stack([np.sin(heading_P), np.cos(heading_P)], axis=1)
        at_P2 = start + np.cumsum(steps_P2, axis=0) + _DIFFUSION * rng.standard_normal((points, 2))
        each = _CHARGE_PER_PIXEL * _TRACK_STEP * rng.lognormal(0.0, _CHARGE_SCATTER)
        _deposit(charge_HW, at_P2, each * rng.gamma(2.0, 0.5, points))
    return charge_HW


def _deposit(charge_HW: Array, at_P2: Array, charge_P: Array) -> None:
    """Add each point's charge to the four pixels around it, in proportion to their nearness."""
    side = len(charge_HW)
    corner_P2 = np.floor(at_P2).astype(int)
    part_P2 = at_P2 - corner_P2
    for row in (0, 1):
        for col in (0, 1):
            r_P, c_P = corner_P2[:, 0] + row, corner_P2[:, 1] + col
            weight_P = np.abs(1 - row - part_P2[:, 0]) * np.abs(1 - col - part_P2[:, 1])
            inside = (r_P >= 0) & (r_P < side) & (c_P >= 0) & (c_P < side)
            np.add.at(charge_HW, (r_P[inside], c_P[inside]), (charge_P * weight_P)[inside])
