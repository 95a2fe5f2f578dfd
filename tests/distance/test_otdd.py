from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from pare_tune.distance import Inner, classes_of, otdd, otdd2
from pare_tune.errors import DataError

INNERS: tuple[Inner, ...] = ("exact", "gaussian")


def clouds(
    n: int, m: int, d: int, *, seed: int = 0, classes: int = 3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    y_a = torch.arange(n) % classes
    y_b = torch.arange(m) % (classes + 1)
    x_a = torch.randn(n, d, generator=rng, dtype=torch.float64) + y_a[:, None]
    x_b = 2.0 * torch.randn(m, d, generator=rng, dtype=torch.float64) - y_b[:, None]
    return x_a, y_a, x_b, y_b


def assignment(cost: np.ndarray) -> float:
    """The least mean cost over all ways to pair equally many samples."""
    n = len(cost)
    return min(sum(cost[i, p[i]] for i in range(n)) for p in permutations(range(n))) / n


def squared(x_a: Tensor, x_b: Tensor) -> np.ndarray:
    return ((x_a[:, None] - x_b[None]) ** 2).sum(-1).numpy()


def root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(values.clip(0.0)) @ vectors.T)


def bures2(x: Tensor, y: Tensor) -> float:
    """W₂² of Gaussians from covariance matrices and their roots."""
    cov_x, cov_y = (np.cov(z.numpy().T, bias=True) for z in (x, y))
    trace = np.trace(cov_x + cov_y - 2 * root(root(cov_x) @ cov_y @ root(cov_x)))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum()) + float(trace)


def test_without_labels_it_is_the_best_of_all_pairings() -> None:
    x_a, _, x_b, _ = clouds(6, 6, 3)
    expected = assignment(squared(x_a, x_b)) ** 0.5
    assert otdd(x_a, None, x_b, None) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("inner", INNERS)
def test_with_labels_it_is_the_best_pairing_of_samples_and_classes(inner: Inner) -> None:
    x_a, _, x_b, _ = clouds(6, 6, 2)
    y_a, y_b = torch.tensor([0, 0, 0, 5, 5, 5]), torch.tensor([1, 2, 1, 2, 1, 2])
    cost = squared(x_a, x_b)
    for i in range(6):
        for j in range(6):
            a, b = x_a[y_a == y_a[i]], x_b[y_b == y_b[j]]
            cost[i, j] += assignment(squared(a, b)) if inner == "exact" else bures2(a, b)
    assert otdd(x_a, y_a, x_b, y_b, inner=inner) == pytest.approx(assignment(cost) ** 0.5, rel=1e-6)


def test_the_gaussian_distance_of_classes_has_its_closed_form() -> None:
    # One class a side: the label term is W₂² of N(μ, Σ) and N(ν, Τ), wherever the samples go.
    rng = torch.Generator().manual_seed(1)
    x_a = torch.randn(400, 4, generator=rng, dtype=torch.float64) @ torch.diag(
        torch.tensor([1.0, 2.0, 0.5, 0.0]).double()
    )
    x_b = torch.randn(300, 4, generator=rng, dtype=torch.float64) + 3.0
    one_a, one_b = torch.zeros(400, dtype=torch.int64), torch.zeros(300, dtype=torch.int64)
    plain = otdd(x_a, None, x_b, None) ** 2
    labelled = otdd(x_a, one_a, x_b, one_b) ** 2
    assert labelled - plain == pytest.approx(bures2(x_a, x_b), rel=1e-6)
    # Commuting covariances: ‖μ − ν‖² + Σ (σ_i − τ_i)², known by hand.
    grid = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    far = grid * torch.tensor([3.0, 5.0]) + torch.tensor([1.0, 0.0])
    four = torch.zeros(4, dtype=torch.int64)
    difference = otdd(grid, four, far, four) ** 2 - otdd(grid, None, far, None) ** 2
    assert difference == pytest.approx(1.0 + (3 - 1) ** 2 + (5 - 1) ** 2, rel=1e-9)


def test_samples_of_two_gaussians_are_as_far_as_the_gaussians() -> None:
    # In one dimension W₂ of samples converges: N(0, 1) to N(2, 3²) is (2² + 2²)^½.
    quantiles = torch.special.ndtri((torch.arange(300).double() + 0.5) / 300)[:, None]
    found = otdd(quantiles, None, 3.0 * quantiles + 2.0, None)
    assert found == pytest.approx(8**0.5, rel=5e-3)


@pytest.mark.parametrize("inner", INNERS)
def test_it_is_symmetric_and_zero_between_equals(inner: Inner) -> None:
    x_a, y_a, x_b, y_b = clouds(40, 31, 5)
    there, back = otdd(x_a, y_a, x_b, y_b, inner=inner), otdd(x_b, y_b, x_a, y_a, inner=inner)
    assert there == pytest.approx(back, rel=1e-9)
    assert there > 0
    assert otdd(x_a, y_a, x_a, y_a, inner=inner) == 0.0
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert otdd(x_a, y_a, x_a[shuffled], y_a[shuffled], inner=inner) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("inner", INNERS)
def test_names_of_classes_do_not_count_but_their_samples_do(inner: Inner) -> None:
    x_a, y_a, x_b, y_b = clouds(40, 31, 5)
    renamed = torch.tensor([70, 3, -2])[y_a]
    assert otdd(x_a, renamed, x_b, y_b, inner=inner) == otdd(x_a, y_a, x_b, y_b, inner=inner)
    # The same samples under other labels are another data set.
    assert otdd(x_a, y_a, x_a, torch.arange(40) % 2, inner=inner) > 0.1


