"""Tables as CSV files in OpenML's columns: whole ones that come with the package, and simulated ones.

balance-scale (Siegler 1976; Klahr and Siegler 1978), tic-tac-toe (Aha 1991) and car (Bohanec and Rajkovič 1990,
https://doi.org/10.24432/C5JP48, CC BY 4.0) were made from rules, which the tests hold the files in `whole/` to. A
simulated table has the shape of a real one (rows, columns, categories, gaps, classes) and nothing else of it.
"""
# Shape suffixes: R = rows, F = features, L = latent factors, G = groups of rows (several make a class).

from __future__ import annotations

import csv
import gzip
import itertools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Row = Sequence[object]

_SCATTER = 0.5  # of rows around their group; groups are 2 or more apart
_TOLD_BY_PLANES = 0.15


def write_whole(name: str, root: Path, _seed: int) -> None:
    """`<name>.csv`, one of the tables in `whole/`."""
    root.mkdir(parents=True, exist_ok=True)
    packed = Path(__file__).parent / "whole" / f"{name}.csv.gz"
    (root / f"{name}.csv").write_bytes(gzip.decompress(packed.read_bytes()))


def write_wdbc(root: Path, _seed: int) -> None:
    """`wdbc.csv`: scikit-learn's copy (UCI, https://doi.org/10.24432/C5DW2B, CC BY 4.0); 1 is benign, 2 malignant.

    Six of its 17,070 numbers have a digit more than OpenML's.
    """
    from sklearn.datasets import load_breast_cancer

    bundled = load_breast_cancer()
    classes = ["1" if bundled.target_names[y] == "benign" else "2" for y in bundled.target]
    header = (*(f"V{i + 1}" for i in range(bundled.data.shape[1])), "Class")
    rows = ((*values, name) for values, name in zip(bundled.data.tolist(), classes, strict=True))
    _write(root / "wdbc.csv", header, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """The shape of a table."""

    name: str
    target: str
    class_rows: tuple[int, ...]
    """Rows of each class."""
    num_numeric: int
    levels: tuple[int, ...] = ()
    """Categories of each other column."""
    numbered: tuple[str, ...] = ()
    """Names of columns whose categories are called by numbers: the first ones of `levels`."""
    gaps: int = 0
    """Cells without a value."""


def write_simulated(shape: Simulated, root: Path, seed: int) -> None:
    """`<name>.csv`: rows of each class lie in a few groups, which columns show bent, mixed, cut or not at all.

    A group is a corner of a cube of latent factors, and each class holds corners that no plane tells from those
    of others. Columns are monotone functions of one or two factors, categories are such functions cut into
    shuffled pieces, and every fifth column or so knows nothing of the class.
    """
    rng = np.random.default_rng([seed, zlib.crc32(shape.name.encode())])
    y_R = rng.permutation(np.repeat(np.arange(len(shape.class_rows)), shape.class_rows))
    num_features = shape.num_numeric + len(shape.levels)
    signal_RF = _signals(rng, _factors(rng, y_R, num_features), num_features)
    cells = [_numbers(rng, signal_RF[:, i]) for i in range(shape.num_numeric)]
    cells += [
        _categories(rng, signal_RF[:, shape.num_numeric + i], levels, numbered=i < len(shape.numbered))
        for i, levels in enumerate(shape.levels)
    ]
    for column, row in _gaps(rng, shape.gaps, num_features, len(y_R)):
        cells[column][row] = "?"
    names = [f"V{i + 1}" for i in range(num_features)]
    names[shape.num_numeric : shape.num_numeric + len(shape.numbered)] = shape.numbered
    rows = ((*values, y + 1) for *values, y in zip(*cells, y_R.tolist(), strict=True))
    _write(root / f"{shape.name}.csv", (*names, shape.target), rows)


def _factors(rng: np.random.Generator, y_R: npt.NDArray[np.int64], num_features: int) -> Floats:
    """(R, L): rows scattered around corners of the cube [-1, 1]^L, of which each class has several."""
    num_classes = int(y_R.max()) + 1
    per_class = 3 if num_classes < 4 else 2
    num_L = max(3 if num_features > 4 else 2, int(np.ceil(np.log2(num_classes * per_class))))
    centre_GL = _corners(rng, num_classes, per_class, num_L)
    group_R = y_R * per_class + rng.integers(0, per_class, len(y_R))
    return np.asarray(centre_GL[group_R] + rng.normal(0.0, _SCATTER, (len(y_R), num_L)))


def _corners(rng: np.random.Generator, num_classes: int, per_class: int, num_L: int) -> Floats:
    """(G, L): of some random choices the one of which planes tell as much about the class as they shall."""
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=num_L)))
    choices = [corners[rng.permutation(len(corners))[: num_classes * per_class]] for _ in range(64)]
    class_GK = np.repeat(np.eye(num_classes), per_class, axis=0)
    class_GK -= class_GK.mean(axis=0)

    def told(centre_GL: Floats) -> float:
        """R² of the classes, regressed on the factors."""
        design = np.column_stack([np.ones(len(centre_GL)), centre_GL])
        fitted = design @ np.linalg.lstsq(design, class_GK, rcond=None)[0]
        return float(np.sum(fitted**2) / np.sum(class_GK**2))

    return min(choices, key=lambda centre_GL: abs(told(centre_GL) - _TOLD_BY_PLANES))


