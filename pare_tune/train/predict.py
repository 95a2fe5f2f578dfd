"""Use an exported model on new inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pare_tune.config import TrialConfig, task_of
from pare_tune.errors import ConfigError, DataError
from pare_tune.method import PareModel
from pare_tune.tasks.base import Dense, MultiLabel, Numbers, Point
from pare_tune.tasks.load import TaskDataset, open_test
from pare_tune.tasks.own.predict import NewSamples, Piece, prepare
from pare_tune.tasks.own.samples import MappedRows
from pare_tune.train.build import ModelShape, empty_model, pick_device
from pare_tune.train.checkpoint import load_weights
from pare_tune.train.ensemble import Averaged
from pare_tune.train.export import CONFIG, MODEL, ModelFolder
from pare_tune.train.outputs import Predictions
from pare_tune.train.simple.models import SIMPLE

if TYPE_CHECKING:
    import pandas as pd

_PIECE_BYTES: Final = 16 << 20
"""Of model-ready samples, held at a time."""
_MOST_ROWS: Final = 8192
"""Of a piece: rows of a table take many times the memory of the numbers in them."""


def load_model(folder: Path, device: torch.device) -> tuple[nn.Module, ModelShape, TrialConfig]:
    """The model of a `best/` or `final/` folder, or the average of its members, in evaluation mode; needs neither data
    nor pretrained weights.

    Raises:
        DataError: the folder holds no exported model, or a damaged one, or one of a later version.
        ConfigError: its config.yaml was edited into something else.
    """
    source = ModelFolder(folder)
    together = source.ensemble()
    if together is None or not source.holds_model:
        return _load(folder, device)
    with source.told_if_newer():
        members = [load_model(folder / name, device) for name, _ in together["members"]]
        weights = [weight for _, weight in together["members"]]
        model = Averaged([member[0] for member in members], weights, together["average"])
        return model.eval(), members[0][1], source.config()


def load_one(folder: Path, device: torch.device) -> tuple[PareModel, ModelShape, TrialConfig]:
    """`load_model` for those who look into a model.

    Raises:
        ConfigError: it is several, or has no encoder to look into.
    """
    model, shape, config = load_model(folder, device)
    if not isinstance(model, PareModel):
        raise ConfigError(
            f"{folder} holds no single fine-tuned model to look into; give one of its members that is one, "
            f"such as {folder / 'members' / '00'}"
        )
    return model, shape, config


def _load(folder: Path, device: torch.device) -> tuple[nn.Module, ModelShape, TrialConfig]:
    source = ModelFolder(folder)
    if not source.holds_model:
        raise DataError(
            f"{folder} holds no model ({MODEL} and {CONFIG}); give the best/ or final/ folder of a run, whole"
        )
    with source.told_if_newer():
        config = source.config()
        tensors, about = load_weights(source.weights)
        about.pop("epoch", None)
        simple = about.pop("simple", None)
        shape = ModelShape.from_dict(about)
        if simple is not None:
            return SIMPLE[simple](tensors).to(device).eval(), shape, config
        model = empty_model(config, shape)
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise DataError(f"{source.weights} does not fit {folder / CONFIG}: {error}") from error
    return model.to(device).eval(), shape, config


class Predictor:
    """A model that was loaded, and what is asked of it."""

    def __init__(
        self,
        folder: Path,
        *,
        probabilities: bool = False,
        coverage: float | None = None,
        batch_size: int = 64,
    ) -> None:
        """
        Args:
            probabilities: instead of logits; calibrated where the model is.
            coverage: add sets of classes, or intervals of numbers, that hold the truth in such a share of cases.

        Raises:
            DataError, ConfigError: as `load_model`.
            DataError: the model has no probabilities, or no calibration that `coverage` needs.
        """
        self.device = pick_device()
        self.model, self.shape, self.config = load_model(folder, self.device)
        self.calibration = ModelFolder(folder).calibration()
        self.probabilities, self._batch_size = probabilities, batch_size
        if probabilities:
            self._require_probabilities()
        self.radius: npt.NDArray[np.float32] | None = None
        if coverage is not None:
            if self.calibration is None:
                raise DataError(
                    f"{folder} has no calibration, which --coverage needs: it comes with `pare-tune train`, where "
                    f"samples were held out (without --with-val, or from a best.yaml whose search has its best/)"
                )
            self.radius = self.calibration.radius(coverage)

    def __call__(self, inputs: npt.NDArray[Any] | pd.DataFrame | Path | str) -> npt.NDArray[np.float32]:
        """Outputs (n, ...) of all samples, which are read, and predicted, piece by piece.

        Raises:
            DataError: they are missing, or do not fit the model.
        """
        if isinstance(inputs, str | list | tuple):
            inputs = Path(inputs) if isinstance(inputs, str) else np.asarray(inputs)
        samples = self.open(inputs)
        return np.concatenate([self.predict(samples.piece(rows)).values for rows in self.pieces(samples)])

    @property
    def axes(self) -> int:
        """Of the outputs, that of the samples among them."""
        return 1 + (len(self.shape.output.shape) if isinstance(self.shape.output, Dense) else 1)

    @property
    def are_classes(self) -> bool:
        """Whether a sample is of one class."""
        return isinstance(self.shape.output, Point)

    def open(self, inputs: Path | npt.NDArray[Any] | pd.DataFrame) -> NewSamples:
        """Samples that are model-ready, or raw: those of a user's own task, or the test split of a public release.

        Raises:
            DataError: they are missing, damaged or of another shape.
        """
        if self.shape.raw is not None:
            return prepare(inputs, self.shape.raw, self.config.input.canvas)
        if isinstance(inputs, Path) and inputs.is_dir():
            task = task_of(self.config)
            return _Release(open_test(task, data=inputs, canvas=self.config.input.canvas), inputs, self.shape)
        if isinstance(inputs, Path):
            return _Ready(_open_npy(inputs), str(inputs), self.shape)
        if not isinstance(inputs, np.ndarray):
            shape = ", ".join(map(str, self.shape.input_shape))
            raise DataError(f"inputs: the model takes no rows of a table but an array of shape (n, {shape})")
        return _Ready(inputs, "inputs", self.shape)

    def pieces(self, samples: NewSamples) -> list[range]:
        """How `samples` are cut, always in the same way: into pieces of whole batches."""
        size = 4 * int(np.prod(self.shape.input_shape))
        rows = min(_MOST_ROWS, _PIECE_BYTES // size)
        rows = max(1, rows // self._batch_size) * self._batch_size
        return [range(start, min(start + rows, len(samples))) for start in range(0, len(samples), rows)]

    def predict(self, piece: Piece) -> Predictions:
        """The outputs of some samples, as they are asked for."""
        return self.predict_each([piece])[0]

    def predict_each(self, pieces: Sequence[Piece]) -> list[Predictions]:
        """The outputs of each piece; the model sees all of them together."""
        outputs = outputs_of(self.model, np.concatenate([piece.x for piece in pieces]), self._batch_size)
        ends = np.cumsum([len(piece.x) for piece in pieces])[:-1]
        return [
            self._as_asked(piece, own) for piece, own in zip(pieces, np.split(outputs, ends), strict=True)
        ]

    def _as_asked(self, piece: Piece, outputs: npt.NDArray[np.float32]) -> Predictions:
        has_logits = isinstance(self.shape.output, Point | MultiLabel)
        values = self._to_probabilities(outputs) if self.probabilities else outputs
        restored = piece.restore(values)
        members = off = None
        if self.radius is not None and self.are_classes:
            members = self._to_probabilities(outputs) >= 1.0 - self.radius
        elif self.radius is not None:
            off = self.radius
        return Predictions(
            values=restored,
            names=self.names,
            samples=piece.names,
            meaning="probability" if self.probabilities else "logit" if has_logits else "value",
            are_classes=self.are_classes,
            unseen=piece.unseen,
            members=members,
            off=off,
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of classes, labels or numbers; empty where the task gives them none."""
        return () if self.shape.raw is None else tuple(self.shape.raw["target"]["names"])

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs are logits, of classes, labels or masks."""
        if isinstance(self.shape.output, Point | MultiLabel):
            return True
        own_mask = self.shape.raw is not None and self.shape.raw["target"]["kind"] == "mask"
        return own_mask or (self.calibration is not None and self.calibration.temperature is not None)

    def _require_probabilities(self) -> None:
        """Raise DataError where the task predicts values, which are no logits."""
        if self.has_probabilities:
            return
        if isinstance(self.shape.output, Numbers):
            raise DataError(
                "a model of kind regression predicts numbers, not probabilities; leave out --probabilities"
            )
        raise DataError("a dense task predicts values, not probabilities; leave out --probabilities")

    def _to_probabilities(self, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Softmax for classes, sigmoid for labels and masks; of logits as they are where none is calibrated."""
        logits = torch.from_numpy(outputs)
        if self.calibration is not None and self.calibration.temperature is not None:
            logits = logits / self.calibration.temperature
        return (logits.softmax(dim=-1) if self.are_classes else logits.sigmoid()).numpy()


