"""What a trial's model says of samples that it was not trained on, kept beside its weights as `held_out.safetensors`.

With a validation split these are its samples; with folds they are all development samples, each predicted by the model
of the fold that left it out. Ensembles are chosen on these files, and scores are compared on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from pare_tune.data.files import replacing
from pare_tune.errors import DataError

HELD_OUT: Final = "held_out.safetensors"

_MOST_BYTES: Final = 64 * 10**6
"""Outputs that take more are kept as float16, or not at all."""
_UNWRITTEN = (SafetensorError,)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Outputs of one trial for samples that it was not trained on; N of them, in no order."""

    index_N: npt.NDArray[np.int64]
    """Each sample's place in the development set: the training samples, then those of validation, as prepared. With
    repeated folds a sample is there once a repetition."""
    outputs: npt.NDArray[np.float32]
    """(N, ...) what the model returns: logits of classes and labels, values in the unit of the target."""
    targets: npt.NDArray[Any]
    """(N, ...) the batch's y."""
    epoch: int
    """That is kept, counted from 1; with folds the same in each."""
    others: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """(N, ...) what else the metric reads of a batch."""

    @classmethod
    def of(
        cls, index_N: npt.NDArray[np.int64], outputs: Tensor, batch: Mapping[str, Tensor], epoch: int
    ) -> HeldOut:
        """From what `predict_split` gives."""
        arrays = {name: value.numpy() for name, value in batch.items()}
        return cls(index_N, outputs.numpy(), arrays.pop("y"), epoch, arrays)

    @property
    def predictions(self) -> tuple[Tensor, dict[str, Tensor]]:
        """(outputs, batch) as a `Metric` scores them."""
        batch = {"y": self.targets, **self.others}
        return torch.from_numpy(self.outputs), {
            name: torch.from_numpy(value) for name, value in batch.items()
        }

    def write(self, path: Path) -> bool:
        """Replace a file by this; False, and no file, where the outputs are too large to be kept.

        Raises:
            StorageError: the disk refuses.
        """
        outputs = self.outputs
        if outputs.nbytes > _MOST_BYTES:
            with np.errstate(over="ignore"):
                outputs = outputs.astype(np.float16)
        if outputs.nbytes > _MOST_BYTES:
            path.unlink(missing_ok=True)
            return False
        arrays: dict[str, npt.NDArray[Any]] = {"index": self.index_N, "outputs": outputs}
        arrays |= {f"target.{name}": value for name, value in {"y": self.targets, **self.others}.items()}
        whole = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        with replacing(path, also=_UNWRITTEN) as partial:
            save_file(whole, partial, metadata={"pare_tune": json.dumps({"epoch": self.epoch})})
        return True

    @classmethod
    def read(cls, path: Path) -> HeldOut:
        """What `write` wrote, the outputs as float32.

        Raises:
            DataError: the file is missing, damaged or not one of ours.
        """
        if not path.is_file():
            raise DataError(f"no outputs of held-out samples at {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                epoch = int(json.loads((file.metadata() or {})["pare_tune"])["epoch"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            index_N, outputs = arrays.pop("index"), arrays.pop("outputs").astype(np.float32)
            others = {name.removeprefix("target."): value for name, value in arrays.items()}
            return cls(index_N, outputs, others.pop("y"), epoch, others)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{path} holds no outputs of pare-tune, or is damaged: {error}") from error
