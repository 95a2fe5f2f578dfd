"""From a TrialConfig and opened data to a model: the one place that knows tasks, sources, backbones and the method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.config import TrialConfig, task_of
from pare_tune.errors import ConfigError, UnknownName
from pare_tune.method import (
    METHODS,
    GridDenseHead,
    GridEmbedder,
    GridStagesHead,
    HeadConfig,
    PareModel,
    PointHead,
    SequenceAcrossHead,
    SequenceDenseHead,
    SequenceEmbedder,
    SequenceStagesHead,
    TableEmbedder,
    TargetScale,
    fix_norm,
    make_mixer,
    stack_size,
    start_from,
)
from pare_tune.sources import SOURCES, open_source
from pare_tune.sources.base import SourceData, SourceKind, SourceRequest
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Output, Point
from pare_tune.tasks.folds import Fold
from pare_tune.tasks.load import TargetScaling, TaskData, default_cache, load_fold, load_task

_OUTPUTS: Final[Mapping[str, type[Output]]] = {
    "point": Point, "multilabel": MultiLabel, "dense": Dense, "numbers": Numbers,
}  # fmt: skip
"""What the metadata of weights call each output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What a model must be rebuilt with beside its config; kept in the metadata of its weights."""

    modality: str
    input_shape: tuple[int, ...]
    output: Output
    target_scale: TargetScaling | None = field(compare=False)
    """Maps the head's output to the target's unit. JSON keeps its shape alone: the values are among the weights."""
    source_kind: str | None
    source_classes: int
    raw: Mapping[str, Any] | None = None
    """How a user's raw samples become the model's input (`Task.raw`)."""

    @classmethod
    def of(cls, data: TaskData, source: SourceData | None) -> ModelShape:
        """Shapes of opened data."""
        return cls(
            modality=data.task.modality.value,
            input_shape=data.input_shape,
            output=data.output,
            target_scale=data.target_scale,
            source_kind=None if source is None else source.kind.value,
            source_classes=0 if source is None else source.num_classes,
            raw=data.task.raw,
        )

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> ModelShape:
        """From JSON; a target scale is the identity until the weights are loaded."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in tree.items()}
        scale = values["target_scale"]
        if scale is not None:
            values["target_scale"] = (torch.zeros(scale), torch.ones(scale))
        output, sizes = _OUTPUTS[values.pop("output_kind")], values.pop("output_shape")
        return cls(output=Dense(sizes) if output is Dense else output(*sizes), **values)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        word = next(word for word, output in _OUTPUTS.items() if isinstance(self.output, output))
        sizes = self.output.shape if isinstance(self.output, Dense) else astuple(self.output)
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "output"}
        tree = {**own, "output_kind": word, "output_shape": sizes}
        if self.target_scale is not None:
            tree["target_scale"] = tuple(self.target_scale[0].shape)
        return tree


def open_data(config: TrialConfig, cache: Path | None = None, fold: Fold | None = None) -> TaskData:
    """The trial's train and validation splits, or those of a fold. Raises DataError, StorageError, UnknownName."""
    load = load_task if fold is None else partial(load_fold, fold=fold)
    return load(
        task_of(config, cache),
        data=config.data,
        canvas=config.input.canvas,
        share=config.train.share,
        cache=cache,
    )


def open_backbone(config: TrialConfig, cache: Path | None = None, *, pretrained: bool = True) -> Backbone:
    """The trial's encoder.

    Args:
        pretrained: False where every weight will be overwritten: none is looked for then.

    Raises:
        UnknownName, BackboneUnavailable: see `backbones.load_backbone`.
        ConfigError: the backbone is of the wrong kind for the task.
    """
    backbone = load_backbone(
        config.backbone,
        pretrained=pretrained and METHODS[config.method].pretrained,
        image_size=config.input.image_size,
        seed=config.seed,
        cache=cache,
    )
    backbone.freeze(config.train.freeze)
    return backbone


def check_fits(config: TrialConfig, modality: Modality, backbone: Backbone) -> None:
    """Raise ConfigError when a vision encoder is asked to read a series, or the reverse, or a part to be what it cannot
    be here."""
    wanted = "grid" if modality.is_grid else "sequence"
    if backbone.spec.kind != wanted:
        example = "micro-swin or swin-base-22k" if wanted == "grid" else "micro-roberta or roberta-base"
        raise ConfigError(
            f"a task of modality {modality.value} needs a {wanted} backbone ({example}), "
            f"{backbone.spec.name} is a {backbone.spec.kind} backbone"
        )
    if config.head.kind == "across" and modality is not Modality.DENSE_1D:
        raise ConfigError(
            f"head.kind across predicts series, which a task of modality {modality.value} does not ask for; choose "
            f"stages or last"
        )
    if config.input.stem == "convolutions" and modality not in (Modality.SEQUENCE_1D, Modality.DENSE_1D):
        raise ConfigError(
            f"input.stem convolutions reads series, the task's modality is {modality.value}; leave it at none"
        )
    if config.input.norm == "fixed" and not backbone.spec.embed_norm:
        raise ConfigError(
            f"input.norm fixed: {backbone.spec.name} takes tokens without a norm, which is as linear; leave it at own"
        )


