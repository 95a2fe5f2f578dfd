from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from pare_tune.backbones import load_backbone
from pare_tune.backbones.vision import SwinBackbone, swin_spec
from pare_tune.errors import BackboneUnavailable, ConfigError, UnknownName

VITS = [
    "vit_tiny_patch16_224",
    "vit_xsmall_patch16_clip_224",
    "vit_small_patch14_reg4_dinov2",
    "deit3_small_patch16_224",
]


def reference(model_name: str, image_size: int) -> torch.nn.Module:
    """timm's own model with the random weights that `load_backbone(seed=0)` gets."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(model_name, num_classes=0, img_size=image_size, drop_path_rate=0.0).eval()


@pytest.mark.parametrize("build", [SwinTransformer, SwinTransformerV2])
def test_swin_in_two_parts_equals_timms_forward(build: type[nn.Module]) -> None:
    model = build(
        img_size=96, embed_dim=24, depths=(1, 2, 1), num_heads=(2, 4, 8), window_size=6, num_classes=0
    ).eval()
    backbone = SwinBackbone(model, swin_spec(model, name="small")).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = model.forward_features(x).flatten(1, 2)
        tokens = backbone.embed_source(x, "images")
        features = backbone.encode(tokens)
    assert tokens.shape == (2, 24 * 24, 24)
    assert (backbone.spec.token_grid, backbone.spec.feature_grid) == ((24, 24), (6, 6))
    assert features.shape == (2, 36, 96)
    torch.testing.assert_close(features, expected)


def test_a_swin_v2_is_built_for_another_canvas() -> None:
    backbone = load_backbone("timm:swinv2_tiny_window8_256", pretrained=False, image_size=64)
    assert (backbone.spec.token_grid, backbone.spec.feature_grid) == ((16, 16), (2, 2))
    assert backbone.encode(backbone.embed_source(torch.randn(1, 3, 64, 64), "images")).shape == (1, 4, 768)


@pytest.mark.parametrize("model_name", VITS)
def test_vit_in_two_parts_equals_timms_forward_without_prefix_tokens(model_name: str) -> None:
    size = 56 if "patch14" in model_name else 64
    backbone = load_backbone(f"timm:{model_name}", pretrained=False, image_size=size).eval()
    model = reference(model_name, size)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = model.forward_features(x)[:, model.num_prefix_tokens :]
        features = backbone.encode(backbone.embed_source(x, "images"))
    assert features.shape == (2, 16, backbone.spec.feature_width)
    torch.testing.assert_close(features, expected)


def test_vit_positions_are_the_patch_rows_of_the_table() -> None:
    backbone = load_backbone("timm:vit_tiny_patch16_224", pretrained=False, image_size=64)
    table = reference("vit_tiny_patch16_224", 64).pos_embed[0]
    torch.testing.assert_close(backbone.positions, table[1:].detach())
    assert not backbone.spec.embed_norm
    assert backbone.spec.image_mean == (0.5, 0.5, 0.5)


def test_vit_has_no_norm_to_start_from() -> None:
    start = load_backbone("timm:vit_tiny_patch16_224", pretrained=False, image_size=32).patch_start(2)
    assert start.weight.shape == (192, 2, 16, 16)
    assert start.norm_weight is None


def test_swin_keeps_its_positions_inside() -> None:
    assert load_backbone("micro-swin", pretrained=False).positions is None


def test_swin_base_trains_one_step_at_its_real_size() -> None:
    backbone = load_backbone("swin-base-22k", pretrained=False)
    assert (backbone.spec.image_size, backbone.spec.token_grid) == (224, (56, 56))
    assert (backbone.spec.width, backbone.spec.feature_width) == (128, 1024)
    features = backbone.encode(backbone.embed_source(torch.randn(1, 3, 224, 224), "images"))
    features.square().mean().backward()
    assert features.shape == (1, 49, 1024)
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


def test_the_source_embedder_never_trains_and_never_leaves_evaluation_mode() -> None:
    backbone = load_backbone("timm:vit_tiny_patch16_224", pretrained=False, image_size=32).train()
    backbone.freeze("none")
    assert not any(module.training for module in backbone.source_embedder.modules())
    assert not any(p.requires_grad for p in backbone.source_embedder.parameters())
    assert not backbone.embed_source(torch.randn(1, 3, 32, 32), "images").requires_grad


def test_drop_path_is_off_unless_asked_for() -> None:
    x = torch.randn(4, 3, 64, 64)
    for rate, same in ((0.0, True), (0.5, False)):
        backbone = load_backbone("micro-swin", pretrained=False, drop_path=rate).train()
        tokens = backbone.embed_source(x, "images")
        torch.manual_seed(0)
        assert torch.equal(backbone.encode(tokens), backbone.encode(tokens)) is same


@pytest.mark.parametrize("name", ["timm:vit_tinny_patch16_224", "timm:nonsense"])
def test_an_unknown_timm_model_is_named(name: str) -> None:
    with pytest.raises(UnknownName, match=name.removeprefix("timm:")):
        load_backbone(name, pretrained=False)


@pytest.mark.parametrize(
    "model_name",
    ["resnet18", "deit_tiny_distilled_patch16_224", "vit_tiny_r_s16_p8_224", "swinv2_cr_tiny_224"],
)
def test_models_of_another_build_are_refused(model_name: str) -> None:
    with pytest.raises(ConfigError, match="not a plain Swin, Swin v2 or ViT"):
        load_backbone(f"timm:{model_name}", pretrained=False)


@pytest.mark.parametrize("name", ["micro-swin", "timm:swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("image_size", [66, 0, -4])
def test_an_image_size_that_patches_do_not_divide_is_refused(name: str, image_size: int) -> None:
    with pytest.raises(ConfigError, match="multiple of its patch"):
        load_backbone(name, pretrained=False, image_size=image_size)


def test_images_of_another_size_or_kind_are_refused() -> None:
    backbone = load_backbone("micro-swin", pretrained=False)
    with pytest.raises(ValueError, match=r"\(B, 3, 64, 64\)"):
        backbone.embed_source(torch.randn(1, 3, 32, 32), "images")
    with pytest.raises(ValueError, match="images or masked_images"):
        backbone.embed_source(torch.randn(1, 3, 64, 64), "text")


def test_weights_are_read_from_a_given_file(tmp_path: Path) -> None:
    torch.manual_seed(7)
    model = timm.create_model("vit_tiny_patch16_224").eval()
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)
    backbone = load_backbone(f"timm:vit_tiny_patch16_224@{file}").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model.forward_features(x)[:, 1:]
        torch.testing.assert_close(backbone.encode(backbone.embed_source(x, "images")), expected)


def test_a_damaged_pickled_foreign_or_missing_file_is_refused(tmp_path: Path) -> None:
    damaged, pickled, foreign = tmp_path / "a.safetensors", tmp_path / "b.pth", tmp_path / "c.safetensors"
    damaged.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 not json")
    torch.save({}, pickled)
    save_file({"other": torch.zeros(1)}, foreign)
    cases = {
        damaged: "damaged",
        pickled: "safetensors only",
        foreign: "does not fit.*lacks",
        tmp_path / "d": "no weights file",
    }
    for file, message in cases.items():
        with pytest.raises(BackboneUnavailable, match=message):
            load_backbone(f"timm:vit_tiny_patch16_224@{file}")
