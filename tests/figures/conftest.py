"""Runs as figures find them, trained for no epoch: small models of both kinds, with few samples and a source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pare_tune.config import TrialConfig, default_trial
from pare_tune.data.store import Record
from pare_tune.figures.subject import Subject
from pare_tune.sources.base import SourceData, SourceKind
from pare_tune.tasks.base import Modality, PaperSettings, Point, Split, Task
from pare_tune.tasks.load import TaskData, load_task
from pare_tune.tasks.metrics import METRICS
from pare_tune.train.build import ModelShape, build_model, count_tokens, open_backbone
from pare_tune.train.checkpoint import save_weights, seed_everything
from pare_tune.train.export import ModelFolder
from pare_tune.train.opened import open_trial
from pare_tune.train.patches import record_patches
from pare_tune.tune.folder import RunFolder

CPU = torch.device("cpu")


def _make(folder: Path, seed: int) -> None:
    """The samples are made while they are read."""


def _task(name: str, shape: tuple[int, ...], modality: Modality) -> Task:
    def read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
        def records(count: int, offset: int) -> Iterable[Record]:
            for i in range(count):
                x = np.random.default_rng((seed, offset + i)).normal(size=shape).astype(np.float32)
                yield {"x": x + i % 3, "y": np.int64(i % 3)}

        return {"train": records(9, 0), "val": records(15, 100), "test": records(6, 200)}

    return Task(
        name=name,
        title="the mean of noise",
        modality=modality,
        input_shape=shape,
        output=Point(3),
        loss="cross_entropy",
        metric=METRICS["error_rate"],
        paper=PaperSettings(
            batch_size=4, epochs=4, accumulation=1, optimizer="adamw", lr=1e-3, weight_decay=0.0, decay_epochs=4,
            source="docs",
        ),
        embedded_provenance="sample",
        homepage="https://example.org",
        read=read,
        make=_make,
    )  # fmt: skip


class Windows:
    """Text: 20 windows of token ids of two classes."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = (torch.arange(self.num_tokens) * (index + 3) + index) % 200 + 10
        return {"x": x, "y": torch.tensor(index % 2)}


class Masks:
    """20 images, the upper part of each of which is foreground."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(index))
        y = torch.zeros(64, 64)
        y[: 3 * index] = 1.0
        return {"x": x + y, "y": y}


MakeSubject = Callable[..., Subject]


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, TaskData]:
    torch.set_num_threads(1)
    cache = tmp_path_factory.mktemp("toys")
    tasks = (
        _task("toy-series", (1, 24), Modality.SEQUENCE_1D),
        _task("toy-images", (2, 16, 16), Modality.GRID_2D),
    )
    return {task.modality.value: load_task(task, cache=cache) for task in tasks}


@pytest.fixture
def make_subject(toy_data: Mapping[str, TaskData], tmp_path: Path) -> MakeSubject:
    """A subject of one modality ("sequence_1d" or "grid_2d") and method, untrained."""

    def make(modality: str = "sequence_1d", method: str = "pare") -> Subject:
        data = toy_data[modality]
        config = default_trial(replace(data.task), preset="embedded", method=method)  # type: ignore[arg-type]
        config = config.with_values({"train.batch_size": 4})
        backbone = open_backbone(config)
        n = count_tokens(config, data.task.modality, data.input_shape, backbone)
        said = {"name": "toy", "provenance": "toy"}
        text = SourceData(kind=SourceKind.TEXT, dataset=Windows(n), num_classes=2, **said)
        masks = SourceData(kind=SourceKind.MASKED_IMAGES, dataset=Masks(), num_classes=1, **said)
        mixes = method not in ("finetune", "scratch", "layernorm", "orca", "target_mask")
        source = (text if modality == "sequence_1d" else masks) if mixes else None
        seed_everything(0)
        shape = ModelShape.of(data, source)
        subject = Subject(
            tmp_path, tmp_path, build_model(config, shape, backbone, n).eval(), shape, config, CPU
        )
        # As if they had been opened already.
        vars(subject).update(data=data, source=source)
        return subject

    return make


def write_run(folder: Path, config: TrialConfig) -> Path:
    """A run folder whose best trial was trained for no epoch, with two recorded epochs of patches."""
    opened = open_trial(config)
    model = opened.build().eval()
    run = RunFolder(folder)
    trial = run.trial(0)
    trial.mkdir(parents=True)
    about: dict[str, Any] = {**ModelShape.of(opened.data, opened.source).to_dict(), "epoch": 1}
    save_weights(trial / "best.safetensors", model, about)
    ModelFolder(run.best).write(trial / "best.safetensors", config.to_yaml(), {"trial": 0})
    run.best_yaml.write_text(config.to_yaml())
    run.run_yaml.write_text("trial: {}\n")
    if opened.source is not None:
        for epoch, k in ((1, 4), (3, 2)):
            record_patches(
                trial,
                model,
                opened.data.train,
                opened.source.dataset,
                source_kind=opened.source.kind.value,
                k=k,
                epoch=epoch,
                grid=None,
            )
    assert json.loads((run.best / "metrics.json").read_text())["trial"] == 0
    return folder
