"""Simulated years of vegetation index over 24 land covers, in the files of NAS-Bench-360's Satellite task.

A season is a double logistic curve (Beck et al. 2006, https://doi.org/10.1016/j.rse.2005.10.021): the index rises from
bare soil at green-up and falls at senescence or harvest. A land cover is one or two such seasons; a pixel has its own
sowing date, vigour and soil, may hold some of its neighbour's crop, and is seen through clouds. Dates are those of a
scene, so every pixel has the same 46. Timing varies more than the shapes of similar covers differ, so that no single
date tells them apart.
"""
# Shape suffixes: B = pixels, T = dates, K = land covers.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TRAIN_FILE: Final = "satellite_train.npy"
TEST_FILE: Final = "satellite_test.npy"
NUM_DATES: Final = 46
NUM_CLASSES: Final = 24
SPLIT_SIZES: Final = {TRAIN_FILE: 1440, TEST_FILE: 288}
"""Series of each file; the reader cuts the validation split from the first."""


@dataclass(frozen=True, slots=True)
class _Season:
    """Days of the year at which half of the height is reached and lost, and how fast."""

    start: float
    end: float
    height: float
    rise: float = 9.0
    fall: float = 9.0


@dataclass(frozen=True, slots=True)
class _Cover:
    name: str
    soil: float
    """Index outside the seasons."""
    seasons: tuple[_Season, ...] = ()


COVERS: Final = (
    _Cover("winter wheat", 0.18, (_Season(75, 170, 0.62, 16, 6),)),
    _Cover("winter barley", 0.18, (_Season(65, 150, 0.60, 14, 6),)),
    _Cover("rapeseed", 0.20, (_Season(55, 165, 0.58, 20, 9),)),
    _Cover(
        "rapeseed, autumn sown early", 0.20, (_Season(70, 165, 0.58, 8, 8), _Season(300, 390, 0.35, 8, 8))
    ),
    _Cover("maize for grain", 0.17, (_Season(165, 270, 0.66, 8, 14),)),
    _Cover("maize for silage", 0.17, (_Season(165, 245, 0.66, 8, 4),)),
    _Cover("maize, irrigated", 0.17, (_Season(160, 275, 0.74, 7, 7),)),
    _Cover("sunflower", 0.17, (_Season(160, 228, 0.58, 9, 12),)),
    _Cover("soybean", 0.17, (_Season(175, 262, 0.70, 11, 6),)),
    _Cover("sorghum", 0.17, (_Season(178, 255, 0.55, 12, 12),)),
    _Cover("peas", 0.18, (_Season(95, 165, 0.60, 8, 5),)),
    _Cover("wheat, then catch crop", 0.18, (_Season(75, 165, 0.60, 16, 6), _Season(235, 310, 0.35, 9, 9))),
    _Cover("barley, then soybean", 0.18, (_Season(65, 148, 0.58, 14, 6), _Season(190, 275, 0.55, 9, 7))),
    _Cover(
        "temporary meadow, mown twice", 0.30, (_Season(70, 145, 0.42, 14, 4), _Season(165, 300, 0.38, 9, 20))
    ),
    _Cover("permanent meadow", 0.34, (_Season(70, 300, 0.38, 22, 30),)),
    _Cover("pasture, dry in summer", 0.30, (_Season(60, 175, 0.40, 20, 16), _Season(265, 345, 0.30, 10, 16))),
    _Cover("fallow", 0.26, (_Season(85, 215, 0.26, 18, 25),)),
    _Cover("vineyard", 0.22, (_Season(125, 290, 0.26, 12, 12),)),
    _Cover("orchard", 0.30, (_Season(105, 305, 0.36, 8, 10),)),
    _Cover("deciduous forest", 0.32, (_Season(108, 310, 0.50, 6, 9),)),
    _Cover("conifers", 0.62, (_Season(110, 280, 0.12, 30, 30),)),
    _Cover("poplar, leafing late", 0.28, (_Season(130, 290, 0.50, 7, 10),)),
    _Cover("town", 0.20, (_Season(90, 290, 0.08, 30, 30),)),
    _Cover("water", -0.08, (_Season(150, 250, 0.05, 20, 20),)),
)
assert len(COVERS) == NUM_CLASSES

_YEAR = 365.0
_SHIFT_DAYS = 22.0
_MIXED = 0.3
"""Share of the pixels that hold a second cover."""


def write_sample(root: Path, seed: int) -> None:
    """Write both files: a 0-d object array holding {"data": (n, 46) float64, "label": (n,) int64 in 1..24}."""
    rng = np.random.default_rng([seed, 0x5A7E11])
    root.mkdir(parents=True, exist_ok=True)
    day_T = _dates(rng)
    cloudy_T = rng.beta(0.6, 3.0, NUM_DATES)
    for name, size in SPLIT_SIZES.items():
        label_B = rng.permutation(np.arange(size) % NUM_CLASSES)
        content = {"data": _pixels(rng, label_B, day_T, cloudy_T), "label": label_B + 1}
        np.save(root / name, np.array(content, dtype=object), allow_pickle=True)


def _dates(rng: np.random.Generator) -> Array:
    """Days of the year with an image: about one in eight, some passes lost."""
    passes = np.arange(4, _YEAR, 5)
    return np.sort(rng.choice(passes, NUM_DATES, replace=False)).astype(np.float64)


def _pixels(rng: np.random.Generator, label_B: npt.NDArray[np.int64], day_T: Array, cloudy_T: Array) -> Array:
    clean = np.stack([_pixel(rng, int(label), day_T) for label in label_B])
    noise = rng.normal(0.0, 0.02, clean.shape)
    return _clouded(rng, clean + noise, cloudy_T)


def _pixel(rng: np.random.Generator, label: int, day_T: Array) -> Array:
    """One pixel under a clear sky, (T,)."""
    index_T = _cover(rng, COVERS[label], day_T)
    if rng.random() < _MIXED:
        other_T = _cover(rng, COVERS[rng.integers(NUM_CLASSES)], day_T)
        share = rng.uniform(0.05, 0.3)
        index_T = (1 - share) * index_T + share * other_T
    return index_T


def _cover(rng: np.random.Generator, cover: _Cover, day_T: Array) -> Array:
    # Weather and the farmer move the whole year; each season then has a little freedom of its own.
    shift, vigour = rng.normal(0.0, _SHIFT_DAYS), np.exp(rng.normal(0.0, 0.12))
    index_T = np.full_like(day_T, cover.soil + rng.normal(0.0, 0.03))
    for season in cover.seasons:
        start, end = season.start + shift + rng.normal(0.0, 3.0), season.end + shift + rng.normal(0.0, 3.0)
        height = season.height * vigour * np.exp(rng.normal(0.0, 0.05))
        for turn in (-_YEAR, 0.0, _YEAR):  # a season sown in autumn goes on in the next year
            up_T = 1 / (1 + np.exp(-(day_T - start - turn) / season.rise))
            down_T = 1 / (1 + np.exp(-(day_T - end - turn) / season.fall))
            index_T = index_T + height * (up_T - down_T)
    return index_T


def _clouded(rng: np.random.Generator, index_BT: Array, cloudy_T: Array) -> Array:
    """Clouds and their shadows pull the index towards that of cloud; haze does so in part."""
    hidden_BT = rng.random(index_BT.shape) < cloudy_T
    depth_BT = np.where(hidden_BT, rng.uniform(0.4, 1.0, index_BT.shape), 0.0)
    return (1 - depth_BT) * index_BT + depth_BT * rng.normal(0.05, 0.03, index_BT.shape)
