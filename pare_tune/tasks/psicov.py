"""Distances between the residues of a protein from sequence features: DeepCov for training, PSICOV for test.

Release: `protein.zip` of NAS-Bench-360 (Tu et al. 2022, arXiv 2110.05668), made by PDNET (Adhikari 2020,
Scientific Reports 10:13374). One protein is `features/<id>.pkl`, a dict, and `distance/<id>-cb.npy`, the object
triple (length, sequence, Cβ distance map in Å). Stored ragged, in the release's own float16; the 57 channels are
made item by item.
"""
# Shape suffixes: l = residues of one protein; B = proteins, C = canvas.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import load_npy, read_text, require_array, require_finite, require_range
from pare_tune.data.pickles import load_pickle
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import (
    Batch,
    Canvas,
    Dense,
    Metric,
    Modality,
    PaperSettings,
    Split,
    Task,
    first_of,
    require_files,
)
from pare_tune.tasks.samples import proteins

if TYPE_CHECKING:
    from torch import Tensor

HOMEPAGE = "https://github.com/rtu715/NAS-Bench-360"

NUM_CHANNELS = 57
BORDER = 5
"""Pixels around a protein: zeros in the features, FAR in the target."""
FAR = 100.0
"""Å written where there is no residue pair; beyond every distance that is scored."""
CLIP = 16.0
"""Å: training targets are cut off here, since far pairs carry no contact information."""

_SITE_FEATURES = {"ss": 3, "pssm": 22, "sa": 1, "entropy": 1}
_PAIR_FEATURES = ("ccmpred", "freecon", "potential")
_NUM_SITE_CHANNELS = 2 * sum(_SITE_FEATURES.values())

_MAX_VALIDATION = 100
_LONGEST_DISTANCE = 500.0  # Å, PDNET's own bound
_MIN_SEPARATION = 24
_CONTACT = 8.0  # Å


