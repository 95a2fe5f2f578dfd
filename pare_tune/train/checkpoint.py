"""What a training leaves on disk: `last.pt` to go on from, `best.safetensors` to use.

Both are replaced atomically, so a killed process leaves the previous one whole. Nothing is ever unpickled: `last.pt`
is read with `weights_only=True`.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pare_tune.errors import DataError, StorageError

LAST = "last.pt"
BEST = "best.safetensors"

_DAMAGED = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, pickle.UnpicklingError, struct.error,
)  # fmt: skip
"""What torch.load raises on bytes that are not what it wrote."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings and containers of them. Raises StorageError when the disk refuses."""
    _replace(path, lambda partial: torch.save(dict(state), partial))


def load_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read what `save_state` wrote; None when there is none, or when the file is damaged (training starts over)."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except _DAMAGED:
        return None
    return state


def save_weights(path: Path, model: nn.Module, about: Mapping[str, Any]) -> None:
    """Write a model's state as safetensors, with `about` (JSON) in its metadata."""
    # One storage under two names is not allowed in safetensors; a clone costs memory only here.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    _replace(path, lambda partial: save_file(tensors, partial, metadata={"pare_tune": json.dumps(about)}))


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


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators (NumPy's are made anew from seeds wherever they are used)."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Undo what happened to torch's generators since `rng_state`."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def seed_everything(seed: int, *, rank: int = 0) -> None:
    """Seed torch (all devices) and NumPy's legacy generator, which third-party code may use."""
    torch.manual_seed(seed + 7919 * rank)
    np.random.seed((seed + 7919 * rank) % 2**32)  # noqa: NPY002


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch reports a full disk as RuntimeError, safetensors as its own error.
        raise StorageError(f"cannot write {path}: {error}; free space on that disk, then resume") from error
    finally:
        partial.unlink(missing_ok=True)
