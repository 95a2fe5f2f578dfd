from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pare_tune.method import (
    gumbel_like,
    hard_topk,
    select_iterative,
    select_topk,
    soft_iterative,
    soft_topk,
)

B, N = 3, 17
SELECTORS = [select_topk, select_iterative]
Selector = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("select", SELECTORS)
@pytest.mark.parametrize("k", [0, 1, 5, N - 1, N])
def test_mask_holds_exactly_k_ones_at_the_largest(select: Selector, k: int) -> None:
    logits = torch.randn(B, N)
    mask = select(logits, k, 0.9)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    for row, chosen in zip(logits.tolist(), mask.tolist(), strict=True):
        best = sorted(range(N), key=lambda i, row=row: -row[i])[:k]
        assert {i for i, m in enumerate(chosen) if m == 1.0} == set(best)


@pytest.mark.parametrize("k", [1, 300, 783])
def test_both_ways_choose_the_same_tokens_with_the_same_noise(k: int) -> None:
    logits = torch.randn(2, 784)
    noise = gumbel_like(logits)
    mask = select_topk(logits + noise, k, 0.9)
    assert torch.equal(mask, select_iterative(logits + noise, k, 0.9))
    # And the loop's own relaxation ranks tokens the same, so taking its K largest (as the paper does) changes nothing.
    assert torch.equal(mask, hard_topk(soft_iterative((logits + noise).double(), k, 0.9), k).float())
    assert not torch.equal(mask, select_topk(logits, k, 0.9))


@pytest.mark.parametrize("soft", [soft_topk, soft_iterative])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [0, 1, 5, N - 1, N])
def test_relaxation_sums_to_k(soft: Selector, dtype: torch.dtype, k: int) -> None:
    p = soft(torch.randn(B, N, dtype=dtype) * 3, k, 0.5)
    torch.testing.assert_close(p.sum(-1), torch.full((B,), float(k), dtype=dtype), rtol=0, atol=2e-5)
    assert p.min() >= 0


def test_relaxation_stays_below_one_where_the_loops_does_not() -> None:
    s = torch.randn(2, 400) + gumbel_like(torch.empty(2, 400))
    assert soft_topk(s, 255, 0.9).max() <= 1.0
    assert soft_iterative(s, 255, 0.9).max() > 1.0


@pytest.mark.parametrize(("scale", "tau"), [(1e4, 0.9), (1e-6, 0.9), (1.0, 1e-3), (1.0, 1e3), (0.0, 0.9)])
def test_bisection_finds_k_whatever_the_scale(scale: float, tau: float) -> None:
    s = (torch.randn(4, 100) * scale).requires_grad_()
    p = soft_topk(s, 37, tau)
    torch.testing.assert_close(p.sum(-1), torch.full((4,), 37.0), rtol=0, atol=0.02)
    p.backward(torch.randn(4, 100))
    assert s.grad is not None
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("k", [1, 5, N - 1])
@pytest.mark.parametrize("tau", [0.3, 0.9])
def test_implicit_gradient_equals_finite_differences(k: int, tau: float) -> None:
    s = torch.randn(B, N, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: soft_topk(s, k, tau), (s,))


def test_implicit_gradient_equals_autograd_through_newton_steps() -> None:
    s = torch.randn(B, N, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(B, N, dtype=torch.float64)
    (implicit,) = torch.autograd.grad(soft_topk(s, 5, 0.9), s, upstream)
    nu = torch.zeros(B, 1, dtype=torch.float64)
    for _ in range(30):  # unrolled: autograd sees every step of the search for the threshold
        p = torch.sigmoid((s + nu) / 0.9)
        nu = nu + (5 - p.sum(-1, keepdim=True)) / (p * (1 - p) / 0.9).sum(-1, keepdim=True)
    (unrolled,) = torch.autograd.grad(torch.sigmoid((s + nu) / 0.9), s, upstream)
    torch.testing.assert_close(implicit, unrolled)


@pytest.mark.parametrize(("select", "soft"), [(select_topk, soft_topk), (select_iterative, soft_iterative)])
def test_mask_has_the_gradient_of_its_relaxation(select: Selector, soft: Selector) -> None:
    logits, noise, upstream = torch.randn(B, N), torch.randn(B, N), torch.randn(B, N)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    select(a + noise, 5, 0.9).backward(upstream)
    soft(b + noise, 5, 0.9).backward(upstream)
    torch.testing.assert_close(a.grad, b.grad)
    assert a.grad is not None
    assert a.grad.abs().max() > 1e-3


@pytest.mark.parametrize("k", [0, N])
def test_choosing_none_or_all_carries_no_gradient(k: int) -> None:
    logits = torch.randn(B, N, requires_grad=True)
    select_topk(logits, k, 0.9).backward(torch.randn(B, N))
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("select", SELECTORS)
def test_works_for_a_single_token(select: Selector, k: int) -> None:
    logits = torch.randn(B, 1, requires_grad=True)
    mask = select(logits, k, 0.9)
    mask.sum().backward()
    assert torch.equal(mask.detach(), torch.full((B, 1), float(k)))
    assert logits.grad is None or torch.equal(logits.grad, torch.zeros(B, 1))


@pytest.mark.parametrize("select", SELECTORS)
def test_bfloat16_logits_are_selected_in_float32(select: Selector) -> None:
    logits = torch.randn(B, N).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = select(logits, 5, 0.9)
    assert mask.dtype == torch.float32
    assert torch.equal(mask.sum(-1), torch.full((B,), 5.0))
    mask.backward(torch.randn(B, N))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("select", SELECTORS)
@pytest.mark.parametrize(("k", "tau"), [(-1, 0.9), (N + 1, 0.9), (3, 0.0), (3, float("nan"))])
def test_refuses_impossible_k_and_tau(select: Selector, k: int, tau: float) -> None:
    with pytest.raises(ValueError, match=r"k=|tau"):
        select(torch.randn(B, N), k, tau)