def _signals(rng: np.random.Generator, factor_RL: Floats, num_features: int) -> Floats:
    """(R, F): what each column would show without its own way of showing it."""
    num_L = factor_RL.shape[1]
    signals = []
    for feature in range(num_features):
        noise_R = rng.normal(0.0, 1.0, len(factor_RL))
        if feature >= num_L and rng.random() < 0.2:
            signals.append(noise_R)
            continue
        # The first columns show a factor each, so that nothing is hidden for good.
        weight_L = np.zeros(num_L)
        weight_L[feature % num_L] = 1.0
        if feature >= num_L:
            weight_L[rng.integers(num_L)] += rng.normal(0.0, 0.7)
        signals.append(factor_RL @ weight_L + rng.uniform(0.2, 0.8) * noise_R)
    return np.stack(signals, axis=1)


def _numbers(rng: np.random.Generator, signal_R: Floats) -> list[object]:
    """Numbers on a scale of the column's own: plain, skewed, saturating or whole."""
    kind = rng.integers(4)
    scale, offset = np.exp(rng.normal(0.0, 2.0)), rng.normal(0.0, 2.0)
    bent_R = [signal_R, np.exp(0.7 * signal_R), np.tanh(signal_R), np.round(3.0 * signal_R)][kind]
    return [f"{value:.5g}" for value in (bent_R if kind == 3 else scale * (bent_R + offset))]


def _categories(rng: np.random.Generator, signal_R: Floats, levels: int, *, numbered: bool) -> list[object]:
    """Pieces of the signal's range, about equally frequent, under shuffled names."""
    shifted = signal_R + rng.normal(0.0, 0.2, len(signal_R))
    cuts = np.quantile(shifted, np.linspace(0, 1, levels + 1)[1:-1])
    name = rng.permutation(levels)
    return [str(code) if numbered else f"c{code}" for code in name[np.searchsorted(cuts, shifted)]]


def _gaps(
    rng: np.random.Generator, count: int, num_features: int, num_rows: int
) -> Iterable[tuple[int, int]]:
    """(column, row) of each empty cell, in a third of the columns, or more if need be."""
    if not count:
        return []
    wide = max(num_features // 3, int(np.ceil(count / (0.6 * num_rows))))
    columns = rng.permutation(num_features)[:wide]
    picked = rng.permutation(wide * num_rows)[:count]
    return [(int(columns[cell // num_rows]), int(cell % num_rows)) for cell in picked]


def _write(path: Path, header: Sequence[str], rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
