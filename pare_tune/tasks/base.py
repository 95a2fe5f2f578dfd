"""What a task is: a frozen value that names its data, shape, loss, metric and the paper's settings.

A task is data, not behaviour spread over a program: everything that differs between tasks is one field here, so that
the trainer, the search and the report never ask which task they serve.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pare_tune.errors import DataError

if TYPE_CHECKING:  # listing the tasks must not wait for torch
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from pare_tune.data.store import Record
    from pare_tune.tasks.folds import Fold

Split = Literal["train", "val", "test"]
Preset = Literal["paper", "embedded"]
Direction = Literal["min", "max"]
"""Whether low or high scores are good."""
Provenance = Literal["real", "sample", "solved"]
"""real: the released data. solved: a PDE solved here. sample: simulated data of the same format and kind."""

Batch: TypeAlias = "Mapping[str, Tensor]"
"""x (B, C, ...) float32, y, and whatever else the task's loss or metric needs, each with leading B."""


class Modality(StrEnum):
    """Names the embedder, the head and `search_spaces/<modality>.yaml`."""

    GRID_2D = "grid_2d"
    DENSE_2D = "dense_2d"
    SEQUENCE_1D = "sequence_1d"
    DENSE_1D = "dense_1d"
    TABLE = "table"

    @property
    def is_grid(self) -> bool:
        """Two spatial axes (vision backbone); else tokens in a row (language backbone)."""
        return self in (Modality.GRID_2D, Modality.DENSE_2D)


@dataclass(frozen=True, slots=True)
class Point:
    """One class a sample: predictions are (B, num_classes) logits, y is (B,) int64."""

    num_classes: int
    """0: as many as the training split has, for data that nobody knows before they are read."""


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """Any number of labels a sample: predictions are (B, num_labels) logits, y is (B, num_labels) float32."""

    num_labels: int


