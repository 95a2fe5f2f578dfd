"""Frozen features: what a data set looks like to a pretrained encoder before anything is trained on it."""
# Shape suffixes: B = batch, C = channels, N = tokens, D = their width, M = features a sample, F = their width.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nnf
from torch import Tensor

from pare_tune.backbones import Backbone
from pare_tune.distance import PSEUDO_CLASSES
from pare_tune.sources.base import SourceData
from pare_tune.train.batches import TargetDataset, fetch, stack

_SIDE = 16
"""Maps are shrunk to this many rows and columns before they are grouped; series to its square."""
PIXELS = _SIDE**2
"""Length of a picture as a series."""
_BATCH = 64
_CHOICE = 7
"""Tells the seed that chooses samples from those of other draws."""

Embed = Callable[[Tensor], Tensor]
"""Samples (B, …) → tokens (B, N, D)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """A fixed subset of a data set."""

    name: str
    x: Tensor
    """(B, …) inputs as the data set gives them."""
    y: Tensor
    """(B, …) targets, as `compact_target` leaves them."""
    provenance: str

    @property
    def labels(self) -> str:
        """For people: what stands for classes."""
        different = len(self.y.unique(dim=0))
        if self.y.ndim == 1 and not self.y.is_floating_point():
            return f"{different} classes"
        what = "values" if self.y.ndim == 1 else "targets of several values"
        return f"{min(different, PSEUDO_CLASSES)} pseudo-classes (k-means) of {what}"


def target_samples(dataset: TargetDataset, count: int, *, name: str, provenance: str, seed: int) -> Samples:
    """At most `count` samples of a task's split, as they are evaluated (without augmentation)."""
    rows = draw_rows(len(dataset), count, seed, _CHOICE)
    return _samples([dataset.item(int(row)) for row in rows], name, provenance)


def source_samples(source: SourceData, count: int, *, seed: int) -> Samples:
    """At most `count` samples of a source."""
    rows = draw_rows(len(source.dataset), count, seed, _CHOICE)
    return _samples(fetch(source.dataset, rows.tolist()), source.name, source.provenance)


def _samples(items: Sequence[dict[str, Tensor]], name: str, provenance: str) -> Samples:
    compact = stack([{"x": item["x"], "y": compact_target(item["y"])} for item in items])
    return Samples(name=name, x=compact["x"], y=compact["y"], provenance=provenance)


@torch.no_grad()
def frozen_features(x: Tensor, embed: Embed, backbone: Backbone) -> Tensor:
    """(B, …) samples → (B, F): tokens of `embed`, encoded, averaged. The backbone is put in evaluation mode."""
    backbone.eval()
    parts = [backbone.encode(embed(part)).mean(dim=1).float() for part in x.split(_BATCH)]
    return torch.cat(parts)


def as_series(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) → their pixels in reading order, 16×16 of them: (B, C, `PIXELS`). Series stay."""
    return nnf.adaptive_avg_pool2d(x, _SIDE).flatten(2) if x.ndim == 4 else x


def compact_target(y: Tensor) -> Tensor:
    """A target small enough that thousands can be grouped into pseudo-classes: maps and long series are averaged down.

    A class, a value and up to 256 labels stay as they are.
    """
    if y.ndim < 2 and y.numel() <= PIXELS:
        return y
    if y.ndim == 1:
        return nnf.adaptive_avg_pool1d(y.float()[None], PIXELS)[0]
    size = (min(y.shape[-2], _SIDE), min(y.shape[-1], _SIDE))
    return nnf.adaptive_avg_pool2d(y.float().reshape(1, -1, *y.shape[-2:]), size).reshape(
        *y.shape[:-2], *size
    )


def draw_rows(total: int, count: int, *key: int) -> npt.NDArray[np.int64]:
    """`count` of `total` rows without repetition, in order, chosen by `key`; all of them where there are no more."""
    if total <= count:
        return np.arange(total)
    return np.sort(np.random.default_rng(key).choice(total, count, replace=False)).astype(np.int64)
