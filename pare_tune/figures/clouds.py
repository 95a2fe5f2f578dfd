"""Samples as points: target, source and what is mixed of them, as embeddings and as features of the encoder.

A point is the mean over a sample's tokens, as in ORCA (Shen et al., 2023), whose distances between modalities PaRe's
figure 1b goes on with. Mixed samples are made as in training, from the trained gate without its noise.
"""
# Shape suffixes: B = batch, N = tokens, D = their width, S = samples, P = a point's numbers.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pare_tune.errors import ConfigError
from pare_tune.figures.subject import Subject, drawn_from
from pare_tune.method import GateMixer, Mixed, Mixer, RandomMixer
from pare_tune.sources.base import SourceData
from pare_tune.train.batches import stack

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same number of validation and source samples, one mixed into the other."""

    target: tuple[int, ...]
    source: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points of S samples."""

    embedding_SP: Tensor
    """Mean over the tokens that the encoder gets."""
    feature_SP: Tensor
    """Mean over the features that it makes of them; empty where nobody asked for features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clouds:
    """What is mixed, what it is mixed of, and the labels."""

    target: Cloud
    source: Cloud
    mixed: Mapping[tuple[str, int], Cloud]
    """(way of choosing, k) → the mixed samples; k = 0 is the target itself."""
    target_y_S: Tensor
    """As the task has them: (S,) classes, or (S, …) labels or values."""
    source_y_S: Tensor


def ways(subject: Subject) -> dict[str, Mixer]:
    """How patches are chosen: as the run does it, and at random."""
    assert subject.model.mixer is not None
    name = "gate" if subject.has_gate else subject.config.method
    return {name: subject.model.mixer, "random": RandomMixer()}


def require_mixed(subject: Subject) -> SourceData:
    """The source of a run that mixes one in.

    Raises:
        ConfigError: it mixes none in, so that there is no intermediate data.
    """
    source = subject.source if subject.mixes_source else None
    if source is None:
        raise ConfigError(
            f"it shows source data mixed in, and method {subject.config.method} of {subject.run} mixes none in; "
            f"give a run of method pare"
        )
    return source


def pair(subject: Subject, source: SourceData, samples: int, seed: int) -> Pairs:
    """Draw samples without repetition, as many as both have, at most `samples`."""
    size = min(samples, len(subject.data.val), len(source.dataset))
    draw = np.random.default_rng((seed, 17))
    target = draw.permutation(len(subject.data.val))[:size]
    return Pairs(tuple(target.tolist()), tuple(draw.permutation(len(source.dataset))[:size].tolist()))


def numbers_of_patches(shares: Sequence[float], num_tokens: int) -> list[int]:
    """Shares of N → different numbers of patches, rising."""
    return sorted({round(share * num_tokens) for share in shares})


@torch.no_grad()
def make_clouds(
    subject: Subject, source: SourceData, pairs: Pairs, ks: Sequence[int], *, features: bool, seed: int
) -> Clouds:
    """Embed, mix and, if asked to, encode; the same seed gives the same points."""
    choosers = ways(subject)
    points: dict[tuple[str, int] | str, list[tuple[Tensor, Tensor]]] = {}
    target_y, source_y = [], []

    def keep(name: tuple[str, int] | str, tokens_BND: Tensor) -> None:
        encoded = subject.backbone.encode(tokens_BND) if features else tokens_BND[:, :0]
        points.setdefault(name, []).append((_pooled(tokens_BND), _pooled(encoded)))

    with drawn_from(seed, subject.device):
        for batch in _batches(subject, source, pairs):
            keep("target", batch.target_BND)
            keep("source", batch.source_BND)
            target_y.append(batch.target_y)
            source_y.append(batch.source_y)
            for name, mixer in choosers.items():
                for k in ks:
                    keep((name, k), mixer(batch.target_BND, batch.source_BND, k).tokens_BND)
    clouds = {name: Cloud(*map(torch.cat, zip(*parts, strict=True))) for name, parts in points.items()}
    return Clouds(
        target=clouds["target"],
        source=clouds["source"],
        mixed={name: cloud for name, cloud in clouds.items() if isinstance(name, tuple)},
        target_y_S=torch.cat(target_y),
        source_y_S=torch.cat(source_y),
    )


@torch.no_grad()
def choose(subject: Subject, mixer: Mixer, target_x: Tensor, source_x: Tensor, k: int) -> Mixed:
    """What is chosen of a batch of samples, without encoding it."""
    source = subject.source
    assert source is not None
    target_BND = subject.model.target_embedder(target_x.to(subject.device))
    mixed: Mixed = mixer(
        target_BND, subject.model.embed_source(source_x.to(subject.device), source.kind.value), k
    )
    return mixed


@torch.no_grad()
def gate_scores(subject: Subject, target_x: Tensor, source_x: Tensor) -> tuple[Tensor, Tensor] | None:
    """σ(z) of both, (B, N) each; None without a gate."""
    mixer, source = subject.model.mixer, subject.source
    if not isinstance(mixer, GateMixer) or source is None:
        return None
    target_BND = subject.model.target_embedder(target_x.to(subject.device))
    source_BND = subject.model.embed_source(source_x.to(subject.device), source.kind.value)
    return mixer.gate.scores(target_BND).cpu(), mixer.gate.scores(source_BND).cpu()


@dataclass(frozen=True, slots=True)
class _Batch:
    target_BND: Tensor
    source_BND: Tensor
    target_y: Tensor
    source_y: Tensor


def _batches(subject: Subject, source: SourceData, pairs: Pairs) -> Iterator[_Batch]:
    for start in range(0, len(pairs.target), _BATCH):
        stop = start + _BATCH
        target = stack([subject.data.val.item(i) for i in pairs.target[start:stop]])
        partner = stack([source.dataset[i] for i in pairs.source[start:stop]])
        yield _Batch(
            subject.model.target_embedder(target["x"].to(subject.device)),
            subject.model.embed_source(partner["x"].to(subject.device), source.kind.value),
            target["y"],
            partner["y"],
        )


def _pooled(tokens_BND: Tensor) -> Tensor:
    if tokens_BND.shape[1] == 0:
        return torch.zeros(len(tokens_BND), 0)
    return tokens_BND.float().mean(dim=1).cpu()
