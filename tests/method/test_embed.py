from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf

from pare_tune.method import GridEmbedder, SequenceEmbedder, TableEmbedder, fix_norm, stack_size, start_from


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(16, 16), (9, 40), (32, 5)])
@pytest.mark.parametrize("channels", [1, 7])
def test_grid_maps_any_image_to_the_encoders_patches(size: tuple[int, int], channels: int) -> None:
    embedder = GridEmbedder(channels, image_size=16, patch_size=4, width=12)
    assert embedder(torch.randn(2, channels, *size)).shape == (2, 16, 12)
    assert embedder.num_tokens == 16


def test_grid_patches_are_in_reading_order() -> None:
    embedder = GridEmbedder(1, image_size=8, patch_size=4, width=12)
    x = torch.randn(1, 1, 8, 8)
    changed = x.clone()
    changed[..., :4, 4:] += torch.randn(4, 4)  # top right
    differs = (embedder(x) != embedder(changed)).any(-1)
    assert differs.tolist() == [[False, True, False, False]]


def test_grid_resizes_with_antialiasing_only_where_sizes_differ() -> None:
    embedder = GridEmbedder(1, image_size=8, patch_size=4, width=12)
    x = torch.randn(1, 1, 32, 32)
    small = nnf.interpolate(x, size=(8, 8), mode="bilinear", antialias=True)
    assert torch.equal(embedder(x), embedder(small))


def test_normed_tokens_have_unit_statistics_whatever_the_inputs_unit() -> None:
    for scale in (1e-1, 1e3):
        x = torch.randn(2, 3, 16, 16) * scale
        tokens = GridEmbedder(3, image_size=16, patch_size=4, width=64)(x)
        torch.testing.assert_close(tokens.std(-1, correction=0), torch.ones(2, 16), atol=1e-2, rtol=0)
        torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)


def test_tokens_without_norm_keep_unit_variance() -> None:
    tokens = GridEmbedder(5, image_size=32, patch_size=4, width=64, norm=False)(torch.randn(8, 5, 32, 32))
    assert tokens.std().item() == pytest.approx(1.0, abs=0.05)


def test_positions_are_learned_from_a_copy_and_added_after_the_norm() -> None:
    table = torch.randn(4, 12)
    plain = GridEmbedder(1, image_size=8, patch_size=4, width=12)
    placed = GridEmbedder(1, image_size=8, patch_size=4, width=12, positions=table)
    placed.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(placed(x), plain(x) + table)
    placed(x).sum().backward()
    assert placed.positions is not None
    assert placed.positions.grad is not None
    assert placed.positions.data_ptr() != table.data_ptr()


def test_sequence_cuts_a_series_into_equal_stacks() -> None:
    positions = torch.randn(512, 24)
    embedder = SequenceEmbedder(4, length=1000, num_tokens=50, width=24, positions=positions)
    assert embedder(torch.randn(2, 4, 1000)).shape == (2, 50, 24)
    assert embedder.project.weight.shape == (24, 4, 20)
    assert torch.equal(embedder.positions, positions[:50])


def test_sequence_starts_xavier_uniform_with_gain_root_2_and_zero_bias() -> None:
    project = SequenceEmbedder(4, length=1000, num_tokens=50, width=64).project
    bound = 2**0.5 * (6 / (4 * 20 + 64 * 20)) ** 0.5
    assert project.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert project.bias is not None
    assert not project.bias.any()


@pytest.mark.parametrize(
    ("length", "most", "stack"),
    [(1000, 64, 20), (46, 64, 1), (1000, 512, 2), (7, 3, 7), (1, 1, 1), (12, 1, 12)],
)
def test_stack_size_is_the_smallest_divisor_that_fits(length: int, most: int, stack: int) -> None:
    assert stack_size(length, most) == stack


def test_table_gives_each_feature_its_own_token() -> None:
    embedder = TableEmbedder(2, num_features=3, width=8, norm=False)
    x = torch.randn(4, 2, 3)
    tokens = embedder(x)
    for b in range(4):
        for f in range(3):
            by_hand = sum(x[b, c, f] * embedder.weight[f, c] for c in range(2)) + embedder.bias[f]
            torch.testing.assert_close(tokens[b, f], by_hand)


