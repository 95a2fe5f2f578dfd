"""A trained model as a folder that stands alone: model.safetensors, config.yaml, metrics.json, environment.txt."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from pare_tune.config import TrialConfig
from pare_tune.data.files import replacing, write_json, write_text

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
    write_text(folder / CONFIG, config.to_yaml())
    write_json(folder / METRICS, metrics)
    write_text(folder / ENVIRONMENT, environment())
    with replacing(folder / MODEL) as partial:
        shutil.copyfile(weights, partial)


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
