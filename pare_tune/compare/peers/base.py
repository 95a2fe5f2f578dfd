"""What a peer is: another system, fitted to the same samples and scored by the same metric.

A peer is a value as a task is: what it is called, which tasks it suits, what may be tried, and how it is fitted. It
gives raw outputs as our own models do (logits, or values at positions), so that the task's metric scores both alike.
"""
# Shape suffixes: N = samples, K = classes, L = labels.

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pare_tune.errors import ConfigError, TrialFailed
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Point, Task

if TYPE_CHECKING:
    import optuna
    import torch
    from torch import Tensor

    from pare_tune.tasks.load import TaskData, TaskDataset

Array = npt.NDArray[Any]
Settings = Mapping[str, Any]

_TINY = 1e-30
"""Probability of what a classifier rules out: a logit must be finite."""


class Examples:
    """One split, sample by sample or as whole arrays."""

    def __init__(self, dataset: TaskDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def item(self, index: int, rng: np.random.Generator | None = None) -> dict[str, Tensor]:
        """Sample `index`; `rng` augments it as in our own trainings, None is the deterministic one."""
        return self._dataset.item(index, rng)

    @property
    def x(self) -> Array:
        """(N, C, ...) float32.

        Raises:
            TrialFailed: they do not fit into memory.
        """
        return self._whole[0]

    @property
    def y(self) -> Array:
        """(N,) classes, (N, L) labels or (N, ...) values."""
        target: Array = self._whole[1]["y"].numpy()
        return target

    @property
    def targets(self) -> dict[str, Tensor]:
        """All that the metric needs, each (N, ...)."""
        return self._whole[1]

    @cached_property
    def _whole(self) -> tuple[Array, dict[str, Tensor]]:
        import psutil
        import torch

        first = self.item(0)
        needed = len(self) * sum(t.numel() * t.element_size() for t in first.values())
        free = psutil.virtual_memory().available
        if needed > free / 2:
            raise TrialFailed(
                f"{len(self)} samples need {needed / 1e9:.1f} GB as whole arrays, {free / 1e9:.1f} GB are free; "
                f"leave this method out, or take a machine with more memory",
                cause="out_of_memory",
            )
        items = [first, *(self.item(i) for i in range(1, len(self)))]
        whole = {name: torch.stack([item[name] for item in items]) for name in first}
        x: Array = whole.pop("x").numpy()
        return x, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a peer is fitted to: the splits that our own trials see, and no other."""

    data: TaskData
    train: Examples
    val: Examples
    epochs: int
    """Of networks: as long as our own trainings."""
    batch_size: int
    """Of networks."""
    device: torch.device

    @property
    def training_y(self) -> Array:
        """`train.y`, as our own trainings see it."""
        change = self.data.task.training_target
        return self.train.y if change is None else change(self.train.y)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Shape of a sample without its channels."""
        return self.data.input_shape[1:]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A peer after its training."""

    predict: Callable[[Array], Array]
    """(N, C, ...) float32 → raw outputs (N, ...)."""
    epochs: int | None = None
    """Passes over the training split; None where there is no such thing."""


def _no_choices(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One adapter."""

    name: str
    module: str
    """What must be importable."""
    suits: Callable[[Task], str | None]
    """Why it cannot learn a task, as the end of a sentence; None if it can."""
    fit: Callable[[Problem, Settings, int], Fitted] = field(repr=False)
    """(problem, what departs from the library's defaults, seed) → the fitted peer."""
    suggest: Callable[[optuna.trial.BaseTrial, Problem], dict[str, Any]] = field(
        default=_no_choices, repr=False
    )
    """Asks for settings; {} where there is nothing to choose. Trial 0 is always the library's defaults."""

    @property
    def has_choices(self) -> bool:
        """Whether more than one trial makes sense."""
        return self.suggest is not _no_choices

    def require_ready(self) -> None:
        """Find out before anything runs.

        Raises:
            ConfigError: its library is not installed.
        """
        if importlib.util.find_spec(self.module) is None:
            raise ConfigError(
                f"method {self.name!r} needs the library {self.module}, which is not installed; pip install "
                f"'pare-tune[baselines]', or leave it out of --methods"
            )


def tables_of_classes(task: Task) -> str | None:
    """Rows with one class each."""
    if task.modality is not Modality.TABLE:
        return f"learns tables, {task.name} is of modality {task.modality.value}"
    return None if isinstance(task.output, Point) else _one_class(task)


def series_of_classes(task: Task) -> str | None:
    """Series with classes, labels or numbers each."""
    if task.modality is not Modality.SEQUENCE_1D:
        return f"learns one output a series, {task.name} is of modality {task.modality.value}"
    return None


def fields(task: Task) -> str | None:
    """A value at every position of the input's own grid."""
    if not isinstance(task.output, Dense):
        return f"predicts a value at every position, {task.name} has {_said(task)}"
    return None


def anything(task: Task) -> str | None:
    """Every task."""
    return None


def field_channels(problem: Problem) -> int:
    """Output channels of a network that keeps the input's grid.

    Raises:
        TrialFailed: the output lies on another grid.
    """
    output = problem.data.output
    assert isinstance(output, Dense)
    points = math.prod(problem.spatial)
    channels, rest = divmod(math.prod(output.shape), points)
    same_grid = output.shape == problem.spatial
    # Several channels one after the other is how our series tasks lay them out; a user's own may mean anything.
    stacked = channels > 1 and len(problem.spatial) == 1 and problem.data.task.raw is None
    if rest or not (same_grid or stacked):
        raise TrialFailed(
            f"the output {output.shape} does not lie on the input's grid {problem.spatial}", cause="invalid"
        )
    return channels


def flat(x: Array) -> Array:
    """(N, C, ...) → (N, features)."""
    return x.reshape(len(x), -1)


def varying(x: Array) -> npt.NDArray[np.bool_]:
    """Which features differ between samples (N, features)."""
    differs: npt.NDArray[np.bool_] = (x != x[:1]).any(axis=0)
    return differs if differs.any() else np.ones_like(differs)


def logits_of(probabilities: Array, classes: Array, num_classes: int) -> npt.NDArray[np.float32]:
    """Log-probabilities (N, num_classes) of a classifier that knows only `classes`, its columns."""
    all_classes = np.full((len(probabilities), num_classes), _TINY)
    all_classes[:, classes] = np.maximum(np.asarray(probabilities, dtype=np.float64), _TINY)
    logits: npt.NDArray[np.float32] = np.log(all_classes).astype(np.float32)
    return logits


def fit_classes(
    build: Callable[[], Any], problem: Problem, fit: Callable[[Any, Array, Array], object] | None = None
) -> Fitted:
    """Fit a classifier of scikit-learn's interface to rows: it is given the features that vary, classes from 0 up.

    Encodings are those of the task's own samples: numbers standardised, categories as one channel each.

    Args:
        fit: (classifier, x, y) → fits it, where that takes more than `fit(x, y)`.
    """
    output = problem.data.output
    assert isinstance(output, Point)
    x = flat(problem.train.x)
    kept = varying(x)
    classes, y = np.unique(problem.train.y, return_inverse=True)
    if len(classes) == 1:
        certain = logits_of(np.ones((1, 1)), classes, output.num_classes)
        return Fitted(lambda samples: np.repeat(certain, len(samples), axis=0))
    model = build()
    (fit or (lambda m, a, b: m.fit(a, b)))(model, x[:, kept], y)
    return Fitted(
        lambda samples: logits_of(model.predict_proba(flat(samples)[:, kept]), classes, output.num_classes)
    )


def one_hot(y: Array, num_classes: int) -> npt.NDArray[np.float32]:
    """Classes (N,) → (N, num_classes) of -1 and 1."""
    return np.where(np.arange(num_classes) == y[:, None], 1.0, -1.0).astype(np.float32)


def is_mask(task: Task) -> bool:
    """Whether a dense task's outputs are logits."""
    return task.loss == "bce_with_logits"


def _one_class(task: Task) -> str:
    return f"learns one class a sample, {task.name} has {_said(task)}"


def _said(task: Task) -> str:
    match task.output:
        case Point():
            return "one class a sample"
        case MultiLabel():
            return "several labels a sample"
        case Numbers():
            return "numbers to predict"
        case Dense():
            return "a value at every position"
