from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn

from pare_tune.backbones import Backbone, Freeze, load_backbone
from pare_tune.backbones.freezing import SplitQkv
from pare_tune.backbones.vision import SwinBackbone, swin_spec
from pare_tune.errors import ConfigError

GRIDS = ["micro-swin", "swin v2", "timm:vit_tiny_patch16_224"]
NAMES = [*GRIDS, "micro-roberta"]


def small(name: str) -> Backbone:
    torch.manual_seed(0)
    if name == "swin v2":
        model = SwinTransformerV2(
            img_size=32, embed_dim=24, depths=(1, 4), num_heads=(2, 4), window_size=4, num_classes=0
        )
        return SwinBackbone(model, swin_spec(model, name=name))
    return load_backbone(name, pretrained=False, image_size=None if name.startswith("micro") else 64)


def tokens_for(backbone: Backbone) -> Tensor:
    grid = backbone.spec.token_grid
    return torch.randn(2, grid[0] * grid[1] if grid else 8, backbone.spec.width)


def one_step(backbone: Backbone) -> None:
    """A step with weight decay and momentum over every parameter, frozen or not."""
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.01, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        features = backbone.encode(tokens_for(backbone))
        (features * torch.randn_like(features)).sum().backward()
        optimizer.step()


def changed(backbone: Backbone, rule: Freeze) -> dict[str, Tensor]:
    """State name → which entries moved under the rule."""
    backbone.freeze(rule)
    before = copy.deepcopy(backbone.state_dict())
    one_step(backbone)
    after = backbone.state_dict()
    assert after.keys() == before.keys()
    return {name: after[name] != before[name] for name in before}


@pytest.mark.parametrize("name", NAMES)
def test_none_moves_the_whole_encoder_and_nothing_else(name: str) -> None:
    moved = changed(small(name), "none")
    assert all(
        m.any()
        for n, m in moved.items()
        if n.startswith("encoder.") and "k_proj" not in n and ".key.bias" not in n
    )
    assert not any(m.any() for n, m in moved.items() if not n.startswith(("encoder.", "prefix_PD")))


@pytest.mark.parametrize("name", NAMES)
def test_all_moves_nothing(name: str) -> None:
    backbone = small(name)
    backbone.freeze("all")
    assert not any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_layernorm_moves_every_norm_and_nothing_else(name: str) -> None:
    backbone = small(name)
    norms = {
        f"{n}.{p}"
        for n, module in backbone.encoder.named_modules(prefix="encoder")
        if isinstance(module, nn.LayerNorm)
        for p, _ in module.named_parameters()
    }
    moved = changed(backbone, "layernorm")
    assert {n for n, m in moved.items() if m.any()} == norms
    assert len(norms) >= 10


@pytest.mark.parametrize("name", GRIDS)
def test_query_key_leaves_those_rows_of_a_fused_projection_bitwise_unchanged(name: str) -> None:
    moved = changed(small(name), "query_key")
    fused = {n: m for n, m in moved.items() if ".attn.qkv." in n}
    assert len(fused) >= 5
    for n, m in fused.items():
        cut = len(m) // 3 * 2
        assert not m[:cut].any(), n
        assert m[cut:].any(), n
    # Queries and keys only: what else may stay are swin v2's own scale and query bias.
    still = {n for n, m in moved.items() if n.startswith("encoder.") and not m.any()}
    assert all(n.endswith((".logit_scale", ".q_bias")) for n in still)


def test_query_key_leaves_separate_projections_bitwise_unchanged() -> None:
    moved = changed(small("micro-roberta"), "query_key")
    still = {n for n, m in moved.items() if n.startswith("encoder.") and not m.any()}
    assert len(still) == 4 * 4  # layers × (query, key) × (weight, bias)
    assert all(".attention.self.query." in n or ".attention.self.key." in n for n in still)


def test_the_libraries_still_call_their_projections_what_the_rules_expect() -> None:
    """A renamed projection would make "query_key" freeze nothing, as transformers 5 did to the official code."""
    swin, vit, roberta = small("micro-swin"), small("timm:vit_tiny_patch16_224"), small("micro-roberta")
    assert sum(n.endswith(".attn.qkv.weight") for n in swin.state_dict()) == 5
    assert sum(n.endswith(".attn.qkv.weight") for n in vit.state_dict()) == 12
    for part in ("query", "key", "value"):
        assert sum(n.endswith(f".attention.self.{part}.weight") for n in roberta.state_dict()) == 4
    for backbone, layers in ((swin, 5), (vit, 12)):
        backbone.freeze("query_key")
        assert sum(isinstance(m, SplitQkv) for m in backbone.modules()) == layers


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_changes_neither_the_output_nor_the_state_names(name: str) -> None:
    backbone = small(name).eval()
    x, names = tokens_for(backbone), backbone.state_dict().keys()
    with torch.no_grad():
        before = backbone.encode(x)
        for rule in get_args(Freeze):
            backbone.freeze(rule)
            torch.testing.assert_close(backbone.encode(x), before)
    assert backbone.state_dict().keys() == names
    plain = small(name).eval()
    plain.load_state_dict(backbone.state_dict())  # from split to fused, and back
    backbone.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(plain.encode(x), before)
        torch.testing.assert_close(backbone.encode(x), before)


def test_none_after_query_key_trains_everything_again() -> None:
    backbone = small("micro-swin")
    backbone.freeze("query_key")
    backbone.freeze("none")
    assert all(p.requires_grad for p in backbone.encoder.parameters())


def test_a_split_projection_equals_the_fused_one_and_can_be_copied() -> None:
    for bias in (True, False):
        fused = nn.Linear(6, 12, bias=bias)
        split = copy.deepcopy(SplitQkv(fused))
        x = torch.randn(3, 6)
        torch.testing.assert_close(split(x), fused(x))
        assert split.state_dict().keys() == fused.state_dict().keys()


def test_an_unknown_rule_or_attention_is_refused() -> None:
    backbone = small("micro-swin")
    with pytest.raises(ConfigError, match="none, layernorm, query_key or all, got 'wv'"):
        backbone.freeze("wv")  # type: ignore[arg-type]
    backbone.encoder = nn.ModuleDict({"layers": nn.Linear(2, 2)})
    with pytest.raises(ConfigError, match="finds no query and key"):
        backbone.freeze("query_key")
