from __future__ import annotations

import pytest
import torch

from pare_tune.method import (
    GridDenseHead,
    GridStagesHead,
    HeadConfig,
    PointHead,
    SequenceAcrossHead,
    SequenceDenseHead,
    SequenceStagesHead,
    TargetScale,
)

F = 16


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_point_is_linear_in_the_mean_feature() -> None:
    head, x = PointHead(F, 5), torch.randn(3, 7, F)
    torch.testing.assert_close(head((x,)), x.mean(1) @ head.linear.weight.T + head.linear.bias)


@pytest.mark.parametrize("out_shape", [(32, 32), (21, 40), (85, 85), (3, 32, 32), (2, 13, 10), (1, 32, 32)])
def test_grid_gives_maps_of_the_shape_asked_for(out_shape: tuple[int, ...]) -> None:
    head = GridDenseHead(F, (4, 4), out_shape, up=8)
    assert head((torch.randn(2, 16, F),)).shape == (2, *out_shape)


def test_grid_features_land_on_their_own_square() -> None:
    head = GridDenseHead(F, (2, 3), (8, 12), up=4)
    x = torch.randn(1, 6, F)
    changed = x.clone()
    changed[0, 4] += 1  # second row, second column
    differs = (head((x,)) != head((changed,)))[0]
    assert differs[4:8, 4:8].all()
    assert differs.sum() == 16


@pytest.mark.parametrize("length", [40, 43, 7, 10])
def test_sequence_gives_series_of_the_length_asked_for(length: int) -> None:
    assert SequenceDenseHead(F, 10, (length,))((torch.randn(2, 10, F),)).shape == (2, length)


def test_sequence_tokens_give_their_own_values_in_order() -> None:
    head = SequenceDenseHead(F, 5, (20,))
    x = torch.randn(2, 5, F)
    for token in range(5):
        torch.testing.assert_close(head((x,))[:, 4 * token : 4 * token + 4], head.linear(x[:, token]))


WIDTHS = (F, F, 24, 40)
GRIDS = ((12, 12), (12, 12), (6, 6), (3, 3))


def grid_stages() -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(2, r * c, w) for w, (r, c) in zip(WIDTHS, GRIDS, strict=True))


def sequence_stages(num_tokens: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(2, num_tokens, w) for w in WIDTHS)


@pytest.mark.parametrize("out_shape", [(32, 32), (7, 40), (85, 85), (3, 32, 32), (1, 12, 12), (48, 96)])
def test_all_stages_give_maps_of_the_shape_asked_for(out_shape: tuple[int, ...]) -> None:
    assert GridStagesHead(WIDTHS, GRIDS, out_shape, width=8)(grid_stages()).shape == (2, *out_shape)


@pytest.mark.parametrize("length", [40, 43, 7, 10])
def test_all_layers_give_series_of_the_length_asked_for(length: int) -> None:
    for kind in (SequenceStagesHead, SequenceAcrossHead):
        assert kind(WIDTHS, 10, (length,), width=8)(sequence_stages(10)).shape == (2, length)


