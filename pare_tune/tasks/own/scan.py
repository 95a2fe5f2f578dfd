"""One pass over samples: their range, what is missing, constant or repeated, and their mean and spread."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError
from pare_tune.tasks.base import Modality
from pare_tune.tasks.own.layout import Layout
from pare_tune.tasks.own.samples import Array, Samples, said
from pare_tune.tasks.own.target import Target, Values, find_dense

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_SHOWN = 5

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one of the files holds, for people."""

    where: str
    shape: str
    dtype: str
    low: float | None = None
    """Smallest finite number; None for text."""
    high: float | None = None
    nan: int = 0
    """Values that are NaN or infinite."""


@dataclass
class Scan:
    """What one pass over samples finds."""

    column: Column
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lengths: tuple[int, int] | None = None
    sides: tuple[int, int] = (0, 0)
    """Longest and shortest side of images."""
    constant: tuple[int, ...] = ()
    same: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    """(n,) equal where samples are equal."""
    zero: int = 0


class _Range:
    """Finite extremes and the samples that hold other values."""

    def __init__(self, samples: Samples) -> None:
        self.low, self.high, self.nan = np.inf, -np.inf, 0
        self.bad: list[int] = []
        self._samples = samples

    def add(self, block: Array, start: int) -> Array:
        """The block with what is not finite as 0."""
        if block.dtype.kind == "f":
            finite = np.isfinite(block)
            if not finite.all():
                self.nan += int((~finite).sum())
                self.bad += (start + np.flatnonzero(~finite.reshape(len(block), -1).all(axis=1))).tolist()
                block = np.where(finite, block, 0)
        self.low = min(self.low, float(block.min()))
        self.high = max(self.high, float(block.max()))
        return block

    def column(self) -> Column:
        dtype = str(self._samples.dtype)
        return Column(
            where=self._samples.where, shape=f"{len(self._samples):,} × {said(self._samples.shape)}", dtype=dtype,
            low=self.low, high=self.high, nan=self.nan,
        )  # fmt: skip

    def problems(self, role: str) -> list[str]:
        problems: list[str] = []
        if self.bad:
            shown = ", ".join(map(str, self.bad[:_SHOWN])) + (" …" if len(self.bad) > _SHOWN else "")
            problems.append(
                f"{self._samples.where}: {self.nan:,} {role} values are NaN or infinite, in {len(self.bad):,} samples "
                f"({shown}); fill them in, or leave these samples out"
            )
        if max(abs(self.low), abs(self.high)) > _FLOAT32_MAX:
            problems.append(
                f"{self._samples.where}: {role} values reach {max(abs(self.low), abs(self.high)):.3g}, more than "
                f"single precision holds ({_FLOAT32_MAX:.3g}); rescale them"
            )
        return problems


_FEWEST_STEPS: Final = 16
"""Of a series: shorter samples are rows of a table."""
_MOST_FEATURES: Final = 256
"""That are seen to be a table's; each becomes a token."""
_UNLIKE: Final = 10.0
"""Times the usual spread that a feature may have, and a step has not."""
_UNORDERED: Final = 0.75
"""Of the difference between any two values: neighbouring steps differ by less."""
_LOOKED_AT: Final = 1000


