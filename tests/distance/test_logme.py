from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from pare_tune.distance import logme, logme_gain
from pare_tune.errors import DataError


def problem(n: int, d: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.linspace(0.2, 3.0, d)
    y = x @ rng.normal(size=d) + noise * rng.normal(size=n)
    return torch.from_numpy(x), torch.from_numpy(y)


def evidence(x: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """log p(y) / n with the weights integrated out: y is normal with covariance I/β + F Fᵀ/α."""
    covariance = np.eye(len(y)) / beta + x @ x.T / alpha
    return float(multivariate_normal(cov=covariance).logpdf(y)) / len(y)


def best_evidence(x: torch.Tensor, y: torch.Tensor) -> float:
    """The maximum over a grid of precisions, refined from its best point."""
    features, labels = x.double().numpy(), y.double().numpy()
    grid = np.linspace(-8, 8, 17)
    values = {(a, b): evidence(features, labels, math.exp(a), math.exp(b)) for a in grid for b in grid}
    start = max(values, key=values.__getitem__)
    found = minimize(
        lambda p: -evidence(features, labels, math.exp(p[0]), math.exp(p[1])), start, method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10},
    )  # fmt: skip
    return float(-found.fun)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 20)])
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_regression_finds_the_largest_evidence(n: int, d: int, noise: float) -> None:
    x, y = problem(n, d, noise)
    assert logme(x, y) == pytest.approx(best_evidence(x, y), rel=1e-4, abs=1e-4)


def test_classes_are_columns_of_zeros_and_ones() -> None:
    x, _ = problem(24, 3, 1.0)
    y = torch.arange(24) % 3
    x[:, 0] += y
    columns = torch.nn.functional.one_hot(y).double()
    expected = sum(best_evidence(x, columns[:, c]) for c in range(3)) / 3
    assert logme(x, y) == pytest.approx(expected, rel=1e-4)
    assert logme(x, y) == pytest.approx(logme(x, columns))
    assert logme(x, y) == logme(x, torch.tensor([7, -1, 40])[y]), "names of classes do not count"


def test_better_features_score_higher() -> None:
    x, y = problem(100, 5, 0.3)
    noise = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)).double()
    scores = [logme(f, y) for f in (x, x + noise, x + 5 * noise, noise)]
    assert scores == sorted(scores, reverse=True)
    gains = [logme_gain(f, y) for f in (x, x + noise, x + 5 * noise, noise)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == pytest.approx(0.0, abs=0.05)


def test_the_gain_does_not_depend_on_the_labels_unit_nor_number() -> None:
    x, y = problem(100, 5, 0.3)
    assert logme_gain(x, y) == pytest.approx(logme_gain(x, 50.0 * y + 3.0), rel=1e-6)
    assert logme_gain(x, y) == pytest.approx(logme_gain(x, torch.stack([y, -y], dim=1)), rel=1e-6)
    assert logme(x, y) != pytest.approx(logme(x, 50.0 * y), rel=1e-2)
    # Half of the variance explained is worth ½ log 2 a sample, when samples are many.
    rng = np.random.default_rng(1)
    feature, rest = rng.normal(size=(2, 20_000))
    gain = logme_gain(torch.from_numpy(feature)[:, None], torch.from_numpy(feature + rest))
    assert gain == pytest.approx(0.5 * math.log(2.0), abs=0.02)


def test_constant_labels_and_features_are_no_accident() -> None:
    x, y = problem(20, 3, 1.0)
    assert logme_gain(x, torch.zeros(20, dtype=torch.int64)) == 0.0
    assert logme_gain(torch.ones(20, 3), y) == pytest.approx(0.0, abs=1e-6)
    assert math.isfinite(logme(x, x[:, 0])), "labels that features explain to the last bit"


def test_features_are_never_worse_than_none() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = torch.from_numpy(rng.normal(size=(30, 20))), torch.from_numpy(rng.normal(size=30))
        assert logme_gain(x, y) >= -1e-9


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="LogME needs features"):
        logme(torch.zeros(3, 2), torch.zeros(4))
    with pytest.raises(DataError, match="finite"):
        logme(torch.full((3, 2), torch.nan), torch.zeros(3))
