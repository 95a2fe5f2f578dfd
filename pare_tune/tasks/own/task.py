"""A user's own data as a `Task`, like any benchmark's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pare_tune.errors import ConfigError, DataError
from pare_tune.tasks.base import Canvas, Metric, Modality, Numbers, PaperSettings, Point, Split, Task
from pare_tune.tasks.folds import Fold
from pare_tune.tasks.own.layout import Layout
from pare_tune.tasks.own.read import Opened, open_data
from pare_tune.tasks.own.samples import Array, said
from pare_tune.tasks.own.score import find_metric
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.split import SPLITS, Int64
from pare_tune.tasks.own.survey import Survey, Surveyed, class_weights, data_key, survey, survey_fold
from pare_tune.tasks.own.tables import Cells
from pare_tune.tasks.own.target import IGNORE, Target, find_classes, find_labels, find_values
from pare_tune.tasks.stores import default_cache

if TYPE_CHECKING:
    from pare_tune.data.store import Record

_RELATIVE: Final = ("nrmse", "relative_l2")

_NEAREST: Final[Mapping[Modality, tuple[str, str, int]]] = {
    Modality.GRID_2D: ("ninapro", "NinaPro", 12),
    Modality.DENSE_2D: ("darcy", "Darcy", 12),
    Modality.SEQUENCE_1D: ("satellite", "Satellite", 12),
    Modality.DENSE_1D: ("advection", "Advection", 13),
    Modality.TABLE: ("own-table", "its tables (wdbc)", 10),
}
"""Whose settings trial 0 of a user's own task has under the paper's preset: name in paper.toml, title, table."""

_STEPS: Final[Mapping[Modality, tuple[int, int, int]]] = {
    Modality.GRID_2D: (8, 1000, 60),
    Modality.DENSE_2D: (4, 500, 60),
    Modality.SEQUENCE_1D: (16, 800, 60),
    Modality.DENSE_1D: (8, 2500, 60),
    Modality.TABLE: (8, 400, 30),
}
"""(batch, steps, most epochs) of one training under the embedded preset: about what the benchmark tasks take, a minute
or less. Of few samples (tests/benchmarks/RESULTS.md) smaller batches do as well on tables, and worse on series."""
_FEWEST_EPOCHS: Final = 3
"""So that k can fall."""
_SHORT_SERIES: Final = 512
"""Steps; series of as many or fewer do as well with half the usual tokens, in less time (RESULTS.md)."""
_TOKENS_OF_SHORT: Final = 32


def own_task(spec: OwnData, cache: Path | None = None) -> Task:
    """The task that `spec` describes; looks at all of its data on first use.

    Raises:
        DataError: the data cannot be trained on, with every reason that was found.
        ConfigError, UnknownName: the metric does not exist, or does not fit the targets.
        StorageError: the cache cannot be written.
    """
    cache = cache or default_cache()
    surveyed = survey(spec, cache)
    if surveyed.survey.problems:
        raise DataError("\n".join(surveyed.survey.problems))
    return build_task(spec, surveyed, cache)


def _nearest(modality: Modality) -> PaperSettings:
    name, title, table = _NEAREST[modality]
    notes = f"The paper's settings of {title} (ICML 2024, Table {table}), the nearest of its tasks."
    aligned = 20 if modality is Modality.TABLE else 60
    return replace(PaperSettings.of(name), align_epochs=aligned, score=None, notes=notes)


def build_task(spec: OwnData, surveyed: Surveyed, cache: Path, fold: Fold | None = None) -> Task:
    """The task of data without problems, or with the train and val of a fold. Raises as `own_task`."""
    seen = surveyed.survey
    layout, target, canvas = seen.layout, seen.target, seen.canvas["paper"]
    metric = find_metric(spec.metric, target, fewest=min(seen.counts["val"], seen.counts["test"]))
    if metric.name in _RELATIVE and seen.zero_targets:
        raise ConfigError(
            f"metric {metric.name} divides by each target's size, and {seen.zero_targets:,} of them are zero "
            f"everywhere; take rmse"
        )
    loss, options = _loss(spec, seen, metric)
    return Task(
        name=spec.name,
        title=spec.title or _title(seen),
        modality=layout.modality,
        input_shape=input_shape(layout, canvas),
        output=target.output_of(_dense_shape(layout, target, canvas)),
        loss=loss,
        loss_options=options,
        metric=metric,
        paper=paper_of(layout),
        embedded_provenance="real",
        homepage="",
        read=Reader(spec, cache, surveyed.key, fold).read,
        make=leave_where_they_are,
        item=Item(layout, target),
        ragged=_ragged(layout, target),
        canvas={"paper": canvas, "embedded": seen.canvas["embedded"]},
        embedded=short_training(layout, seen.num_train),
        scale_target=target.output is Numbers or target.word == "numbers",
        raw={"inputs": layout.to_dict(), "target": target.to_dict(), "at": _read_as(spec, seen)},
        units=Development(spec, cache).units,
        refold=Development(spec, cache).fold,
    )


@dataclass(frozen=True)
class Development:
    """Train and val of a user's task, together."""

    spec: OwnData
    cache: Path

    def units(self) -> Int64:
        """(n,) equal where samples must not be torn apart."""
        seen = survey(self.spec, self.cache)
        return seen.units[seen.development]

    def fold(self, fold: Fold) -> tuple[Task, Int64]:
        """The task with a fold's train and val, and the places of the latter.

        Raises:
            DataError: the samples cannot be cut into so many folds.
        """
        seen = survey_fold(self.spec, self.cache, fold)
        development = survey(self.spec, self.cache).development
        place_of = np.empty(development.max() + 1, np.int64)
        place_of[development] = np.arange(len(development))
        return build_task(self.spec, seen, self.cache, fold), place_of[seen.rows("val")]


