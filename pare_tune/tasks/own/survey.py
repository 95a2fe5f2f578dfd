"""One look at all of a user's data: what they are, what is wrong with them, which sample is in which split.

A survey reads everything once (and the training samples twice, for their mean and spread), and is kept in the cache
until a file or the task changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from functools import cache as cached
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune import data
from pare_tune.data.cache import fingerprint, prepared
from pare_tune.errors import DataError
from pare_tune.tasks import columns
from pare_tune.tasks.base import Modality, MultiLabel, Numbers, Point, Split
from pare_tune.tasks.folds import Fold, draw_folds, forward
from pare_tune.tasks.own.fit import (
    class_counts,
    constant_in_train,
    contradictions,
    empty_in_train,
    fit_layout,
    fit_target,
    repeats,
    spread_thin,
)
from pare_tune.tasks.own.layout import Layout, find_layout, friendly_length
from pare_tune.tasks.own.read import Opened, files_of, open_data
from pare_tune.tasks.own.samples import Array, Samples, said
from pare_tune.tasks.own.scan import Column, Scan, are_features, require_size, scan_dense, scan_inputs
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.split import SPLITS, assign, units_of
from pare_tune.tasks.own.tables import Cells
from pare_tune.tasks.own.target import Float64, Target, find_classes, find_labels, find_values

_NATIVE: Final = 256
"""Images up to this side keep their size."""
_CANVAS: Final = {"paper": 224, "embedded": 64}
_SHOWN = 5
_FAR: Final = 10.0
"""Spreads from the mean at which a value may well stand for a missing one."""

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Everything that is known of a user's data; plain values, so that it lies in the cache as JSON."""

    layout: Layout
    target: Target
    inputs: Column
    targets: Column
    samples: int
    columns: tuple[str, ...] = ()
    """Of a table that serve as inputs."""
    says_val: bool = False
    """Whether files or a column say which samples are val; else they are cut."""
    counts: dict[Split, int] = field(default_factory=dict)
    """Samples of each split; empty where the data cannot be split as they are."""
    class_counts: dict[str, dict[Split, int]] = field(default_factory=dict)
    """Of each class or label: samples that have it."""
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each number a sample: low, high, mean and spread (standard deviation) over all samples."""
    lengths: tuple[int, int] | None = None
    """Shortest and longest series, where they differ."""
    constant: tuple[int, ...] = ()
    """Channels (of a table: columns) with one value throughout."""
    same: int = 0
    """Samples that repeat another to the last bit."""
    same_across: int = 0
    """Samples of val that repeat one of train, and of test that repeat one of either."""
    groups: int | None = None
    weight: float = 1.0
    """Masks: background per foreground among the training positions."""
    zero_targets: int = 0
    """Dense targets that are zero everywhere; a relative error has none of those."""
    canvas: dict[str, int | None] = field(default_factory=lambda: {"paper": None, "embedded": None})
    problems: tuple[str, ...] = ()
    """What must change before anything can be trained."""
    warnings: tuple[str, ...] = ()

    @property
    def num_train(self) -> int:
        """Training samples."""
        return self.counts.get("train", 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "target": self.target.to_dict()}

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Survey:
        """What `to_json` wrote."""
        tree = json.loads(text)
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()}
        fields |= {"layout": Layout.from_dict(tree["layout"]), "target": Target.from_dict(tree["target"])}
        return cls(**{**fields, "inputs": Column(**tree["inputs"]), "targets": Column(**tree["targets"])})


@dataclass(frozen=True)
class Surveyed:
    """A survey and the split of each sample."""

    survey: Survey
    split: Int64
    """(n,) positions in `SPLITS`; empty where there are problems."""
    key: str
    """Changes with the task, its files and the code that reads them."""
    units: Int64
    """(n,) equal where samples are of one group, or without groups where they are the same to the last bit; empty as
    `split`."""

    @property
    def development(self) -> Int64:
        """The samples of train, then those of val."""
        return np.concatenate([self.rows("train"), self.rows("val")])

    def rows(self, split: Split) -> Int64:
        """The samples of a split, ascending."""
        return np.flatnonzero(self.split == SPLITS.index(split))


_looked_at: ContextVar[dict[str, Surveyed] | None] = ContextVar("looked_at", default=None)


@contextmanager
def looked_at_once() -> Iterator[None]:
    """One look is enough for all that happens inside: a command, a call of the API, the trials of a worker.

    Outside, every `survey` reads the size and time of each file again, so that a notebook sees a file that changed.
    """
    outer = _looked_at.get()
    token = _looked_at.set({} if outer is None else outer)
    try:
        yield
    finally:
        _looked_at.reset(token)


def survey(spec: OwnData, cache: Path) -> Surveyed:
    """Look at the data of `spec`, or at what was found when nothing has changed since.

    Raises:
        DataError: a file, key or column is missing, or the samples cannot be told apart from their targets. What is
            wrong inside of well-formed files comes back as `problems`.
        StorageError: the cache cannot be written.
    """
    memory = _looked_at.get()
    place = f"{cache} {spec.model_dump_json()}"
    if memory is not None and place in memory:
        return memory[place]
    seen = _look_or_load(spec, cache)
    if memory is not None:
        memory[place] = seen
    return seen


def _look_or_load(spec: OwnData, cache: Path) -> Surveyed:
    key = data_key(spec)

    return _kept(cache, spec, key, "", lambda: _look(spec))


def survey_fold(spec: OwnData, cache: Path, fold: Fold) -> Surveyed:
    """The survey with a fold's train and val: what is fitted on training samples is fitted on the fold's.

    Raises:
        DataError: the samples cannot be cut into so many folds.
    """
    memory = _looked_at.get()
    place = f"{cache} {spec.model_dump_json()} {fold}"
    if memory is not None and place in memory:
        return memory[place]
    whole = survey(spec, cache)
    seen = _kept(cache, spec, whole.key, f"-{fold}", lambda: _refit(spec, whole, fold))
    if memory is not None:
        memory[place] = seen
    return seen


def _kept(
    cache: Path, spec: OwnData, key: str, suffix: str, look: Callable[[], tuple[Survey, Int64, Int64]]
) -> Surveyed:
    def make(folder: Path) -> None:
        seen, split, units = look()
        (folder / "survey.json").write_text(seen.to_json(), encoding="utf-8")
        np.save(folder / "split.npy", split)
        np.save(folder / "units.npy", units)

    made = prepared(cache / "surveys", f"{spec.name}-{key}{suffix}", make)
    text = (made / "survey.json").read_text(encoding="utf-8")
    split, units = (np.load(made / f"{name}.npy", allow_pickle=False) for name in ("split", "units"))
    return Surveyed(Survey.from_json(text), split, key, units)


def _refit(spec: OwnData, whole: Surveyed, fold: Fold) -> tuple[Survey, Int64, Int64]:
    opened = open_data(spec)
    seen, rows = whole.survey, whole.development
    _, _, codes, _ = _targets(spec, opened, seen.layout)
    split = whole.split.copy()
    targets = None if codes is None or seen.target.output is MultiLabel else codes[rows]
    if opened.times is not None:
        split[rows] = forward(fold, opened.times[rows], targets, names=seen.target.names)
    else:
        fold_n = draw_folds(fold.folds, whole.units[rows], targets, names=seen.target.names)
        split[rows] = fold_n == fold.number
    return _fitted(seen, opened, codes, np.flatnonzero(split == 0)), split, whole.units


def data_key(spec: OwnData) -> str:
    """16 digits that change with the task, with size or time of any of its files, and with this package's code."""
    entries: list[str] = []
    for path in files_of(spec):
        if not path.exists():
            raise DataError(f"no file or folder {path}")
        stat = path.stat()
        entries.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    # What is scored and how it is weighted changes no sample.
    tree = spec.model_dump(mode="json", exclude={"title", "metric", "class_weights"})
    return fingerprint(spec=tree, files=entries, code=_code())


