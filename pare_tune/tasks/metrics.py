"""The benchmarks' scores, each computed once over a whole split. (Published code averages chunks.)

Every score is smaller-is-better and takes raw model outputs: logits, or values at positions. A prediction
that is not finite has no score: NaN comes back, and a search treats it as the bad outcome it is.
"""
# Shape suffixes: B = samples of the split, K = classes, L = labels, P = positions of a dense output.

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pare_tune.tasks.base import Batch, Metric

if TYPE_CHECKING:
    from torch import Tensor

Float64 = npt.NDArray[np.float64]
Score: TypeAlias = "Callable[[Tensor, Batch], float]"

NAS_BENCH_360 = "NAS-Bench-360, Tu et al. 2022, https://arxiv.org/abs/2110.05668"
PDE_BENCH = "PDEBench, Takamoto et al. 2022, https://arxiv.org/abs/2210.07182"
TAB_PFN = "TabPFN, Hollmann et al. 2023, https://arxiv.org/abs/2207.01848"


def _nan_unless_finite(score: Score) -> Score:
    """A diverged model must cost its trial a bad score, never the study an exception."""

    @wraps(score)
    def guarded(prediction: Tensor, batch: Batch) -> float:
        import torch

        return score(prediction, batch) if bool(torch.isfinite(prediction).all()) else float("nan")

    return guarded


@_nan_unless_finite
def error_rate(prediction: Tensor, batch: Batch) -> float:
    """100 · (1 − top-1 accuracy) of logits (B, K) against y (B,)."""
    wrong_B = prediction.argmax(dim=-1) != batch["y"].to(prediction.device)
    return 100.0 * float(wrong_B.double().mean())


@_nan_unless_finite
def macro_f1_error(prediction: Tensor, batch: Batch) -> float:
    """1 − mean F1 over the classes that occur in y (B,) or among the predictions of logits (B, K)."""
    from sklearn.metrics import f1_score

    predicted_B, true_B = _numpy(prediction.argmax(dim=-1)), _numpy(batch["y"])
    return 1.0 - float(f1_score(true_B, predicted_B, average="macro", zero_division=0.0))


@_nan_unless_finite
def auroc_error(prediction: Tensor, batch: Batch) -> float:
    """1 − AUROC of logits (B, K) against y (B,): of class 1 for K = 2, else the mean over pairs of classes.

    Pairs (one-vs-one, macro) are Hand and Till's M (2001), as scikit-learn computes it, over the classes that
    occur. NaN when only one class occurs.
    """
    # Log-probabilities order samples as probabilities do, and do not saturate to ties at 1.0.
    scores_BK = _numpy(prediction.double().log_softmax(dim=-1))
    y_B = _numpy(batch["y"])
    if scores_BK.shape[-1] == 2:
        return 1.0 - _auroc(y_B == 1, scores_BK[:, 1] - scores_BK[:, 0])
    pairs = [_pair_auroc(scores_BK, y_B, a, b) for a, b in itertools.combinations(np.unique(y_B).tolist(), 2)]
    return 1.0 - float(np.mean(pairs)) if pairs else float("nan")


@_nan_unless_finite
def multilabel_auroc_error(prediction: Tensor, batch: Batch) -> float:
    """1 − mean AUROC over the labels of logits (B, L), y (B, L) in {0, 1}; constant labels do not count."""
    scores_BL, y_BL = _numpy(prediction.double()), _numpy(batch["y"]) > 0.5
    scored = [_auroc(y_BL[:, i], scores_BL[:, i]) for i in np.flatnonzero(y_BL.any(0) & ~y_BL.all(0))]
    return 1.0 - float(np.mean(scored)) if scored else float("nan")


@_nan_unless_finite
def multilabel_map_error(prediction: Tensor, batch: Batch) -> float:
    """1 − mean average precision over the labels of logits (B, L), y (B, L) in {0, 1}, that occur at all."""
    from sklearn.metrics import average_precision_score

    scores_BL, y_BL = _numpy(prediction.double()), _numpy(batch["y"]) > 0.5
    scored = [average_precision_score(y_BL[:, i], scores_BL[:, i]) for i in np.flatnonzero(y_BL.any(0))]
    return 1.0 - float(np.mean(scored)) if scored else float("nan")


@_nan_unless_finite
def clip_map_error(prediction: Tensor, batch: Batch) -> float:
    """`multilabel_map_error` of clips: the logits of a clip are the mean over its chunks.

    Args:
        prediction: (B, L) logits of chunks.
        batch: clip (B,) int64, the clip that a chunk is cut from; y (B, L), the same for all chunks of a clip.
    """
    import torch

    clip = batch["clip"].to(prediction.device)
    clips, clip_B, chunks = torch.unique(clip, return_inverse=True, return_counts=True)
    logits = prediction.new_zeros((len(clips), prediction.shape[1]), dtype=torch.float64)
    logits.index_add_(0, clip_B, prediction.double())
    y = batch["y"].new_zeros((len(clips), batch["y"].shape[1]))
    y[clip_B.to(y.device)] = batch["y"]
    return multilabel_map_error(logits / chunks[:, None], {"y": y})