@dataclass(frozen=True)
class Item:
    """A stored record as the model gets it: normalised, padded or resized, the same in training and evaluation."""

    layout: Layout
    target: Target

    def __call__(self, record: Record, canvas: Canvas, rng: np.random.Generator | None) -> dict[str, Array]:
        return {
            "x": self.layout.ready(record["x"], canvas),
            **self.target.ready(record["y"], self.layout, canvas),
        }


@dataclass(frozen=True)
class Reader:
    """Reads the records of a user's task; prepared stores go by its `key`."""

    spec: OwnData = field(repr=False)
    cache: Path = field(repr=False)
    """Where the survey is."""
    key: str
    """Of the survey."""
    fold: Fold | None = None
    """Whose train and val are read, without test; None: the task's own splits."""

    def read(self, root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
        """Records of each split: x (C, ...) and y as they are in the files, classes as int64 codes, values as float64.

        The files are where the task says, so `root` is not used, and the split has a seed of its own.

        Raises:
            DataError: a file was changed since the survey.
        """
        fold = self.fold
        seen = survey(self.spec, self.cache) if fold is None else survey_fold(self.spec, self.cache, fold)
        if seen.key != self.key or data_key(self.spec) != self.key:
            raise DataError(
                f"the files of {self.spec.name} changed while they were read; run the command again"
            )
        opened = open_data(self.spec)
        codes = None if opened.labels is None else _codes(self.spec, opened.labels, opened.label_names)
        splits = SPLITS if fold is None else SPLITS[:2]
        return {split: _records(opened, codes, seen.survey, seen.rows(split)) for split in splits}


def _records(opened: Opened, codes: Array | None, seen: Survey, rows: Int64) -> Iterator[Record]:
    targets = (
        _dense_records(opened, seen, rows) if codes is None else (np.asarray(codes[row]) for row in rows)
    )
    inputs, layout = opened.inputs, seen.layout
    if isinstance(inputs, Cells):
        xs: Iterator[Array] = inputs.encoded(layout.tokens, rows)
    else:
        xs = (np.ascontiguousarray(layout.channels_first(x[None])[0]) for x in inputs.each(rows))
    for x, y in zip(xs, targets, strict=True):
        yield {"x": x, "y": y}


def _dense_records(opened: Opened, seen: Survey, rows: Int64) -> Iterator[Array]:
    assert opened.dense is not None
    for y in opened.dense.each(rows):
        yield y if y.ndim == len(seen.target.shape) else y.reshape([n for n in y.shape if n != 1])


def _codes(spec: OwnData, labels: Array, names: tuple[str, ...]) -> Array:
    if spec.output is Point:
        return find_classes(spec, labels)[1]
    return (find_values if spec.output is Numbers else find_labels)(spec, labels, names)[1]


def leave_where_they_are(folder: Path, seed: int) -> None:
    """A user's files are read from their own place."""


def _loss(spec: OwnData, seen: Survey, metric: Metric) -> tuple[str, dict[str, Any]]:
    """(name, options) of the loss that goes with the targets, and with a relative metric."""
    options = dict(class_weights(spec, seen))
    layout, target = seen.layout, seen.target
    if target.output is Point:
        return "cross_entropy", options
    if target.output is Numbers:
        return "scaled_mse", options
    if layout.length is not None and target.is_as_long_as_input(layout):
        options["ignore"] = IGNORE
    if target.word != "numbers":
        return "bce_with_logits", options
    return (metric.name if metric.name in _RELATIVE and not options else "mse"), options


def input_shape(layout: Layout, canvas: Canvas) -> tuple[int, ...]:
    """Of one sample as the embedder gets it."""
    places = tuple(n or 0 for n in layout.places(layout.shape))
    if layout.modality.is_grid:
        return (layout.num_channels, *((canvas, canvas) if canvas is not None else places))
    if layout.length is not None:
        return (layout.num_channels + 1, layout.length)
    return (layout.num_channels, *places)


def _dense_shape(layout: Layout, target: Target, canvas: Canvas) -> tuple[int, ...]:
    if layout.modality.is_grid and canvas is not None:
        return (canvas, canvas)
    if layout.length is not None and target.is_as_long_as_input(layout):
        return (layout.length,)
    return tuple(n or 0 for n in target.shape)


def _read_as(spec: OwnData, seen: Survey) -> dict[str, Any]:
    """What the inputs are called in their file, so that new ones are found under the same names."""
    at = next(part.input for _, part in spec.parts())
    names = dict.fromkeys(token.name for token in seen.layout.tokens) or seen.columns
    return {
        "key": at.key,
        "columns": list(names),
        "id": at.id,
        "time": at.time,
        "dtype": seen.inputs.dtype,
    }


def _ragged(layout: Layout, target: Target) -> frozenset[str]:
    fields = {"x": layout.shape, "y": target.shape}
    return frozenset(name for name, shape in fields.items() if None in shape)


def paper_of(layout: Layout) -> PaperSettings:
    """What trial 0 has under the paper's preset."""
    paper = _nearest(layout.modality)
    if layout.modality is Modality.TABLE:
        return replace(paper, target_tokens=layout.shape[0] or paper.target_tokens)
    return paper


def short_training(layout: Layout, num_train: int) -> dict[str, Any]:
    """What the embedded preset has instead of its own: batch, epochs (about as many steps, however many samples there
    are), the tokens of short series, and what series are seen by."""
    batch, steps, most = _STEPS[layout.modality]
    epochs = math.ceil(steps / math.ceil(num_train / batch))
    settings: dict[str, Any] = {
        "train.batch_size": batch,
        "train.epochs": min(max(epochs, _FEWEST_EPOCHS), most),
    }
    if layout.modality is Modality.SEQUENCE_1D:
        # Of few series patches alone teach neither frequencies nor shapes (tests/benchmarks/RESULTS.md).
        settings["input.stem"] = "convolutions"
    if layout.modality is Modality.SEQUENCE_1D and input_shape(layout, None)[-1] <= _SHORT_SERIES:
        settings["input.max_tokens"] = _TOKENS_OF_SHORT
    return settings


def _title(seen: Survey) -> str:
    layout, target = seen.layout, seen.target
    places = said(layout.places(layout.shape))
    what = {
        Modality.TABLE: f"{places} columns",
        Modality.SEQUENCE_1D: f"series of {places} steps",
        Modality.DENSE_1D: f"series of {places} steps",
        Modality.GRID_2D: f"images of {places}",
        Modality.DENSE_2D: f"images of {places}",
    }[layout.modality]
    channels = (
        f", {layout.num_channels} channels" if layout.channels != "none" and layout.num_channels > 1 else ""
    )
    # What comes out, without which values mark a mask.
    comes = (
        "a mask"
        if target.levels is not None
        else target.title.removesuffix(" a sample").replace("one ", "a ")
    )
    return f"{what}{channels} → {comes}".replace("any steps", "different lengths").replace(
        "any × any", "different sizes"
    )
