"""Simulated regulatory DNA with planted binding sites, in the file of NAS-Bench-360's DeepSEA task.

A transcription factor binds where its motif, a position weight matrix (Stormo 2000,
https://doi.org/10.1093/bioinformatics/16.1.16), stands many times in a row on either strand, as at the microsatellites
that act as enhancers (Gangwal et al. 2008, PNAS 105, 10149); and it binds only in those cell types in which the stretch
is open, which the sites of the types' own pioneer factors decide. Nine factors in four cell types are the 36 labels, so
labels share causes as the tracks of an experiment do. All else is background whose content of G and C drifts. A row
stands anywhere, in any phase and on either strand, so a linear model of the bases has only the mean composition of the
motifs to go by.
"""
# Shape suffixes: B = stretches of DNA, L = bases of a stretch, W = bases of a site, F = factors, C = cell types.

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bases = npt.NDArray[np.uint8]
"""0 to 3 for A, C, G, T: base b pairs with 3 − b."""
Flags = npt.NDArray[np.bool_]

FILE: Final = "deepsea_filtered.npz"
LENGTH: Final = 1000
NUM_BASES: Final = 4
FACTORS: Final = ("AAGG", "AACC", "ACTG", "AGCT", "ATGC", "ACGT", "ATCG", "AATT", "CCGG")
PIONEERS: Final = ("ACAC", "AGAG", "ATAT", "CGCG")
"""Consensus of each motif. In a row any two differ in half of the bases, whatever their phases and strands."""
NUM_LABELS: Final = len(FACTORS) * len(PIONEERS)
SPLIT_SIZES: Final = {"train": 1200, "val": 300, "test": 300}

_SITE_BASES = 4
_SITES_PER_ROW = (30, 55)
_CONSERVED = 0.9
_BOUND, _OPEN = 0.3, 0.5
_MISSED, _SPURIOUS = 0.05, 0.01


def write_sample(root: Path, seed: int) -> None:
    """Write x_ and y_ of train, val and test: (n, 1000, 4) and (n, 36), both uint8 in {0, 1}, compressed."""
    rng = np.random.default_rng([seed, 0xD4A])
    factors, pioneers = (np.stack([_motif(word) for word in words]) for words in (FACTORS, PIONEERS))
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, size in SPLIT_SIZES.items():
        bound_BF = rng.random((size, len(FACTORS))) < _BOUND
        open_BC = rng.random((size, len(PIONEERS))) < _OPEN
        bases_BL = np.empty((size, LENGTH), np.uint8)
        for bases_L, bound_F, open_C in zip(bases_BL, bound_BF, open_BC, strict=True):
            bases_L[:] = _stretch(rng, np.concatenate([factors[bound_F], pioneers[open_C]]))
        peaks_BFC = _called(rng, bound_BF[:, :, None] & open_BC[:, None, :])
        arrays[f"x_{split}"] = np.eye(NUM_BASES, dtype=np.uint8)[bases_BL]
        arrays[f"y_{split}"] = peaks_BFC.reshape(size, NUM_LABELS).astype(np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / FILE, **arrays)  # type: ignore[arg-type]


def _motif(consensus: str) -> Array:
    """Position weight matrix of a motif, (W, 4)."""
    other = (1 - _CONSERVED) / (NUM_BASES - 1)
    is_base = np.array([[base == letter for letter in "ACGT"] for base in consensus])
    return np.where(is_base, _CONSERVED, other)


def _stretch(rng: np.random.Generator, motifs: Array) -> Bases:
    """A stretch of DNA with a row of sites for each of `motifs`, one after the other in random order, (L,)."""
    bases_L = _background(rng)
    sites = rng.integers(*_SITES_PER_ROW, size=len(motifs), endpoint=True)
    while sites.sum() * _SITE_BASES > LENGTH:  # many share the room
        sites -= 1
    ends = np.cumsum(sites) * _SITE_BASES
    room = LENGTH - int(ends[-1]) if len(ends) else LENGTH
    shifts = np.sort(rng.integers(0, room, len(motifs), endpoint=True))
    for motif_W4, count, end in zip(rng.permutation(motifs), sites, ends + shifts, strict=True):
        row = _drawn(rng, np.tile(motif_W4, (count, 1)))
        bases_L[end - len(row) : end] = row if rng.random() < 0.5 else _paired(row)
    return bases_L


def _background(rng: np.random.Generator) -> Bases:
    """Bases that depend on nothing but the local content of G and C, (L,)."""
    knots = np.clip(rng.normal(0.45, 0.08, 6), 0.25, 0.7)
    gc_L = np.interp(np.arange(LENGTH), np.linspace(0, LENGTH - 1, len(knots)), knots)
    return _drawn(rng, np.stack([1 - gc_L, gc_L, gc_L, 1 - gc_L], axis=1) / 2)


def _drawn(rng: np.random.Generator, share_L4: Array) -> Bases:
    """One base a position, drawn from the shares of the four, (L,)."""
    beyond = rng.random((len(share_L4), 1)) > share_L4.cumsum(axis=1)[:, :-1]
    return np.asarray(beyond.sum(axis=1), np.uint8)


def _paired(bases: Bases) -> Bases:
    """The other strand, read in its own direction."""
    return (NUM_BASES - 1 - bases[::-1]).astype(np.uint8)


def _called(rng: np.random.Generator, truth: Flags) -> Flags:
    """What an experiment calls a peak: it misses some and calls some that are none."""
    drawn = rng.random(truth.shape)
    return np.where(truth, drawn >= _MISSED, drawn < _SPURIOUS)
