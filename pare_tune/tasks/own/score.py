"""A score by name: one of `tasks.metrics`, or any scalar metric of torchmetrics over the whole split."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

from pare_tune.errors import ConfigError, UnknownName
from pare_tune.tasks.base import Batch, Dense, Metric, MultiLabel, Numbers, Output, Point
from pare_tune.tasks.metrics import METRICS
from pare_tune.tasks.own.spec import MetricSpec
from pare_tune.tasks.own.target import IGNORE, Target

if TYPE_CHECKING:
    from torch import Tensor

PREFIX: Final = "torchmetrics:"

_OF_MASKS: Final = ("jaccard_error",)
_FITTING: Final[Mapping[type[Output], tuple[str, ...]]] = {
    Point: ("error_rate", "macro_f1_error", "auroc_error"),
    MultiLabel: ("multilabel_auroc_error", "multilabel_map_error"),
    Numbers: ("rmse", "scaled_rmse"),
    Dense: ("rmse", "nrmse", "relative_l2"),
}
"""The default first. nrmse and relative_l2 divide each sample's error by the size of its own target, which says little
of single numbers, whose zero is often arbitrary; scaled_rmse divides by the spread of all."""

_MODULES: Final = ("torchmetrics", "torchmetrics.classification", "torchmetrics.regression")
_TRIED: Final = 4
_CHUNK: Final = 1 << 22
"""Values a torchmetrics update."""


def jaccard_error(prediction: Tensor, batch: Batch) -> float:
    """1 − |A ∩ B| / |A ∪ B| of predicted and true foreground over all positions of the split, padding left out.

    Foreground is where a logit is above 0. NaN where neither has any, or a prediction is not finite.
    """
    import torch

    predicted, truth = prediction > 0, batch["y"].to(prediction.device) > 0.5
    if IGNORE in batch:
        keep = batch[IGNORE].to(prediction.device) == 0
        predicted, truth = predicted & keep, truth & keep
    union = int((predicted | truth).sum())
    if union == 0 or not bool(torch.isfinite(prediction).all()):
        return math.nan
    return 1.0 - int((predicted & truth).sum()) / union


JACCARD_ERROR: Final = Metric(
    name="jaccard_error", direction="min", unit="1",
    citation="Jaccard 1912, https://doi.org/10.1111/j.1469-8137.1912.tb05611.x", score=jaccard_error,
)  # fmt: skip


@dataclass(frozen=True)
class _ValueRmse:
    """√mean((ŷ − y)²) of each of the values over the split, in units of its `spread`; the mean over the values.

    This is not `metrics.rmse`, which takes the root sample by sample: of one number that is the mean absolute error.
    """

    spread: tuple[float, ...]

    def __call__(self, prediction: Tensor, batch: Batch) -> float:
        import torch

        truth = batch["y"].to(prediction.device)
        if prediction.shape != truth.shape:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and y {tuple(truth.shape)} must have one shape"
            )
        if not bool(torch.isfinite(prediction).all()):
            return math.nan
        rmse = (prediction.double() - truth.double()).square().mean(dim=0).sqrt()
        return float((rmse / rmse.new_tensor(self.spread)).mean())


def _of_values(spec: MetricSpec, target: Target) -> Metric:
    """rmse in the unit of the values, or in units of their spread over the training samples: 1 is what the mean scores.

    Several values are of several units, so that a mean of their rmse would be that of the largest; scaled_rmse is their
    default.
    """
    if spec.name == "scaled_rmse":
        unit, spread = "spreads of y", target.spread or (1.0,) * len(target.names)
    else:
        unit, spread = "unit of y" if spec.unit == "1" else spec.unit, (1.0,) * len(target.names)
    return Metric(
        name=spec.name, direction="min", unit=unit, citation="Hyndman & Koehler 2006, "
        "https://doi.org/10.1016/j.ijforecast.2006.03.001", score=_ValueRmse(spread),
    )  # fmt: skip


def find_metric(spec: MetricSpec | None, target: Target, *, fewest: int = _TRIED) -> Metric:
    """The metric that a task file names, or the kind's default.

    Args:
        fewest: samples of the smallest split that is scored.

    Raises:
        UnknownName: there is none of that name.
        ConfigError: it does not fit the targets, lacks a direction, has no such option, or gives no single number.
    """
    fitting = _FITTING[target.output] if target.levels is None else _OF_MASKS
    several = target.output is Numbers and len(target.names) > 1
    spec = spec or MetricSpec(name=fitting[1 if several else 0])
    if spec.name.startswith(PREFIX):
        return _from_torchmetrics(spec, target, fewest)
    ours = {**METRICS, JACCARD_ERROR.name: JACCARD_ERROR}
    if spec.name not in (*ours, *fitting):
        raise UnknownName("metric", spec.name, [*ours, *fitting, f"{PREFIX}ClassName"])
    if spec.name not in fitting:
        raise ConfigError(
            f"metric {spec.name} does not score {target.word}; those that do: "
            f"{', '.join((*fitting, f'{PREFIX}ClassName'))}"
        )
    metric = _of_values(spec, target) if target.output is Numbers else ours[spec.name]
    if spec.options or spec.direction is not None:
        raise ConfigError(f"metric {spec.name} has no options and its own direction ({metric.direction})")
    if target.output is not Dense or target.levels is not None:
        return metric
    return Metric(
        name=metric.name, direction=metric.direction, unit=metric.unit, citation=metric.citation,
        score=_EachSample(metric.name),
    )  # fmt: skip


@dataclass(frozen=True)
class _EachSample:
    """A metric that is a mean over samples, with each sample's padding left out."""

    name: str

    def __call__(self, prediction: Tensor, batch: Batch) -> float:
        score = METRICS[self.name].score
        if IGNORE not in batch:
            return score(prediction, batch)
        real = batch[IGNORE] == 0
        scores = [
            score(p[keep][None], {"y": y[keep][None]})
            for p, y, keep in zip(prediction, batch["y"], real, strict=True)
        ]
        return math.fsum(scores) / len(scores)


