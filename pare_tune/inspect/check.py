"""`pare-tune data check`: what a user's own data are, what is wrong with them, and what would be trained on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pare_tune.config import default_trial
from pare_tune.errors import PareTuneError
from pare_tune.report.words import said_metric
from pare_tune.tasks.base import Direction, Modality, Point, Task
from pare_tune.tasks.own.scan import Column
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.survey import Survey, survey
from pare_tune.tasks.own.task import build_task
from pare_tune.tasks.stores import default_cache
from pare_tune.train.build import count_tokens, open_backbone

_CLASSES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Trial 0 of the default preset."""

    preset: str
    backbone: str
    source: str
    input_shape: tuple[int, ...]
    """As the embedder gets it, the mask of padding included."""
    tokens: int
    loss: str
    metric: str
    unit: str
    direction: Direction
    batch_size: int
    epochs: int
    steps: int
    """Optimiser steps of a whole training."""
    paper: str
    """What `--preset paper` would take instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Everything that `data check` tells."""

    spec: OwnData
    survey: Survey
    title: str
    training: Training | None
    """None where there are problems."""
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        seen = self.survey.to_dict()
        for name in ("problems", "warnings", "weight", "zero_targets"):
            del seen[name]
        # A large table has thousands; the range of each is in `inputs`.
        seen["layout"] = {k: v for k, v in seen["layout"].items() if k not in ("mean", "std")}
        return {
            "ok": not self.problems,
            "task": self.spec.name,
            "kind": self.spec.kind,
            "title": self.title,
            **seen,
            "training": None if self.training is None else asdict(self.training),
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }


def check_data(spec: OwnData) -> Check:
    """Look at all data of `spec`; nothing is trained, nothing is downloaded.

    Raises:
        DataError: a file, key or column is missing or damaged, so that there is nothing to look at.
        StorageError: the cache cannot be written.
    """
    cache = default_cache()
    surveyed = survey(spec, cache)
    problems = list(surveyed.survey.problems)
    training, title = None, spec.title
    if not problems:
        try:
            task = build_task(spec, surveyed, cache)
            training, title = _training(spec, task, surveyed.survey), task.title
        except PareTuneError as error:
            problems.append(str(error))
    return Check(
        spec=spec, survey=surveyed.survey, title=title, training=training, problems=tuple(problems),
        warnings=surveyed.survey.warnings,
    )  # fmt: skip


def check_lines(check: Check) -> Iterator[str]:
    """For people, plain text."""
    seen = check.survey
    yield f"{check.spec.name}: {check.title}" if check.title else f"{check.spec.name}: {check.spec.kind}"
    yield from (f"  {line}" for line in data_lines(check.spec, seen))
    yield from (f"warning: {line}" for line in check.warnings)
    yield from (f"problem: {line}" for line in check.problems)
    if check.training is not None:
        yield from _training_lines(check.training)


def data_lines(spec: OwnData, seen: Survey) -> Iterator[str]:
    """What the data are and how they are split, in a few lines."""
    yield f"inputs    {_column(seen.inputs)}"
    yield f"targets   {_column(seen.targets)}, {seen.target.title}"
    yield f"read as   {_layout(seen)}"
    if seen.lengths is not None:
        yield f"lengths   {seen.lengths[0]} to {seen.lengths[1]} steps"
    if seen.counts:
        counts = ", ".join(f"{name} {count:,}" for name, count in seen.counts.items())
        yield f"split     {counts} ({_how(spec, seen)})"
    if seen.class_counts:
        yield from _classes(seen)
    if seen.values:
        yield from _values(seen)
    if seen.constant:
        is_table = seen.layout.modality is Modality.TABLE
        what = "columns" if is_table else "channels"
        names = [seen.columns[i] if is_table and seen.columns else str(i) for i in seen.constant]
        yield f"constant  {what} {', '.join(names[:_CLASSES_SHOWN])}{' …' if len(names) > _CLASSES_SHOWN else ''}"
    yield f"repeated  {_repeated(seen)}"


def _column(column: Column) -> str:
    values = "" if column.low is None or column.high is None else f", {column.low:.4g} to {column.high:.4g}"
    missing = (
        f", {column.nan:,} NaN or infinite" if column.nan else ", no NaN" if "float" in column.dtype else ""
    )
    return f"{column.where}: {column.shape} {column.dtype}{values}{missing}"


