"""A trained model as a folder that stands alone: model.safetensors, config.yaml, metrics.json, environment.txt."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from pare_tune.config import TrialConfig
from pare_tune.errors import StorageError

MODEL = "model.safetensors"
CONFIG = "config.yaml"
METRICS = "metrics.json"
ENVIRONMENT = "environment.txt"

_PACKAGES = (
    "pare-tune", "torch", "torchvision", "timm", "transformers", "ray", "optuna", "numpy", "scipy", "scikit-learn",
    "scikit-image", "pyarrow", "safetensors", "torchmetrics",
)  # fmt: skip


def export_model(folder: Path, weights: Path, config: TrialConfig, metrics: Mapping[str, Any]) -> None:
    """Write the four files into `folder`; each is replaced atomically, the model last.

    Args:
        weights: the `best.safetensors` (or last) of a training; copied.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG, config.to_yaml())
        write_text(folder / METRICS, json.dumps(plain_json(metrics), indent=2) + "\n")
        write_text(folder / ENVIRONMENT, environment())
        partial = folder / f".{MODEL}.{os.getpid()}.partial"
        try:
            shutil.copyfile(weights, partial)
            os.replace(partial, folder / MODEL)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise refused(folder, error) from error


def environment() -> str:
    """Versions and machine, one a line: what a number must be quoted with."""
    lines = [
        f"python {platform.python_version()}",
        f"platform {platform.platform()}",
        f"cpus {os.cpu_count()}",
    ]
    if torch.cuda.is_available():
        lines += [f"gpu {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def write_text(path: Path, text: str) -> None:
    """Replace a small file as a whole. Raises StorageError when the disk refuses."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise refused(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def refused(path: Path, error: OSError) -> StorageError:
    """What to tell when the disk refuses to write `path`."""
    full = error.errno == errno.ENOSPC
    advice = "free some space" if full else "check its permissions or choose another folder"
    return StorageError(f"cannot write {path}: {error.strerror or error}; {advice}")


def plain_json(value: Any) -> Any:
    """NaN and infinity have no JSON; they become null."""
    if isinstance(value, Mapping):
        return {str(k): plain_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v) for v in value]
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return None
    return value