def test_the_gaussian_distance_is_the_smaller_one() -> None:
    # Gelbrich 1990: the distance of the Gaussians bounds that of the samples from below.
    x_a, y_a, x_b, y_b = clouds(40, 31, 5)
    plain = otdd(x_a, None, x_b, None)
    gaussian, exact = (otdd(x_a, y_a, x_b, y_b, inner=inner) for inner in ("gaussian", "exact"))
    assert plain < gaussian < exact


def test_missing_labels_are_one_class() -> None:
    x_a, y_a, x_b, _ = clouds(20, 15, 3)
    assert otdd(x_a, y_a, x_b, None) == otdd(x_a, y_a, x_b, torch.zeros(15, dtype=torch.int64))


def test_large_data_sets_are_cut_by_the_seed() -> None:
    x_a, y_a, x_b, y_b = clouds(60, 50, 3)
    cut = otdd(x_a, y_a, x_b, y_b, max_samples=20)
    assert cut == otdd(x_a, y_a, x_b, y_b, max_samples=20)
    assert cut != otdd(x_a, y_a, x_b, y_b, max_samples=20, seed=1)
    assert otdd(x_a, y_a, x_a, y_a, max_samples=20) == 0.0


@pytest.mark.parametrize("inner", INNERS)
def test_the_loss_is_the_distance_and_its_gradient_the_slope(inner: Inner) -> None:
    x_a, y_a, x_b, y_b = clouds(12, 9, 3)
    x_a.requires_grad_()
    loss = otdd2(x_a, y_a, x_b, y_b, inner=inner)
    loss.backward()
    assert x_a.grad is not None
    assert float(loss.detach()) == pytest.approx(otdd(x_a, y_a, x_b, y_b, inner=inner) ** 2, rel=1e-9)
    step = torch.randn(x_a.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        up, down = (float(otdd2(x_a + h * step, y_a, x_b, y_b, inner=inner)) for h in (1e-5, -1e-5))
    assert float((x_a.grad * step).sum()) == pytest.approx((up - down) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("inner", INNERS)
def test_descending_the_loss_brings_equal_classes_together(inner: Inner) -> None:
    x_a, y_a, x_b, y_b = clouds(24, 24, 2)
    x = x_a.clone().requires_grad_()
    optimizer = torch.optim.SGD([x], lr=2.0)
    before = otdd(x, y_a, x_b, y_b, inner=inner)
    for _ in range(40):
        optimizer.zero_grad()
        otdd2(x, y_a, x_b, y_b, inner=inner).backward()
        optimizer.step()
    # Three classes cannot become four, so it does not get to 0.
    assert otdd(x, y_a, x_b, y_b, inner=inner) < 0.5 * before


def test_single_precision_is_close_and_keeps_its_type() -> None:
    x_a, y_a, x_b, y_b = clouds(30, 20, 8)
    for inner in INNERS:
        single = otdd2(x_a.float().requires_grad_(), y_a, x_b.float(), y_b, inner=inner)
        assert single.dtype == torch.float32
        assert float(single.detach()) == pytest.approx(
            float(otdd2(x_a, y_a, x_b, y_b, inner=inner)), rel=1e-4
        )


def test_integers_are_classes_and_other_targets_are_grouped() -> None:
    assert classes_of(torch.tensor([3, 1, 3], dtype=torch.int32)).tolist() == [3, 1, 3]
    values = torch.tensor([0.0, 0.1, 5.0, 5.1, 0.05])
    groups = classes_of(values, k=2)
    assert groups.tolist() in ([0, 0, 1, 1, 0], [1, 1, 0, 0, 1])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert classes_of(labels).tolist() == [1, 0, 1], "few different ones are classes as they are"
    maps = torch.randn(60, 4, 4, generator=torch.Generator().manual_seed(0))
    first = classes_of(maps)
    assert len(first.unique()) == 10
    assert torch.equal(first, classes_of(maps))
    x = maps.flatten(1)
    assert otdd(x, maps, x, maps) == 0.0


def test_what_does_not_fit_is_refused() -> None:
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="same features"):
        otdd(x, y, torch.zeros(4, 3), y)
    with pytest.raises(ValueError, match="4 samples and 3 labels"):
        otdd(x, y[:3], x, y)
    with pytest.raises(ValueError, match="got none"):
        otdd(x[:0], None, x, None)
    with pytest.raises(ValueError, match="must be positive"):
        otdd(x, y, x, y, max_samples=0)
    with pytest.raises(ValueError, match="classes must be integers"):
        otdd2(x, y.float(), x, y)
    with pytest.raises(DataError, match="must be finite"):
        otdd(x / 0.0, y, x, y)
    with pytest.raises(DataError, match="labels"):
        otdd(x, torch.full((4,), torch.nan), x, y)
