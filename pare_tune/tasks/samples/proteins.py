"""Simulated proteins in the format of the PSICOV / DeepCov release (PDNET): folds, families and their features.

1. Fold: helices and strands are laid along a chain of 36 to 54 residues, and the chain is relaxed in space under
   bond lengths, local geometry, strand pairing, hydrophobic attraction, excluded volume and the size that
   proteins of that length have.
2. Family: related sequences evolve in clades. Each residue suits its place in the fold, and residues that touch
   make up for each other's hydropathy, charge or size; some couplings are strong, some absent, a few false.
3. Features: computed from the family as the release's were from real alignments: profile, entropy, two
   inverse-covariance coupling scores with average-product correction, a contact potential. Predictions of
   secondary structure and solvent accessibility are the truth with noise.

Families are small and of differing depth, so that the coupling scores show only part of the contacts.
"""
# Shape suffixes: P = proteins, L = residues (padded to LONGEST), M = sequences of a family, A = amino acids,
# Q = numbers that encode one amino acid, S = steps of the relaxation.

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NUM_DEEPCOV = 240
NUM_PSICOV = 48
SHORTEST, LONGEST = 36, 54
"""Residues; the longest fits a canvas of 64 with its border of 5."""

ALPHABET = "ARNDCQEGHILKMFPSTWYV-"
"""The order of the profile's first 21 columns in the release."""

COIL, HELIX, STRAND, PADDING = 0, 1, 2, 3

_GROUP = 24  # proteins relaxed together: their distance matrices stay in the cache
_TRIED = 4 / 3  # folds made for each one kept; about a quarter end with a clash or a flaw
_CLADES, _CLADE_SIZE = 60, 4


@dataclass(frozen=True, slots=True)
class Folds:
    """Shapes of P proteins, padded to LONGEST."""

    length_P: Ints
    kind_PL: Ints
    """COIL, HELIX, STRAND or PADDING."""
    ca_PL3: Floats
    """Cα positions in Å."""
    cb_PL3: Floats
    """Cβ positions in Å."""


def write_sample(
    root: Path, seed: int, *, num_deepcov: int = NUM_DEEPCOV, num_psicov: int = NUM_PSICOV
) -> None:
    """Write a simulated release to `root/protein`: deepcov.lst, psicov.lst, and the files of their proteins."""
    rng = np.random.default_rng(seed)
    folds = simulate_folds(rng, num_deepcov + num_psicov)
    features = simulate_features(rng, folds)
    names = [f"s{i:03d}A" for i in range(len(features))]
    lists = {"deepcov": range(num_deepcov), "psicov": range(num_deepcov, len(features))}
    for part, members in lists.items():
        for folder in ("features", "distance"):
            (root / "protein" / part / folder).mkdir(parents=True, exist_ok=True)
        for i in members:
            _write_protein(
                root / "protein" / part, names[i], features[i], folds.cb_PL3[i, : folds.length_P[i]]
            )
        lines = "".join(f"{names[i]} {folds.length_P[i]}\n" for i in members)
        (root / "protein" / f"{part}.lst").write_text(lines, encoding="utf-8")


def _write_protein(folder: Path, name: str, features: dict[str, Any], cb_L3: Floats) -> None:
    with (folder / "features" / f"{name}.pkl").open("wb") as file:
        pickle.dump(features, file, protocol=4)
    triple = np.empty(3, dtype=object)
    triple[:] = len(cb_L3), features["seq"], distances(cb_L3).astype(np.float16)
    np.save(folder / "distance" / f"{name}-cb.npy", triple)


def distances(x_PL3: Floats) -> Floats:
    """Euclidean distances between the points of each (..., L, 3) set, (..., L, L)."""
    square = (x_PL3 * x_PL3).sum(axis=-1)
    cross = x_PL3 @ np.swapaxes(x_PL3, -1, -2)
    result: Floats = np.sqrt(np.maximum(square[..., :, None] + square[..., None, :] - 2 * cross, 0))
    diagonal = np.arange(x_PL3.shape[-2])
    result[..., diagonal, diagonal] = 0  # rounding leaves a little there
    return result