def read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    """Proteins of each split: test is psicov.lst; validation is a seeded fifth of deepcov.lst, at most 100.

    On the release that gives 3,356 / 100 / 150 (NAS-Bench-360). An id of psicov.lst is never trained on.

    Args:
        root: the folder that holds `protein`, or `protein` itself.

    Raises:
        DataError: a file is missing, or is not as the release documents it.
    """
    folder = first_of(
        [root / "protein" / "deepcov.lst", root / "deepcov.lst"],
        f"no protein/deepcov.lst in {root}; unpack protein.zip of the release there, or give the folder that holds it "
        f"({HOMEPAGE})",
    ).parent
    test = _read_ids(folder / "psicov.lst")
    deepcov = [name for name in _read_ids(folder / "deepcov.lst") if name not in set(test)]
    num_val = min(_MAX_VALIDATION, len(deepcov) // 5)
    if num_val == 0:
        raise DataError(f"{folder / 'deepcov.lst'} needs at least 5 proteins besides those of psicov.lst")
    chosen = set(np.random.default_rng(seed).permutation(len(deepcov))[:num_val].tolist())
    splits: dict[Split, list[str]] = {
        "train": [name for i, name in enumerate(deepcov) if i not in chosen],
        "val": [name for i, name in enumerate(deepcov) if i in chosen],
        "test": test,
    }
    parts = {"train": folder / "deepcov", "val": folder / "deepcov", "test": folder / "psicov"}
    require_files(
        (path for split, names in splits.items() for n in names for path in _files(parts[split], n)),
        f"unpack protein.zip of the release again ({HOMEPAGE})",
    )
    return {split: _records(parts[split], names) for split, names in splits.items()}


def item(record: Record, canvas: Canvas, rng: np.random.Generator | None) -> dict[str, npt.NDArray[Any]]:
    """One protein on a square canvas, or on its own size (l + 10) where `canvas` is None.

    It lies top-left inside a border of 5. Where it does not fit, a window is cut out: at random in training
    (rows and columns independently), the top-left one at evaluation.

    Returns:
        x (57, C, C) float32; each site feature fills two channels, by column and then by row.
        y (C, C) float32 in Å, cut off at 16 Å in training only.
        length () int64: residues inside the canvas, for the metric; 0 for a window cut elsewhere than top-left,
        whose rows and columns are different residues, so that the metric passes over it.
    """
    residues = len(record["sa"])
    side = canvas or residues + 2 * BORDER
    top, left = _corner(residues + 2 * BORDER - side, rng)
    rows, canvas_rows = _overlap(residues, side, top)
    cols, canvas_cols = _overlap(residues, side, left)
    sites = np.concatenate(
        [record["ss"], record["pssm"].T, record["sa"][None], record["entropy"][None]], dtype=np.float32
    )
    x = np.zeros((NUM_CHANNELS, side, side), np.float32)
    x[0:_NUM_SITE_CHANNELS:2, canvas_rows, canvas_cols] = sites[:, None, cols]
    x[1:_NUM_SITE_CHANNELS:2, canvas_rows, canvas_cols] = sites[:, rows, None]
    for channel, name in enumerate(_PAIR_FEATURES, start=_NUM_SITE_CHANNELS):
        x[channel, canvas_rows, canvas_cols] = record[name][rows, cols]
    y = np.full((side, side), FAR, np.float32)
    y[canvas_rows, canvas_cols] = record["dist"][rows, cols]
    if rng is not None:
        y = _clipped(y)
    length = min(residues, side - BORDER) if top == left == 0 else 0
    return {"x": x, "y": y, "length": np.array(length, np.int64)}


def _clipped(y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.minimum(y, np.float32(CLIP))


def mae_8(prediction_BCC: Tensor, batch: Batch) -> float:
    """Mean absolute error in Å over residue pairs at least 24 apart in sequence and at most 8 Å in truth.

    PDNET's MAE_8: the prediction is averaged with its transpose and kept at 0.01 Å or more, each protein is
    averaged over its own pairs, then proteins are averaged. (The official code symmetrises twice and takes every
    protein for as long as the first, which is not followed.) A protein without such a pair does not count.

    Args:
        batch: y (B, C, C) in Å, length (B,) residues.

    Returns:
        inf if no protein has such a pair, NaN if a prediction that counts is NaN.
    """
    import torch

    y_BCC, length_B = batch["y"], batch["length"]
    residue_C = torch.arange(y_BCC.shape[-1], device=y_BCC.device) - BORDER
    # p >= 0 and q < length keep the block inside the border; q - p leaves each pair once.
    counted_CC = (residue_C - residue_C[:, None] >= _MIN_SEPARATION) & (residue_C[:, None] >= 0)
    counted_BCC = counted_CC & (residue_C < length_B[:, None])[:, None, :] & (y_BCC <= _CONTACT)
    b, p, q = counted_BCC.nonzero(as_tuple=True)
    if len(b) == 0:
        return float("inf")
    prediction = 0.5 * (prediction_BCC[b, p, q].double() + prediction_BCC[b, q, p].double())
    error = (y_BCC[b, p, q] - prediction.clamp(min=0.01)).abs()
    sums_B = torch.zeros(len(y_BCC), dtype=error.dtype, device=error.device).index_add_(0, b, error)
    counts_B = torch.bincount(b, minlength=len(y_BCC))
    scored_B = counts_B > 0
    return float((sums_B[scored_B] / counts_B[scored_B]).mean())


def _corner(excess: int, rng: np.random.Generator | None) -> tuple[int, int]:
    """Row and column of the bordered protein where the window begins."""
    if excess <= 0 or rng is None:
        return 0, 0
    top, left = rng.integers(0, excess + 1, size=2).tolist()
    return top, left


def _overlap(length: int, side: int, start: int) -> tuple[slice, slice]:
    """Residues that a window from `start` shows, and where they lie in it."""
    first, last = max(0, start - BORDER), min(length, start + side - BORDER)
    return slice(first, last), slice(first + BORDER - start, last + BORDER - start)


def _read_ids(path: Path) -> list[str]:
    """First word of each line, each id once."""
    lines = read_text(path, f"it is part of protein.zip ({HOMEPAGE})").splitlines()
    ids = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    if not ids:
        raise DataError(f"{path} names no protein; get it again from {HOMEPAGE}")
    return ids


def _files(part: Path, name: str) -> tuple[Path, Path]:
    return part / "features" / f"{name}.pkl", part / "distance" / f"{name}-cb.npy"


def _records(part: Path, names: list[str]) -> Iterator[Record]:
    for name in names:
        features, distance = _files(part, name)
        record = _read_features(features)
        record["dist"] = _read_distances(distance, len(record["sa"]))
        yield record


def _read_features(path: Path) -> dict[str, npt.NDArray[np.float16]]:
    features = load_pickle(path)
    if not isinstance(features, dict) or not isinstance(features.get("seq"), str):
        raise DataError(f"{path} must hold a dict with the sequence as the string 'seq'")
    n = len(features["seq"])
    shapes = {"ss": (3, n), "pssm": (n, 22), "sa": (n,), "entropy": (n,)}
    shapes |= dict.fromkeys(_PAIR_FEATURES, (n, n))
    record: dict[str, npt.NDArray[np.float16]] = {}
    for name, shape in shapes.items():
        value = require_array(features.get(name), name, path, shape=shape)
        require_finite(value, name, path)
        require_range(value, name, path, low=-100, high=100)
        record[name] = value.astype(np.float16)
    return record


def _read_distances(path: Path, length: int) -> npt.NDArray[np.float16]:
    """The cleaned map (l, l): at least 1 Å, and on the diagonal the mean of the neighbours in the row."""
    said, _, dist = load_npy(path, shape=(3,), kinds="O", name="(length, sequence, distances)")
    if not isinstance(said, int | np.integer) or said != length:
        raise DataError(
            f"{path}: its length is {said!r}, the features of that protein have {length} residues"
        )
    dist = require_array(dist, "distances", path, shape=(length, length), kinds="f")
    require_range(dist, "distances", path, low=0, high=_LONGEST_DISTANCE)
    dist = dist.astype(np.float32)
    np.maximum(dist, 1.0, out=dist)
    inner = np.arange(1, length - 1)
    dist[inner, inner] = (dist[inner, inner - 1] + dist[inner, inner + 1]) / 2
    if length > 1:
        dist[0, 0], dist[-1, -1] = dist[0, 1], dist[-1, -2]
    # The release itself is float16: nothing is lost. Its step is 0.004 Å below 8 Å.
    return dist.astype(np.float16)


PSICOV = Task(
    name="psicov",
    title="Protein distances: 57 maps of sequence features → distance of each pair of residues",
    modality=Modality.DENSE_2D,
    input_shape=(NUM_CHANNELS, 512, 512),
    output=Dense((512, 512)),
    loss="mse",
    metric=Metric(
        name="mae_8",
        direction="min",
        unit="Å",
        citation="MAE_8 of PDNET: Adhikari 2020, Scientific Reports 10:13374",
        score=mae_8,
    ),
    paper=PaperSettings.of("psicov"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    files=(
        "protein/deepcov.lst",
        "protein/psicov.lst",
        "protein/deepcov/features",
        "protein/deepcov/distance",
        "protein/psicov/features",
        "protein/psicov/distance",
    ),
    read=read,
    training_target=_clipped,
    make=proteins.write_sample,
    item=item,
    ragged=frozenset({"ss", "pssm", "sa", "entropy", *_PAIR_FEATURES, "dist"}),
    canvas={"paper": 512, "embedded": 64},
    embedded={"train.epochs": 7},
    scale_target=True,
)