def test_a_head_across_is_linear_in_tokens_and_knows_distances_alone() -> None:
    positions = torch.randn(9, F)
    head, stages = SequenceAcrossHead(WIDTHS, 6, (24,), width=64, positions=positions), sequence_stages(6)
    empty = (positions[None, :6], *(torch.zeros_like(stage) for stage in stages[1:]))

    def of_tokens(x: torch.Tensor) -> torch.Tensor:
        return head((x + positions[:6], *empty[1:])) - head(empty)

    x = torch.zeros(2, 6, F)
    x[:, 1] = stages[0][:, 1]
    assert (of_tokens(x)[0].unflatten(0, (6, 4)).abs().amax(1) > 1e-6).all()  # reaches every token
    torch.testing.assert_close(of_tokens(3 * x), 3 * of_tokens(x), atol=1e-5, rtol=1e-4)
    moved = x.roll(2, dims=1)
    torch.testing.assert_close(of_tokens(moved)[:, 8:], of_tokens(x)[:, :-8], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changed", range(len(WIDTHS)))
def test_every_stage_is_read_where_it_stands(changed: int) -> None:
    cases = [
        (GridStagesHead(WIDTHS, GRIDS, (48, 48), width=8), grid_stages()),
        (SequenceStagesHead(WIDTHS, 48, (48,), width=8), sequence_stages(48)),
    ]
    for head, stages in cases:
        other = list(stages)
        other[changed] = stages[changed].clone()
        other[changed][:, -1] += torch.randn(WIDTHS[changed])
        differs = (head(stages) - head(tuple(other))).detach().abs()[0]
        assert differs[..., -1:].max() > 0
        # A 3×3 of the coarsest grid would reach everything; the finest reach their neighbours.
        if changed < 2:
            assert differs[..., :30].max() == 0


def test_a_head_refuses_another_number_of_stages() -> None:
    with pytest.raises(ValueError, match="stages"):
        GridStagesHead(WIDTHS, GRIDS, (48, 48), width=8)(grid_stages()[1:])


@pytest.mark.parametrize(
    ("settings", "said"), [({"kind": "fpn"}, "kind of stages, across, last"), ({"width": 0}, "width >= 1")]
)
def test_a_head_setting_that_is_none_dies_with_the_choices(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HeadConfig(**settings)  # type: ignore[arg-type]


def test_first_predictions_are_near_zero() -> None:
    for head in (PointHead(F, 3), GridDenseHead(F, (4, 4), (32, 32), up=8), SequenceDenseHead(F, 16, (64,))):
        assert head((torch.randn(2, 16, F),)).abs().max() < 0.6
    assert GridStagesHead(WIDTHS, GRIDS, (24, 24), width=64)(grid_stages()).abs().max() < 1.0
    for kind in (SequenceStagesHead, SequenceAcrossHead):
        assert kind(WIDTHS, 16, (64,), width=64)(sequence_stages(16)).abs().max() < 1.5


def test_target_scale_maps_units_and_learns_nothing() -> None:
    scale = TargetScale(5.0, 2.0)
    assert torch.equal(scale(torch.tensor([0.0, -1.0])), torch.tensor([5.0, 3.0]))
    assert not list(scale.parameters())
    assert set(scale.state_dict()) == {"mean", "std"}
    channels = TargetScale(torch.zeros(2, 1, 1), torch.tensor([1.0, 3.0])[:, None, None])
    assert channels(torch.ones(4, 2, 5, 5))[:, :, 0, 0].tolist() == [[1.0, 3.0]] * 4


def test_target_scale_returns_float32_under_autocast() -> None:
    assert TargetScale(100.0, 1.0)(torch.tensor([0.25]).bfloat16()).item() == 100.25


def test_dense_heads_run_under_bfloat16_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for head in (GridDenseHead(F, (4, 4), (21, 40), up=8), SequenceDenseHead(F, 16, (43,))):
            assert head((torch.randn(2, 16, F),)).isfinite().all()
        assert GridStagesHead(WIDTHS, GRIDS, (21, 40), width=8)(grid_stages()).isfinite().all()
        assert SequenceStagesHead(WIDTHS, 16, (43,), width=8)(sequence_stages(16)).isfinite().all()


def test_wrong_shapes_die_with_their_numbers() -> None:
    with pytest.raises(ValueError, match=r"\(7,\)"):
        GridDenseHead(F, (4, 4), (7,), up=8)
    with pytest.raises(ValueError, match="up must be"):
        GridDenseHead(F, (4, 4), (8, 8), up=0)
    with pytest.raises(ValueError, match="16 features"):
        GridDenseHead(F, (4, 4), (8, 8), up=2)((torch.randn(2, 15, F),))
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        SequenceDenseHead(F, 4, (4, 4))
    with pytest.raises(ValueError, match="4 features"):
        SequenceDenseHead(F, 4, (8,))((torch.randn(2, 5, F),))
    for mean, std in [(0.0, 0.0), (0.0, float("nan")), (float("inf"), 1.0)]:
        with pytest.raises(ValueError, match="std > 0"):
            TargetScale(mean, std)
