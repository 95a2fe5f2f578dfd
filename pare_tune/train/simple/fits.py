"""How simple models are fitted: by scikit-learn, with settings that suit few samples and are never searched."""
# Shape suffixes: n = training samples, F = features, K = outputs, T = trees, M = nodes; as in `models`.

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pare_tune.method import PareModel, PointHead, Shares, kernels, num_dilations
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Output, Point, Task
from pare_tune.tasks.load import TaskData
from pare_tune.train.simple.models import Constant, Convolutions, Linear, SimpleModel, Trees

Float64 = npt.NDArray[np.float64]

_NEVER: Final = -30.0
"""Logit of a class that training did not see."""
_MOST_FEATURES: Final = 20_000
"""Of linear models."""
_MOST_OUTPUTS: Final = 100
"""Of boosted trees, which are grown for each."""
_SHARES: Final = 2500
"""About as many features of convolutions."""
MOST_PROBED: Final = 1000
"""Training samples whose features a probe is fitted to."""
_SOME: Final = 64
"""Training series whose outputs thresholds are quantiles of."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a simple model is fitted to."""

    x: Tensor
    """(n, C, …)"""
    y: Tensor
    output: Output
    is_mask: bool
    """Whether values at positions are logits."""
    untrained: Callable[[], PareModel] | None = None
    """The fine-tuned model as it begins; None where nothing reads its features."""

    @property
    def has_logits(self) -> bool:
        """Whether outputs are logits."""
        return isinstance(self.output, Point | MultiLabel) or self.is_mask

    @property
    def targets(self) -> Float64:
        """(n, K): −1 and 1 where outputs are logits, else numbers."""
        if isinstance(self.output, Point):
            one_hot = torch.nn.functional.one_hot(self.y, self.output.num_classes)
            return 2.0 * one_hot.numpy().astype(np.float64) - 1.0
        values: Float64 = self.y.flatten(1).numpy().astype(np.float64)
        return 2.0 * values - 1.0 if self.has_logits else values