@torch.no_grad()
def outputs_of(model: nn.Module, x: npt.NDArray[np.float32], batch_size: int) -> npt.NDArray[np.float32]:
    """Logits (n, ...) for point and multilabel tasks, for others values in the target's unit."""
    # An average of simple models alone has no parameters.
    device = next(model.parameters(), torch.empty(0)).device
    outputs: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(x), batch_size):
        # A copy: maps are read-only.
        batch = torch.from_numpy(np.array(x[start : start + batch_size])).to(device)
        outputs.append(model(batch).target.float().cpu().numpy())
    return np.concatenate(outputs)


class _Ready(NewSamples):
    """An array of samples as the model takes them."""

    def __init__(self, values: npt.NDArray[Any] | MappedRows, where: str, shape: ModelShape) -> None:
        """Raises DataError unless there is at least one, real and of the model's shape."""
        self._values, self.where = values, where
        if values.shape[1:] != shape.input_shape or len(values.shape) != len(shape.input_shape) + 1:
            wanted = ", ".join(map(str, shape.input_shape))
            raise DataError(f"{where}: the model takes arrays of shape (n, {wanted}), got {values.shape}")
        if len(self) == 0:
            raise DataError(f"{where}: an array of 0 samples, shape {values.shape}; give at least one sample")
        if values.dtype.kind not in "fiub":
            raise DataError(f"{where}: the model takes numbers, got dtype {values.dtype}")

    def __len__(self) -> int:
        return int(self._values.shape[0])

    def piece(self, rows: range) -> Piece:
        x = np.asarray(self._values[rows.start : rows.stop], dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
        if len(bad):
            raise DataError(f"{self.where}: sample {rows.start + int(bad[0])} holds NaN or infinity")
        return Piece(x)


class _Release(NewSamples):
    """The test split of a public release."""

    def __init__(self, dataset: TaskDataset, folder: Path, shape: ModelShape) -> None:
        self._dataset, self.where = dataset, str(folder)
        if (given := tuple(dataset.item(0)["x"].shape)) != shape.input_shape:
            raise DataError(f"{folder}: the model takes samples of {shape.input_shape}, these are of {given}")

    def __len__(self) -> int:
        return len(self._dataset)

    def piece(self, rows: range) -> Piece:
        return Piece(np.stack([self._dataset.item(row)["x"].numpy() for row in rows]))


def _open_npy(path: Path) -> MappedRows:
    """Raises DataError: missing, truncated, an archive of several arrays."""
    try:
        with path.open("rb") as file:
            is_archive = file.read(2) == b"PK"
        if is_archive:
            raise DataError(
                f"{path} is an archive (.npz), the model takes one array; save that array as .npy with numpy.save"
            )
        return MappedRows(path, np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path} as a .npy array: {error}") from error
