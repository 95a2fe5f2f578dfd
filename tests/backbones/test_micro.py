"""The two backbones that ship with their weights."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pare_tune.backbones import Backbone, load_backbone, weights_io
from pare_tune.backbones.weights_io import load_packaged, packaged_weights
from pare_tune.errors import BackboneUnavailable
from pare_tune.sources.waves import POINTS_PER_TOKEN, make_waves

NAMES = ["micro-swin", "micro-roberta"]


def a_batch(backbone: Backbone) -> tuple[Tensor, str]:
    torch.manual_seed(0)
    if backbone.spec.kind == "grid":
        return torch.randn(4, 3, 64, 64), "images"
    return torch.randn(4, 1, 50 * POINTS_PER_TOKEN), "waves"


@pytest.mark.parametrize("name", NAMES)
def test_weights_load_and_are_the_same_every_time(name: str) -> None:
    first, second = load_backbone(name, seed=0), load_backbone(name, seed=1)
    x, kind = a_batch(first)
    with torch.no_grad():
        features = [b.eval().encode(b.embed_source(x, kind)) for b in (first, second)]
    assert torch.equal(*features)
    assert features[0].isfinite().all()
    assert all(value.dtype == torch.float32 for value in first.state_dict().values())
    random = load_backbone(name, pretrained=False).state_dict()
    trained = [key for key in random if random[key].is_floating_point() and "source_embedder" in key]
    assert trained
    assert not any(
        torch.equal(random[key], first.state_dict()[key]) for key in trained if key.endswith("weight")
    )


def test_both_are_small() -> None:
    assert sum(packaged_weights(name).stat().st_size for name in NAMES) <= 8e6
    for name in NAMES:
        assert 1e6 < sum(p.numel() for p in load_backbone(name).parameters()) < 2e6


@pytest.mark.parametrize("name", NAMES)
def test_state_survives_a_round_trip(name: str) -> None:
    a, b = load_backbone(name), load_backbone(name, pretrained=False)
    b.load_state_dict(a.state_dict())
    x, kind = a_batch(a)
    assert torch.equal(a.eval().encode(a.embed_source(x, kind)), b.eval().encode(b.embed_source(x, kind)))


def test_swin_shapes() -> None:
    backbone = load_backbone("micro-swin")
    tokens = backbone.embed_source(torch.randn(2, 3, 64, 64), "masked_images")
    assert tokens.shape == (2, 256, 48)
    assert backbone.encode(tokens).shape == (2, 16, 192)
    assert (backbone.spec.token_grid, backbone.spec.feature_grid) == ((16, 16), (4, 4))


@pytest.mark.parametrize(("image_size", "feature_grid"), [(32, (2, 2)), (128, (8, 8)), (40, (3, 3))])
def test_swin_takes_its_weights_to_another_canvas(image_size: int, feature_grid: tuple[int, int]) -> None:
    backbone = load_backbone("micro-swin", image_size=image_size)
    grid = image_size // 4
    assert (backbone.spec.image_size, backbone.spec.token_grid) == (image_size, (grid, grid))
    features = backbone.encode(backbone.embed_source(torch.randn(2, 3, image_size, image_size), "images"))
    assert features.shape == (2, feature_grid[0] * feature_grid[1], 192)
    assert backbone.spec.feature_grid == feature_grid
    same = load_backbone("micro-swin").state_dict()["encoder.layers.0.blocks.0.mlp.fc1.weight"]
    assert torch.equal(backbone.state_dict()["encoder.layers.0.blocks.0.mlp.fc1.weight"], same)


def test_roberta_reads_bytes() -> None:
    backbone = load_backbone("micro-roberta")
    (ids,) = backbone.tokenize(["Aé"])
    assert ids == [0x41 + 4, 0xC3 + 4, 0xA9 + 4]
    tokens = backbone.embed_source(torch.tensor([ids]), "text")
    assert tokens.shape == (1, 3, 160)
    assert backbone.encode(tokens).shape == (1, 3, 160)


def test_roberta_reads_the_waves_of_the_embedded_source() -> None:
    backbone = load_backbone("micro-roberta")
    assert backbone.spec.patch_size == POINTS_PER_TOKEN
    x, _, _ = make_waves(4, 50 * POINTS_PER_TOKEN, seed=0)
    tokens = backbone.embed_source(torch.from_numpy(x)[:, None], "waves")
    assert tokens.shape == (4, 50, 160)
    assert not tokens.requires_grad


@pytest.mark.parametrize("shape", [(2, 1, 401), (2, 2, 400), (2, 400), (2, 1, 257 * 8)])
def test_roberta_refuses_waves_that_it_cannot_cut(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiple of 8|at most 256 tokens"):
        load_backbone("micro-roberta", pretrained=False).embed_source(torch.zeros(shape), "waves")


def test_a_new_grid_embedder_can_start_as_the_pretrained_one() -> None:
    backbone = load_backbone("micro-swin")
    embed = backbone.source_embedder.module
    start = backbone.patch_start(3)
    x = torch.randn(2, 3, 64, 64)
    tokens = nn.functional.conv2d(x, start.weight, start.bias, stride=4).flatten(2).transpose(1, 2)
    tokens = nn.functional.layer_norm(tokens, (48,), start.norm_weight, start.norm_bias)
    torch.testing.assert_close(tokens, backbone.embed_source(x, "images"))
    grey = backbone.patch_start(1).weight
    torch.testing.assert_close(grey * 3**0.5, embed.proj.weight.sum(1, keepdim=True).detach())
    many = backbone.patch_start(7).weight
    torch.testing.assert_close(many[:, 6], many[:, 0])
    assert many.shape == (48, 7, 4, 4)
    assert not many.requires_grad


def test_a_new_sequence_embedder_can_start_as_the_pretrained_one() -> None:
    backbone = load_backbone("micro-roberta")
    start = backbone.patch_start(1, steps=POINTS_PER_TOKEN)
    x = torch.randn(2, 1, 5 * POINTS_PER_TOKEN)
    tokens = nn.functional.conv1d(x, start.weight, start.bias, stride=POINTS_PER_TOKEN).transpose(1, 2)
    tokens = nn.functional.layer_norm(tokens, (160,), start.norm_weight, start.norm_bias)
    torch.testing.assert_close(tokens + backbone.positions[:5], backbone.embed_source(x, "waves"))
    many = backbone.patch_start(4, steps=20).weight
    assert many.shape == (160, 4, 20)
    torch.testing.assert_close(many, backbone.patch_start(4, steps=20).weight)
    bases = nn.functional.one_hot(torch.randint(4, (200,)), 4).float().T
    tokens = nn.functional.conv1d(bases[None], many, start.bias, stride=20)
    assert tokens.std(dim=2).mean() > 0.1 * tokens.std(), "one-hot channels are told apart"
    assert backbone.patch_start(1, steps=1).weight is None
    assert backbone.patch_start(1, steps=1).norm_weight is not None


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_patch_is_resampled_to_what_the_whole_filters_make_of_it_stretched(steps: int) -> None:
    backbone = load_backbone("micro-roberta")
    start = backbone.patch_start(1, steps=steps, resample=True)
    patch = torch.randn(5, 1, steps)
    stretched = torch.nn.functional.interpolate(patch, size=8, mode="linear")[:, 0]
    embedder = backbone.wave_embedder.module
    torch.testing.assert_close(
        patch[:, 0] @ start.weight[:, 0].T + start.bias, embedder.projection(stretched), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_damaged_or_foreign_file_is_an_error_that_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = packaged_weights(name).read_bytes()
    other = packaged_weights(NAMES[1 - NAMES.index(name)]).read_bytes()
    file = tmp_path / f"{name}.safetensors"
    monkeypatch.setattr(weights_io, "packaged_weights", lambda _: file)
    backbone = load_backbone(name, pretrained=False)
    for content, message in ((None, "no weights file"), (good[:-10], "damaged"), (other, "does not fit")):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(
            BackboneUnavailable, match=f"(?s){message}.*" if content is None else f"(?s){name}.*{message}"
        ):
            load_packaged(backbone, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_of_32_samples_is_quick_on_one_core(name: str) -> None:
    """A search of 50 trials must end in minutes; the bound is four times what an idle core of 2026 needs."""
    backbone = load_backbone(name)
    N = 256 if name == "micro-swin" else 64
    tokens = torch.randn(32, N, backbone.spec.width)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(5):
            start = time.thread_time()
            backbone.encode(tokens).square().mean().backward()
            times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert statistics.median(times) < 0.6
