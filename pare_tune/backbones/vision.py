"""timm's Swin, Swin v2 and plain ViT as backbones: patch embedding split from the encoder.

Swin (Liu et al., 2021), arXiv:2103.14030; ViT (Dosovitskiy et al., 2021), arXiv:2010.11929
"""
# Shape suffixes: B = batch, N = tokens in, D = their width, M = tokens out, F = their width,
# P = class and register tokens, H and W = rows and columns of tokens.

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import timm
import torch
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg, swin_transformer, swin_transformer_v2, vision_transformer
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pare_tune.backbones.base import Backbone, BackboneSpec, Freeze, PatchStart, Stage, spread_layers
from pare_tune.backbones.freezing import Frozen, apply_rule
from pare_tune.backbones.weights_io import hub_file, read_safetensors
from pare_tune.errors import BackboneUnavailable, ConfigError, UnknownName

_IMAGE_KINDS = ("images", "masked_images")

_CONVERT: Final[dict[type, Callable[[dict[str, Tensor], Any], dict[str, Tensor]]]] = {
    SwinTransformer: swin_transformer.checkpoint_filter_fn,
    SwinTransformerV2: swin_transformer_v2.checkpoint_filter_fn,
    VisionTransformer: vision_transformer.checkpoint_filter_fn,
}
"""Models that fit, and timm's conversion of their published weights (older names, other canvas sizes)."""


