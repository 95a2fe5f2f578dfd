"""Pretrained encoders behind one small protocol: timm's, transformers', and two that ship inside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from pare_tune.backbones.base import Backbone, BackboneSpec, Freeze, PatchStart
from pare_tune.errors import UnknownName

__all__ = ["BACKBONES", "Backbone", "BackboneSpec", "Freeze", "PatchStart", "load_backbone"]


BACKBONES: Final[dict[str, str]] = {
    # 1.2 M parameters, 64×64, and 1.3 M, bytes and waveforms: their weights ship inside the package.
    "micro-swin": "micro-swin",
    "micro-roberta": "micro-roberta",
    # The paper's backbones: 87 M parameters, 224×224, ImageNet-22k, and 125 M.
    "swin-base-22k": "timm:swin_base_patch4_window7_224.ms_in22k",
    "roberta-base": "hf:roberta-base",
}
"""Names without a prefix, and what they stand for; beside them `timm:MODEL`, `timm:MODEL@FILE.safetensors`,
`hf:NAME-OR-FOLDER`."""


def load_backbone(
    name: str,
    *,
    pretrained: bool = True,
    image_size: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> Backbone:
    """Build a backbone, with its pretrained weights or with random ones.

    Args:
        name: a key of `BACKBONES`, `timm:MODEL[@FILE.safetensors]` (Swin, Swin v2, ViT), or
            `hf:NAME-OR-FOLDER` (RoBERTa, BERT).
        image_size: side of the square canvas, grids only; None for the one that it was pretrained at.
        seed: of random weights. The global random state is left as it was.
        cache: folder of downloaded weights; None for the Hugging Face cache.
        drop_path: rate of stochastic depth, grids only; 0 where the checkpoints' own value is 0.1.
        dropout: of hidden states and attention, sequences only.

    Raises:
        UnknownName: no such backbone.
        ConfigError: a model of another family, or an image size that does not fit.
        BackboneUnavailable: weights that are not here and cannot be downloaded, or are damaged.
    """
    family, _, model = BACKBONES.get(name, name).partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # timm and transformers take a second each to import, so only the one that is needed is.
        if family == "timm" and model:
            from pare_tune.backbones.vision import build_timm

            return build_timm(
                name, model, pretrained=pretrained, image_size=image_size, cache=cache, drop_path=drop_path
            )
        if family == "hf" and model:
            from pare_tune.backbones.hf import build_hf

            return build_hf(name, model, pretrained=pretrained, cache=cache, dropout=dropout)
        if name == "micro-swin":
            from pare_tune.backbones.micro_swin import build_micro_swin

            return build_micro_swin(pretrained=pretrained, image_size=image_size, drop_path=drop_path)
        if name == "micro-roberta":
            from pare_tune.backbones.micro_roberta import build_micro_roberta

            return build_micro_roberta(pretrained=pretrained, dropout=dropout)
    raise UnknownName("backbone", name, [*BACKBONES, "timm:MODEL", "hf:NAME-OR-FOLDER"])