def training_of(
    data: TaskData, samples: Mapping[str, Tensor], untrained: Callable[[], PareModel] | None = None
) -> Training:
    """What a simple model is fitted to, of stacked samples of `data`."""
    return Training(samples["x"], samples["y"], data.output, data.task.loss == "bce_with_logits", untrained)


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to fit."""

    title: str
    suits: Callable[[Task, tuple[int, ...]], str | None]
    """(task, input shape) → why it is left out; an empty text where nobody would try it, None where it is fitted."""
    fit: Callable[[Training], SimpleModel | PareModel]


def fit_constant(training: Training) -> SimpleModel:
    """Shares of classes and labels; means of numbers."""
    if isinstance(training.output, Point):
        counts = torch.bincount(training.y, minlength=training.output.num_classes)
        value = (counts / counts.sum()).log().clamp_min(_NEVER)
    else:
        value = training.y.double().mean(0).float()
        if training.has_logits:
            value = torch.logit(value, 1e-6)
    return Constant({"value": value})


def fit_linear(training: Training, **settings: Any) -> SimpleModel:
    """Logistic regression of classes, to which `settings` go, ridge regression of everything else."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x_nF = training.x.flatten(1).numpy().astype(np.float64)
    scaler = StandardScaler().fit(x_nF)
    if not isinstance(training.output, Point):
        return Linear(_ridge(scaler, x_nF, training))
    classes = np.unique(training.y.numpy())
    if len(classes) == 1:
        return fit_constant(training)
    model = LogisticRegression(max_iter=1000, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it has after 1000 steps is as good a model
        model.fit(scaler.transform(x_nF), training.y.numpy())
    weight, bias = model.coef_, model.intercept_
    if len(classes) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    all_weight = np.zeros((training.output.num_classes, x_nF.shape[1]))
    all_bias = np.full(training.output.num_classes, _NEVER)
    all_weight[classes], all_bias[classes] = weight, bias
    return Linear(_unscaled(scaler, all_weight, all_bias))


def fit_trees(training: Training) -> SimpleModel:
    """Histogram gradient boosting, scikit-learn's."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    x_nF, y = training.x.flatten(1).numpy(), training.y.numpy()
    settings: Mapping[str, Any] = {
        "random_state": 0,
        "early_stopping": False,
        "min_samples_leaf": min(20, max(2, len(x_nF) // 20)),  # the usual 20 of 50 samples would make no tree
    }
    grown = _Grown()
    if isinstance(training.output, Point):
        classes = np.unique(y)
        start = np.full(training.output.num_classes, _NEVER)
        start[classes] = 0.0
        if len(classes) == 1:
            return fit_constant(training)
        grown.add(HistGradientBoostingClassifier(**settings).fit(x_nF, y), classes, start)
        return grown.model(start)
    start = np.zeros(y.shape[1])
    for place, y_n in enumerate(y.T):
        if isinstance(training.output, MultiLabel):
            if len(np.unique(y_n)) == 1:
                start[place] = -_NEVER if y_n[0] else _NEVER
                continue
            model = HistGradientBoostingClassifier(**settings).fit(x_nF, y_n)
        else:
            model = HistGradientBoostingRegressor(**settings).fit(x_nF, y_n)
        grown.add(model, np.array([place]), start)
    return grown.model(start)


class _Grown:
    """Trees of scikit-learn, one table of nodes each."""

    def __init__(self) -> None:
        self._nodes: list[npt.NDArray[Any]] = []
        self._outputs: list[int] = []

    def add(self, model: Any, places: npt.NDArray[Any], start: Float64) -> None:
        """Of one model, whose outputs go to `places`; two classes have one output, which speaks for the second."""
        places = places[1:] if len(places) == 2 else places
        start[places] += np.ravel(model._baseline_prediction)
        for round_of_trees in model._predictors:
            for place, tree in zip(places, round_of_trees, strict=True):
                self._nodes.append(tree.nodes)
                self._outputs.append(int(place))

    def model(self, start: Float64) -> SimpleModel:
        if not self._nodes:
            return Constant({"value": torch.from_numpy(start).float()})
        most = max(map(len, self._nodes))

        def table(name: str, kind: type, leaf: float | None) -> Tensor:
            rows: npt.NDArray[Any] = np.zeros((len(self._nodes), most), dtype=kind)
            for row, nodes in zip(rows, self._nodes, strict=True):
                is_leaf = nodes["is_leaf"].astype(bool)
                values: npt.NDArray[Any] = nodes[name].astype(kind)
                row[: len(nodes)] = np.where(is_leaf, np.arange(len(nodes)) if leaf is None else leaf, values)
            return torch.from_numpy(rows)

        value = table("value", np.float64, None)
        for row, nodes in zip(value, self._nodes, strict=True):
            row[: len(nodes)] = torch.from_numpy(np.where(nodes["is_leaf"], nodes["value"], 0.0))
        return Trees(
            {
                "feature_TM": table("feature_idx", np.int64, 0),
                "threshold_TM": table("num_threshold", np.float64, 0),
                "left_TM": table("left", np.int64, None),
                "right_TM": table("right", np.int64, None),
                "value_TM": value,
                "output_T": torch.tensor(self._outputs),
                "start_K": torch.from_numpy(start),
                "depth": torch.tensor(max(int(nodes["depth"].max()) for nodes in self._nodes)),
            }
        )


def fit_convolutions(training: Training) -> SimpleModel:
    """Thresholds are quantiles of what a few training series give."""
    from sklearn.preprocessing import StandardScaler

    n, num_channels, length = training.x.shape
    shares = Shares()
    thresholds = max(1, _SHARES // (len(kernels()) * num_dilations(length)))
    shares.draw(num_channels, length, thresholds)
    some = np.sort(np.random.default_rng(0).choice(n, min(n, _SOME), replace=False))
    quantiles = (torch.arange(thresholds) + 0.5) / thresholds
    shares.set_thresholds(training.x[torch.from_numpy(some)], quantiles.expand(len(kernels()), -1))
    features_nF = torch.cat([shares.shares(part) for part in training.x.split(64)]).numpy()
    x_nF = features_nF.astype(np.float64)
    scaler = StandardScaler().fit(x_nF)
    return Convolutions({**dict(shares.named_buffers()), **_ridge(scaler, x_nF, training)})


def fit_probe(training: Training) -> PareModel:
    """The untrained model with its head, which reads means over tokens, fitted by ridge regression: everything before
    it stays as pretrained."""
    from sklearn.preprocessing import StandardScaler

    assert training.untrained is not None
    model = training.untrained().eval()
    head = model.target_head
    assert isinstance(head, PointHead)
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(training.x))[:MOST_PROBED])
    some = replace(training, x=training.x[rows], y=training.y[rows])
    x_nF = _means_of_tokens(model, some.x)
    fitted = _ridge(StandardScaler().fit(x_nF), x_nF, some)
    with torch.no_grad():
        head.linear.weight.copy_(fitted["weight_KF"])
        head.linear.bias.copy_(fitted["bias_K"])
    return model


@torch.no_grad()
def _means_of_tokens(model: PareModel, x: Tensor) -> Float64:
    """(n, C, …) → (n, F): what a `PointHead` multiplies."""
    device = next(model.parameters()).device
    stages = (model.encoder.stages(model.target_embedder(part.to(device)))[-1] for part in x.split(64))
    means: Float64 = torch.cat([stage.mean(1) for stage in stages]).cpu().double().numpy()
    return means


def _ridge(scaler: Any, x_nF: Float64, training: Training) -> dict[str, Tensor]:
    """Ridge regression whose strength is chosen by leaving one sample out; logits are scaled by what that gives."""
    from sklearn.linear_model import RidgeCV

    # With a scoring the predictions of what was left out are kept, without one their errors alone.
    model = RidgeCV(
        len(x_nF) * np.logspace(-4, 4, 17), scoring="neg_mean_squared_error", store_cv_results=True
    ).fit(scaler.transform(x_nF), training.targets)
    scale = 1.0
    if training.has_logits:
        scale = _sharpness(model.cv_results_[..., list(model.alphas).index(model.alpha_)], training)
    return _unscaled(scaler, scale * np.atleast_2d(model.coef_), scale * np.atleast_1d(model.intercept_))


def _sharpness(left_out_nK: Float64, training: Training) -> float:
    """What outputs about −1 and 1 are multiplied by to be logits: the most likely of what was left out."""
    from scipy.optimize import minimize_scalar

    outputs = torch.from_numpy(left_out_nK)

    def loss(log_scale: float) -> float:
        logits = outputs * math.exp(log_scale)
        if isinstance(training.output, Point):
            return float(torch.nn.functional.cross_entropy(logits, training.y))
        targets = training.y.flatten(1).double()
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, targets))

    return math.exp(minimize_scalar(loss, bounds=(-2.0, 3.0), method="bounded").x)


def _unscaled(scaler: Any, weight_KF: Float64, bias_K: Float64) -> dict[str, Tensor]:
    """The same linear model of features that were not standardised."""
    weight_KF = weight_KF / scaler.scale_
    return {
        "weight_KF": torch.from_numpy(weight_KF),
        "bias_K": torch.from_numpy(bias_K - weight_KF @ scaler.mean_),
    }


def _anything(task: Task, input_shape: tuple[int, ...]) -> str | None:
    return None


def _flat(task: Task, input_shape: tuple[int, ...]) -> str | None:
    features = math.prod(input_shape)
    return None if features <= _MOST_FEATURES else f"{features:,} features a sample are too many for it"


def _tables(task: Task, input_shape: tuple[int, ...]) -> str | None:
    if task.modality is not Modality.TABLE:
        return ""
    match task.output:
        case Point(num_classes=outputs) | MultiLabel(num_labels=outputs) | Numbers(num=outputs):
            pass
        case _:
            return ""
    return None if outputs <= _MOST_OUTPUTS else f"{outputs:,} classes or labels are too many for it"


def _pictures(task: Task, input_shape: tuple[int, ...]) -> str | None:
    return None if task.modality is Modality.GRID_2D and not isinstance(task.output, Dense) else ""


def _series(task: Task, input_shape: tuple[int, ...]) -> str | None:
    if task.modality is not Modality.SEQUENCE_1D:
        return ""
    return None if input_shape[-1] >= 9 else "series of fewer than 9 steps are too short for it"


FITS: Final[Mapping[str, Fit]] = {
    "constant": Fit("constant", _anything, fit_constant),
    "linear": Fit("linear model", _flat, fit_linear),
    "trees": Fit("boosted trees", _tables, fit_trees),
    "convolutions": Fit("random convolutions and ridge", _series, fit_convolutions),
    "probe": Fit("linear probe of the frozen backbone", _pictures, fit_probe),
}
"""Kind → how it is fitted; the order in which they are told of. Dense tasks have the constant alone.

Series have no probe: on those of satellite and ecg it errs about twice as often as random convolutions.
"""