class GridBackbone(Backbone):
    """What Swin and ViT have in common: a patch embedding for square images; abstract."""

    encoder: nn.ModuleDict

    def __init__(self, embed: nn.Module, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.source_embedder = Frozen(embed)

    def embed_source(self, x: Tensor, kind: str) -> Tensor:
        """(B, 3, S, S) images of the canvas size → (B, N, D). Raises ValueError for another size or kind."""
        check_images(x, kind, self.spec)
        tokens_BND = cast("Tensor", self.source_embedder(x)).reshape(x.shape[0], -1, self.spec.width)
        return tokens_BND if self.positions is None else tokens_BND + self.positions

    def patch_start(
        self, in_channels: int, steps: int | None = None, *, resample: bool = False
    ) -> PatchStart:
        """See `grid_start`; `steps` and `resample` are for sequences."""
        return grid_start(cast("PatchEmbed", self.source_embedder.module), in_channels)

    def freeze(self, rule: Freeze) -> None:
        """See `freezing.apply_rule`."""
        apply_rule(self.encoder, rule, name=self.spec.name)


class SwinBackbone(GridBackbone):
    """A timm Swin or Swin v2; positions live in its attention, so `positions` is None."""

    def __init__(self, model: SwinTransformer | SwinTransformerV2, spec: BackboneSpec) -> None:
        super().__init__(model.patch_embed, spec)
        self.positions = None
        self.encoder = nn.ModuleDict({"layers": model.layers, "norm": model.norm})

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Those of all stages; what shrinks the grid between them is small."""
        return tuple(block for layer in cast("Any", self.encoder["layers"]) for block in layer.blocks)

    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        """(B, N, D) → the tokens and the features of every stage; the usual last of four has (S / 32)²."""
        rows, columns = cast("tuple[int, int]", self.spec.token_grid)
        x_BHWD = tokens_BND.unflatten(1, (rows, columns))
        stages = [tokens_BND]
        for layer in cast("nn.Sequential", self.encoder["layers"]):
            x_BHWD = layer(x_BHWD)
            stages.append(x_BHWD)
        stages[-1] = self.encoder["norm"](x_BHWD)
        return (tokens_BND, *(stage.flatten(1, 2) for stage in stages[1:]))


class VitBackbone(GridBackbone):
    """A timm VisionTransformer; class and register tokens are added inside `encode` and not returned."""

    positions: Tensor | None

    def __init__(self, model: VisionTransformer, spec: BackboneSpec) -> None:
        super().__init__(model.patch_embed, spec)
        prefix_PD, positions_ND = _split_positions(model)
        self.register_buffer("positions", positions_ND)
        # With average pooling timm moves the last norm behind the pooling, under another name.
        norm = model.fc_norm if isinstance(model.norm, nn.Identity) else model.norm
        self.encoder = nn.ModuleDict({"norm_pre": model.norm_pre, "blocks": model.blocks, "norm": norm})
        self.prefix_PD = nn.Parameter(prefix_PD)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The encoder's own."""
        return tuple(cast("nn.Sequential", self.encoder["blocks"]))

    def stages(self, tokens_BND: Tensor) -> tuple[Tensor, ...]:
        """(B, N, D) → the tokens and (B, N, D) of evenly spaced blocks."""
        num_prefix = self.prefix_PD.shape[0]
        prefix_BPD = self.prefix_PD.expand(tokens_BND.shape[0], -1, -1).to(tokens_BND.dtype)
        x = self.encoder["norm_pre"](torch.cat([prefix_BPD, tokens_BND], dim=1))
        blocks = cast("nn.Sequential", self.encoder["blocks"])
        stages, read = [tokens_BND], spread_layers(len(blocks))
        for number, block in enumerate(blocks, start=1):
            x = block(x)
            if number in read:
                stages.append((x if number < len(blocks) else self.encoder["norm"](x))[:, num_prefix:])
        return tuple(stages)

    def freeze(self, rule: Freeze) -> None:
        """See `freezing.apply_rule`; the class token goes with the rest of the encoder."""
        super().freeze(rule)
        self.prefix_PD.requires_grad_(rule in ("none", "query_key"))


def build_timm(
    name: str,
    model_name: str,
    *,
    pretrained: bool,
    image_size: int | None,
    cache: Path | None,
    drop_path: float,
) -> Backbone:
    """A backbone from `MODEL` or `MODEL@FILE`, FILE being its weights as .safetensors.

    Raises:
        UnknownName: timm has no such model.
        ConfigError: it is neither Swin nor ViT, or cannot be built for this image size.
        BackboneUnavailable: its weights are not here and cannot be downloaded, or are damaged.
    """
    model_name, _, file = model_name.partition("@")
    architecture, _, tag = model_name.partition(".")
    if architecture not in timm.list_models():
        raise UnknownName("timm model", model_name, timm.list_models("*swin*") + timm.list_models("vit*"))
    if tag and model_name not in (published := timm.list_pretrained(f"{architecture}.*")):
        raise UnknownName("timm model", model_name, published)
    model = _create(name, model_name, image_size, drop_path)
    if pretrained:
        _fill(model, Path(file) if file else _download(model_name, cache))
    if isinstance(model, SwinTransformer | SwinTransformerV2):
        return SwinBackbone(model, swin_spec(model, name=name))
    return VitBackbone(model, vit_spec(model, name=name))


def swin_spec(model: Any, *, name: str) -> BackboneSpec:
    """Read the shapes off a timm Swin."""
    layers = zip(model.feature_info, model.layers, strict=True)
    stages = [Stage(width=info["num_chs"], grid=tuple(one.output_resolution)) for info, one in layers]
    return _grid_spec(model, stages, name=name, norm_eps=getattr(model.patch_embed.norm, "eps", 1e-5))


@torch.no_grad()
def grid_start(embed: PatchEmbed, in_channels: int) -> PatchStart:
    """The pretrained convolution for another number of channels, and its norm if it has one.

    One channel gets the sum of the three filters, what a grey image would meet; others get them repeated in turn, as in
    the official code. Both are scaled so that white inputs give outputs of the same variance as before.
    """
    filters = embed.proj.weight
    if in_channels == 1:
        weight = filters.sum(1, keepdim=True) / 3**0.5
    else:
        weight = filters[:, torch.arange(in_channels) % 3] * (3 / in_channels) ** 0.5
    norm = embed.norm if isinstance(embed.norm, nn.LayerNorm) else None
    return PatchStart(
        weight=weight.clone(),
        bias=None if embed.proj.bias is None else embed.proj.bias.clone(),
        norm_weight=None if norm is None else norm.weight.clone(),
        norm_bias=None if norm is None else norm.bias.clone(),
    )


@contextmanager
def quiet_resize() -> Iterator[None]:
    """Resizing of position tables without torch's warnings about how timm indexes them; nobody here can act on them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"timm\.layers\.interpolate")
        yield


def check_images(x: Tensor, kind: str, spec: BackboneSpec) -> None:
    """Raises ValueError unless x is (B, 3, S, S) of a kind that the backbone reads."""
    if kind not in spec.source_kinds:
        raise ValueError(f"{spec.name} embeds {' or '.join(spec.source_kinds)}, got {kind!r}")
    side = spec.image_size
    if x.shape[1:] != (3, side, side):
        raise ValueError(f"{spec.name} was built for images (B, 3, {side}, {side}), got {tuple(x.shape)}")


def check_image_size(image_size: int | None, patch_size: int, *, name: str) -> None:
    """Raises ConfigError unless the size is a positive multiple of the patch."""
    if image_size is not None and (image_size < patch_size or image_size % patch_size):
        raise ConfigError(
            f"image_size of {name} must be a positive multiple of its patch {patch_size}, got {image_size}; "
            f"try {max(1, round(image_size / patch_size)) * patch_size}"
        )


def _create(name: str, model_name: str, image_size: int | None, drop_path: float) -> Any:
    # On the meta device first: it costs nothing and tells whether the model is of a kind that fits.
    with torch.device("meta"):
        plan = timm.create_model(model_name, num_classes=0)
    if not _is_supported(plan):
        raise ConfigError(
            f"backbone {name!r} is not a plain Swin, Swin v2 or ViT of timm (found {type(plan).__name__}); "
            f"`timm.list_models('vit*')` and `timm.list_models('swin*')` list what fits"
        )
    check_image_size(image_size, plan.patch_embed.patch_size[0], name=name)
    return timm.create_model(model_name, num_classes=0, img_size=image_size, drop_path_rate=drop_path)


def _fill(model: Any, path: Path) -> None:
    """Load weights by timm's own conversion for the canvas, and refuse a file that leaves anything random."""
    with quiet_resize():
        converted = _CONVERT[type(model)](read_safetensors(path), model)
    try:
        missing = model.load_state_dict(converted, strict=False).missing_keys
    except RuntimeError as error:
        raise BackboneUnavailable(f"weights file {path} does not fit this model: {error}") from error
    if missing:
        raise BackboneUnavailable(
            f"weights file {path} does not fit this model: it lacks {', '.join(missing[:3])} "
            f"({len(missing)} in all); take the file that timm publishes under the model's name"
        )


def _is_supported(model: object) -> bool:
    # Subclasses (distilled, convolutional stems, ...) embed or encode differently: exact types only.
    if type(model) not in _CONVERT:
        return False
    return type(cast("Any", model).patch_embed) is PatchEmbed


def _download(model_name: str, cache: Path | None) -> Path:
    config = get_pretrained_cfg(model_name)
    file = (config.hf_hub_filename if config else None) or "model.safetensors"
    if config is None or not config.hf_hub_id or not file.endswith(".safetensors"):
        raise BackboneUnavailable(
            f"timm publishes no .safetensors weights of {model_name!r}; "
            f"give a file: timm:{model_name}@FILE.safetensors"
        )
    advice = f"give a local copy: --backbone timm:{model_name}@PATH/model.safetensors"
    return hub_file(config.hf_hub_id, file, cache=cache, advice=advice)


def vit_spec(model: VisionTransformer, *, name: str) -> BackboneSpec:
    """Read the shapes off a timm ViT."""
    stage = Stage(width=model.embed_dim, grid=tuple(model.patch_embed.grid_size))
    stages = [stage] * len(spread_layers(len(model.blocks)))
    return _grid_spec(model, stages, name=name, norm_eps=getattr(model.norm, "eps", 1e-6))


def _grid_spec(model: Any, stages: Sequence[Stage], *, name: str, norm_eps: float) -> BackboneSpec:
    """Of a model whose last stage is `stages[-1]`; they come behind the tokens themselves."""
    embed, last = model.patch_embed, stages[-1]
    grid = tuple(embed.grid_size)
    config = getattr(model, "pretrained_cfg", None) or {}
    fields = {field.name: field.default for field in dataclasses.fields(BackboneSpec)}
    return BackboneSpec(
        name=name,
        kind="grid",
        width=model.embed_dim,
        feature_width=last.width,
        image_size=embed.img_size[0],
        patch_size=embed.patch_size[0],
        token_grid=grid,
        feature_grid=last.grid,
        stages=(Stage(width=model.embed_dim, grid=grid), *stages),
        embed_norm=not isinstance(embed.norm, nn.Identity),
        norm_eps=norm_eps,
        image_mean=tuple(config.get("mean", fields["image_mean"])),
        image_std=tuple(config.get("std", fields["image_std"])),
        source_kinds=_IMAGE_KINDS,
    )


def _split_positions(model: VisionTransformer) -> tuple[Tensor, Tensor | None]:
    """Prefix tokens with their positions added (P, D), and the patches' positions (N, D) or None."""
    tokens = [token[0] for token in (model.cls_token, model.reg_token) if token is not None]
    prefix_PD = torch.cat([torch.zeros(0, model.embed_dim), *(token.detach() for token in tokens)])
    if model.pos_embed is None:
        return prefix_PD, None
    table = model.pos_embed.detach()[0].clone()
    if model.no_embed_class:
        return prefix_PD, table
    num_prefix = prefix_PD.shape[0]
    return prefix_PD + table[:num_prefix], table[num_prefix:]
