"""What a training leaves on disk: `last.pt` to go on from, `best.safetensors` to use.

Both are replaced atomically, so a killed process leaves the previous one whole. Nothing is ever unpickled: `last.pt`
is read with `weights_only=True`.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from pare_tune.data.files import replacing
from pare_tune.errors import DataError

LAST = "last.pt"
BEST = "best.safetensors"
FOLDS_DONE = "fold-*.pt"
"""Glob of what folds that are done left in a trial's folder, until the trial has ended."""

_DAMAGED = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, pickle.UnpicklingError, struct.error,
)  # fmt: skip
"""What torch.load raises on bytes that are not what it wrote."""
_UNWRITTEN = (RuntimeError, SafetensorError)
"""What torch and safetensors raise when the disk is full."""
_LARGE = 64 * 2**20
"""Bytes of a state that takes the disk longer than a copy in memory is worth."""
_SHARE = 0.02
"""Of a training's time that writing its states may take."""
_REPEATED_S = 30.0
"""What an interruption may cost at most, or an epoch where that is longer."""
_NOISE = 5
"""Tells the seeds of an epoch's noise from those of its order, partners and augmentation (`batches`)."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them. Raises StorageError when the disk refuses."""
    with replacing(path, also=_UNWRITTEN) as partial:
        torch.save(dict(state), partial)


class StateWriter:
    """Writes states one after the other: a large one beside what goes on meanwhile, so that the disk holds up nothing.

    A refusal is raised as StorageError by the next `write`, or by `close`.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[None] | None = None
        self._due = -math.inf

    @property
    def is_due(self) -> bool:
        """Whether writing again costs at most 2 % of the time since the last: epochs of few steps are shorter."""
        return time.perf_counter() >= self._due

    def write(self, path: Path, state: Mapping[str, Any]) -> None:
        """As `save_state`; `state` may change as soon as this has returned."""
        started = time.perf_counter()
        self._wait()
        if _bytes_of(state) < _LARGE:
            save_state(path, state)
        else:
            # A copy in memory takes a fraction of the time that the disk takes.
            self._last = self._thread.submit(save_state, path, tree_map_only(Tensor, _copied, dict(state)))
        ended = time.perf_counter()
        self._due = ended + min((ended - started) / _SHARE, _REPEATED_S)

    def close(self) -> None:
        """Wait for the last one."""
        self._thread.shutdown()
        self._wait()

    def _wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            last.result()


def _bytes_of(state: Mapping[str, Any]) -> int:
    return sum(leaf.nbytes for leaf in tree_leaves(dict(state)) if isinstance(leaf, Tensor))


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def load_state(path: Path) -> dict[str, Any] | None:
    """Read what `save_state` wrote, onto the CPU; None when there is none, or it is damaged (training starts over)."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED:
        return None
    return state


def save_weights(path: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a model's state as safetensors, with `about` (JSON) in its metadata. Raises StorageError."""
    # One storage under two names is not allowed in safetensors; a clone costs memory only here.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    with replacing(path, also=_UNWRITTEN) as partial:
        save_file(tensors, partial, metadata={"pare_tune": json.dumps(about)})


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote: (state dict, about).

    Raises:
        DataError: the file is missing, damaged or not one of ours.
    """
    if not path.is_file():
        raise DataError(f"no model at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["pare_tune"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise DataError(f"{path} is not a model of pare-tune, or is damaged: {error}") from error


def load_best(folder: Path, model: nn.Module) -> int:
    """Put the best epoch's weights into `model`; returns that epoch. Raises DataError as `load_weights`."""
    tensors, about = load_weights(folder / BEST)
    model.load_state_dict(tensors)
    return int(about["epoch"])


def seed_everything(seed: int) -> None:
    """Seed torch (all devices) and NumPy's legacy generator, which third-party code may use."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def seed_noise(seed: int, epoch: int, rank: int) -> None:
    """Seed what a worker draws in one epoch (dropout, the gate's noise), so that no checkpoint need keep it."""
    key = np.random.SeedSequence((seed, _NOISE, epoch, rank))
    seed_everything(int(key.generate_state(1, np.uint64)[0]))
