from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pare_tune.method import (
    CutMixer,
    Gate,
    GateConfig,
    GateMixer,
    Mixer,
    MixupMixer,
    RandomMixer,
    TargetMaskMixer,
    TargetMixupMixer,
    patch_replace,
)
from pare_tune.method.mixers.cutmix import block_size

B, N, D = 2, 12, 6


def gate_mixer(**config: object) -> GateMixer:
    settings = GateConfig(**config)  # type: ignore[arg-type]
    return GateMixer(Gate(D, settings), settings)


def mixers() -> list[Mixer]:
    return [gate_mixer(), gate_mixer(selection="iterative"), gate_mixer(kind="mlp_dropout"), RandomMixer()]


@pytest.fixture
def tokens() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    target, source = torch.randn(2, B, N, D)
    return target, source


@pytest.mark.parametrize("mixer", mixers())
@pytest.mark.parametrize("k", [1, 5, N])
def test_lam_is_exactly_the_share_of_source_tokens(
    mixer: Mixer, k: int, tokens: tuple[Tensor, Tensor]
) -> None:
    target, source = tokens
    mixed = mixer(target, source, k)
    assert mixed.lam == k / N
    assert mixed.target_mask is not None
    assert mixed.source_mask is not None
    assert mixed.target_mask.sum(-1).tolist() == [N - k] * B
    assert mixed.source_mask.sum(-1).tolist() == [k] * B
    expected = patch_replace(target, source, mixed.target_mask, mixed.source_mask)
    assert torch.equal(mixed.tokens_BND, expected)


@pytest.mark.parametrize("mixer", mixers())
def test_k_0_returns_the_target_itself_and_draws_nothing(mixer: Mixer, tokens: tuple[Tensor, Tensor]) -> None:
    before = torch.get_rng_state()
    mixed = mixer(*tokens, 0)
    assert mixed.tokens_BND is tokens[0]
    assert mixed.lam == 0.0
    assert mixed.target_logits is None
    assert torch.equal(before, torch.get_rng_state())


def test_the_gate_keeps_its_best_targets_and_takes_its_best_sources(tokens: tuple[Tensor, Tensor]) -> None:
    mixed = gate_mixer().eval()(*tokens, 5)
    assert mixed.target_logits is not None
    assert mixed.source_logits is not None
    assert mixed.target_mask is not None
    assert mixed.source_mask is not None
    kept, removed = (mixed.target_logits[0][mixed.target_mask[0] == m] for m in (1, 0))
    taken, left = (mixed.source_logits[0][mixed.source_mask[0] == m] for m in (1, 0))
    assert kept.min() > removed.max()
    assert taken.min() > left.max()


@pytest.mark.parametrize("kind", ["fc", "mlp_dropout"])
def test_evaluation_draws_no_noise_and_repeats(kind: str, tokens: tuple[Tensor, Tensor]) -> None:
    mixer = gate_mixer(kind=kind, noise=3.0).eval()
    before = torch.get_rng_state()
    first, second = mixer(*tokens, 5), mixer(*tokens, 5)
    assert torch.equal(first.tokens_BND, second.tokens_BND)
    assert torch.equal(before, torch.get_rng_state())