def open_trial_source(
    config: TrialConfig, backbone: Backbone, num_tokens: int, cache: Path | None = None
) -> SourceData | None:
    """The trial's proxy data set as the backbone reads it; None for methods that read none.

    Raises:
        ConfigError: the source holds the task's own validation samples; else see `source_for`.
    """
    if not METHODS[config.method].reads_source:
        return None
    source = config.source
    if source.name in SOURCES and config.task in SOURCES[source.name].holds:
        raise ConfigError(
            f"source {source.name!r} holds validation images of task {config.task}, with their labels; choose "
            f"another source.name"
        )
    return source_for(
        backbone, source.name, num_tokens=num_tokens, data=source.data, samples=source.samples, cache=cache
    )


def source_for(
    backbone: Backbone,
    name: str,
    *,
    num_tokens: int,
    data: Path | None = None,
    samples: int | None = None,
    cache: Path | None = None,
) -> SourceData:
    """Source `name` as `backbone` reads it.

    Args:
        num_tokens: N, the length of a window of text.
        data: folder of public releases; embedded sources need none.
        samples: a fixed subset of this size; None for all.

    Raises:
        UnknownName: there is no such source.
        ConfigError: the source is of a kind that the backbone has no embedder for.
        DataError, StorageError: see `sources.open_source`.
    """
    spec = backbone.spec
    if name not in SOURCES:
        raise UnknownName("source", name, SOURCES)
    kind = SOURCES[name].kind
    if kind.value not in spec.source_kinds:
        raise ConfigError(
            f"source {name!r} gives {kind.value}, {spec.name} reads {', '.join(spec.source_kinds)}; "
            f"choose another source.name"
        )
    return open_source(
        name,
        SourceRequest(
            root=data,
            cache=cache or default_cache(),
            max_samples=samples,
            image_size=spec.image_size,
            image_mean=spec.image_mean,
            image_std=spec.image_std,
            num_tokens=None if spec.kind == "grid" else num_tokens,
            tokenize=backbone.tokenize if spec.kind == "sequence" else None,
            tokenizer_name=spec.tokenizer_name,
        ),
    )


def count_tokens(
    config: TrialConfig, modality: Modality, input_shape: tuple[int, ...], backbone: Backbone
) -> int:
    """N: the tokens that one target sample becomes.

    Raises:
        ConfigError: more tokens than the backbone has positions for.
    """
    spec = backbone.spec
    if modality.is_grid:
        assert spec.token_grid is not None
        return spec.token_grid[0] * spec.token_grid[1]
    length = input_shape[-1]
    limit = min(config.input.max_tokens, spec.max_tokens or config.input.max_tokens)
    num_tokens = length if modality is Modality.TABLE else length // stack_size(length, limit)
    if spec.max_tokens is not None and num_tokens > spec.max_tokens:
        raise ConfigError(
            f"{length} features need as many tokens, {spec.name} takes at most {spec.max_tokens}"
        )
    return num_tokens


def without_idle_mixing(config: TrialConfig, num_tokens: int) -> TrialConfig:
    """`config`, by `finetune` where it would mix samples of one token: K could only be none or all of it."""
    if num_tokens > 1 or METHODS[config.method].mixer is None:
        return config
    return config.model_copy(update={"method": "finetune"})


def build_model(config: TrialConfig, shape: ModelShape, backbone: Backbone, num_tokens: int) -> PareModel:
    """The whole PaRe model around `backbone`; new parts are initialised from torch's global generator."""
    method, spec = METHODS[without_idle_mixing(config, num_tokens).method], backbone.spec
    check_fits(config, Modality(shape.modality), backbone)
    target_head: nn.Module = _target_head(config, shape, backbone, num_tokens)
    if shape.target_scale is not None:
        target_head = nn.Sequential(target_head, TargetScale(*shape.target_scale))
    return PareModel(
        encoder=backbone,
        target_embedder=_target_embedder(config, shape, backbone, num_tokens),
        target_head=target_head,
        mixer=make_mixer(
            method, width=spec.width, token_grid=spec.token_grid or (1, num_tokens), gate=config.gate
        ),
        source_head=_source_head(config.head, shape, backbone) if method.source_loss else None,
        precision=config.train.precision,
    )