def are_features(samples: Samples) -> bool:
    """Whether samples of one axis, of which nothing else is known, are rows of a table rather than series.

    They are where they are short, and where their spreads differ widely while their order says nothing.
    """
    if len(samples.shape) != 1 or samples.shape[0] is None or samples.dtype.kind not in "biuf":
        return False
    length = samples.shape[0]
    if length < _FEWEST_STEPS or length > _MOST_FEATURES:
        return length < _FEWEST_STEPS
    x_nF = np.concatenate([*samples.blocks(np.arange(min(len(samples), _LOOKED_AT)))]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused when all is scanned
        spread_F = x_nF.std(axis=0)
        varying_F = spread_F[spread_F > 0]  # most steps of spikes never do
        if not len(varying_F) or not varying_F.max() > _UNLIKE * np.median(varying_F):
            return False
        shuffle = np.random.default_rng(0).permutation
        shuffled = [_mean_step(shuffle(x_nF, axis=1)) for _ in range(5)]
        return _mean_step(x_nF) > _UNORDERED * float(np.mean(shuffled))


def _mean_step(x_nF: Float64) -> float:
    return float(np.abs(np.diff(x_nF, axis=1)).mean())


def scan_inputs(samples: Samples, layout: Layout) -> Scan:
    """Read every input once.

    Raises:
        DataError: a file is damaged further in.
    """
    seen, start = _Range(samples), 0
    digests: list[bytes] = []
    low, high = np.full(1, np.inf), np.full(1, -np.inf)
    sizes: list[tuple[int, ...]] = []
    for block in samples.blocks(np.arange(len(samples))):
        digests += [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in block]
        block = layout.channels_first(seen.add(block, start))
        axis = 2 if layout.modality is Modality.TABLE else 1
        axes = tuple(i for i in range(block.ndim) if i != axis)
        low, high = np.minimum(low, block.min(axis=axes)), np.maximum(high, block.max(axis=axes))
        sizes.append(block.shape[2:])
        start += len(block)
    sides = [n for size in sizes for n in size]
    scan = Scan(seen.column(), seen.problems("input"), list(samples.notes))
    scan.constant = tuple(np.flatnonzero(low == high).tolist())
    # Samples of one shape and equal bytes are equal; bytes alone are enough to tell nearly all others apart.
    scan.same = np.unique(np.array(digests, "S16"), return_inverse=True)[1].astype(np.int64)
    if layout.modality.is_grid:
        scan.sides = (max(sides), min(sides))
    elif min(sides) != max(sides):
        scan.lengths = (min(sides), max(sides))
    if len(scan.constant) == len(low):
        scan.problems.append(
            f"{samples.where}: every channel has one value throughout; there is nothing to learn from"
        )
    elif scan.constant:
        shown = ", ".join(map(str, scan.constant[:_SHOWN])) + (" …" if len(scan.constant) > _SHOWN else "")
        what = "columns" if layout.modality is Modality.TABLE else "channels"
        scan.warnings.append(
            f"{len(scan.constant)} of {len(low)} {what} are constant ({shown}): they say nothing"
        )
    return scan


def require_size(samples: Samples) -> None:
    """Raise DataError where there are too few samples for three splits, or nothing in them."""
    if len(samples) < 3:
        raise DataError(
            f"{samples.where} holds {len(samples)} samples; train, val and test need at least one each"
        )
    if 0 in samples.shape:
        raise DataError(f"{samples.where}: samples of shape {said(samples.shape)} hold nothing")


def scan_dense(inputs: Samples, dense: Samples, layout: Layout, *, are_images: bool) -> tuple[Target, Scan]:
    """Read every dense target once; see what they are.

    Raises:
        DataError: they are neither masks nor numbers, or of a shape that the modality does not have.
    """
    require_size(dense)
    seen, values, zero, start = _Range(dense), Values(), 0, 0
    for block in dense.blocks(np.arange(len(dense))):
        clean = seen.add(block, start)
        values.add(clean)
        zero += int((clean.reshape(len(clean), -1) == 0).all(axis=1).sum())
        start += len(block)
    target = find_dense(dense, layout, values.few(), are_images=are_images)
    scan = Scan(seen.column(), seen.problems("target"), list(dense.notes), zero=zero)
    scan.problems += _size_problems(inputs, dense, layout, target, are_images)
    return target, scan


def _size_problems(
    inputs: Samples, dense: Samples, layout: Layout, target: Target, are_images: bool
) -> list[str]:
    """Masks, and targets where samples differ in size, are each as large as their input."""
    if None not in target.shape and not are_images:
        return []
    rows = np.arange(len(inputs))
    for row, (x, y) in enumerate(zip(inputs.each(rows), dense.each(rows), strict=True)):
        places = layout.channels_first(x[None]).shape[2:]
        own_places = tuple(n for n in y.shape if n != 1) if y.ndim > len(places) else y.shape
        if own_places != places:
            return [
                f"{dense.where}: sample {row} has a target of {said(own_places)} for an input of {said(places)}"
            ]
    return []


def moments(
    samples: Samples, rows: Int64, view: Callable[[Array], Array], axis: int
) -> tuple[Float64, Float64]:
    """Mean and standard deviation along every axis but one, merging blocks as Chan et al. (1979) do."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for raw in samples.blocks(rows):
        block = view(raw).astype(np.float64)
        axes = tuple(i for i in range(block.ndim) if i != axis)
        size = block.size // block.shape[axis]
        own = block.mean(axis=axes)
        apart = own - mean
        own_squares = np.square(block - np.expand_dims(own, axes)).sum(axis=axes)
        squares = squares + own_squares + apart**2 * (count * size / (count + size))
        mean = mean + apart * (size / (count + size))
        count += size
    return mean, np.sqrt(squares / count)