@cached
def _code() -> str:
    """A digest of everything that reads, checks and encodes."""
    readers = [
        *Path(__file__).parent.glob("*.py"),
        *Path(data.__path__[0]).glob("*.py"),
        Path(columns.__file__),
    ]
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(readers))
    return hashlib.sha256(text.encode()).hexdigest()


def _look(spec: OwnData) -> tuple[Survey, Int64, Int64]:
    """(survey, split, units)."""
    opened = open_data(spec)
    require_size(opened.inputs)
    guessed = _is_guessed_table(spec, opened)
    layout = _layout(spec, opened, is_table=opened.is_table or guessed)
    target, targets, codes, problems = _targets(spec, opened, layout)
    inputs = scan_inputs(opened.inputs, layout)
    problems = [*inputs.problems, *problems]
    warnings = [*inputs.warnings, *targets.warnings]
    if guessed:
        warnings.append(
            f"{opened.inputs.where}: samples of {said(layout.shape)} values are taken as rows of a table; "
            f"if they are series, say modality: sequence_1d (--set own.modality=sequence_1d), else modality: table"
        )
    seen = Survey(
        layout=_sized(spec, layout, inputs, warnings),
        target=target,
        inputs=_input_column(opened.inputs, inputs),
        targets=targets.column,
        samples=len(opened.inputs),
        columns=opened.columns,
        lengths=inputs.lengths,
        constant=inputs.constant,
        same=len(inputs.same) - len(np.unique(inputs.same)),
        says_val=opened.split is not None and "val" in opened.split,
        groups=None if opened.groups is None else len(set(opened.groups)),
        zero_targets=targets.zero,
        values=_moments_of(target, codes, problems),
        canvas=canvas_of(layout, inputs.sides[0]),
    )
    split = np.empty(0, np.int64)
    if not problems:
        try:
            split = assign(
                opened.split, opened.groups, inputs.same, codes if target.output is Point else None,
                names=target.names, fractions=spec.split.fractions, seed=spec.split.seed, times=opened.times,
            )  # fmt: skip
        except DataError as error:
            problems.append(str(error))
    if len(split):
        seen = _with_splits(seen, opened, split, inputs.same, codes, problems, warnings)
    seen = replace(seen, problems=tuple(problems), warnings=tuple(warnings))
    if problems:
        return seen, split[:0], split[:0]
    return seen, split, units_of(opened.groups, inputs.same)


