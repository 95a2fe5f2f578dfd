"""TensorBoard's HParams page: the settings that a search tries, those of each trial, and what came of them.

The page's columns come from one summary of the whole search, written once from its space: without it TensorBoard takes
every scalar for a metric, and a setting that is only asked under a condition is unknown until a trial has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pare_tune.errors import PareTuneError
from pare_tune.report import words
from pare_tune.tune.snapshot import Snapshot, TrialView

EPOCHS, SECONDS = "cost/epochs", "cost/seconds"
"""What a trial took, beside `best_tag`."""

_FIRST = frozenset({"k.kind", "k.start", "optimizer.lr", "source.name", "state"})
"""The page shows five columns until told otherwise, and begins with those that say that their values differ."""


def best_tag(metric: str) -> str:
    """The scalar that compares trials: each one's best score, and over them the search's."""
    return f"best/{metric}"


@dataclass(frozen=True, slots=True)
class Column:
    """One setting."""

    name: str
    choices: tuple[float, ...] | tuple[str, ...] | None
    """What it can be; None for numbers of a range."""

    def shown(self, value: Any) -> float | str | None:
        """A trial's value as this column has it; None where it has none."""
        if self.choices and isinstance(self.choices[0], str):
            return words.setting(value)
        return float(value) if _is_number(value) else None


def columns_of(run: Path) -> tuple[Column, ...] | None:
    """The settings of a run's space, with what trial 0 has where that lies outside; None if they cannot be read."""
    from pare_tune.config import load_run
    from pare_tune.tune.space import Space

    try:
        space, base = Space.load(run / "space.yaml"), load_run(run / "run.yaml").trial
        return tuple(
            Column(p.key, _choices([*p.extremes, base.value_of(p.key)]) if p.kind == "choice" else None)
            for p in space.parameters
        )
    except (PareTuneError, OSError):
        return None


def experiment(columns: Sequence[Column], snapshot: Snapshot) -> Any:
    """The summary that defines the page, as a protobuf `Summary`."""
    from tensorboard.plugins.hparams import api_pb2, metadata

    unit = "" if snapshot.unit in ("", "1") else f", {snapshot.unit}"
    metrics = {
        best_tag(snapshot.metric): f"best {snapshot.metric}{unit}",
        EPOCHS: "epochs",
        SECONDS: "seconds",
    }
    own = (Column("state", ("complete", "failed", "pruned")), Column("repeats", None))
    page = api_pb2.Experiment(
        hparam_infos=[_info(column) for column in (*columns, *own)],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name)
            for tag, name in metrics.items()
        ],
    )
    return _summary(metadata.EXPERIMENT_TAG, experiment=page)


def session(columns: Sequence[Column] | None, trial: TrialView) -> tuple[Any, Any]:
    """A trial's row: the protobuf `Summary` that begins it and the one that ends it."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    begin = plugin_data_pb2.SessionStartInfo()
    for name, value in row(columns, trial).items():
        if isinstance(value, str):
            begin.hparams[name].string_value = value
        else:
            begin.hparams[name].number_value = value
    status = api_pb2.STATUS_FAILURE if trial.state == "failed" else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status)
    return (
        _summary(metadata.SESSION_START_INFO_TAG, session_start_info=begin),
        _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    )


def row(columns: Sequence[Column] | None, trial: TrialView) -> dict[str, float | str]:
    """Settings that apply to `trial`, how it ended, and the trial that it repeats with a fresh seed.

    Without `columns` every value is shown as it is.
    """
    shown: Mapping[str, float | str | None]
    if columns is None:
        shown = {k: v if _is_number(v) else words.setting(v) for k, v in trial.params.items()}
    else:
        by_name = {c.name: c for c in columns}
        shown = {k: by_name[k].shown(v) for k, v in trial.params.items() if k in by_name}
    settings = {**shown, "state": trial.state, "repeats": trial.repeats}
    return {k: v for k, v in settings.items() if v is not None}


def results(trial: TrialView, metric: str) -> dict[str, float]:
    """Scalars of a trial that has ended; no score of one that failed."""
    scalars: dict[str, float] = {EPOCHS: trial.epoch, SECONDS: trial.seconds} if trial.epoch else {}
    if trial.best_score is not None and math.isfinite(trial.best_score) and trial.state != "failed":
        scalars[best_tag(metric)] = trial.best_score
    return scalars


def _summary(tag: str, **content: Any) -> Any:
    # `tensorboard.plugins.hparams.summary` does the same and wants TensorFlow.
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _info(column: Column) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    info = api_pb2.HParamInfo(name=column.name, differs=column.name in _FIRST)
    is_word = column.choices is not None and isinstance(column.choices[0], str)
    info.type = api_pb2.DATA_TYPE_STRING if is_word else api_pb2.DATA_TYPE_FLOAT64
    if column.choices is not None:
        info.domain_discrete.extend(column.choices)
    return info


def _choices(values: Sequence[Any]) -> tuple[float, ...] | tuple[str, ...]:
    """Numbers if all are: the page filters a column by values of one type."""
    if all(_is_number(v) for v in values):
        return tuple(sorted({float(v) for v in values}))
    return tuple(dict.fromkeys(map(words.setting, values)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