@dataclass(frozen=True, slots=True)
class Dense:
    """A value at every position: predictions and y are (B, *shape) float32; shape is (L,) or (H, W)."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """One number a sample, or several: predictions and y are (B, num) float32."""

    num: int


Output = Point | MultiLabel | Dense | Numbers


def loss_sign(direction: Direction) -> float:
    """What a score is multiplied by, so that less is better."""
    return 1.0 if direction == "min" else -1.0


def is_better(a: float, b: float, direction: Direction) -> bool:
    """Whether score `a` beats score `b`; NaN never wins."""
    return a < b if direction == "min" else a > b


def best_of(scores: Iterable[float], direction: Direction) -> float:
    """The best of at least one score."""
    return min(scores) if direction == "min" else max(scores)


@dataclass(frozen=True, slots=True)
class Metric:
    """A score over a WHOLE split; never a mean of chunk scores, which published code reports."""

    name: str
    direction: Direction
    unit: str
    """"%", "Å", "1" ...; shown beside every number."""
    citation: str
    score: Callable[[Tensor, Batch], float]
    """(predictions of the split, the split's batch without x) → score."""

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` beats score `b`; NaN never wins."""
        return is_better(a, b, self.direction)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """The paper's hyperparameters (ICML 2024, Tables 12 and 13; k from section 4)."""

    batch_size: int
    accumulation: int
    epochs: int
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: float
    weight_decay: float
    momentum: float = 0.9
    """Used by SGD only; Adam and AdamW use betas (0.9, 0.98)."""
    clip: float | None = None
    """Global norm of the gradient, None for no clipping."""
    warmup_epochs: int = 5
    decay_epochs: int
    k_start: float = 0.957
    """Share of the N patches replaced at first; the paper's 3000 of 3136."""
    k_end: float = 0.0
    target_tokens: int = 512
    """Most tokens a 1D input is cut into (`target_seq_len`)."""
    align_epochs: int = 60
    """Steps in which ORCA's code aligns the embedder (`embedder_epochs`)."""
    source: str
    """The paper's proxy data set."""
    score: float | None = None
    """The paper's published result, in the metric's unit, under the official protocol (which selects on test)."""
    notes: str = ""
    """Where the official code differs from the paper."""

    @classmethod
    def of(cls, task: str) -> PaperSettings:
        """Those of a task, as `paper.toml` has them."""
        return cls.read(read_toml("paper.toml")[task])

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> PaperSettings:
        """Those that a table of TOML says, whose notes are wrapped."""
        return cls(**{**fields, "notes": " ".join(str(fields.get("notes", "")).split())})


Canvas = int | None
"""Side of the square that 2D data are laid on, None where the data have one size of their own."""


def _no_resize(
    record: Record, canvas: Canvas, rng: np.random.Generator | None
) -> dict[str, npt.NDArray[Any]]:
    return dict(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A benchmark task or a user's own."""

    name: str
    title: str
    """One line for people: what goes in, what comes out."""
    modality: Modality
    input_shape: tuple[int, ...]
    """One sample at the paper's preset, channels first: (C, H, W), (C, L) or (C, F)."""
    output: Output
    """At the paper's preset."""
    loss: str
    """Name in `tasks.losses.LOSSES`."""
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    metric: Metric
    paper: PaperSettings
    embedded_provenance: Provenance
    """What the data are when no release is given."""
    homepage: str
    """Where the public release is found."""
    files: tuple[str, ...] = ()
    """Files or folders of the release, relative to its root, for messages and `data status`."""
    read: Callable[[Path, int], Mapping[Split, Iterable[Record]]]
    """(root of the release, seed) → records of each split; the splits are disjoint and fixed by the seed."""
    make: Callable[..., None] | None = None
    """(empty folder, seed) → writes the sample, or the solved or bundled data, in the release's own format.

    None where a release must be given."""
    release_size: Mapping[str, int] = field(default_factory=dict)
    """Keyword arguments of `make` that solve as many samples, at as many points, as the release has; empty where data
    are not solved."""
    item: Callable[[Record, Canvas, np.random.Generator | None], dict[str, npt.NDArray[Any]]] = _no_resize
    """(stored record, canvas, rng) → model-ready arrays: x float32 channels first, y, others.

    `rng` is given in training only (crops, augmentation, training-only target clipping); None means the
    deterministic evaluation item."""
    training_target: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None
    """What `item` does to a target in training alone, for methods that are fitted to whole arrays; None is nothing."""
    ragged: frozenset[str] = frozenset()
    """Stored fields whose shape differs from record to record."""
    canvas: Mapping[Preset, Canvas] = field(default_factory=lambda: {"paper": None, "embedded": None})
    embedded: Mapping[str, Any] = field(default_factory=dict)
    """Where this task departs from its modality's embedded preset: dotted settings, {"train.epochs": 12}."""
    scale_target: bool | Literal["pointwise"] = False
    """Regression: the head's output is mapped by the mean and spread of the training targets, one of each for all
    positions (True) or for every position (outputs whose positions mean the same in every sample). Each of several
    numbers a sample always has its own: they are of different units."""
    raw: Mapping[str, Any] | None = None
    """How a user's raw samples become x, in plain values that are kept with a model's weights; None where `predict`
    takes samples as the model does."""
    units: Callable[[], npt.NDArray[np.int64]] | None = None
    """() → (n,) of the development samples, train then val: equal where they must not be torn apart. None: each stands
    for itself."""
    refold: Callable[[Fold], tuple[Task, npt.NDArray[np.int64]]] | None = None
    """(fold) → the task with the fold's train and val, and the places of the latter among the development samples.
    None: they are cut from the prepared train and val."""
    version: int = 1
    """Raised when `read`, `make` or the stored fields change, so that prepared stores are made anew."""


@cache
def read_toml(name: str) -> Mapping[str, Any]:
    """A table of this package, not to be changed."""
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def first_of(paths: Sequence[Path], otherwise: str) -> Path:
    """The first of several places of a release's file or folder that is there. Raises DataError, `otherwise`."""
    there = next((path for path in paths if path.exists()), None)
    if there is None:
        raise DataError(otherwise)
    return there


def require_files(paths: Iterable[Path], remedy: str) -> None:
    """Raise a DataError that names the first file that is missing: before long work, not after."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]} is missing{more}; {remedy}")


@contextmanager
def release_at(homepage: str) -> Iterator[None]:
    """Ends the message of a `DataError` raised inside with where a good copy of the release is found."""
    try:
        yield
    except DataError as error:
        if homepage in str(error):
            raise
        raise type(error)(f"{error} (public release: {homepage})") from error