@_nan_unless_finite
def pixel_auroc_error(prediction: Tensor, batch: Batch) -> float:
    """1 − AUROC over all pixels of the split, of logits (B, ...) against y (B, ...) in {0, 1}.

    Args:
        batch: y, and where pixels must not count `ignore` (B, ...), 1 there. (NAS-Bench-360 counts them as rightly
            negative, and scores logits cut at 0: that is `balanced_error`.)
    """
    return 1.0 - _auroc(*_kept_pixels(prediction, batch))


@_nan_unless_finite
def balanced_error(prediction: Tensor, batch: Batch) -> float:
    """1 − mean of the rates of true positives and true negatives, over pixels as `pixel_auroc_error`, cut at 0.

    NaN when all pixels are of one class.
    """
    positive_P, score_P = _kept_pixels(prediction, batch)
    if positive_P.all() or not positive_P.any():
        return float("nan")
    hits, rejections = (score_P[positive_P] > 0).mean(), (score_P[~positive_P] <= 0).mean()
    return 1.0 - float(hits + rejections) / 2


@_nan_unless_finite
def nrmse(prediction: Tensor, batch: Batch) -> float:
    """Mean over samples of √mean((ŷ − y)²) / √mean(y²), for predictions and y (B, ...)."""
    rmse_B, scale_B = _rms_errors(prediction, batch)
    return float((rmse_B / scale_B).mean())


@_nan_unless_finite
def relative_l2(prediction: Tensor, batch: Batch) -> float:
    """Mean over samples of ‖ŷ − y‖₂ / ‖y‖₂: `nrmse` under the name the neural-operator benchmarks use."""
    return nrmse(prediction, batch)


@_nan_unless_finite
def rmse(prediction: Tensor, batch: Batch) -> float:
    """Mean over samples of √mean((ŷ − y)²), for predictions and y (B, ...), in the unit of y."""
    return float(_rms_errors(prediction, batch)[0].mean())


def _rms_errors(prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(root mean square error, root mean square target), each (B,) float64."""
    target = batch["y"].to(prediction.device)
    if prediction.shape != target.shape:
        # Broadcasting (B, 1, L) against (B, L) would score B² wrong pairs without a word.
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and y {tuple(target.shape)} must have one shape"
        )
    error_BP = (prediction.double() - target.double()).flatten(1)
    return error_BP.square().mean(dim=1).sqrt(), target.double().flatten(1).square().mean(dim=1).sqrt()


def _kept_pixels(prediction: Tensor, batch: Batch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """(is positive, logit) of each pixel that counts, (P,)."""
    if prediction.shape != batch["y"].shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and y {tuple(batch['y'].shape)} must have one shape"
        )
    positive_P, score_P = _numpy(batch["y"]).ravel() > 0.5, _numpy(prediction.float()).ravel()
    if "ignore" not in batch:
        return positive_P, score_P
    kept_P = _numpy(batch["ignore"]).ravel() == 0
    return positive_P[kept_P], score_P[kept_P]


def _pair_auroc(scores_BK: Float64, y_B: npt.NDArray[np.int64], a: int, b: int) -> float:
    in_pair_B = (y_B == a) | (y_B == b)
    of_a = _auroc(y_B[in_pair_B] == a, scores_BK[in_pair_B, a])
    of_b = _auroc(y_B[in_pair_B] == b, scores_BK[in_pair_B, b])
    return (of_a + of_b) / 2


def _auroc(positive_B: npt.NDArray[np.bool_], score_B: npt.NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    if positive_B.all() or not positive_B.any():
        return float("nan")
    return float(roc_auc_score(positive_B, score_B))


def _numpy(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy()


METRICS: dict[str, Metric] = {}
"""What a user's own task can name."""


def _metric(score: Score, citation: str, unit: str = "1") -> Metric:
    metric = Metric(name=score.__name__, direction="min", unit=unit, citation=citation, score=score)
    return METRICS.setdefault(metric.name, metric)


ERROR_RATE = _metric(error_rate, NAS_BENCH_360, "%")
MACRO_F1_ERROR = _metric(macro_f1_error, NAS_BENCH_360)
AUROC_ERROR = _metric(auroc_error, TAB_PFN)
MULTILABEL_AUROC_ERROR = _metric(multilabel_auroc_error, NAS_BENCH_360)
MULTILABEL_MAP_ERROR = _metric(multilabel_map_error, NAS_BENCH_360)
CLIP_MAP_ERROR = _metric(clip_map_error, NAS_BENCH_360)
PIXEL_AUROC_ERROR = _metric(pixel_auroc_error, NAS_BENCH_360)
BALANCED_ERROR = _metric(balanced_error, NAS_BENCH_360)
NRMSE = _metric(nrmse, PDE_BENCH)
RELATIVE_L2 = _metric(relative_l2, NAS_BENCH_360)
RMSE = _metric(rmse, PDE_BENCH, "unit of y")
