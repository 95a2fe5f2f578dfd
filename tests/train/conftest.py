"""A toy task with few small samples, read through the real store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.data.store import Record
from pare_tune.method import METHODS
from pare_tune.sources.base import SourceData, SourceKind
from pare_tune.tasks.base import Modality, PaperSettings, Point, Split, Task
from pare_tune.tasks.load import TaskData, load_task
from pare_tune.tasks.metrics import METRICS
from pare_tune.train.build import count_tokens, open_backbone
from pare_tune.train.loop import Context, EpochReport, FitResult, fit
from pare_tune.train.opened import OpenedTrial


def _read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    def records(count: int, offset: int) -> Iterable[Record]:
        for i in range(count):
            rng = np.random.default_rng((seed, offset + i))
            y = i % 3
            x = rng.normal(size=(1, 12)).astype(np.float32)
            x[0, y * 4 : y * 4 + 4] += 2.0
            yield {"x": x, "y": np.int64(y)}

    return {"train": records(22, 0), "val": records(9, 100), "test": records(9, 200)}


def _make(folder: Path, seed: int) -> None:
    """The samples are made while they are read."""


TOY = Task(
    name="toy",
    title="which third of a series is high",
    modality=Modality.SEQUENCE_1D,
    input_shape=(1, 12),
    output=Point(3),
    loss="cross_entropy",
    metric=METRICS["error_rate"],
    paper=PaperSettings(
        batch_size=8, epochs=4, accumulation=1, optimizer="adamw", lr=1e-3, weight_decay=0.0, decay_epochs=4,
        source="waves",
    ),
    embedded_provenance="sample",
    homepage="https://example.org",
    read=_read,
    make=_make,
)  # fmt: skip


class Tokens:
    """A source of token windows, labelled by their first byte's parity."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens

    def __len__(self) -> int:
        return 13

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        x = torch.arange(index + 1, index + 1 + self.num_tokens) % 200
        return {"x": x, "y": torch.tensor(index % 2)}


@dataclass(frozen=True)
class Toy:
    data: TaskData
    config: TrialConfig

    def changed(self, **values: object) -> Toy:
        return Toy(self.data, self.config.with_values(values))

    def run(
        self,
        *,
        folder: Path | None = None,
        report: Callable[[EpochReport], None] = lambda r: None,
        rank: int = 0,
        world_size: int = 1,
        validate: bool = True,
    ) -> tuple[FitResult, torch.nn.Module]:
        backbone = open_backbone(self.config)
        n = count_tokens(self.config, Modality.SEQUENCE_1D, self.data.input_shape, backbone)
        source = SourceData(
            name="tokens", kind=SourceKind.TEXT, dataset=Tokens(n), num_classes=2, provenance="toy"
        )
        chosen = source if METHODS[self.config.method].reads_source else None
        opened = OpenedTrial(
            config=self.config, data=self.data, source=chosen, backbone=backbone, num_tokens=n
        )
        model = opened.build()
        context = Context(report=report, folder=folder, rank=rank, world_size=world_size)
        return fit(opened, model, context, validate=validate), model


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    torch.set_num_threads(1)
    config = default_trial(TOY, preset="embedded").with_values(
        {"train.epochs": 3, "train.batch_size": 8, "optimizer.lr": 5e-4, "source.name": "docs"}
    )
    return Toy(load_task(TOY, cache=tmp_path_factory.mktemp("cache")), config)
