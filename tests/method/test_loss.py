from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf

from pare_tune.method import pare_loss, source_loss


def scalars() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    a, b, c = (torch.tensor(v, requires_grad=True) for v in (2.0, 3.0, 5.0))
    return a, b, c


def test_is_the_papers_equation_and_gradients_are_its_weights() -> None:
    target, mixed_target, mixed_source = scalars()
    total, parts = pare_loss(target, mixed_target, mixed_source, lam=0.25, beta1=0.5, beta2=2.0)
    assert total.item() == 0.5 * 2 + 2 * (0.75 * 3 + 0.25 * 5)
    total.backward()
    grads = [x.grad.item() for x in (target, mixed_target, mixed_source) if x.grad is not None]
    assert grads == [0.5, 1.5, 0.5]
    assert [v.item() for v in parts.to_dict().values()] == [2.0, 3.0, 5.0, total.item()]
    assert list(parts.to_dict()) == ["target", "mixed_target", "mixed_source", "total"]
    assert not any(v.requires_grad for v in parts.to_dict().values())


def test_absent_terms_are_left_out_and_reported_as_0() -> None:
    target, mixed_target, _ = scalars()
    total, parts = pare_loss(target, None, None, lam=0.0)
    assert (total.item(), parts.mixed_target.item(), parts.mixed_source.item()) == (2.0, 0.0, 0.0)
    total, parts = pare_loss(target, mixed_target, None, lam=0.5)
    assert (total.item(), parts.mixed_source.item()) == (3.5, 0.0)


def test_the_loss_is_continuous_where_k_reaches_0() -> None:
    target, _, mixed_source = scalars()
    falling, _ = pare_loss(target, target, mixed_source, lam=1e-7)
    ended, _ = pare_loss(target, target, None, lam=0.0)
    torch.testing.assert_close(falling, ended)


@pytest.mark.parametrize(("lam", "beta"), [(-0.1, 1.0), (1.1, 1.0), (float("nan"), 1.0), (0.5, -1.0)])
def test_refuses_impossible_weights(lam: float, beta: float) -> None:
    with pytest.raises(ValueError, match=r"λ|β"):
        pare_loss(*scalars(), lam=lam, beta1=beta)


def test_source_classes_use_cross_entropy() -> None:
    logits, y = torch.randn(4, 6), torch.tensor([0, 5, 2, 2])
    by_hand = torch.stack([-logits[i].log_softmax(0)[y[i]] for i in range(4)]).mean()
    torch.testing.assert_close(source_loss(logits, y), by_hand)
    assert source_loss(logits.bfloat16(), y).dtype == torch.float32


def test_source_masks_are_resized_to_the_prediction_and_stay_binary() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 8, 8), (torch.rand(2, 4, 4) > 0.5).float()
    large = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = nnf.binary_cross_entropy_with_logits(logits, large)
    torch.testing.assert_close(source_loss(logits, mask), expected)
    torch.testing.assert_close(source_loss(logits, large), expected)


@pytest.mark.parametrize(
    ("prediction", "y"),
    [
        (torch.zeros(4, 6), torch.zeros(4)),
        (torch.zeros(4, 6), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(4, 8, 8), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(4, 8, 8), torch.zeros(3, 8, 8)),
    ],
)
def test_refuses_labels_that_do_not_fit_the_prediction(prediction: torch.Tensor, y: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="source labels must be"):
        source_loss(prediction, y)