@dataclass(frozen=True)
class _TorchMetric:
    """A torchmetrics class over probabilities (of classes, labels or masks) or values, padding left out."""

    name: str
    options: tuple[tuple[str, Any], ...]
    output: type[Output]
    is_mask: bool
    binary: bool
    """Two classes, scored by the probability of the second."""

    def __call__(self, prediction: Tensor, batch: Batch) -> float:
        import torch

        if not bool(torch.isfinite(prediction).all()):
            return math.nan
        values, truth = self._pairs(prediction.float(), batch)
        step = max(1, _CHUNK // max(1, values[0].numel()))
        with warnings.catch_warnings():
            # Of classes that do not occur: the number says it. Of memory that a metric takes: it is the split's.
            warnings.simplefilter("ignore")
            metric = _find_class(self.name)(**dict(self.options))
            for start in range(0, len(values), step):
                metric.update(values[start : start + step], truth[start : start + step])
            score = metric.compute()
        if self.output is Numbers and isinstance(score, torch.Tensor) and score.shape == truth.shape[1:]:
            score = score.mean()  # one score a value: all count alike
        if not isinstance(score, torch.Tensor) or score.numel() != 1:
            raise ConfigError(
                f"metric {PREFIX}{self.name} gives several numbers, a search needs one (option average: macro?)"
            )
        return float(score)

    def _pairs(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        truth = batch["y"].to(prediction.device)
        if self.output is Point:
            probabilities = prediction.softmax(dim=-1)
            return (probabilities[:, 1] if self.binary else probabilities), truth
        if self.output is MultiLabel:
            return prediction.sigmoid(), truth.long()
        if self.output is Numbers:
            return (prediction[:, 0], truth[:, 0]) if truth.shape[1] == 1 else (prediction, truth)
        keep = batch[IGNORE].to(prediction.device) == 0 if IGNORE in batch else slice(None)
        values, truth = prediction[keep].flatten(), truth[keep].flatten()
        return (values.sigmoid(), truth.long()) if self.is_mask else (values, truth)


def _from_torchmetrics(spec: MetricSpec, target: Target, fewest: int) -> Metric:
    name = spec.name.removeprefix(PREFIX)
    kind = _find_class(name)
    options = {**_implied(kind, name, target), **spec.options}
    binary = target.output is Point and (name.startswith("Binary") or options.get("task") == "binary")
    if binary and len(target.names) != 2:
        raise ConfigError(f"metric {spec.name} scores two classes, the targets have {len(target.names)}")
    score = _TorchMetric(
        name, tuple(sorted(options.items())), target.output, target.levels is not None, binary
    )
    direction = spec.direction or _direction(kind, options, spec.name)
    _try(score, target, spec.name, fewest)
    return Metric(
        name=name, direction=direction, unit=spec.unit, citation=f"torchmetrics.{name}", score=score
    )


def _find_class(name: str) -> Any:
    import torchmetrics

    for module in _MODULES:
        candidate = getattr(import_module(module), name, None)
        if inspect.isclass(candidate) and issubclass(candidate, torchmetrics.Metric):
            return candidate
    classes = [n for module in _MODULES for n in import_module(module).__all__ if n[:1].isupper()]
    raise UnknownName("torchmetrics class", name, classes)


def _implied(kind: Any, name: str, target: Target) -> dict[str, Any]:
    """Options that follow from the targets."""
    takes = inspect.signature(kind).parameters
    implied: dict[str, Any] = {}
    many = {Point: "num_classes", MultiLabel: "num_labels", Numbers: "num_outputs"}.get(target.output, "")
    task = {Point: "multiclass", MultiLabel: "multilabel"}.get(target.output)
    if target.levels is not None:
        task = "binary"
    if "task" in takes and task is not None:
        implied["task"] = task
    if many in takes and not (target.output is Point and name.startswith("Binary")):
        implied[many] = len(target.names)
    return implied


def _direction(kind: Any, options: Mapping[str, Any], name: str) -> Literal["min", "max"]:
    higher = kind.higher_is_better
    if higher is None:
        try:
            higher = kind(**options).higher_is_better
        except (TypeError, ValueError):
            higher = None
    if higher is None:
        raise ConfigError(
            f"metric {name} does not say whether higher is better: add direction: min or direction: max"
        )
    return "max" if higher else "min"


def _try(score: _TorchMetric, target: Target, name: str, fewest: int) -> None:
    """Score a few made-up samples, so that an option or kind that does not fit is found before anything trains."""
    import torch

    many = len(target.names)
    ramp = torch.linspace(-1.0, 1.0, 4)
    if target.output is Point:
        prediction, y = ramp[:, None] * torch.arange(many), torch.arange(4) % many
    elif target.output is MultiLabel:
        prediction = ramp[:, None].expand(4, many).contiguous()
        y = (torch.arange(4)[:, None] % 2).expand(4, many).float()
    elif target.output is Numbers:
        prediction = (ramp + 2.0)[:fewest, None].expand(-1, many).contiguous()
        y = 1.0 + (torch.arange(4.0)[:fewest, None] % 2).expand(-1, many)
    else:
        prediction, y = ramp.expand(4, 4).contiguous(), (torch.arange(16) % 2).reshape(4, 4).float()
    try:
        tried = score(prediction, {"y": y})
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"metric {name} does not score {target.word} with these options: {error}"
        ) from error
    if target.output is Numbers and math.isnan(tried):
        raise ConfigError(f"metric {name} gives no number for {len(y)} samples, as many as val or test has")
