"""A trained model as a folder that stands alone: model.safetensors, config.yaml, metrics.json, environment.txt, and
calibration.json where it was calibrated."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from pare_tune.config import TrialConfig, load_trial
from pare_tune.data.files import replacing, write_json, write_text
from pare_tune.errors import DataError, PareTuneError
from pare_tune.train.calibration import Calibration
from pare_tune.train.ensemble import Average
from pare_tune.train.fingerprint import package_versions

MODEL = "model.safetensors"
CONFIG = "config.yaml"
METRICS = "metrics.json"
ENVIRONMENT = "environment.txt"
CALIBRATION = "calibration.json"
ENSEMBLE = "ensemble.json"
"""In place of weights: {"average": how, "members": [{"folder", "weight"}, …]}, each a model folder below this one."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A `best/` or `final/` folder. Making one touches nothing."""

    path: Path

    @property
    def weights(self) -> Path:
        """The model's file."""
        return self.path / MODEL

    @property
    def holds_model(self) -> bool:
        """Whether a model can be loaded from here."""
        is_there = self.weights.is_file() or (self.path / ENSEMBLE).is_file()
        return is_there and (self.path / CONFIG).is_file()

    @property
    def is_complete(self) -> bool:
        """Whether `write` has ended here, with a model."""
        return self.holds_model and (self.path / METRICS).is_file()

    @contextmanager
    def told_if_newer(self) -> Iterator[None]:
        """What is raised while the model is read, as a DataError where a later version of this package wrote it."""
        try:
            yield
        except (PareTuneError, LookupError, TypeError, ValueError) as error:
            written_by, own = self._version(), package_versions().get("pare-tune", "")
            if _numbers(written_by) > _numbers(own):
                raise DataError(
                    f"{self.path} was written by pare-tune {written_by}, which is later than this one ({own}): "
                    f"install that version ({error})"
                ) from error
            if isinstance(error, PareTuneError):
                raise
            raise DataError(f"{self.weights} does not say how its model is built ({error!r})") from error

    def _version(self) -> str:
        """Of the package that wrote the folder; empty where it does not say."""
        try:
            text = (self.path / ENVIRONMENT).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""
        said = re.search(r"^pare-tune (\S+)$", text, re.MULTILINE)
        return "" if said is None else said[1]

    def write(
        self,
        weights: Path | None,
        config: str,
        metrics: Mapping[str, Any],
        calibration: Calibration | None = None,
    ) -> None:
        """Write the files, each as a whole, the model last.

        Args:
            weights: what a training left; taken over under a second name, or copied. None writes no model.
            config: text of config.yaml: a `TrialConfig`, and the `Fingerprint` of what it was trained on.
            calibration: None where no held-out predictions are there to make one from.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_text(self.path / CONFIG, config)
        if calibration is None:
            (self.path / CALIBRATION).unlink(missing_ok=True)
        else:
            write_json(self.path / CALIBRATION, calibration.to_dict())
        write_json(self.path / METRICS, metrics)
        write_text(self.path / ENVIRONMENT, environment())
        if weights is not None:
            with replacing(self.weights) as partial:
                link(weights, partial)

    def write_ensemble(self, average: str, members: Mapping[Path, float]) -> None:
        """Make this the average of the models in folders below it. Raises StorageError."""
        rows = [{"folder": str(p.relative_to(self.path)), "weight": w} for p, w in members.items()]
        write_json(self.path / ENSEMBLE, {"average": average, "members": rows})

    def ensemble(self) -> Mapping[str, Any] | None:
        """What `write_ensemble` wrote; None for a single model.

        Raises:
            DataError: its file is damaged.
        """
        path = self.path / ENSEMBLE
        if not path.is_file():
            return None
        try:
            tree: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            average = str(tree["average"])
            members = [(str(m["folder"]), float(m["weight"])) for m in tree["members"]]
            below = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name, _ in members)
            if average not in get_args(Average) or not members or not below:
                raise ValueError("an average of models in folders below this one is expected")
            if not all(0 < weight < math.inf for _, weight in members):
                raise ValueError("weights must be positive")
            return {"average": average, "members": members}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path} does not say which models are averaged, or is damaged: {error!r}; copy the folder "
                f"again"
            ) from error

    def config(self) -> TrialConfig:
        """What the model was trained with. Raises ConfigError with file and line."""
        return load_trial(self.path / CONFIG)

    def config_text(self) -> str:
        """What `write` was given. Raises OSError or ValueError where it is not there or damaged."""
        return (self.path / CONFIG).read_text(encoding="utf-8")

    def calibration(self) -> Calibration | None:
        """None where the model has none: of a search's best trial, and models of earlier versions.

        Raises:
            DataError: its file was lost on the way, or is damaged.
        """
        path = self.path / CALIBRATION
        try:
            if not path.is_file():
                lost = (self.path / METRICS).is_file() and bool(self.metrics().get("calibration"))
                if lost:
                    raise DataError(f"{path} is missing: the folder was copied in part; copy it whole")
                return None
            return Calibration.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{self.path}: its calibration is damaged ({error!r}); copy the folder again"
            ) from error

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds. Raises OSError or ValueError where it is not there or damaged."""
        metrics = json.loads((self.path / METRICS).read_text(encoding="utf-8"))
        if not isinstance(metrics, dict):
            raise ValueError(f"{self.path / METRICS} is no mapping")
        return metrics


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def environment() -> str:
    """Versions and machine, one a line: what a number must be quoted with."""
    lines = [
        f"python {platform.python_version()}",
        f"platform {platform.platform()}",
        f"cpus {os.cpu_count()}",
    ]
    if torch.cuda.is_available():
        lines += [f"gpu {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    lines += [f"{name} {version}" for name, version in package_versions().items()]
    return "\n".join(lines) + "\n"


def link(source: Path, target: Path) -> None:
    """Give a file of a training a second name, or copy it where the disk has no such names."""
    # Weights are replaced, never written in place, so two names of one file stay apart.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
