"""Which patches were chosen, a few times during a training: what pictures of the selection are drawn from."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pare_tune.data.files import replacing

if TYPE_CHECKING:  # the report reads these files and must not wait for torch
    from torch import Tensor

    from pare_tune.method import PareModel
    from pare_tune.train.batches import TargetDataset

PATCHES = "patches"
"""Folder of a trial's records, one file an epoch."""
SAMPLES = 4
"""Samples in a record: the first of the training split, and the first of the source."""
_SIDE = 128
"""Pixels; larger images are shrunk."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRecord:
    """The selection of one epoch, as the gate makes it without noise."""

    epoch: int
    k: int
    grid: tuple[int, int]
    """Rows and columns of tokens; (1, N) for series and tables."""
    target_x: Array
    """(S, C, L) or (S, C, H, W) float16, at most 3 channels."""
    source_x: Array
    """(S, 3, H, W) or (S, 1, L) float16; (S, N) int64 token ids of text."""
    target_mask: Array
    """(S, N) uint8: 1 where the target token stays."""
    source_mask: Array
    """(S, N) uint8: 1 where the source token is taken."""
    target_score: Array
    """(S, N) float16, the gate's σ(z); empty without a gate."""
    source_score: Array


def picture_epochs(epochs: int) -> frozenset[int]:
    """1-based epochs that are recorded: the first, a third, two thirds and the last."""
    return frozenset({1, math.ceil(epochs / 3), math.ceil(2 * epochs / 3), epochs})


def record_patches(
    folder: Path,
    model: PareModel,
    target: TargetDataset,
    source: Any,
    *,
    source_kind: str | None,
    k: int,
    epoch: int,
    grid: tuple[int, int] | None,
) -> None:
    """Write the selection of `epoch` (1-based) to `folder`/patches; nothing for methods that select no patches.

    Costs an embedding of a few samples and no pass through the encoder; draws no random number that training sees.

    Raises:
        StorageError: the file cannot be written.
    """
    import torch

    if model.mixer is None or source is None or not model.mixer.needs_source or k == 0:
        return
    device = next(model.parameters()).device
    x = torch.stack([target.item(i)["x"] for i in range(min(SAMPLES, len(target)))])
    source_x = torch.stack([source[i % len(source)]["x"] for i in range(len(x))])
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            mixed = model.mix(x.to(device), source_x.to(device), source_kind, k)
    finally:
        model.train(training)
    if mixed.target_mask is None or mixed.source_mask is None:
        return
    record = PatchRecord(
        epoch=epoch,
        k=k,
        grid=grid or (1, mixed.target_mask.shape[1]),
        target_x=_drawable(x),
        source_x=_drawable(source_x),
        target_mask=mixed.target_mask.cpu().numpy().astype(np.uint8),
        source_mask=mixed.source_mask.cpu().numpy().astype(np.uint8),
        target_score=_scores(mixed.target_logits),
        source_score=_scores(mixed.source_logits),
    )
    _write(folder / PATCHES / f"{epoch:05d}.npz", record)


def read_patches(folder: Path) -> list[PatchRecord]:
    """A trial's records, first epoch first; a file that cannot be read is left out."""
    records = []
    for path in sorted((folder / PATCHES).glob("*.npz")):
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files}
            rows, columns = (int(n) for n in values.pop("grid"))
            epoch, k = int(values.pop("epoch")), int(values.pop("k"))
            records.append(PatchRecord(epoch=epoch, k=k, grid=(rows, columns), **values))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            continue
    return records


def _write(path: Path, record: PatchRecord) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(record, name) for name in record.__slots__})


def _drawable(x: Tensor) -> Array:
    """Few channels, few pixels, half precision; token ids as they are."""
    import torch.nn.functional as nnf

    if not x.is_floating_point():
        return x.numpy()
    x = x[:, :3].float()
    if x.ndim == 4 and max(x.shape[-2:]) > _SIDE:
        scale = _SIDE / max(x.shape[-2:])
        x = nnf.interpolate(x, size=_scaled(x.shape[-2:], scale), mode="area")
    limit = float(np.finfo(np.float16).max)
    return x.clamp(-limit, limit).numpy().astype(np.float16)


def _scaled(size: Sequence[int], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(n * scale)) for n in size)
    return height, width


def _scores(logits: Tensor | None) -> Array:
    return (
        np.zeros((0, 0), np.float16) if logits is None else logits.sigmoid().cpu().numpy().astype(np.float16)
    )
