from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pare_tune.tasks.metrics import METRICS
from pare_tune.train.judge import blocks, influences, is_kept


def test_influences_of_a_mean_are_the_blocks_own_means() -> None:
    rng = np.random.default_rng(0)
    outputs = torch.from_numpy(rng.normal(size=(60, 3)))
    y = torch.from_numpy(rng.integers(0, 3, 60))
    wrong = 100.0 * (outputs.argmax(dim=1) != y).double().numpy()
    block_n = blocks(np.arange(60), 20)
    told = influences(METRICS["error_rate"].score, outputs, {"y": y}, block_n)
    np.testing.assert_allclose(told, [wrong[block_n == g].mean() for g in range(20)], atol=1e-9)
    assert told.mean() == pytest.approx(wrong.mean())


def root_mean_square(outputs: torch.Tensor, batch: object) -> float:
    return float(outputs.square().mean().sqrt())


def test_influences_know_the_error_of_a_score_that_is_no_mean() -> None:
    rng = np.random.default_rng(1)
    scores, errors = [], []
    for _ in range(300):
        outputs = torch.from_numpy(rng.normal(size=100))
        told = influences(root_mean_square, outputs, {}, blocks(np.arange(100), 20))
        scores.append(root_mean_square(outputs, {}))
        errors.append(told.std(ddof=1) / math.sqrt(20))
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.15)


def test_a_unit_is_in_one_block_and_blocks_of_all_sizes_count_by_it() -> None:
    units = np.repeat(np.arange(7), [1, 9, 2, 2, 5, 1, 30])
    block_n = blocks(units, 4)
    assert set(block_n) == {0, 1, 2, 3}
    assert all(len(np.unique(block_n[units == unit])) == 1 for unit in range(7))
    values = torch.from_numpy(np.random.default_rng(0).normal(5.0, 1.0, 50))
    told = influences(lambda outputs, _: float(outputs.mean()), values, {}, block_n)
    assert told.mean() == pytest.approx(float(values.mean()), abs=0.2)


@pytest.mark.parametrize(
    ("scores", "noise", "kept"),
    [
        ([4.0, 3.0, 2.0], 0.0, [1, 2, 3]),
        ([4.0, 2.0, 3.0], 0.0, [1, 2]),
        ([4.0, 2.0, 2.0], 0.0, [1, 2, 3]),  # as good: the later one
        ([4.0, 2.0, 2.05, 2.1], 1.0, [1, 2, 3, 4]),  # within what samples can tell
        ([4.0, 2.0, 2.05, 3.5], 1.0, [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_latest_epoch_that_is_not_clearly_worse_than_the_best_is_kept(
    scores: list[float], noise: float, kept: list[int], sign: float
) -> None:
    rng = np.random.default_rng(0)
    told = np.array([sign * s + noise * _centred(rng.normal(size=20)) for s in scores])
    signed = [sign * s for s in scores]
    epochs = [e for e in range(1, len(scores) + 1) if is_kept(told[:e], signed[:e], sign)]
    assert epochs == kept


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean()