# --- Folds ----------------------------------------------------------------------------------------

_PATTERNS = ("HH", "HHH", "EEH", "HEE", "EHE", "EEE", "EEEE", "EHEE", "EEHE", "HEEH")
_LEAST = {"H": 8, "E": 5, "c": 3, "t": 1}  # residues in a helix, strand, loop, tail
_SHARE = {"H": 4.0, "E": 1.0, "c": 1.2, "t": 1.0}  # how the residues beyond the least are shared out
_PAIRED, _NEXT_BUT_ONE = 5.0, 9.8  # Å between paired strands, and across the strand between
_BOND = 3.8
_RADIUS = (2.2, 0.38)  # radius of gyration of globular proteins: 2.2 · L^0.38 Å


def simulate_folds(rng: np.random.Generator, count: int) -> Folds:
    """Compact, self-avoiding chains with protein-like geometry; see the module's first step."""
    tried = math.ceil(count * _TRIED / _GROUP) * _GROUP
    length_P = rng.integers(SHORTEST, LONGEST + 1, tried)
    kind_PL = np.full((tried, LONGEST), PADDING)
    target_PLL = np.zeros((tried, LONGEST, LONGEST), np.float32)
    for p in range(tried):
        _lay_out(rng, kind_PL[p], target_PLL[p], int(length_P[p]))
    sticky_PL = _sticky_faces(rng, kind_PL)
    start_PL3 = _extended_chains(rng, kind_PL)
    kicks = rng.standard_normal((_STEPS // 2, *start_PL3.shape), dtype=np.float32)
    ca_PL3 = np.concatenate(
        [
            _relax(start_PL3[g], target_PLL[g], sticky_PL[g], length_P[g], kicks[:, g])
            for g in (slice(at, at + _GROUP) for at in range(0, tried, _GROUP))
        ]
    )
    folds = Folds(length_P, kind_PL, ca_PL3, _place_cb(ca_PL3, length_P))
    best = np.sort(np.argsort(_strain(folds), kind="stable")[:count])
    return Folds(length_P[best], kind_PL[best], ca_PL3[best], folds.cb_PL3[best])


def _strain(folds: Folds) -> Floats:
    """How far each fold is from a sound one (P,): clashes, stretched bonds, left-handed helices, no core."""
    at = np.arange(LONGEST)
    gap_LL = at - at[:, None]
    real_PLL = (gap_LL > 0) & (at < folds.length_P[:, None])[:, None, :]
    d_PLL = distances(folds.cb_PL3)
    clash_P = np.where(real_PLL, np.maximum(3.7 - d_PLL, 0), 0).sum(axis=(1, 2))
    bond_PL = np.abs(np.sqrt((np.diff(folds.ca_PL3, axis=1) ** 2).sum(axis=-1)) - _BOND)
    stretch_P = np.where(at[1:] < folds.length_P[:, None], np.maximum(bond_PL - 0.5, 0), 0).sum(axis=1)
    steps = np.diff(folds.ca_PL3, axis=1)
    hand_PL = (np.cross(steps[:, :-2], steps[:, 1:-1]) * steps[:, 2:]).sum(axis=-1)
    helix_PL = np.all([folds.kind_PL[:, i : LONGEST - 3 + i] == HELIX for i in range(4)], axis=0)
    left_P = (helix_PL & (hand_PL < 0)).sum(axis=1)
    core_P = (real_PLL & (gap_LL >= 24) & (d_PLL <= 8)).sum(axis=(1, 2))
    strain: Floats = (5 * clash_P + 5 * stretch_P + left_P + np.maximum(8 - core_P, 0)).astype(np.float32)
    return strain


def _lay_out(rng: np.random.Generator, kind_L: Ints, target_LL: Floats, length: int) -> None:
    """Write one chain's elements into `kind_L` and its known Cα distances into `target_LL`."""
    fitting = [s for s in map(_segments, _PATTERNS) if sum(_LEAST[c] for c in s) <= length]
    segments = fitting[rng.integers(len(fitting))]
    least = np.array([_LEAST[c] for c in segments])
    share = np.array([_SHARE[c] for c in segments])
    sizes = least + rng.multinomial(length - least.sum(), share / share.sum())
    ends = np.cumsum(sizes)
    strands: list[_Strand] = []
    upward = True
    for letter, start, end in zip(segments, (ends - sizes).tolist(), ends.tolist(), strict=True):
        kind_L[start:end] = {"H": HELIX, "E": STRAND}.get(letter, COIL)
        if letter not in "HE":
            continue
        target_LL[start:end, start:end] = _ideal_distances(kind_L[start], end - start)
        if letter == "E":
            strands.append(_Strand(upward, start, end))
        upward = not upward  # each element brings the chain back to where the last one began
    _restrain(target_LL, [(i, i + 1) for i in range(length - 1)], _BOND)
    for one, two in pairwise(strands):
        _restrain(target_LL, one.registry(two), _PAIRED)
    for one, three in zip(strands, strands[2:], strict=False):
        _restrain(target_LL, one.registry(three), _NEXT_BUT_ONE)


@dataclass(frozen=True, slots=True)
class _Strand:
    upward: bool
    start: int
    end: int

    def registry(self, other: _Strand) -> list[tuple[int, int]]:
        """Residues that lie side by side in a sheet, where neighbours in sequence are neighbours in space."""
        size = min(self.end - self.start, other.end - other.start)
        if self.upward == other.upward:
            return [(self.start + step, other.start + step) for step in range(size)]
        return [(self.end - 1 - step, other.start + step) for step in range(size)]


def _segments(pattern: str) -> str:
    return "t" + "c".join(pattern) + "t"


def _restrain(target_LL: Floats, pairs: list[tuple[int, int]], distance: float) -> None:
    for i, j in pairs:
        target_LL[i, j] = target_LL[j, i] = distance


def _sticky_faces(rng: np.random.Generator, kind_PL: Ints) -> Floats:
    """1 where a residue wants to be inside: one face of each helix and strand, and a third of the loops."""
    at = np.arange(LONGEST)
    phase_P1 = rng.uniform(0, 2 * np.pi, (len(kind_PL), 1))
    helix = np.cos(at * np.deg2rad(100) + phase_P1) > 0.1  # 3.6 residues a turn
    strand = (at + rng.integers(0, 2, (len(kind_PL), 1))) % 2 == 0
    coil = rng.random(kind_PL.shape) < 1 / 3
    return np.choose(kind_PL, [coil, helix, strand, np.zeros_like(coil)]).astype(np.float32)


# Virtual angle and torsion of the Cα trace for COIL (unused, it is drawn), HELIX, STRAND, PADDING (anything).
_ANGLE = np.deg2rad([110, 91, 124, 110])
_TORSION = np.deg2rad([180, 50, -170, 180])


def _extended_chains(rng: np.random.Generator, kind_PL: Ints) -> Floats:
    """Cα chains with right-handed helices, straight strands and random loops, not yet folded."""
    loose = kind_PL == COIL
    angle_PL = np.where(loose, rng.uniform(1.6, 2.2, kind_PL.shape), _ANGLE[kind_PL])
    torsion_PL = np.where(loose, rng.uniform(-np.pi, np.pi, kind_PL.shape), _TORSION[kind_PL])
    return _chain(angle_PL, torsion_PL).astype(np.float32)


def _ideal_distances(kind: int, size: int) -> Floats:
    """Cα–Cα distances in Å within one straight helix or strand, (size, size)."""
    angle, torsion = np.full((1, size), _ANGLE[kind]), np.full((1, size), _TORSION[kind])
    return distances(_chain(angle, torsion).astype(np.float32)[0])


def _chain(angle_PL: npt.NDArray[np.float64], torsion_PL: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cα positions (P, L, 3) in Å from the virtual bond angle and torsion before each residue, in radians."""
    x_LP3 = np.zeros((*angle_PL.T.shape, 3))
    x_LP3[1, :, 0] = _BOND
    x_LP3[2, :, 0] = _BOND * (1 - np.cos(angle_PL[:, 2]))
    x_LP3[2, :, 1] = _BOND * np.sin(angle_PL[:, 2])
    for i in range(3, len(x_LP3)):
        back = _unit(x_LP3[i - 1] - x_LP3[i - 2])
        normal = _unit(np.cross(x_LP3[i - 2] - x_LP3[i - 3], back))
        side = np.cross(normal, back)
        angle, torsion = angle_PL[:, i, None], torsion_PL[:, i, None]
        x_LP3[i] = x_LP3[i - 1] + _BOND * (
            -np.cos(angle) * back + np.sin(angle) * (np.cos(torsion) * side + np.sin(torsion) * normal)
        )
    return np.ascontiguousarray(x_LP3.transpose(1, 0, 2))


_STEPS = 300
_STEP_SIZE, _FRICTION, _LONGEST_STEP = 0.06, 0.15, 0.5
_CLEARANCE = 4.6  # Å between residues that are not neighbours, for Cα and Cβ alike
_SECOND_CLEARANCE = 5.2  # Å between the Cα of residues i and i + 2
_NEIGHBOUR_CLEARANCE = 4.4  # Å between the Cβ of neighbours


def _relax(
    x_PL3: Floats, target_PLL: Floats, sticky_PL: Floats, length_P: Ints, kicks_SPL3: Floats
) -> Floats:
    """Damped descent, with random kicks that fade over its first half.

    Its last quarter takes smaller steps and loosens the attraction, so that bonds and clearances come out right.
    """
    at = np.arange(LONGEST)
    gap_LL = np.abs(at[:, None] - at)
    inside_PL = at < length_P[:, None]
    pair_PLL = inside_PL[:, :, None] & inside_PL[:, None, :] & (gap_LL > 0)
    known_PLL = target_PLL > 0
    stiffness_PLL = known_PLL * np.select([gap_LL == 1, gap_LL < 5], [7.0, 2.0], 0.3).astype(np.float32)
    free_PLL = (pair_PLL & ~known_PLL) * np.float32(3)
    ca_clearance_LL = np.where(gap_LL == 2, _SECOND_CLEARANCE, _CLEARANCE).astype(np.float32)
    cb_clearance_LL = np.where(gap_LL == 1, _NEIGHBOUR_CLEARANCE, _CLEARANCE).astype(np.float32)
    pair_PLL = pair_PLL.astype(np.float32)
    sticky_PLL = sticky_PL[:, :, None] * sticky_PL[:, None, :]
    attract_PLL = (pair_PLL * (gap_LL > 2) * (0.01 + 0.05 * sticky_PLL)).astype(np.float32)
    share_PL1 = (inside_PL / length_P[:, None]).astype(np.float32)[..., None]
    radius_P = (_RADIUS[0] * length_P ** _RADIUS[1]).astype(np.float32)
    x, velocity = x_PL3, np.zeros_like(x_PL3)
    for step in range(_STEPS):
        x = (x - (x * share_PL1).sum(axis=1, keepdims=True)) * inside_PL[..., None]
        d = distances(x) + np.float32(1e-3)
        pull = stiffness_PLL * np.clip(d - target_PLL, -4, 4)
        pull += free_PLL * np.minimum(d - ca_clearance_LL, 0)
        force = _forces(pull / d, x)
        cb = _place_cb(x, length_P)
        d = distances(cb) + np.float32(1e-3)
        pull = 4 * pair_PLL * np.minimum(d - cb_clearance_LL, 0)
        late = step >= _STEPS * 3 // 4
        hold, pace = np.float32(0.25 if late else 1.0), np.float32(_STEP_SIZE / 2 if late else _STEP_SIZE)
        pull += hold * attract_PLL * np.clip(d - 6, 0, 4)
        excess_P = np.sqrt((x * x * share_PL1).sum(axis=(1, 2))) / radius_P - 1
        force -= (hold / 2 * excess_P)[:, None, None] * x
        force += _forces(pull / d, cb)
        velocity = (1 - _FRICTION) * velocity + pace * force
        if step < len(kicks_SPL3):
            velocity += np.float32(0.06 * (1 - step / len(kicks_SPL3))) * kicks_SPL3[step]
        x = x + np.clip(velocity, -_LONGEST_STEP, _LONGEST_STEP)
    return (x * inside_PL[..., None]).astype(np.float32)


def _forces(pull_PLL: Floats, x_PL3: Floats) -> Floats:
    """Σ_j pull_ij (x_j − x_i)."""
    total: Floats = pull_PLL @ x_PL3 - pull_PLL.sum(axis=2, keepdims=True) * x_PL3
    return total


def _place_cb(ca_PL3: Floats, length_P: Ints) -> Floats:
    """Cβ 1.53 Å out of each bend of the Cα trace, tilted to the side of L amino acids; ends follow neighbours."""
    step = np.diff(ca_PL3, axis=1)
    before, after = step[:, :-1], step[:, 1:]
    outward = _unit(before - after)
    normal = _unit(np.cross(before, after))
    direction = np.zeros_like(ca_PL3)
    direction[:, 1:-1] = np.cos(_CB_TILT) * outward - np.sin(_CB_TILT) * normal
    direction[:, 0] = direction[:, 1]
    rows, last = np.arange(len(ca_PL3)), length_P - 1
    direction[rows, last] = direction[rows, last - 1]
    return ca_PL3 + np.float32(1.53) * direction


_CB_TILT = np.float32(np.deg2rad(37.6))  # between that of an ideal helix (52°) and of a strand (20°)


def _unit(v: npt.NDArray[Any]) -> npt.NDArray[Any]:
    unit: npt.NDArray[Any] = v / np.maximum(np.sqrt((v * v).sum(axis=-1, keepdims=True)), 1e-6)
    return unit


# --- Families -------------------------------------------------------------------------------------

# Columns as in ALPHABET: share in proteins in % (Swiss-Prot), hydropathy (Kyte and Doolittle 1982), charge at
# pH 7, side-chain volume in Å³ (Zamyatnin 1972), propensity for helix and for strand (Chou and Fasman 1978).
_SHARE_OF_ALL = (
    8.3, 5.5, 4.1, 5.5, 1.4, 3.9, 6.7, 7.1, 2.3, 5.9,
    9.7, 5.8, 2.4, 3.9, 4.7, 6.6, 5.3, 1.1, 2.9, 6.9,
)  # fmt: skip
_HYDROPATHY = (
    1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5,
    3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2,
)  # fmt: skip
_CHARGE = (0, 1, 0, -1, 0, 0, -1, 0, 0.1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
_VOLUME = (
    88.6, 173.4, 114.1, 111.1, 108.5, 143.8, 138.4, 60.1, 153.2, 166.7,
    166.7, 168.6, 162.9, 189.9, 112.7, 89.0, 116.1, 227.8, 193.6, 140.0,
)  # fmt: skip
_HELIX_LIKING = (
    1.42, 0.98, 0.67, 1.01, 0.70, 1.11, 1.51, 0.57, 1.00, 1.08,
    1.21, 1.14, 1.45, 1.13, 0.57, 0.77, 0.83, 1.08, 0.69, 1.06,
)  # fmt: skip
_STRAND_LIKING = (
    0.83, 0.93, 0.89, 0.54, 1.19, 1.10, 0.37, 0.75, 0.87, 1.60,
    1.30, 0.74, 1.05, 1.38, 0.55, 0.75, 1.19, 1.37, 1.47, 1.70,
)  # fmt: skip
_CLASSES = ("ILVM", "FWYH", "AGSTCP", "KR", "DE", "NQ")
"""Amino acids that replace each other easily; coupling is measured between these."""

_COUPLED, _FALSELY_COUPLED = 0.8, 0.01  # shares of the contacts and of the other pairs
_COUPLING = 1.0  # mean strength of those
_SHALLOWEST = 60  # sequences in the smallest family


def _standard(values: tuple[float, ...]) -> Floats:
    array = np.array(values)
    # Cut off, because strong couplings would otherwise fill the sequences with the few extreme amino acids.
    standard: Floats = np.clip((array - array.mean()) / array.std(), -1.5, 1.5).astype(np.float32)
    return standard


_TRAITS_3A = np.stack([_standard(_HYDROPATHY), _standard(_CHARGE), _standard(_VOLUME)])
_TRAIT_SIGNS = np.array([0.5, -0.5, -1.0], np.float32)
"""Residues that touch are alike in hydropathy, opposite in charge, and make up for each other's size."""


def _simulate_families(rng: np.random.Generator, folds: Folds, buried_PL: Floats) -> Ints:
    """Aligned sequences (P, M, L) as indices into ALPHABET; the first of each is the protein itself."""
    num_proteins = len(folds.length_P)
    field_PLA = _site_preferences(rng, folds, buried_PL)
    coupling_P3LL = _couplings(rng, folds)
    ancestors = rng.integers(0, 20, (num_proteins, _CLADES, LONGEST))
    ancestors = _evolve(rng, ancestors, field_PLA, coupling_P3LL, sweeps=6, rate=1.0)
    members = np.repeat(ancestors, _CLADE_SIZE, axis=1)
    members = _evolve(rng, members, field_PLA, coupling_P3LL, sweeps=2, rate=0.7)
    return _delete(rng, members, folds)


def _site_preferences(rng: np.random.Generator, folds: Folds, buried_PL: Floats) -> Floats:
    """Log-odds of each amino acid at each site (P, L, A): burial, secondary structure, the site's own taste."""
    helix, strand = (folds.kind_PL == HELIX)[..., None], (folds.kind_PL == STRAND)[..., None]
    own = rng.standard_normal((*folds.kind_PL.shape, 20), dtype=np.float32)
    strength = rng.gamma(2.0, 0.35, (*folds.kind_PL.shape, 1)).astype(np.float32)
    odds: Floats = (
        np.log(_SHARE_OF_ALL)
        + 0.9 * buried_PL[..., None] * _standard(_HYDROPATHY)
        + 0.5 * helix * _standard(_HELIX_LIKING)
        + 0.5 * strand * _standard(_STRAND_LIKING)
        + strength * own
    ).astype(np.float32)
    return odds


def _couplings(rng: np.random.Generator, folds: Folds) -> Floats:
    """How much each pair of residues evolves together, and through which trait, (P, 3, L, L).

    Most contacts do, and a few pairs for no reason.
    """
    at = np.arange(LONGEST)
    gap_LL = at - at[:, None]
    real_PLL = (gap_LL > 2) & (at < folds.length_P[:, None])[:, None, :]
    contact_PLL = real_PLL & (distances(folds.cb_PL3) <= 8)
    shape = contact_PLL.shape
    shown_PLL = (contact_PLL & (rng.random(shape) < _COUPLED)) | (
        real_PLL & (rng.random(shape) < _FALSELY_COUPLED)
    )
    strength_PLL = np.where(shown_PLL, rng.gamma(3.0, _COUPLING / 3, shape), 0)
    through_PLL = rng.integers(0, 3, shape)
    upper = np.stack([strength_PLL * (through_PLL == trait) for trait in range(3)], axis=1).astype(np.float32)
    return upper + np.swapaxes(upper, 2, 3)


def _evolve(
    rng: np.random.Generator,
    state_PML: Ints,
    field_PLA: Floats,
    coupling_P3LL: Floats,
    *,
    sweeps: int,
    rate: float,
) -> Ints:
    """Gibbs sampling of a Potts model; a sweep draws each site of each sequence anew with probability `rate`.

    A site responds to how far its partners are from their own usual traits, so that couplings add covariance
    and leave the composition alone.
    """
    num_proteins, size, length = state_PML.shape
    state_PLM = np.ascontiguousarray(np.swapaxes(state_PML, 1, 2))
    odds_PLA = np.exp(field_PLA)
    usual_PL3 = odds_PLA @ _TRAITS_3A.T / odds_PLA.sum(axis=-1, keepdims=True)
    trait_P3LM = np.ascontiguousarray((_TRAITS_3A.T[state_PLM] - usual_PL3[:, :, None]).transpose(0, 3, 1, 2))
    response_3A = _TRAIT_SIGNS[:, None] * _TRAITS_3A
    for _ in range(sweeps):
        for site in rng.permutation(length):
            pressure_P3M = (coupling_P3LL[:, :, site, None] @ trait_P3LM)[:, :, 0]
            logits_PMA = np.swapaxes(pressure_P3M, 1, 2) @ response_3A + field_PLA[:, site, None]
            total_PMA = np.cumsum(np.exp(logits_PMA - logits_PMA.max(axis=-1, keepdims=True)), axis=-1)
            ticket_PM1 = rng.random((num_proteins, size, 1), dtype=np.float32) * total_PMA[..., -1:]
            drawn_PM = np.minimum((total_PMA <= ticket_PM1).sum(axis=-1), 19)
            changes_PM = rng.random((num_proteins, size), dtype=np.float32) < rate
            state_PLM[:, site] = np.where(changes_PM, drawn_PM, state_PLM[:, site])
            new_PM3 = _TRAITS_3A.T[state_PLM[:, site]] - usual_PL3[:, site, None]
            trait_P3LM[:, :, site] = np.swapaxes(new_PM3, 1, 2)
    return np.ascontiguousarray(np.swapaxes(state_PLM, 1, 2))


def _delete(rng: np.random.Generator, members_PML: Ints, folds: Folds) -> Ints:
    """Members with gaps where alignments have them: ragged ends, shortened loops. The protein itself has none."""
    at = np.arange(LONGEST)
    head, tail = rng.exponential(1.5, (2, *members_PML.shape[:2], 1)).astype(np.int64)
    gaps = (at < head) | (at >= folds.length_P[:, None, None] - tail)
    gaps |= (folds.kind_PL == COIL)[:, None] & (rng.random(members_PML.shape) < 0.05)
    gaps[:, 0] = False
    return np.where(gaps, ALPHABET.index("-"), members_PML)


# --- Features -------------------------------------------------------------------------------------


def simulate_features(rng: np.random.Generator, folds: Folds) -> list[dict[str, Any]]:
    """What the release keeps of each protein of l residues.

    `seq` (str), and float16 arrays ss (3, l), pssm (l, 22), sa and entropy (l,), ccmpred, freecon and potential
    (l, l).
    """
    buried_PL = _burial(folds)
    families_PML = _simulate_families(rng, folds, buried_PL)
    features = []
    for family_ML, buried_L, kind_L, length in zip(
        families_PML, buried_PL, folds.kind_PL, folds.length_P.tolist(), strict=True
    ):
        depth = int(rng.integers(_SHALLOWEST, len(family_ML) + 1))
        chosen = np.concatenate([[0], 1 + rng.permutation(len(family_ML) - 1)[: depth - 1]])
        aligned = family_ML[chosen, :length]
        made = _alignment_features(aligned)
        made["ss"] = _predicted_structure(rng, kind_L[:length])
        made["sa"] = 1 / (1 + np.exp(buried_L[:length] + 0.7 * _noise(rng, length)))
        seq = "".join(ALPHABET[a] for a in aligned[0])
        features.append({"seq": seq} | {name: value.astype(np.float16) for name, value in made.items()})
    return features


def _burial(folds: Folds) -> Floats:
    """Standardised number of Cβ within 10 Å, (P, L); 0 in the padding."""
    inside_PL = np.arange(LONGEST) < folds.length_P[:, None]
    near_PLL = (distances(folds.cb_PL3) < 10) & inside_PL[:, :, None] & inside_PL[:, None, :]
    count_PL = near_PLL.sum(axis=2)
    seen = count_PL[inside_PL]
    return np.where(inside_PL, (count_PL - seen.mean()) / seen.std(), 0).astype(np.float32)


def _alignment_features(aligned_ML: Ints) -> dict[str, npt.NDArray[Any]]:
    size, length = aligned_ML.shape
    onehot_MLA = np.eye(21, dtype=np.float32)[aligned_ML]
    flat = onehot_MLA.reshape(size, -1)
    weight_M = 1 / (flat @ flat.T > 0.8 * length).sum(axis=1)  # near copies share one vote
    weight_M = (weight_M / weight_M.sum()).astype(np.float32)
    profile_LA = np.tensordot(weight_M, onehot_MLA, axes=1) + 1e-9
    uncertainty_L = -(profile_LA * np.log(profile_LA)).sum(axis=1)
    plain_LA = onehot_MLA.mean(axis=0) + 1e-9
    traits_ML3 = onehot_MLA[..., :20] @ _TRAITS_3A.T
    return {
        "pssm": np.concatenate([profile_LA, uncertainty_L[:, None]], axis=1),
        "entropy": -(plain_LA * np.log(plain_LA)).sum(axis=1) / np.log(21),
        "ccmpred": _coupling_scores(onehot_MLA[..., :20] @ _CLASS_OF_AC, weight_M, ridge=0.3),
        "freecon": _coupling_scores(traits_ML3, weight_M, ridge=1.2),
        "potential": _contact_potential(traits_ML3, weight_M),
    }


_CLASS_OF_AC = np.array([[letter in group for group in _CLASSES] for letter in ALPHABET[:20]], np.float32)


def _coupling_scores(code_MLQ: Floats, weight_M: Floats, *, ridge: float) -> npt.NDArray[Any]:
    """Norms of the blocks of the inverse covariance (L, L), corrected by average products (Dunn et al. 2008)."""
    size, length, width = code_MLQ.shape
    x = code_MLQ.reshape(size, -1).astype(np.float64)
    x -= weight_M @ x
    covariance = (x * weight_M[:, None]).T @ x
    covariance[np.diag_indices_from(covariance)] += ridge
    precision = np.linalg.inv(covariance).reshape(length, width, length, width)
    norms = _symmetric(np.sqrt((precision**2).sum(axis=(1, 3))))
    np.fill_diagonal(norms, 0)
    mean_L = norms.sum(axis=1) / (length - 1)
    corrected: npt.NDArray[Any] = norms - np.outer(mean_L, mean_L) / mean_L.mean()
    np.fill_diagonal(corrected, 0)
    return corrected


def _contact_potential(traits_ML3: Floats, weight_M: Floats) -> npt.NDArray[Any]:
    """Mean energy that two residues would have in contact, over the family; lower is better, (L, L)."""
    hydropathy, charge = traits_ML3[..., 0], traits_ML3[..., 1]
    both = (hydropathy * weight_M[:, None]).T @ hydropathy
    charges = (charge * weight_M[:, None]).T @ charge
    mean_L = weight_M @ hydropathy
    energy = -0.5 * (mean_L[:, None] + mean_L) - 0.4 * both + 0.6 * charges
    np.fill_diagonal(energy, 0)
    return _symmetric(energy)


def _symmetric(scores_LL: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Exactly symmetric what rounding left only nearly so."""
    mean: npt.NDArray[Any] = (scores_LL + scores_LL.T) / 2
    return mean


def _predicted_structure(rng: np.random.Generator, kind_L: Ints) -> npt.NDArray[Any]:
    """Probabilities of coil, helix and strand (3, l), right for about four residues in five."""
    logits = np.stack(
        [2.4 * (kind_L == kind) + 1.4 * _noise(rng, len(kind_L)) for kind in (COIL, HELIX, STRAND)]
    )
    odds: npt.NDArray[Any] = np.exp(logits) / np.exp(logits).sum(axis=0)
    return odds


def _noise(rng: np.random.Generator, length: int) -> npt.NDArray[Any]:
    """Standard normal, correlated between neighbours."""
    white = rng.standard_normal(length + 2)
    smooth: npt.NDArray[Any] = (white[:-2] + 2 * white[1:-1] + white[2:]) / np.sqrt(6)
    return smooth