def _input_column(inputs: Samples, scan: Scan) -> Column:
    if isinstance(inputs, Cells):
        return replace(scan.column, dtype=inputs.summary(), low=None, high=None)
    return scan.column


def _is_guessed_table(spec: OwnData, opened: Opened) -> bool:
    return (
        spec.modality is None
        and spec.length is None
        and opened.dense is None
        and not (opened.is_table or opened.is_images)
        and are_features(opened.inputs)
    )


def _layout(spec: OwnData, opened: Opened, *, is_table: bool) -> Layout:
    if isinstance(opened.inputs, Cells) and spec.normalise != "channel":
        raise DataError(
            f"normalise: {spec.normalise} goes with numbers without gaps; {opened.inputs.where} holds "
            f"{opened.inputs.summary()}: take normalise: channel, which brings its numbers to mean 0 and variance 1"
        )
    return find_layout(
        opened.inputs.shape,
        spec.output,
        target=None if opened.dense is None else opened.dense.shape,
        modality=spec.modality,
        channels=spec.channels,
        normalise=spec.normalise,
        is_table=is_table,
        is_images=opened.is_images,
    )


def _targets(spec: OwnData, opened: Opened, layout: Layout) -> tuple[Target, Scan, Array | None, list[str]]:
    """(target, its scan, class or label codes or values, problems)."""
    if opened.dense is not None:
        target, scan = scan_dense(opened.inputs, opened.dense, layout, are_images=opened.masks_are_images)
        return target, scan, None, scan.problems
    labels = opened.labels
    assert labels is not None
    column = _label_column(spec, labels)
    codes: Any
    if spec.output is Point:
        names, codes = find_classes(spec, labels)
        if len(np.unique(codes)) < 2:
            raise DataError(
                f"{column.where}: every sample is of class {names[int(codes[0])]!r}; there is nothing to learn"
            )
        return Target(output=Point, names=names), Scan(column), codes, []
    if spec.output is Numbers:
        names, values, problems = find_values(spec, labels, opened.label_names)
        scan = Scan(column, warnings=[] if problems else _far_values(names, values))
        return Target(output=Numbers, names=names), scan, values, problems
    names, codes = find_labels(spec, labels, opened.label_names)
    once = [n for n, count in zip(names, codes.sum(axis=0), strict=True) if count in (0, len(codes))]
    problems = [f"label {n!r} is the same for every sample; leave it out" for n in once]
    return Target(output=MultiLabel, names=names), Scan(column), codes.astype(np.int64), problems


def _far_values(names: Sequence[str], values: Float64) -> list[str]:
    """What marks a missing value (-999) is far from all others."""
    away = np.abs(values - values.mean(axis=0)) / values.std(axis=0)
    furthest = away.argmax(axis=0)
    return [
        f"target {name!r} of sample {row} is {values[row, i]:g}, {away[row, i]:.0f} spreads from the mean; if it marks "
        f"a missing value, leave such samples out"
        for i, (name, row) in enumerate(zip(names, furthest.tolist(), strict=True))
        if away[row, i] > _FAR
    ]


def _moments_of(target: Target, values: Array | None, problems: Sequence[str]) -> dict[str, dict[str, float]]:
    if target.output is not Numbers or values is None or problems:
        return {}
    low, high, mean, spread = (f(axis=0).tolist() for f in (values.min, values.max, values.mean, values.std))
    return {
        name: {"low": low[i], "high": high[i], "mean": mean[i], "spread": spread[i]}
        for i, name in enumerate(target.names)
    }


def _label_column(spec: OwnData, labels: Array) -> Column:
    where = ", ".join(str(part.target if part.target is not None else part.input) for _, part in spec.parts())
    numbers = labels.dtype.kind in "biuf"
    finite = labels[np.isfinite(labels)] if numbers else labels[:0]
    return Column(
        where=where,
        shape=" × ".join(f"{n:,}" for n in (labels.shape[:1] if labels.shape[1:] == (1,) else labels.shape)),
        dtype=str(labels.dtype) if numbers else "text",
        low=float(finite.min()) if finite.size else None,
        high=float(finite.max()) if finite.size else None,
        nan=labels.size - finite.size if numbers else 0,
    )


