"""Pretrained encoders behind one small protocol: timm's, transformers', and two that ship inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from pare_tune.backbones.base import Backbone, BackboneSpec, Freeze, PatchStart
from pare_tune.errors import UnknownName

__all__ = ["BACKBONES", "Backbone", "BackboneEntry", "BackboneSpec", "Freeze", "PatchStart", "load_backbone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What every builder is given; each takes what applies to it."""

    name: str
    pretrained: bool
    image_size: int | None
    seed: int
    cache: Path | None
    drop_path: float
    dropout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneEntry:
    """One line of the registry."""

    title: str
    embedded: bool
    """Whether its weights ship inside the package."""
    build: Callable[[_Options], Backbone]


# timm and transformers take a second each to import, so only the one that is needed is.


def _micro_swin(options: _Options) -> Backbone:
    from pare_tune.backbones.micro_swin import build_micro_swin

    return build_micro_swin(
        pretrained=options.pretrained, image_size=options.image_size, drop_path=options.drop_path
    )


def _micro_roberta(options: _Options) -> Backbone:
    from pare_tune.backbones.micro_roberta import build_micro_roberta

    return build_micro_roberta(pretrained=options.pretrained, dropout=options.dropout)


def _swin_base_22k(options: _Options) -> Backbone:
    return _timm(options, "swin_base_patch4_window7_224.ms_in22k")


def _roberta_base(options: _Options) -> Backbone:
    return _hf(options, "roberta-base")


def _timm(options: _Options, model_name: str) -> Backbone:
    from pare_tune.backbones.vision import build_timm

    return build_timm(
        options.name,
        model_name,
        pretrained=options.pretrained,
        image_size=options.image_size,
        cache=options.cache,
        drop_path=options.drop_path,
    )


def _hf(options: _Options, source: str) -> Backbone:
    from pare_tune.backbones.hf import build_hf

    return build_hf(
        options.name, source, pretrained=options.pretrained, cache=options.cache, dropout=options.dropout
    )


BACKBONES: Final[dict[str, BackboneEntry]] = {
    "micro-swin": BackboneEntry(
        title="Swin, 1.2 M parameters, 64×64, inside the package", embedded=True, build=_micro_swin
    ),
    "micro-roberta": BackboneEntry(
        title="RoBERTa over bytes and waveforms, 1.3 M parameters, inside the package",
        embedded=True,
        build=_micro_roberta,
    ),
    "swin-base-22k": BackboneEntry(
        title="Swin-B, 87 M parameters, 224×224, ImageNet-22k (timm); the paper's 2D backbone",
        embedded=False,
        build=_swin_base_22k,
    ),
    "roberta-base": BackboneEntry(
        title="RoBERTa-base, 125 M parameters (transformers); the paper's 1D backbone",
        embedded=False,
        build=_roberta_base,
    ),
}
"""Names without a prefix; beside them `timm:MODEL`, `timm:MODEL@FILE.safetensors`, `hf:NAME-OR-FOLDER`."""

_PREFIXES: Final[dict[str, Callable[[_Options, str], Backbone]]] = {"timm": _timm, "hf": _hf}


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
    options = _Options(
        name=name,
        pretrained=pretrained,
        image_size=image_size,
        seed=seed,
        cache=cache,
        drop_path=drop_path,
        dropout=dropout,
    )
    prefix, colon, rest = name.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if colon and prefix in _PREFIXES and rest:
            return _PREFIXES[prefix](options, rest)
        if name in BACKBONES:
            return BACKBONES[name].build(options)
    raise UnknownName("backbone", name, [*BACKBONES, "timm:MODEL", "hf:NAME-OR-FOLDER"])