def test_table_features_of_one_value_still_differ() -> None:
    tokens = TableEmbedder(1, num_features=3, width=8)(torch.zeros(1, 1, 3))
    assert torch.pdist(tokens[0]).min() > 0.1


def test_embedders_run_under_bfloat16_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert GridEmbedder(1, 8, 4, 12)(torch.randn(2, 1, 9, 9).bfloat16()).isfinite().all()
        assert SequenceEmbedder(1, 8, 4, 12)(torch.randn(2, 1, 8).bfloat16()).isfinite().all()
        assert TableEmbedder(1, 5, 12)(torch.randn(2, 1, 5).bfloat16()).isfinite().all()


def test_wrong_shapes_die_with_their_numbers() -> None:
    with pytest.raises(ValueError, match="10 and 4"):
        GridEmbedder(1, image_size=10, patch_size=4, width=12)
    with pytest.raises(ValueError, match=r"must be \(4, 12\), got \(5, 12\)"):
        GridEmbedder(1, image_size=8, patch_size=4, width=12, positions=torch.zeros(5, 12))
    with pytest.raises(ValueError, match="3 and 10"):
        SequenceEmbedder(1, length=10, num_tokens=3, width=12)
    with pytest.raises(ValueError, match="must be"):
        SequenceEmbedder(1, length=10, num_tokens=5, width=12, positions=torch.zeros(4, 12))
    with pytest.raises(ValueError, match="length 10"):
        SequenceEmbedder(1, length=10, num_tokens=5, width=12)(torch.zeros(2, 1, 12))
    with pytest.raises(ValueError, match="positive"):
        stack_size(0, 4)


def test_an_embedder_can_begin_at_pretrained_values() -> None:
    embedder = GridEmbedder(2, 8, 4, 6)
    weight, gain = torch.randn(6, 2, 4, 4), torch.rand(6)
    before = embedder.project.bias.clone() if embedder.project.bias is not None else None
    start_from(embedder, weight=weight, norm_weight=gain)
    assert torch.equal(embedder.project.weight, weight)
    assert isinstance(embedder.norm, torch.nn.LayerNorm)
    assert torch.equal(embedder.norm.weight, gain)
    assert before is not None
    assert torch.equal(embedder.project.bias, before)
    table = TableEmbedder(1, 3, 6)
    start_from(table, weight=torch.randn(6, 1, 3), norm_weight=gain)
    assert torch.equal(table.norm.weight, gain)


def test_pretrained_values_of_another_shape_are_refused_whole() -> None:
    embedder = SequenceEmbedder(1, 12, 4, 6)
    before = embedder.project.weight.clone()
    with pytest.raises(ValueError, match=r"\(6, 1, 3\) there, got \(6, 2, 3\)"):
        start_from(embedder, weight=torch.randn(6, 2, 3), norm_weight=torch.rand(6))
    assert torch.equal(embedder.project.weight, before)


@pytest.mark.parametrize(
    "embedder",
    [
        GridEmbedder(3, image_size=32, patch_size=4, width=64, bias=True),
        SequenceEmbedder(3, length=64, num_tokens=16, width=64, bias=True),
        TableEmbedder(1, num_features=24, width=64),
    ],
)
def test_a_fixed_norm_keeps_the_scale_of_white_inputs_and_is_linear(embedder: torch.nn.Module) -> None:
    torch.manual_seed(1)
    shape = {GridEmbedder: (3, 32, 32), SequenceEmbedder: (3, 64), TableEmbedder: (1, 24)}[type(embedder)]
    x, nothing = torch.randn(32, *shape), torch.zeros(1, *shape)
    fix_norm(embedder)  # type: ignore[arg-type]
    spread = embedder(x).square().mean().sqrt().item()
    assert spread == pytest.approx(1.0, abs=0.1)
    again = embedder(3 * x) - embedder(nothing)
    torch.testing.assert_close(again, 3 * (embedder(x) - embedder(nothing)), atol=1e-4, rtol=1e-3)


def test_no_norm_no_fixing_it() -> None:
    with pytest.raises(ValueError, match="no norm"):
        fix_norm(GridEmbedder(1, image_size=8, patch_size=4, width=8, norm=False))