def _sized(spec: OwnData, layout: Layout, scan: Scan, warnings: list[str]) -> Layout:
    """The layout with the length that series are padded to, None where they need none."""
    is_series = layout.modality in (Modality.SEQUENCE_1D, Modality.DENSE_1D)
    if spec.length is not None and not is_series:
        raise DataError(f"length pads series; modality {layout.modality.value} has none")
    if not is_series:
        return layout
    own = layout.shape[0 if layout.channels != "first" else -1]
    longest = own if own is not None else (scan.lengths or (0, 0))[1]
    length = friendly_length(spec.length or longest)
    if scan.lengths is None and length == longest:
        return layout
    if longest > length:
        warnings.append(
            f"series longer than {length} steps are cut there (length); the longest has {longest}"
        )
    return replace(layout, length=length)


def canvas_of(layout: Layout, longest_side: int) -> dict[str, int | None]:
    """Images that differ in size, or are large, are laid on a square."""
    if layout.modality.is_grid and (None in layout.shape or longest_side > _NATIVE):
        return dict(_CANVAS)
    return {"paper": None, "embedded": None}


def _with_splits(
    seen: Survey,
    opened: Opened,
    split: Int64,
    same: Int64,
    codes: Array | None,
    problems: list[str],
    warnings: list[str],
) -> Survey:
    counts = {name: int((split == i).sum()) for i, name in enumerate(SPLITS)}
    problems += [f"the {name} split is empty" for name, count in counts.items() if count == 0]
    is_values = seen.target.output is Numbers
    of_class = {} if codes is None or is_values else class_counts(seen.target, codes, split)
    lacking = [n for n, c in of_class.items() if c["train"] == 0 and sum(c.values()) > 0]
    problems += [
        f"class {n!r} has no training sample, but {sum(of_class[n].values())} to be scored" for n in lacking
    ]
    unscored = [n for n, c in of_class.items() if c["train"] and not (c["val"] and c["test"])]
    if unscored:
        warnings.append(
            f"val or test has no sample of {', '.join(unscored[:_SHOWN])}: their score says nothing of it"
        )
    if codes is not None and (torn := contradictions(same, codes)):
        warnings.append(f"{torn:,} samples are the same to the last bit as another of a different target")
    train = np.flatnonzero(split == 0)
    if codes is not None and is_values:
        problems += constant_in_train(seen.target.names, codes[train])
    across, whole = repeats(same, split)
    if whole is not None:
        problems.append(
            f"every sample of {whole} is also one of the splits before it: they are the same file, or copies; it would "
            f"test nothing"
        )
    elif across:
        warnings.append(
            f"{across:,} samples of val and test are, to the last bit, also in a split before: scores will flatter"
        )
    if problems:
        return replace(seen, counts=counts, class_counts=of_class, same_across=across)
    seen = replace(seen, counts=counts, class_counts=of_class, same_across=across)
    seen = _fitted(seen, opened, codes, train)
    if isinstance(opened.inputs, Cells):
        warnings += spread_thin(seen.layout.tokens, opened.inputs, train) + empty_in_train(
            opened.inputs, train
        )
        if not any(token.tells for token in seen.layout.tokens):
            problems.append(
                f"{opened.inputs.where}: to each training row every column says the same, since text that occurs once "
                f"counts as one category; write numbers as 1234.5, or name other columns as inputs"
            )
    return seen


def _fitted(seen: Survey, opened: Opened, codes: Array | None, train: Int64) -> Survey:
    """`seen` with what the training samples show."""
    target, weight = fit_target(seen.target, opened.dense, codes, train)
    return replace(seen, target=target, weight=weight, layout=fit_layout(seen.layout, opened.inputs, train))


def class_weights(spec: OwnData, seen: Survey) -> Mapping[str, Any]:
    """Options of the loss that `class_weights` amounts to. Raises DataError where there is not one a class."""
    chosen = spec.class_weights
    if chosen is None:
        return {}
    if seen.target.output is not Point and seen.target.levels is None:
        raise DataError("class_weights go with kind point and with masks; these targets are numbers")
    wanted = len(seen.target.names) if seen.target.output is Point else 2
    if chosen != "balanced" and len(chosen) != wanted:
        names = ", ".join(seen.target.names) or "background, foreground"
        raise DataError(f"class_weights has {len(chosen)} numbers, there are {wanted} classes: {names}")
    if seen.target.output is Point:
        return {"class_weights": chosen}
    return {"pos_weight": seen.weight if chosen == "balanced" else chosen[1] / chosen[0]}
