"""What a target embedder keeps at the start: a linear probe on its tokens reads scale, mean and place of a bump."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from transformers import RobertaConfig, RobertaModel

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.backbones.hf import SequenceBackbone, sequence_spec
from pare_tune.backbones.vision import SwinBackbone, VitBackbone, swin_spec, vit_spec
from pare_tune.config import TrialConfig, default_trial
from pare_tune.method import SequenceEmbedder
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Point
from pare_tune.train.build import ModelShape, _target_embedder, count_tokens

TRAIN, TEST = 150, 60


FACTORS = {"log scale": (-0.7, 0.7), "mean": (-1.0, 1.0), "place": (0.3, 0.7)}
"""What varies, one at a time: a linear probe of a linear embedder could not tell their products apart."""


def bumps(factor: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Samples of one bump each, (n, *shape), and the factor that varies, (n,)."""
    n, places = TRAIN + TEST, torch.linspace(0, 1, shape[-1])
    value = torch.empty(n, 1).uniform_(*FACTORS[factor])
    scale, mean, place = (value if factor == name else torch.zeros(n, 1) for name in FACTORS)
    place = place if factor == "place" else place + 0.5
    bump = torch.exp(-0.5 * ((places - place) / 0.15).square())
    x = (bump + 0.5 + mean).reshape(n, *(1 for _ in shape[1:]), -1) + 0.01 * torch.randn(n, *shape)
    return scale.exp().reshape(n, *(1 for _ in shape)) * x, value[:, 0]


@torch.no_grad()
def readable(embedder: torch.nn.Module, x: Tensor, y: Tensor) -> float:
    """R² on new samples of ridge regression from all tokens of a sample to y."""
    tokens = embedder(x).flatten(1).double()
    tokens, y = tokens - tokens[:TRAIN].mean(0), (y - y[:TRAIN].mean()).double()
    gram = tokens @ tokens[:TRAIN].T
    ridge = 1e-4 * gram[:TRAIN].diagonal().mean() * torch.eye(TRAIN, dtype=torch.double)
    predicted = gram[TRAIN:] @ torch.linalg.solve(gram[:TRAIN] + ridge, y[:TRAIN])
    return float(1 - (predicted - y[TRAIN:]).square().mean() / y[TRAIN:].var())


@cache
def opened(name: str) -> Backbone:
    """The shipped micro backbones, and the embedders of real sizes as they begin, with little depth behind them."""
    torch.manual_seed(0)
    if name.startswith("micro"):
        return load_backbone(name)
    if name == "roberta-base":
        config = RobertaConfig(
            vocab_size=300, num_hidden_layers=1, max_position_embeddings=514, layer_norm_eps=1e-5
        )
        model = RobertaModel(config, add_pooling_layer=False)
        spec = sequence_spec(config, name=name, offset=2)
        return SequenceBackbone(model, spec, position_offset=2, tokenize=lambda texts: [])
    if name == "swin-base":
        swin = SwinTransformer(
            img_size=56, embed_dim=128, depths=(1,), num_heads=(4,), window_size=7, num_classes=0
        )
        return SwinBackbone(swin, swin_spec(swin, name=name))
    vit = VisionTransformer(img_size=64, patch_size=16, embed_dim=768, depth=1, num_classes=0)
    return VitBackbone(vit, vit_spec(vit, name=name))


CASES = [
    *(
        ("satellite", backbone, (channels, length))
        for backbone in ("micro-roberta", "roberta-base")
        for channels, length in ((1, 46), (3, 192), (1, 256), (2, 1000))
    ),
    *(("wdbc", backbone, (1, 30)) for backbone in ("micro-roberta", "roberta-base")),
    *(
        ("psicov", backbone, (channels, 40, 40))
        for backbone in ("micro-swin", "swin-base", "vit-base")
        for channels in (1, 5)
    ),
]


def embedder_of(config: TrialConfig, shape: tuple[int, ...], encoder: Backbone) -> torch.nn.Module:
    modality = get_task(config.task).modality
    model = ModelShape(
        modality=modality.value, input_shape=shape, output=Point(2),
        target_scale=None, source_kind=None, source_classes=0,
    )  # fmt: skip
    return _target_embedder(config, model, encoder, count_tokens(config, modality, shape, encoder))


@pytest.mark.parametrize("method", ["pare", "scratch"])
@pytest.mark.parametrize(
    ("task", "backbone", "shape", "norm"),
    [
        (*case, norm)
        for case in CASES
        for norm in ("own", "fixed")
        if (case[1], norm) != ("vit-base", "fixed")
    ],
)
def test_tokens_tell_scale_mean_and_place(
    task: str, backbone: str, shape: tuple[int, ...], method: str, norm: str
) -> None:
    config = default_trial(get_task(task), preset="embedded", method=method)
    config = config.with_values({"input.norm": norm})
    torch.manual_seed(1)
    embedder = embedder_of(config, shape, opened(backbone))
    told = {factor: readable(embedder, *bumps(factor, shape)) for factor in FACTORS}
    assert min(told.values()) >= 0.9, told


@pytest.mark.parametrize(("stem", "tells"), [("convolutions", True), ("none", False)])
def test_convolutions_tell_frequencies_whose_phase_varies(stem: str, tells: bool) -> None:
    torch.manual_seed(1)
    config = default_trial(get_task("satellite"), preset="embedded").with_values({"input.stem": stem})
    embedder = embedder_of(config, (1, 150), opened("micro-roberta"))
    frequency, phase = torch.empty(2, TRAIN + TEST, 1).uniform_(0, 1)
    steps = torch.linspace(0, 1, 150)
    x = torch.sin(2 * torch.pi * ((3 + 4 * frequency) * steps + phase))[:, None] + 0.2 * torch.randn(
        TRAIN + TEST, 1, 150
    )
    assert isinstance(embedder, SequenceEmbedder)
    if embedder.stem is not None:
        embedder.stem.fit(x[:TRAIN])
        with torch.autocast("cpu", torch.bfloat16):
            half = embedder.stem(x[:2])
        torch.testing.assert_close(half.float(), embedder.stem(x[:2]), rtol=0.05, atol=0.05)
    told = readable(embedder, x, frequency[:, 0])
    assert told >= 0.8 if tells else told < 0.5, told


@pytest.mark.parametrize(("start", "attribute"), [("readable", "added_positions"), ("plain", "positions")])
@pytest.mark.parametrize("backbone", ["micro-roberta", "roberta-base"])
def test_places_are_as_strong_as_in_pretraining_unless_plain(
    backbone: str, start: str, attribute: str
) -> None:
    config = default_trial(get_task("satellite"), preset="embedded").with_values({"input.start": start})
    encoder = opened(backbone)
    embedder = embedder_of(config, (1, 46), encoder)
    assert torch.equal(embedder.positions, getattr(encoder, attribute)[: embedder.num_tokens])  # type: ignore[arg-type]
