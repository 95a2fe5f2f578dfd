"""Use an exported model on new inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pare_tune.config import TrialConfig
from pare_tune.errors import DataError
from pare_tune.method import PareModel
from pare_tune.tasks.base import MultiLabel, Numbers, Point
from pare_tune.tasks.own.predict import Prepared, prepare
from pare_tune.train.build import ModelShape, empty_model
from pare_tune.train.checkpoint import load_weights
from pare_tune.train.evaluation import autocast
from pare_tune.train.export import CONFIG, MODEL, ModelFolder


def load_model(folder: Path, device: torch.device) -> tuple[PareModel, ModelShape, TrialConfig]:
    """The model of a `best/` or `final/` folder, in evaluation mode; needs neither data nor pretrained weights.

    Raises:
        DataError: the folder holds no exported model, or a damaged one.
        ConfigError: its config.yaml was edited into something else.
    """
    source = ModelFolder(folder)
    if not source.holds_model:
        raise DataError(
            f"{folder} holds no model ({MODEL} and {CONFIG}); give the best/ or final/ folder of a run"
        )
    config = source.config()
    tensors, about = load_weights(source.weights)
    about.pop("epoch", None)
    shape = ModelShape.from_dict(about)
    model = empty_model(config, shape)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{source.weights} does not fit {folder / CONFIG}: {error}") from error
    return model.to(device).eval(), shape, config


def prepare_inputs(inputs: Path | npt.NDArray[Any], shape: ModelShape, config: TrialConfig) -> Prepared:
    """Samples that are model-ready, or, for a user's own task, raw as those it was trained on.

    Raises:
        DataError: they are missing, damaged, not finite or of another shape.
    """
    if shape.raw is not None:
        return prepare(inputs, shape.raw, config.input.canvas)
    if isinstance(inputs, Path):
        return Prepared(read_inputs(inputs, shape), lambda outputs: outputs)
    return Prepared(check_inputs(inputs, shape, "inputs"), lambda outputs: outputs)


def read_inputs(path: Path, shape: ModelShape) -> npt.NDArray[np.float32]:
    """A .npy of model-ready samples, (n, *input_shape).

    Raises:
        DataError: missing, truncated, an archive of several arrays, empty, of another shape or type, or holding NaN.
    """
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK"
        if is_archive:
            raise DataError(
                f"{path} is an archive (.npz), the model takes one array; save that array as .npy with numpy.save"
            )
        values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path} as a .npy array: {error}") from error
    return check_inputs(values, shape, str(path))


def check_inputs(values: npt.NDArray[Any], shape: ModelShape, where: str) -> npt.NDArray[np.float32]:
    """Raise DataError unless `values` is (n, *input_shape), n at least 1, real and finite."""
    if values.shape[1:] != shape.input_shape or values.ndim != len(shape.input_shape) + 1:
        wanted = ", ".join(map(str, shape.input_shape))
        raise DataError(f"{where}: the model takes arrays of shape (n, {wanted}), got {values.shape}")
    if len(values) == 0:
        raise DataError(f"{where}: an array of 0 samples, shape {values.shape}; give at least one sample")
    if values.dtype.kind not in "fiub":
        raise DataError(f"{where}: the model takes numbers, got dtype {values.dtype}")
    floats = np.asarray(values, dtype=np.float32)
    if not np.isfinite(floats).all():
        bad = int(np.argwhere(~np.isfinite(floats.reshape(len(floats), -1)).all(axis=1))[0, 0])
        raise DataError(f"{where}: sample {bad} holds NaN or infinity")
    return floats


@torch.no_grad()
def predict_array(
    model: PareModel,
    inputs: npt.NDArray[np.float32],
    *,
    batch_size: int,
    device: torch.device,
    progress: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Raw outputs (n, ...): logits for point and multilabel tasks, for others values in the target's unit."""
    outputs: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(inputs), batch_size):
        x = torch.from_numpy(np.array(inputs[start : start + batch_size])).to(
            device
        )  # a copy: maps are read-only
        with autocast(device):
            outputs.append(model(x).target.float().cpu().numpy())
        if progress is not None:
            progress(len(outputs[-1]))
    return np.concatenate(outputs)


def to_probabilities(outputs: npt.NDArray[np.float32], shape: ModelShape) -> npt.NDArray[np.float32]:
    """Softmax for point tasks, sigmoid for multilabel tasks and masks.

    Raises:
        DataError: the task predicts values; its outputs are no logits.
    """
    logits = torch.from_numpy(outputs)
    match shape.output:
        case Point():
            return logits.softmax(dim=-1).numpy()
        case MultiLabel():
            return logits.sigmoid().numpy()
        case Numbers():
            raise DataError(
                "a model of kind regression predicts numbers, not probabilities; leave out --probabilities"
            )
    if shape.raw is not None and shape.raw["target"]["kind"] == "mask":
        return logits.sigmoid().numpy()
    raise DataError("a dense task predicts values, not probabilities; leave out --probabilities")