def _layout(seen: Survey) -> str:
    layout = seen.layout
    where = "" if layout.channels == "none" else f", {layout.num_channels} channels ({layout.channels})"
    padded = resized = ""
    if layout.length is not None:
        padded = f", padded to {layout.length} steps with a channel that marks the real ones"
    if (square := seen.canvas["embedded"]) is not None:
        resized = f", resized to {square} × {square} ({seen.canvas['paper']} with --preset paper)"
    normal = {
        "channel": f"mean 0 and variance 1 a {'column' if layout.modality is Modality.TABLE else 'channel'}",
        "sample": "mean 0 and variance 1 a sample",
        "none": "values as they are",
    }[layout.normalise]
    fitted = ", fitted on train" if layout.normalise == "channel" else ""
    return f"{layout.modality.value}{where}{padded}{resized}; {normal}{fitted}"


def _how(spec: OwnData, seen: Survey) -> str:
    if spec.input is None:
        return "by files" if spec.val is not None else "by files, val cut from train"
    if spec.split.column is not None:
        return f"by {spec.split.column}"
    if spec.split.time is not None:
        return f"in the order of {spec.split.time}"
    shares = "/".join(f"{100 * f:g}" for f in spec.split.fractions)
    kept = ", classes in proportion" if seen.target.output is Point else ""
    if seen.groups is not None:
        kept = f", {seen.groups} groups whole"
    return f"{shares} %, seed {spec.split.seed}{kept}"


def _classes(seen: Survey) -> Iterator[str]:
    width = max(len(name) for name in seen.class_counts)
    for name, counts in list(seen.class_counts.items())[:_CLASSES_SHOWN]:
        total = sum(counts.values())
        share = 100 * total / seen.samples
        each = ", ".join(f"{split} {count:,}" for split, count in counts.items())
        yield f"  {name:<{width}}  {total:,} ({share:.3g} %): {each}"
    if len(seen.class_counts) > _CLASSES_SHOWN:
        yield f"  and {len(seen.class_counts) - _CLASSES_SHOWN} more"


def _values(seen: Survey) -> Iterator[str]:
    width = max(len(name) for name in seen.values)
    for name, of in list(seen.values.items())[:_CLASSES_SHOWN]:
        yield (
            f"  {name:<{width}}  {of['low']:.4g} to {of['high']:.4g}, mean {of['mean']:.4g}, spread {of['spread']:.4g} "
            f"(the rmse of always saying the mean)"
        )
    if len(seen.values) > _CLASSES_SHOWN:
        yield f"  and {len(seen.values) - _CLASSES_SHOWN} more"


def _repeated(seen: Survey) -> str:
    if not seen.same:
        return "no sample twice"
    if seen.same_across:
        return f"{seen.same:,} samples repeat another; {seen.same_across:,} of val and test one of a split before"
    kept = "; none is in two splits" if seen.counts else ""
    return f"{seen.same:,} samples repeat another{kept}"


def _training(spec: OwnData, task: Task, seen: Survey) -> Training:
    config = default_trial(task, preset="embedded", own=spec)
    backbone = open_backbone(config)
    canvas = seen.canvas["embedded"]
    shape = task.input_shape if canvas is None else (task.input_shape[0], canvas, canvas)
    settings = config.train
    steps = math.ceil(seen.num_train / (settings.batch_size * settings.accumulation)) * settings.epochs
    return Training(
        preset=config.preset, backbone=config.backbone, source=config.source.name, input_shape=shape,
        tokens=count_tokens(config, task.modality, shape, backbone), loss=task.loss,
        metric=task.metric.name, unit=task.metric.unit, direction=task.metric.direction,
        batch_size=settings.batch_size, epochs=settings.epochs, steps=steps, paper=paper_line(task, spec),
    )  # fmt: skip


def paper_line(task: Task, spec: OwnData) -> str:
    """What the paper's preset would take instead of the embedded one."""
    config = default_trial(task, preset="paper", own=spec)
    batch = config.train.group
    return (
        f"{config.backbone}, {config.train.epochs} epochs in batches of {batch}, source {config.source.name} "
        f"(--source-data FOLDER); for GPUs"
    )


def _training_lines(training: Training) -> Iterator[str]:
    size = " × ".join(map(str, training.input_shape))
    yield (
        f"would train {training.backbone} on {training.tokens} tokens a sample (from {size}), source "
        f"{training.source}: {training.epochs} epochs in batches of {training.batch_size}, {training.steps:,} steps; "
        f"loss {training.loss}, metric {said_metric(training.metric, training.unit, training.direction)}"
    )
    yield f"with --preset paper: {training.paper}"