def test_training_is_noisy_and_repeats_with_the_seed(tokens: tuple[Tensor, Tensor]) -> None:
    mixer, found = gate_mixer(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(mixer(*tokens, 5).source_mask)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_noise_0_selects_as_evaluation_does(tokens: tuple[Tensor, Tensor]) -> None:
    mixer = gate_mixer(noise=0.0)
    train = mixer(*tokens, 5).tokens_BND
    assert torch.equal(train, mixer.eval()(*tokens, 5).tokens_BND)


def test_both_selections_mix_the_same_tokens(tokens: tuple[Tensor, Tensor]) -> None:
    topk, iterative = gate_mixer(), gate_mixer(selection="iterative")
    iterative.load_state_dict(topk.state_dict())
    torch.manual_seed(5)
    a = topk(*tokens, 5).tokens_BND
    torch.manual_seed(5)
    assert torch.equal(a, iterative(*tokens, 5).tokens_BND)


def test_the_loss_reaches_the_gate_through_target_and_source(tokens: tuple[Tensor, Tensor]) -> None:
    mixer = gate_mixer()
    mixed = mixer(*tokens, 5)
    for logits in (mixed.target_logits, mixed.source_logits):
        assert logits is not None
        logits.retain_grad()
    (mixed.tokens_BND * torch.randn(B, N, D)).sum().backward()
    for logits in (mixed.target_logits, mixed.source_logits):
        assert logits is not None
        assert logits.grad is not None
        assert (logits.grad != 0).all()


def test_random_selection_is_uniform_and_takes_its_own_generator() -> None:
    mixer = RandomMixer(torch.Generator().manual_seed(0))
    target, source = torch.randn(2, 4000, 8, 1)
    before = torch.get_rng_state()
    mixed = mixer(target, source, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert mixed.source_mask is not None
    assert mixed.target_mask is not None
    assert mixed.source_mask.mean(0).tolist() == pytest.approx([0.25] * 8, abs=0.03)
    assert mixed.target_mask.mean(0).tolist() == pytest.approx([0.75] * 8, abs=0.03)
    assert not torch.equal(mixed.source_mask, mixer(target, source, 2).source_mask)


@pytest.mark.parametrize("k", [-1, N + 1])
def test_refuses_impossible_k(k: int, tokens: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=f"k={k}"):
        RandomMixer()(*tokens, k)


def test_refuses_token_counts_that_differ(tokens: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"\(2, 12, 6\) and \(2, 11, 6\)"):
        RandomMixer()(tokens[0], tokens[1][:, 1:], 3)


def test_mixup_is_the_weighted_mean_token_by_token(tokens: tuple[Tensor, Tensor]) -> None:
    target, source = tokens
    mixed = MixupMixer()(target, source, 3)
    assert (mixed.lam, mixed.target_weight) == (0.25, 0.75)
    for b in range(B):
        for i in range(N):
            expected = 0.75 * target[b, i] + 0.25 * source[b, i]
            torch.testing.assert_close(mixed.tokens_BND[b, i], expected)


@pytest.mark.parametrize("grid", [(3, 4), (1, N)])
@pytest.mark.parametrize("k", [1, 4, 7, N])
def test_cutmix_replaces_one_block_in_place_and_lam_is_its_share(
    k: int, grid: tuple[int, int], tokens: tuple[Tensor, Tensor]
) -> None:
    target, source = tokens
    torch.manual_seed(k)
    mixed = CutMixer(grid)(target, source, k)
    assert mixed.source_mask is not None
    for b in range(B):
        cut = mixed.source_mask[b].reshape(grid)
        rows, columns = cut.any(1).nonzero().flatten(), cut.any(0).nonzero().flatten()
        block = cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert block.all(), "the cut tokens are not one rectangle"
        assert cut.sum() == block.numel() == round(mixed.lam * N)
        for i in range(N):
            origin = source if mixed.source_mask[b, i] else target
            assert torch.equal(mixed.tokens_BND[b, i], origin[b, i])
    assert abs(round(mixed.lam * N) - k) <= 2


def test_cutmix_blocks_reach_every_place() -> None:
    torch.manual_seed(0)
    zeros, ones = torch.zeros(64, N, D), torch.ones(64, N, D)
    share = CutMixer((3, 4))(zeros, ones, 4).tokens_BND[..., 0].mean(0)
    assert share.min() > 0


@pytest.mark.parametrize(
    ("k", "grid", "size"),
    [(1, (16, 16), (1, 1)), (64, (16, 16), (8, 8)), (128, (16, 16), (11, 12)), (256, (16, 16), (16, 16))],
)
def test_the_block_has_the_grids_proportions(k: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    assert block_size(k, *grid) == size


def test_target_mixup_mixes_each_sample_with_another_and_says_which(tokens: tuple[Tensor, Tensor]) -> None:
    target = torch.randn(7, N, D)
    mixed = TargetMixupMixer()(target, None, 6)
    assert mixed.partner_B is not None
    assert sorted(mixed.partner_B.tolist()) == list(range(7))
    for b, partner in enumerate(mixed.partner_B.tolist()):
        assert partner != b
        torch.testing.assert_close(mixed.tokens_BND[b], 0.5 * target[b] + 0.5 * target[partner])


def test_target_mask_zeroes_k_random_tokens_and_keeps_the_label_whole() -> None:
    target = torch.randn(2000, N, D)
    mixed = TargetMaskMixer()(target, None, 3)
    gone = (mixed.tokens_BND == 0).all(-1)
    assert gone.sum(-1).tolist() == [3] * 2000
    assert torch.equal(mixed.tokens_BND[~gone], target[~gone])
    assert (gone.float().mean(0) - 3 / N).abs().max() < 0.05
    assert mixed.target_weight == 1.0


@pytest.mark.parametrize("mixer", [TargetMixupMixer(), TargetMaskMixer()])
def test_methods_without_a_source_do_not_look_at_one(mixer: Mixer, tokens: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    alone = mixer(tokens[0], None, 5).tokens_BND
    torch.manual_seed(1)
    assert torch.equal(alone, mixer(tokens[0], torch.full_like(tokens[1], torch.nan), 5).tokens_BND)


def test_methods_with_a_source_refuse_to_go_without(tokens: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="None"):
        MixupMixer()(tokens[0], None, 3)
