from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pare_tune.method import hard_topk, patch_replace

B, N, D = 3, 11, 4


def replace_by_hand(target: Tensor, source: Tensor, keep: Tensor, take: Tensor) -> Tensor:
    mixed = target.clone()
    for b in range(len(target)):
        removed = [j for j in range(target.shape[1]) if keep[b, j] == 0]
        taken = [i for i in range(target.shape[1]) if take[b, i] == 1]
        for j, i in zip(removed, taken, strict=True):
            mixed[b, j] = source[b, i]
    return mixed


def masks(k: int, n: int = N, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    keep, take = (
        hard_topk(torch.randn(B, n, dtype=dtype), n - k),
        hard_topk(torch.randn(B, n, dtype=dtype), k),
    )
    return keep, take


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("n", "k"), [(N, 0), (N, 1), (N, 6), (N, N - 1), (N, N), (1, 0), (1, 1)])
def test_equals_the_loop(n: int, k: int) -> None:
    target, source = torch.randn(2, B, n, D)
    keep, take = masks(k, n)
    assert torch.equal(patch_replace(target, source, keep, take), replace_by_hand(target, source, keep, take))


def test_source_tokens_stay_in_reading_order() -> None:
    target = torch.arange(5.0)[None, :, None]
    source = 10 + target
    keep, take = torch.tensor([[0.0, 1, 0, 1, 0]]), torch.tensor([[0.0, 1, 1, 0, 1]])
    assert patch_replace(target, source, keep, take).flatten().tolist() == [11, 1, 12, 3, 14]


def test_gradients_are_those_of_the_documented_reading() -> None:
    target, source, upstream = torch.randn(3, B, N, D, dtype=torch.float64)
    keep, take = (m.requires_grad_() for m in masks(6, dtype=torch.float64))
    target.requires_grad_()
    source.requires_grad_()
    patch_replace(target, source, keep, take).backward(upstream)
    want_keep, want_take = torch.zeros(B, N).double(), torch.zeros(B, N).double()
    want_target, want_source = torch.zeros(B, N, D).double(), torch.zeros(B, N, D).double()
    with torch.no_grad():
        for b in range(B):
            removed, taken = (keep[b] == 0).nonzero().flatten(), (take[b] == 1).nonzero().flatten()
            want_keep[b] = (target[b] * upstream[b]).sum(-1)
            want_target[b] = upstream[b] * keep[b, :, None]
            for j, i in zip(removed, taken, strict=True):
                want_keep[b, j] -= source[b, i] @ upstream[b, j]
                want_take[b, i] = source[b, i] @ upstream[b, j]
                want_source[b, i] = upstream[b, j]
    for leaf, want in [(keep, want_keep), (take, want_take), (target, want_target), (source, want_source)]:
        torch.testing.assert_close(leaf.grad, want)


def test_keeps_the_targets_type() -> None:
    target, source = torch.randn(2, B, N, D)
    keep, take = masks(4)
    mixed = patch_replace(target.bfloat16(), source, keep, take)
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed, replace_by_hand(target.bfloat16(), source.bfloat16(), keep, take))


def test_refuses_tokens_or_masks_that_do_not_fit() -> None:
    keep, take = masks(4)
    with pytest.raises(ValueError, match=r"one shape.*\(3, 11, 4\) and \(3, 10, 4\)"):
        patch_replace(torch.randn(B, N, D), torch.randn(B, N - 1, D), keep, take)
    with pytest.raises(ValueError, match="masks must be"):
        patch_replace(torch.randn(B, N, D), torch.randn(B, N, D), keep[:, 1:], take)
