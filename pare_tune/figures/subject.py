"""What a figure is drawn of: a trained model with the data, the source and the records that belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from pare_tune.backbones import Backbone
from pare_tune.config import TrialConfig
from pare_tune.errors import DataError
from pare_tune.method import GateMixer, PareModel
from pare_tune.sources.base import SourceData
from pare_tune.tasks.base import Modality
from pare_tune.tasks.load import TaskData
from pare_tune.train.build import ModelShape, count_tokens, open_data, open_trial_source, pick_device
from pare_tune.train.export import CONFIG, MODEL
from pare_tune.train.predict import load_one
from pare_tune.tune.folder import RunFolder


@dataclass(frozen=True)
class Subject:
    """A run's model, in evaluation mode. Data and source are opened when they are first asked for."""

    run: Path
    """The run folder; of a model that lies in none, its own folder."""
    folder: Path
    """The model's."""
    model: PareModel
    shape: ModelShape
    config: TrialConfig
    device: torch.device
    cache: Path | None = None

    @cached_property
    def data(self) -> TaskData:
        """Train and validation splits; figures read no test split."""
        return open_data(self.config, self.cache)

    @cached_property
    def source(self) -> SourceData | None:
        """The proxy data set; None where the model mixes none in."""
        return open_trial_source(self.config, self.backbone, self.num_tokens, self.cache)

    @property
    def backbone(self) -> Backbone:
        """The model's encoder as it was trained."""
        return cast("Backbone", self.model.encoder)

    @cached_property
    def num_tokens(self) -> int:
        """N."""
        return count_tokens(self.config, Modality(self.shape.modality), self.shape.input_shape, self.backbone)

    @property
    def has_gate(self) -> bool:
        """Whether its patches are chosen by a gate."""
        return isinstance(self.model.mixer, GateMixer)

    @property
    def mixes_source(self) -> bool:
        """Whether source samples are mixed in."""
        return self.model.mixer is not None and self.model.mixer.needs_source

    @property
    def subtitle(self) -> str:
        """Second line of a title: the task, the method, and what the data are unless they are real."""
        return f"{self.config.task}, {self.config.method}{self._data}"

    @property
    def shared_subtitle(self) -> str:
        """The same of a figure of several methods."""
        return f"{self.config.task}{self._data}"

    @property
    def _data(self) -> str:
        return "" if self.data.provenance == "real" else f", data: {self.data.provenance}"

    @property
    def provenance(self) -> str:
        """Last sentence of every caption."""
        meaning = {
            "real": "the released data, or your own",
            "sample": "simulated, of the release's format; nothing here says anything about the real benchmark",
            "solved": "equations solved here, smaller than the release",
        }
        return f"Data: {self.data.provenance} ({meaning[self.data.provenance]})."


def open_subject(path: Path, *, cache: Path | None = None) -> Subject:
    """Open a run folder, or the best/ or final/ folder of one.

    Raises:
        DataError: there is no model in it, or a damaged one.
        ConfigError: its config.yaml was edited into something else.
    """
    folder = find_model(path)
    device = pick_device()
    model, shape, config = load_one(folder, device)
    return Subject(_run_of(folder), folder, model, shape, config, device, cache)


def find_model(path: Path) -> Path:
    """The folder that holds the model of `path`: itself, its best/, or its final/.

    Raises:
        DataError: none of them does.
    """
    for folder in (path, path / "best", path / "final"):
        if (folder / MODEL).is_file() and (folder / CONFIG).is_file():
            return folder
    what = "no such folder" if not path.exists() else f"neither best/ nor final/ holds {MODEL}"
    raise DataError(
        f"{path} has no model to draw ({what}); give a run of which a trial is complete, or a best/ or final/ folder"
    )


def names_of(subjects: Sequence[Subject]) -> list[str]:
    """What runs are called in a legend: by their methods where these differ, else by their folders."""
    for names in ([str(one.config.method) for one in subjects], [one.run.name for one in subjects]):
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]


def record_folder(subject: Subject) -> Path | None:
    """The folder of the run's best trial, where its patches were recorded; None for a model without a run."""
    run = RunFolder(subject.run)
    number = run.best_number()
    return None if number is None else run.trial(number)


@contextmanager
def drawn_from(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's generators start at `seed` inside, and go on outside as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _run_of(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.parent if (folder.parent / "run.yaml").is_file() else folder
