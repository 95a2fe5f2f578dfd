"""What is learned of each sample: a class, labels, values, a mask or a series; found in the data and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.errors import DataError
from pare_tune.tasks.base import Canvas, Dense, MultiLabel, Numbers, Output, Point
from pare_tune.tasks.own.layout import Layout, resized
from pare_tune.tasks.own.samples import Array, Samples, Shape, said
from pare_tune.tasks.own.spec import OwnData

_WORDS: Final[Mapping[str, type[Output]]] = {
    "classes": Point, "labels": MultiLabel, "values": Numbers, "mask": Dense, "numbers": Dense,
}  # fmt: skip
"""What stored models and surveys call each; a mask has two values, numbers any, at every position."""

IGNORE: Final = "ignore"
"""Field of an item that is 1 where a target is padding."""

_FEW_VALUES: Final = 32
_SHOWN = 5
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_SMALLEST: Final = 1e5 * float(np.finfo(np.float32).tiny)
_FINEST: Final = 1e-5
"""Smallest spread of values as a share of their size: single precision rounds such values by 1 % of their spread."""
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a prediction is compared with."""

    output: type[Output]
    names: tuple[str, ...] = ()
    """Of classes, labels or values, in the order of the outputs."""
    shape: Shape = ()
    """Of one mask or series of numbers, without channels; None where samples differ."""
    levels: tuple[float, float] | None = None
    """Values of background and foreground in the files of a mask; None for what is no mask."""
    mean: float = 0.0
    """Of the training targets; stands where numbers are padded, so that their scale stays theirs."""
    spread: tuple[float, ...] = ()
    """Of each of the values over the training samples."""

    @property
    def word(self) -> str:
        """classes, labels, values, mask or numbers: what messages and stored models call it."""
        if self.output is Dense:
            return "numbers" if self.levels is None else "mask"
        return next(word for word, output in _WORDS.items() if output is self.output)

    @property
    def title(self) -> str:
        """What comes out, for people."""
        if self.output is Numbers:
            return "one number a sample" if len(self.names) == 1 else f"{len(self.names)} numbers a sample"
        if self.output is Dense and self.levels is None:
            return "a number at every position"
        if self.levels is not None:
            return f"a mask ({self.levels[1]:g} on {self.levels[0]:g})"
        return f"{len(self.names)} {self.word}"

    def output_of(self, shape: tuple[int, ...]) -> Output:
        """What the head must produce; `shape` is that of a dense target after padding or resizing."""
        return Dense(shape) if self.output is Dense else self.output(len(self.names))  # type: ignore[arg-type]

    def ready(self, y: Array, layout: Layout, canvas: Canvas) -> dict[str, Array]:
        """A stored target as the loss gets it: y, and `IGNORE` where series are padded."""
        if self.output is Point:
            return {"y": y}
        values = y.astype(np.float64)
        if self.levels is not None:
            values = (values == self.levels[1]).astype(np.float64)
        ready = np.asarray(values, dtype=np.float32)
        if self.output is not Dense:
            return {"y": ready}
        if layout.length is not None and self.is_as_long_as_input(layout):
            return self._padded(ready, layout.length)
        if layout.modality.is_grid and canvas is not None:
            ready = resized(ready[None], canvas, nearest=self.levels is not None)[0]
        return {"y": ready}

    def is_as_long_as_input(self, layout: Layout) -> bool:
        """Whether positions of a series' target are those of its input, so that both are padded alike."""
        return not layout.modality.is_grid and self.shape == (
            layout.shape[0 if layout.channels != "first" else -1],
        )

    def _padded(self, y_L: npt.NDArray[np.float32], length: int) -> dict[str, Array]:
        steps = min(len(y_L), length)
        padded = np.full(length, self.mean, np.float32)
        ignore = np.ones(length, np.float32)
        padded[:steps], ignore[:steps] = y_L[:steps], 0.0
        return {"y": padded, IGNORE: ignore}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        tree = {k: v for k, v in asdict(self).items() if k != "output"}
        return {"kind": self.word, **tree, "levels": self.levels or (0.0, 1.0)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Target:
        """From JSON."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()}
        word = fields.pop("kind")
        return cls(output=_WORDS[word], **{**fields, "levels": fields["levels"] if word == "mask" else None})


def find_classes(spec: OwnData, labels: Array) -> tuple[tuple[str, ...], Int64]:
    """(names, code of each sample) of labels that are text or whole numbers.

    Raises:
        DataError: labels are no classes, or are not among `spec.classes`.
    """
    if labels.ndim != 1:
        raise DataError(
            f"kind point has one class a sample, found targets of shape {labels.shape}; one column a class is kind "
            f"multilabel, several numbers are kind regression, a value at every position is kind dense"
        )
    values: Array = _whole(labels) if labels.dtype.kind == "f" else labels
    if values.dtype.kind == "S":
        values = np.array([v.decode("utf-8", "replace") for v in values.tolist()])
    kinds, codes = np.unique(values, return_inverse=True)
    if spec.classes is None and kinds.dtype.kind == "i" and kinds[0] < 0:
        raise DataError(
            f"label {kinds[0]} (sample {int(np.argmax(values == kinds[0]))}) is negative: leave samples without a "
            f"label out, or list all labels under classes if it is one"
        )
    texts = [str(v) for v in kinds.tolist()]
    if kinds.dtype.kind == "b":
        # Called 0 and 1 unless the task file calls them false and true, in letters of either size.
        spelled = {name.lower(): name for name in spec.classes or ()}
        texts = [spelled.get(text.lower(), str(int(text == "True"))) for text in texts]
    if spec.classes is None:
        return tuple(texts), codes.astype(np.int64)
    unknown = next((i for i, t in enumerate(texts) if t not in spec.classes), None)
    if unknown is not None:
        sample = int(np.argmax(codes == unknown))
        raise DataError(
            f"label {texts[unknown]!r} (sample {sample}) is not among classes: {', '.join(spec.classes)}"
        )
    place = np.array([spec.classes.index(t) for t in texts], dtype=np.int64)
    return spec.classes, place[codes]


def _whole(labels: Array) -> Int64:
    if not np.isfinite(labels).all():
        raise DataError(
            f"sample {int(np.argmax(~np.isfinite(labels)))} has no label (NaN); leave such samples out"
        )
    whole = labels.astype(np.int64)
    if (whole != labels).any():
        odd = int(np.argmax(whole != labels))
        raise DataError(
            f"kind point needs classes (whole numbers or text), found {labels[odd]} (sample {odd}); for one number "
            f"a sample take kind regression, for a value at every position of the input kind dense"
        )
    return whole


def find_labels(
    spec: OwnData, labels: Array, names: Sequence[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.uint8]]:
    """(names, (n, labels) of 0 and 1). Raises DataError for anything but 0 and 1."""
    if labels.ndim != 2:
        raise DataError(
            f"kind multilabel has a row of 0 and 1 a sample, found targets of shape {labels.shape}"
        )
    chosen = spec.classes or tuple(names) or tuple(f"label {i}" for i in range(labels.shape[1]))
    if len(chosen) != labels.shape[1]:
        raise DataError(f"classes names {len(chosen)} labels, the targets have {labels.shape[1]}")
    if labels.dtype.kind not in "biuf":
        raise DataError(f"kind multilabel has targets of 0 and 1, found {labels.dtype}")
    odd = np.argwhere((labels != 0) & (labels != 1))
    if len(odd):
        row, column = odd[0].tolist()
        raise DataError(
            f"kind multilabel has targets of 0 and 1, found {labels[row, column]} (sample {row}, {chosen[column]})"
        )
    return chosen, labels.astype(np.uint8)


def find_values(
    spec: OwnData, labels: Array, names: Sequence[str]
) -> tuple[tuple[str, ...], Float64, list[str]]:
    """(names, (n, values) float64, what must change before they can be learned).

    Raises:
        DataError: targets are no numbers, or not one row of them a sample.
    """
    if labels.ndim not in (1, 2) or 0 in labels.shape:
        raise DataError(
            f"kind regression has one number a sample, or a row of several, found targets of shape {labels.shape}; a "
            f"value at every position is kind dense"
        )
    rows = labels.reshape(len(labels), -1)
    chosen = tuple(names) or _called(spec, rows.shape[1])
    if len(set(chosen)) < len(chosen):
        raise DataError(f"each target column once, got {', '.join(chosen)}")
    if rows.dtype.kind not in "iuf":
        raise DataError(_no_numbers(rows, chosen))
    values = rows.astype(np.float64)
    problems = [p for i, name in enumerate(chosen) if (p := _value_problem(name, values[:, i])) is not None]
    return chosen, values, problems


def _called(spec: OwnData, count: int) -> tuple[str, ...]:
    """Names for values that have none in their file: that of the array."""
    at = next(part.target for _, part in spec.parts())
    assert at is not None
    assert at.file is not None
    name = at.key or at.file.stem
    return (name,) if count == 1 else tuple(f"{name} {i}" for i in range(count))


def _no_numbers(rows: Array, names: Sequence[str]) -> str:
    if rows.dtype.kind not in "US":
        return f"kind regression needs numbers, found {rows.dtype}; true and false are classes, kind point"
    row, column = next((place for place, text in np.ndenumerate(rows) if not _is_number(text)), (0, 0))
    return (
        f"kind regression needs numbers, found {str(rows[row, column])!r} (sample {row}, {names[column]}); classes in "
        f"words are kind point, numbers must not be saved as text"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value_problem(name: str, values_N: Float64) -> str | None:
    bad = np.flatnonzero(~np.isfinite(values_N))
    if len(bad):
        shown = ", ".join(map(str, bad[:_SHOWN])) + (" …" if len(bad) > _SHOWN else "")
        return f"target {name!r} is NaN or infinite in {len(bad):,} samples ({shown}); leave such samples out"
    if (values_N == values_N[0]).all():
        return f"target {name!r} is {values_N[0]:g} for every sample; there is nothing to learn"
    largest, spread = float(np.abs(values_N).max()), float(values_N.std())
    if largest > _FLOAT32_MAX:
        return f"target {name!r} reaches {largest:.3g}, more than single precision holds ({_FLOAT32_MAX:.1g}): rescale"
    if spread < _SMALLEST:
        return f"target {name!r} varies by {spread:.3g}, less than single precision holds well: rescale it"
    if spread < _FINEST * largest:
        return (
            f"target {name!r} varies by {spread:.3g} around {values_N.mean():.10g}, too little for single precision; "
            f"subtract a constant from it"
        )
    return None


def squeezed(shape: Shape, rank: int) -> Shape:
    """`shape` with axes of size 1 left out until `rank` are left."""
    sizes = list(shape)
    while len(sizes) > rank and 1 in sizes:
        sizes.remove(1)
    return tuple(sizes)


def find_dense(
    dense: Samples, layout: Layout, values: frozenset[float] | None, *, are_images: bool
) -> Target:
    """A mask where the targets have two values that say so, else numbers.

    Args:
        values: all that occur, None where they are more than a few.

    Raises:
        DataError: they are neither, or of another shape than the modality has.
    """
    rank = 2 if layout.modality.is_grid else 1
    shape = squeezed(dense.shape, rank)
    if len(shape) != rank or shape == (1,):
        raise DataError(
            f"{dense.where}: a target of modality {layout.modality.value} has one value at each position of {rank} "
            f"{'axis' if rank == 1 else 'axes'}, found {said(dense.shape)}"
        )
    whole = are_images or dense.dtype.kind in "iu"
    if values is not None and len(values) == 1:
        raise DataError(f"{dense.where}: every value is {min(values):g}; there is nothing to learn")
    if values is not None and (values == {0.0, 1.0} or (whole and len(values) == 2)):
        return Target(output=Dense, shape=shape, levels=(min(values), max(values)))
    if are_images:
        raise DataError(
            f"{dense.where}: mask images have two values, for background and foreground, found "
            f"{'many' if values is None else sorted(int(v) for v in values)}; save masks as PNG (JPEG blurs them), "
            f"numbers at every pixel as .npy, and one task for each of several classes"
        )
    if whole and values is not None:
        raise DataError(
            f"{dense.where} takes the whole values {sorted(int(v) for v in values)}: if they are classes, make a task "
            f"of two values for each; if they are amounts, save them as floats"
        )
    return Target(output=Dense, shape=shape)


class Values:
    """The values that occur among dense targets, as long as they are few."""

    def __init__(self) -> None:
        self.seen: set[float] | None = set()

    def add(self, block: Array) -> None:
        if self.seen is None:
            return
        self.seen |= {float(v) for v in np.unique(block)[: _FEW_VALUES + 1]}
        if len(self.seen) > _FEW_VALUES:
            self.seen = None

    def few(self) -> frozenset[float] | None:
        return None if self.seen is None else frozenset(self.seen)
