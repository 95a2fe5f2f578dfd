from __future__ import annotations

from itertools import combinations

import pytest
import torch

from pare_tune.distance import l2, mmd2


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(a: torch.Tensor, b: torch.Tensor) -> float:
    """Gretton et al. 2012, equation 3, term by term."""
    together = [*a, *b]
    pairs = [float(((x - y) ** 2).sum()) for x, y in combinations(together, 2)]
    scale = sum(pairs) / len(pairs)

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        square = ((x - y) ** 2).sum()
        return sum(float(torch.exp(-square / (f * scale))) for f in (0.25, 0.5, 1.0, 2.0, 4.0))

    n, m = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(kernel(x, y) for x in a for y in b) / (n * m)


def test_it_equals_the_sums_of_its_definition() -> None:
    a, b = normal(5, 3, 0), normal(7, 3, 1) + 0.5
    assert float(mmd2(a, b)) == pytest.approx(by_loops(a, b), rel=1e-9)


def test_its_mean_over_all_ways_to_split_one_sample_is_zero() -> None:
    # The exact expectation for two samples of one distribution, given their union.
    x = normal(8, 2, 0)
    values = []
    for chosen in combinations(range(8), 3):
        rest = [i for i in range(8) if i not in chosen]
        values.append(float(mmd2(x[list(chosen)], x[rest])))
    assert sum(values) / len(values) == pytest.approx(0.0, abs=1e-12)
    assert min(values) < 0 < max(values)


def test_different_distributions_are_apart_and_descending_brings_them_together() -> None:
    a, b = normal(60, 4, 0), normal(60, 4, 1) + 2.0
    x = a.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1)
    before = float(mmd2(a, b))
    for _ in range(100):
        optimizer.zero_grad()
        mmd2(x, b).backward()
        optimizer.step()
    assert before > 0.3
    assert float(mmd2(x, b).detach()) < 0.1 * before


def test_l2_is_the_mean_distance_of_pairs_and_its_gradient_is_finite_where_they_meet() -> None:
    a, b = normal(4, 3, 0), normal(5, 3, 1)
    expected = sum(float((x - y).norm()) for x in a for y in b) / 20
    assert float(l2(a, b)) == pytest.approx(expected)
    same = a.clone().requires_grad_()
    l2(same, a).backward()
    assert same.grad is not None
    assert bool(same.grad.isfinite().all())


def test_equal_samples_have_no_scale_and_no_distance() -> None:
    ones = torch.ones(4, 2)
    assert float(mmd2(ones, ones)) == 0.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="same features"):
        mmd2(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="at least 2 samples, got 1 and 3"):
        mmd2(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="at least 1"):
        l2(torch.zeros(0, 2), torch.zeros(3, 2))
