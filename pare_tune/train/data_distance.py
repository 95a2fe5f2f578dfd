"""OTDD (Alvarez-Melis and Fusi 2020) between two data sets by name, on frozen features, with nothing trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.config import EMBEDDED, default_trial
from pare_tune.distance import Inner, otdd
from pare_tune.errors import UnknownName
from pare_tune.method import SequenceEmbedder
from pare_tune.sources import SOURCES, SourceKind
from pare_tune.tasks import TASKS, get_task
from pare_tune.tasks.base import Modality
from pare_tune.train.build import source_for, start_pretrained
from pare_tune.train.features import (
    PIXELS,
    Embed,
    Samples,
    as_series,
    frozen_features,
    source_samples,
    target_samples,
)
from pare_tune.train.opened import OpenedTrial, open_target

Named = Literal["task", "source"]

_PICTURES = frozenset({SourceKind.IMAGES, SourceKind.MASKED_IMAGES})
_STEPS = 8
"""Pixels of a picture in one token, where it is read as a series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDistance:
    """How far two named data sets are; larger is farther, in the unit of the backbone's features."""

    a: str
    b: str
    otdd: float
    inner: Inner
    backbone: str
    samples: tuple[int, int]
    labels: tuple[str, str]
    provenance: tuple[str, str]


def data_distance(
    a: str,
    b: str,
    *,
    inner: Inner = "gaussian",
    samples: int = 500,
    seed: int = 0,
    sources: Path | None = None,
    cache: Path | None = None,
) -> DataDistance:
    """OTDD between two tasks or sources, on frozen features of an embedded backbone; the same in either order.

    Both are read by micro-swin if both are pictures or maps, else by micro-roberta, to which a picture is a series of
    16×16 pixels. A task's samples pass the embedder that its training would begin with.

    Args:
        a, b: names of the registries; `task:` or `source:` before one that is in both (cifar100).
        samples: most of each; a task's are of its training split.
        sources: folder of proxy data sets, for those that need files.

    Raises:
        UnknownName: neither a task nor a source.
        ConfigError, DataError: a data set cannot be read.
    """
    pair = (resolve(a), resolve(b))
    modality = Modality.GRID_2D if all(_is_picture(*one) for one in pair) else Modality.SEQUENCE_1D
    backbone = load_backbone(EMBEDDED[modality].backbone, cache=cache)
    tasks = {
        name: open_target(default_trial(get_task(name), preset="embedded"), cache=cache)
        for kind, name in pair
        if kind == "task"
    }
    # Windows of text are as long as the samples of the task that they are compared with.
    lengths = [task.num_tokens for task in tasks.values() if not task.data.task.modality.is_grid]
    num_tokens = max(lengths, default=EMBEDDED[modality].max_tokens)
    seen = [
        _see_task(tasks[name], backbone, samples, seed)
        if kind == "task"
        else _see_source(name, backbone, num_tokens, samples, seed, sources, cache)
        for kind, name in pair
    ]
    (first, x), (second, y) = seen
    return DataDistance(
        a=first.name,
        b=second.name,
        otdd=otdd(x, first.y, y, second.y, inner=inner, max_samples=samples, seed=seed),
        inner=inner,
        backbone=backbone.spec.name,
        samples=(len(x), len(y)),
        labels=(first.labels, second.labels),
        provenance=(first.provenance, second.provenance),
    )


def resolve(name: str) -> tuple[Named, str]:
    """Whether a name is a task's or a source's; of names that are both, the task's.

    Raises:
        UnknownName: it is neither.
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix == "source":
        if rest not in SOURCES:
            raise UnknownName("source", rest, SOURCES)
        return "source", rest
    if colon and prefix == "task":
        return "task", get_task(rest).name
    if name in TASKS or name not in SOURCES:
        try:
            return "task", get_task(name).name
        except UnknownName:
            raise UnknownName("task or source", name, {*TASKS, *SOURCES}) from None
    return "source", name


def _is_picture(kind: Named, name: str) -> bool:
    return get_task(name).modality.is_grid if kind == "task" else SOURCES[name].kind in _PICTURES


def _see_task(opened: OpenedTrial, backbone: Backbone, count: int, seed: int) -> tuple[Samples, Tensor]:
    data = opened.data
    samples = target_samples(data.train, count, name=data.task.name, provenance=data.provenance, seed=seed)
    if _is_foreign(samples, backbone):
        return samples, _pixel_features(samples, backbone)
    return samples, frozen_features(samples.x, opened.build().target_embedder, opened.backbone)


def _see_source(
    name: str,
    backbone: Backbone,
    num_tokens: int,
    count: int,
    seed: int,
    root: Path | None,
    cache: Path | None,
) -> tuple[Samples, Tensor]:
    kind = SOURCES[name].kind
    reader = backbone
    if kind in _PICTURES and backbone.spec.kind == "sequence":
        reader = load_backbone(EMBEDDED[Modality.GRID_2D].backbone, cache=cache)
    source = source_for(reader, name, num_tokens=num_tokens, data=root, cache=cache)
    samples = source_samples(source, count, seed=seed)
    if _is_foreign(samples, backbone):
        return samples, _pixel_features(samples, backbone)
    return samples, frozen_features(samples.x, _source_embed(backbone, kind), backbone)


def _is_foreign(samples: Samples, backbone: Backbone) -> bool:
    """Whether these are pictures for a backbone that reads series."""
    return samples.x.ndim == 4 and backbone.spec.kind == "sequence"


def _pixel_features(samples: Samples, backbone: Backbone) -> Tensor:
    return frozen_features(as_series(samples.x), _pixel_embedder(samples.x.shape[1], backbone), backbone)


def _source_embed(backbone: Backbone, kind: SourceKind) -> Embed:
    def embed(x: Tensor) -> Tensor:
        return backbone.embed_source(x, kind.value)

    return embed


def _pixel_embedder(channels: int, backbone: Backbone) -> Embed:
    """Pretrained as far as `patch_start` goes, so that equal pictures get equal tokens."""
    spec, length = backbone.spec, PIXELS
    embedder = SequenceEmbedder(
        channels, length, length // _STEPS, spec.width,
        norm=spec.embed_norm, norm_eps=spec.norm_eps, positions=backbone.positions,
    )  # fmt: skip
    start_pretrained(embedder, backbone, channels, _STEPS)
    return embedder
