from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from pare_tune.backbones import load_backbone
from pare_tune.backbones.base import spread_layers

SWIN_GRIDS = [(10, 10), (10, 10), (5, 5), (3, 3)]


@pytest.mark.parametrize(
    ("name", "image_size", "widths", "grids"),
    [
        ("micro-swin", 40, [48, 48, 96, 192], SWIN_GRIDS),
        ("timm:swinv2_tiny_window8_256", 64, [96, 96, 192, 384, 768], [(16, 16), (16, 16), (8, 8), (4, 4), (2, 2)]),
        ("timm:vit_small_patch14_reg4_dinov2", 56, [384] * 5, [(4, 4)] * 5),
        ("micro-roberta", None, [160] * 5, [None] * 5),
        ("hf:FOLDER", None, [32] * 3, [None] * 3),
    ],
)  # fmt: skip
def test_stages_are_the_tokens_then_what_the_spec_says_then_the_features(
    name: str, image_size: int | None, widths: list[int], grids: list[object], tmp_path: Path
) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=300, **small), add_pooling_layer=False).save_pretrained(tmp_path)
    backbone = load_backbone(
        name.replace("FOLDER", str(tmp_path)), pretrained=not name.startswith("timm"), image_size=image_size
    ).eval()
    spec = backbone.spec
    assert [stage.width for stage in spec.stages] == widths
    assert [stage.grid for stage in spec.stages] == grids
    num_tokens = 7 if spec.token_grid is None else spec.token_grid[0] * spec.token_grid[1]
    tokens = torch.randn(2, num_tokens, spec.width)
    with torch.no_grad():
        stages = backbone.stages(tokens)
        torch.testing.assert_close(stages[-1], backbone.encode(tokens))
    assert torch.equal(stages[0], tokens)
    for features, stage in zip(stages, spec.stages, strict=True):
        length = num_tokens if stage.grid is None else stage.grid[0] * stage.grid[1]
        assert features.shape == (2, length, stage.width)


@pytest.mark.parametrize(
    ("num_layers", "read"), [(12, (3, 6, 9, 12)), (24, (6, 12, 18, 24)), (6, (1, 3, 4, 6)), (2, (1, 2)), (1, (1,))]
)  # fmt: skip
def test_layers_are_read_at_even_distances_and_the_last_one_always(
    num_layers: int, read: tuple[int, ...]
) -> None:
    assert spread_layers(num_layers) == read
