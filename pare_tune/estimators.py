"""scikit-learn's estimators: what pare-tune trains, in a Pipeline, a GridSearchCV or cross_val_score.

from pare_tune import PareClassifier

cross_val_score(PareClassifier(random_state=0), X, y, cv=5)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, Final, Self, get_args
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from pare_tune.config import TrialConfig, default_trial
from pare_tune.errors import DataError, UnknownName
from pare_tune.method import METHODS
from pare_tune.tasks.base import Numbers, Output, Point, Preset, Task
from pare_tune.tasks.load import default_cache, load_task
from pare_tune.tasks.own.memory import task_in_memory
from pare_tune.tasks.own.predict import prepare
from pare_tune.train.build import pick_device
from pare_tune.train.evaluation import Context
from pare_tune.train.loop import fit
from pare_tune.train.opened import open_trial
from pare_tune.train.predict import outputs_of

_BATCH: Final = 64
_PIECE: Final = 4096
"""Samples that are made model-ready at a time."""
_FRACTIONS: Final = (0.8, 0.15, 0.05)
"""Of the samples of a search; its test split, which it never reads, is as small as can be."""

Float32 = npt.NDArray[np.float32]


class _PareEstimator(BaseEstimator):
    """What both have in common. Abstract."""

    def __init__(
        self,
        *,
        budget: int | str | None = None,
        preset: Preset = "embedded",
        backbone: str | None = None,
        method: str = "pare",
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.budget = budget
        self.preset = preset
        self.backbone = backbone
        self.method = method
        self.settings = settings
        self.random_state = random_state

    def _fit(self, X: Any, targets: Any, output: type[Output], names: list[str]) -> Self:
        for option, value, names_there in (
            ("preset", self.preset, get_args(Preset)),
            ("method", self.method, METHODS),
        ):
            if value not in names_there:
                raise UnknownName(option, str(value), names_there)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        name = f"sklearn-{uuid4().hex}"
        with _as_value_errors(), _generators_kept():
            task = task_in_memory(name, X, targets, output=output, names=names)
            trial = self._trial(task, X, targets, output, seed)
            with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                data = load_task(task, canvas=trial.input.canvas, share=trial.train.share, cache=Path(folder))
                opened = open_trial(trial, data=data)
                model = opened.build()
                context = Context(report=lambda epoch: None, device=pick_device())
                fit(opened, model, context, validate=False)
                self.config_, self._raw = opened.config, dict(task.raw or {})
        self.model_ = model.eval().requires_grad_(requires_grad=False).cpu()
        return self

    def _trial(
        self, task: Task, X: Any, targets: npt.NDArray[Any], output: type[Output], seed: int
    ) -> TrialConfig:
        if self.budget is None:
            trial = default_trial(
                task, preset=self.preset, backbone=self.backbone, method=self.method, seed=seed
            )
            return trial.with_values(self.settings or {})
        best = _searched(self, task.name, X, targets, "point" if output is Point else "regression", seed)
        return best.model_copy(update={"own": None})

    def _outputs(self, X: Any) -> Float32:
        check_is_fitted(self)
        X = _checked(self, X, reset=False)
        model = self.model_.to(pick_device())
        with _as_value_errors():
            samples = prepare(X, self._raw, self.config_.input.canvas)
            starts = range(0, len(samples), _PIECE)
            return np.concatenate(
                [
                    outputs_of(
                        model, samples.piece(range(start, min(start + _PIECE, len(samples)))).x, _BATCH
                    )
                    for start in starts
                ]
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = self.random_state is None
        return tags


class PareClassifier(ClassifierMixin, _PareEstimator):
    """A pretrained transformer that is fine-tuned with PaRe to tell classes.

    X is a table (n, features): an array, or a data frame, whose columns may hold text, categories, dates and gaps; or
    an array of series (n, channels, length) or images (n, channels, height, width). All samples are trained on, for as
    many epochs as the configuration says.

    Example:
        model = make_pipeline(StandardScaler(), PareClassifier(random_state=0))
        cross_val_score(model, X, y)

    Args:
        budget: search for the configuration first, on a part of the samples: trials (20), wall time ("1h") or epochs
            ("300ep"); None trains trial 0.
        preset: "embedded" (small backbone, no download) or "paper".
        backbone: as `--backbone`; None is the preset's.
        method: "pare", "finetune", …
        settings: dotted settings of trial 0, {"train.epochs": 5}.
        random_state: an int for the same model from the same samples.

    Attributes:
        classes_: the labels that `y` had, sorted.
        n_features_in_: columns of a table, channels of series and images.
        config_: the `TrialConfig` that was trained.
        model_: the network.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train. Raises ValueError: what is wrong with X or y; PareTuneError: with a setting."""
        X, y = _checked(self, X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has 1 class, {self.classes_[0]}; PareClassifier needs at least 2")
        return self._fit(X, codes.astype(np.int64), Point, [str(name) for name in self.classes_])

    def predict_proba(self, X: Any) -> Float32:
        """(n, classes): the probability of each class, in the order of `classes_`."""
        return torch.from_numpy(self._outputs(X)).softmax(dim=1).numpy()

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """(n,): the likeliest class of each sample."""
        likeliest = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[likeliest])


class PareRegressor(RegressorMixin, _PareEstimator):
    """A pretrained transformer that is fine-tuned with PaRe to predict a number a sample, or several.

    Args and attributes as `PareClassifier`, without classes; y is (n,) or (n, numbers).
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train. Raises ValueError: what is wrong with X or y; PareTuneError: with a setting."""
        X, y = _checked(self, X, y, multi_output=True, y_numeric=True)
        self._is_1d = y.ndim == 1
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        return self._fit(X, targets, Numbers, [f"y{i}" for i in range(targets.shape[1])])

    def predict(self, X: Any) -> npt.NDArray[np.float64]:
        """(n,) or (n, numbers), as y was."""
        values = self._outputs(X).astype(np.float64)
        return values[:, 0] if self._is_1d else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _checked(
    estimator: _PareEstimator, X: Any, y: Any = "no_validation", *, reset: bool = True, **of_y: Any
) -> Any:
    """X as a float array (n, channels, …) or a data frame, and y as an array where it is given."""
    import pandas as pd

    has_y = not isinstance(y, str)
    if isinstance(X, pd.DataFrame):
        if has_y:
            _, y = validate_data(estimator, np.zeros((len(X), 1)), y, **of_y)
            check_consistent_length(X, y)
        validate_data(estimator, X, skip_check_array=True, reset=reset)
        frame = X.set_axis([str(name) for name in X.columns], axis=1).reset_index(drop=True)
        if len(frame) == 0 or frame.shape[1] == 0:
            raise ValueError(f"X has shape {frame.shape}; at least one sample and one column are needed")
        return (frame, y) if has_y else frame
    given = validate_data(
        estimator, X, y, reset=reset, dtype="numeric", allow_nd=True, ensure_all_finite="allow-nan", **of_y
    )
    X, y = given if has_y else (given, None)
    if X.ndim > 2 and np.isnan(X).any():
        raise ValueError("X holds NaN; series and images have no gaps, fill them first")
    if X.ndim > 4:
        raise ValueError(f"X has {X.ndim} axes; a table has 2, series have 3, images 4")
    if X.ndim == 2:
        X = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    return (X, y) if has_y else X


def _searched(
    estimator: _PareEstimator, name: str, X: Any, targets: npt.NDArray[Any], kind: str, seed: int
) -> TrialConfig:
    """The best configuration of a search, of which no file is left."""
    from pare_tune.api import tune

    with TemporaryDirectory() as place:
        folder = Path(place)
        own: dict[str, Any] = {"own.split.fractions": list(_FRACTIONS)}
        if isinstance(X, np.ndarray):
            inputs = folder / f"{name}.npy"
            np.save(inputs, X)
            own |= {"own.channels": "first", "own.modality": "sequence_1d" if X.ndim == 3 else "grid_2d"}
        else:
            inputs = folder / f"{name}.parquet"
            X.to_parquet(inputs)
        np.save(folder / "targets.npy", targets)
        try:
            result = tune(
                budget=estimator.budget or 1,
                data=inputs,
                target=folder / "targets.npy",
                kind=kind,
                preset=estimator.preset,
                backbone=estimator.backbone,
                method=estimator.method,
                seed=seed,
                runs=folder / "runs",
                settings={**own, **(estimator.settings or {})},
            )
            return result.best_config
        finally:
            for kept in default_cache().glob(f"*/{name}-*"):
                rmtree(kept, ignore_errors=True)


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """What is wrong with samples, as scikit-learn's users expect it."""
    try:
        yield
    except DataError as error:
        raise ValueError(str(error)) from error


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Training seeds the global generators; they go on as if it had not."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