def empty_model(config: TrialConfig, shape: ModelShape, cache: Path | None = None) -> PareModel:
    """A model to load trained weights into: no pretrained ones are needed or looked for."""
    backbone = open_backbone(config, cache, pretrained=False)
    num_tokens = count_tokens(config, Modality(shape.modality), shape.input_shape, backbone)
    return build_model(config, shape, backbone, num_tokens)


def _target_embedder(
    config: TrialConfig, shape: ModelShape, backbone: Backbone, num_tokens: int
) -> nn.Module:
    spec, modality, channels = backbone.spec, Modality(shape.modality), shape.input_shape[0]
    norm: dict[str, Any] = {"norm": spec.embed_norm, "norm_eps": spec.norm_eps}
    readable = config.input.start == "readable"
    embedder: GridEmbedder | SequenceEmbedder | TableEmbedder
    steps: int | None = None
    if modality.is_grid:
        assert spec.image_size is not None
        assert spec.patch_size is not None
        embedder = GridEmbedder(
            channels, spec.image_size, spec.patch_size, spec.width, positions=backbone.positions,
            bias=readable, **norm,
        )  # fmt: skip
    elif modality is Modality.TABLE:
        embedder = TableEmbedder(channels, num_tokens, spec.width, **norm)
    else:
        length = shape.input_shape[-1]
        steps = length // num_tokens
        embedder = SequenceEmbedder(
            channels,
            length,
            num_tokens,
            spec.width,
            positions=_positions(config, backbone),
            bias=readable,
            stem=config.input.stem == "convolutions",
            **norm,
        )
    if config.input.embedder == "pretrained":
        start_pretrained(embedder, backbone, channels, steps, resample=readable)
    if config.input.norm == "fixed":
        fix_norm(embedder)
    return embedder


def start_pretrained(
    embedder: GridEmbedder | SequenceEmbedder | TableEmbedder,
    backbone: Backbone,
    channels: int,
    steps: int | None,
    *,
    resample: bool = False,
) -> None:
    """Let `embedder` begin at the backbone's own patch embedding, see `Backbone.patch_start`."""
    start = backbone.patch_start(channels, steps, resample=resample)
    start_from(
        embedder,
        weight=start.weight,
        bias=start.bias,
        norm_weight=start.norm_weight,
        norm_bias=start.norm_bias,
    )


def _positions(config: TrialConfig, backbone: Backbone) -> Tensor | None:
    """What a series embedder adds to its tokens at the start."""
    return backbone.added_positions if config.input.start == "readable" else backbone.positions


def _target_head(config: TrialConfig, shape: ModelShape, backbone: Backbone, num_tokens: int) -> nn.Module:
    head, spec = config.head, backbone.spec
    if not isinstance(shape.output, Dense):
        return PointHead(spec.feature_width, *astuple(shape.output))
    if spec.kind == "grid":
        return _grid_head(head, backbone, shape.output.shape)
    if head.kind == "last":
        return SequenceDenseHead(spec.feature_width, num_tokens, shape.output.shape)
    widths = [stage.width for stage in spec.stages]
    if head.kind == "across":
        return SequenceAcrossHead(
            widths, num_tokens, shape.output.shape, head.width, positions=_positions(config, backbone)
        )
    return SequenceStagesHead(widths, num_tokens, shape.output.shape, head.width)


def _source_head(head: HeadConfig, shape: ModelShape, backbone: Backbone) -> nn.Module | None:
    if shape.source_kind is None:
        return None
    spec = backbone.spec
    if shape.source_kind == SourceKind.MASKED_IMAGES:
        assert spec.image_size is not None
        return _grid_head(head, backbone, (spec.image_size, spec.image_size))
    return PointHead(spec.feature_width, shape.source_classes)


def _grid_head(head: HeadConfig, backbone: Backbone, out_shape: tuple[int, ...]) -> nn.Module:
    spec = backbone.spec
    if head.kind == "stages":
        grids = [stage.grid for stage in spec.stages if stage.grid is not None]
        return GridStagesHead([stage.width for stage in spec.stages], grids, out_shape, head.width)
    assert spec.feature_grid is not None
    assert spec.image_size is not None
    return GridDenseHead(
        spec.feature_width, spec.feature_grid, out_shape, up=spec.image_size // spec.feature_grid[0]
    )


def pick_device() -> torch.device:
    """The accelerator of this process if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
