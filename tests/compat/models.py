"""Models that a release exported, stored small: their configuration and metadata as files, their weights as a rule.

`python tests/compat/models.py CASE…`, run by the release whose models must stay readable, writes a case's folder anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import pare_tune

HERE = Path(__file__).parent
SAMPLES = 2
KEPT = 24
"""Values of one sample's output that are compared, evenly spaced."""


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Every tensor of a state dict from its name and shape alone, of a size that keeps activations near 1."""
    return {name: torch.from_numpy(_tensor(name, tuple(shape))) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(f"{name} {shape}".encode()).digest()[:8], "little")
    noise = 2 * np.random.default_rng(seed).random(shape) - 1
    if len(shape) > 1:
        noise *= np.sqrt(3 / np.prod(shape[1:]))
    elif name.endswith((".weight", ".std")):
        noise = 1 + 0.2 * noise
    else:
        noise *= 0.1
    return noise.astype(np.float32)


def inputs(shape: list[int]) -> np.ndarray:
    """Waves of different lengths with a little noise: (n, *shape)."""
    place = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    noise = np.random.default_rng(0).random((SAMPLES, *shape))
    waves = np.stack([np.sin(place * 0.37 / (1 + 3 * i)) + i * np.cos(place * 0.011) for i in range(SAMPLES)])
    return (waves + 0.5 * noise).astype(np.float32)


def predictions(case: dict[str, Any], config: str, folder: Path) -> np.ndarray:
    """Outputs (n, …) of the model of a case, exported to `folder` and loaded by the public function."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    metadata = {"pare_tune": json.dumps(case["about"])}
    save_file(weights(case["tensors"]), folder / "model.safetensors", metadata=metadata)
    return pare_tune.predict(folder, inputs(case["inputs"]))


def kept(outputs: np.ndarray) -> np.ndarray:
    """(n, …) → (n, at most `KEPT`)."""
    flat = outputs.reshape(len(outputs), -1)
    return flat[:, np.linspace(0, flat.shape[1] - 1, min(KEPT, flat.shape[1])).astype(int)]


def write(name: str, folder: Path) -> None:
    """Make a case; `folder` is for what is thrown away."""
    from pare_tune.config import default_trial, load_own
    from pare_tune.tasks import get_task
    from pare_tune.tasks.own.task import own_task
    from pare_tune.train.build import ModelShape
    from pare_tune.train.trial import open_trial

    task, method = CASES[name]
    if task is None:
        rng = np.random.default_rng(0)
        series = {f"s{i}": rng.normal(size=(2, 20 + i)).astype(np.float32) for i in range(30)}
        np.savez(folder / "series.npz", **series)
        np.save(folder / "labels.npy", np.array(["walk", "run"] * 15))
        (folder / "task.yaml").write_text(
            "name: gait\nkind: point\ninput: series.npz:*\ntarget: labels.npy\n"
        )
        own = load_own(folder / "task.yaml")
        config = default_trial(own_task(own), preset="embedded", method=method, own=own)
    else:
        config = default_trial(get_task(task), preset="embedded", method=method)
    opened = open_trial(config)
    shape = ModelShape.of(opened.data, opened.source)
    case: dict[str, Any] = {
        "inputs": [2, 25] if task is None else list(shape.input_shape),
        "about": {**shape.to_dict(), "epoch": 1},
        "tensors": {k: list(v.shape) for k, v in opened.build().state_dict().items()},
    }
    text = opened.config.to_yaml().replace(str(folder), "/gone")
    outputs = predictions(case, text, folder / "final")
    case["outputs"] = {"shape": list(outputs.shape), "kept": kept(outputs).astype(float).tolist()}
    (HERE / name).mkdir(exist_ok=True)
    (HERE / name / "config.yaml").write_text(text, encoding="utf-8")
    (HERE / name / "model.json").write_text(_text(case), encoding="utf-8")


def _text(case: dict[str, Any]) -> str:
    """JSON with a line a tensor."""
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in case["tensors"].items())
    rest = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in case.items() if k != "tensors")
    return f'{{\n{rest},\n "tensors": {{\n{lines}\n }}\n}}\n'


CASES: dict[str, tuple[str | None, Any]] = {
    "grid_point": ("spherical", "pare"),
    "grid_dense": ("darcy", "scratch"),
    "sequence_point": (None, "finetune"),
    "sequence_dense": ("advection", "orca"),
    "table": ("wdbc", "layernorm"),
}
"""Task (None: a user's own) and method."""

if __name__ == "__main__":
    import tempfile

    for case_name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as throwaway:
            write(case_name, Path(throwaway))
