from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pare_tune.method import (
    Gate,
    GateConfig,
    GateMixer,
    PareModel,
    PointHead,
    RandomMixer,
    TableEmbedder,
    pare_loss,
    source_loss,
)

B, N, D = 4, 9, 16


class CountingEncoder(nn.Module):
    """Remembers every batch that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(D, 2, 32, dropout=0.0, batch_first=True)
        self.seen: list[Tensor] = []
        self.kinds: list[str] = []

    def embed_source(self, x: Tensor, kind: str) -> Tensor:
        self.kinds.append(kind)
        return x

    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        self.seen.append(tokens_BND.detach())
        return tokens_BND, self.layer(tokens_BND)


def make_model(**changes: object) -> PareModel:
    torch.manual_seed(0)
    config = GateConfig()
    parts: dict[str, object] = {
        "encoder": CountingEncoder(),
        "target_embedder": TableEmbedder(1, N, D),
        "target_head": PointHead(D, 3),
        "mixer": GateMixer(Gate(D, config), config),
        "source_head": PointHead(D, 5),
    }
    return PareModel(**{**parts, **changes})  # type: ignore[arg-type]


def inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(B, 1, N), torch.randn(B, N, D)


@pytest.mark.parametrize("k", [1, 5, N])
def test_target_and_mixed_tokens_share_one_encoder_pass(k: int) -> None:
    model = make_model()
    x, source = inputs()
    out = model(x, source, "text", k=k)
    assert isinstance(model.encoder, CountingEncoder)
    assert model.encoder.kinds == ["text"]
    assert out.mixed is not None
    (seen,) = model.encoder.seen
    assert torch.equal(seen, torch.cat([model.target_embedder(x), out.mixed.tokens_BND]))
    assert out.mixed.lam == k / N
    assert out.target.shape == out.mixed_target.shape == (B, 3)
    assert out.mixed_source.shape == (B, 5)


def test_each_prediction_comes_from_its_own_half_and_head() -> None:
    model = make_model()
    x, source = inputs()
    out = model(x, source, "text", k=5)
    target = model.encoder.stages(model.target_embedder(x))
    mixed = model.encoder.stages(out.mixed.tokens_BND)
    torch.testing.assert_close(out.target, model.target_head(target))
    torch.testing.assert_close(out.mixed_target, model.target_head(mixed))
    torch.testing.assert_close(out.mixed_source, model.source_head(mixed))


@pytest.mark.parametrize("case", ["k is 0", "no source", "no mixer"])
def test_without_mixing_only_the_target_is_encoded(case: str) -> None:
    model = make_model(**({"mixer": None} if case == "no mixer" else {}))
    x, source = inputs()
    before = torch.get_rng_state()
    out = model(x, None if case == "no source" else source, "text", k=0 if case == "k is 0" else 5)
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(model.encoder, CountingEncoder)
    assert [len(t) for t in model.encoder.seen] == [B]
    assert model.encoder.kinds == []
    assert out.target.shape == (B, 3)
    assert (out.mixed_target, out.mixed_source, out.mixed) == (None, None, None)


def test_without_a_source_head_there_is_no_source_prediction() -> None:
    out = make_model(source_head=None)(*inputs(), "text", k=5)
    assert out.mixed_target is not None
    assert out.mixed_source is None


def test_a_source_embedder_of_ones_own_replaces_the_encoders() -> None:
    model = make_model(embed_source=lambda x, kind: 0 * x + 7)
    out = model(*inputs(), "text", k=N)
    assert (out.mixed.tokens_BND == 7).all()


@pytest.mark.parametrize("k", [1, 5])
def test_the_loss_reaches_every_part(k: int) -> None:
    model = make_model()
    out = model(*inputs(), "text", k=k)
    y, source_y = torch.zeros(B, dtype=torch.int64), torch.ones(B, dtype=torch.int64)
    losses = (
        source_loss(out.target, y),
        source_loss(out.mixed_target, y),
        source_loss(out.mixed_source, source_y),
    )
    pare_loss(*losses, lam=out.mixed.lam)[0].backward()
    # Every parameter, the gate's bias apart: adding one number to all logits selects the same tokens.
    silent = {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7}
    assert silent <= {"mixer.gate.layers.0.bias"}


def test_evaluation_repeats() -> None:
    model = make_model().eval()
    x, source = inputs()
    first, second = model(x, source, "text", k=5), model(x, source, "text", k=5)
    assert torch.equal(first.mixed_target, second.mixed_target)
    torch.testing.assert_close(first.target, model(x).target)


def test_the_same_seed_gives_the_same_training_step_to_the_bit() -> None:
    model = make_model()
    twin = copy.deepcopy(model)
    x, source = inputs()
    outs = []
    for each in (model, twin):
        torch.manual_seed(7)
        outs.append(each(x, source, "text", k=5).mixed_target)
    assert torch.equal(outs[0], outs[1])


def test_predictions_are_float32_under_bfloat16_autocast() -> None:
    model = make_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(*inputs(), "text", k=5)
    for prediction in (out.target, out.mixed_target, out.mixed_source):
        assert prediction.dtype == torch.float32
        assert prediction.isfinite().all()


def test_runs_wholly_in_bfloat16() -> None:
    x, source = inputs()
    out = make_model().bfloat16()(x.bfloat16(), source.bfloat16(), "text", k=5)
    (out.mixed_target.sum() + out.mixed_source.sum()).backward()
    assert out.mixed.tokens_BND.dtype == torch.bfloat16


def test_refuses_batches_or_tokens_that_do_not_match() -> None:
    model = make_model(mixer=RandomMixer())
    x, source = inputs()
    with pytest.raises(ValueError, match="got 3 and 4"):
        model(x, source[:3], "text", k=2)
    with pytest.raises(ValueError, match=r"\(4, 9, 16\) and \(4, 8, 16\)"):
        model(x, source[:, 1:], "text", k=2)
    with pytest.raises(ValueError, match="source_kind"):
        model(x, source, k=2)
    with pytest.raises(ValueError, match=f"k={N + 1}"):
        model(x, source, "text", k=N + 1)
