"""Toy tasks of every kind of output, small enough that a peer is fitted in a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.compare.peers.base import Examples, Problem
from pare_tune.data.store import Record
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Output, PaperSettings, Point, Split, Task
from pare_tune.tasks.load import load_task, open_test
from pare_tune.tasks.metrics import METRICS

PAPER = PaperSettings(
    batch_size=8, epochs=4, accumulation=1, optimizer="adamw", lr=1e-3, weight_decay=0.0, decay_epochs=4, source="docs",
    score=1.5,
)  # fmt: skip
SIZES: Mapping[Split, tuple[int, int]] = {"train": (48, 0), "val": (24, 1000), "test": (24, 2000)}


def classes(rng: np.random.Generator) -> Record:
    """Which third of a series is high."""
    y = int(rng.integers(3))
    x = rng.normal(size=(1, 12)).astype(np.float32)
    x[0, y * 4 : y * 4 + 4] += 1.5
    return {"x": x, "y": np.int64(y)}


def labels(rng: np.random.Generator) -> Record:
    """Which channels are high on the average."""
    y = rng.integers(0, 2, size=2)
    return {"x": (rng.normal(size=(2, 12)) + y[:, None]).astype(np.float32), "y": y.astype(np.float32)}


def field(*shape: int) -> Callable[[np.random.Generator], Record]:
    """Twice the input, ten further up: something with a scale and an offset."""

    def make(rng: np.random.Generator) -> Record:
        x = rng.normal(size=(1, *shape)).cumsum(axis=-1).astype(np.float32)
        return {"x": x, "y": 2 * x[0] + 10}

    return make


def mask(rng: np.random.Generator) -> Record:
    """Where the input is above 0."""
    x = rng.normal(size=(1, 8, 8)).astype(np.float32)
    return {"x": x, "y": (x[0] > 0).astype(np.float32)}


def toy(
    name: str,
    modality: Modality,
    shape: tuple[int, ...],
    output: Output,
    loss: str,
    metric: str,
    make: Callable[[np.random.Generator], Record],
    **more: Any,
) -> Task:
    def read(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
        def records(split: Split) -> Iterable[Record]:
            count, offset = SIZES[split]
            return (make(np.random.default_rng((seed, offset + i))) for i in range(count))

        return {split: records(split) for split in SIZES}

    return Task(
        name=name,
        title=name,
        modality=modality,
        input_shape=shape,
        output=output,
        loss=loss,
        metric=METRICS[metric],
        paper=PAPER,
        embedded_provenance="sample",
        homepage="https://example.org",
        read=read,
        make=lambda folder, seed: None,
        **more,
    )


SERIES = toy("toy-series", Modality.SEQUENCE_1D, (1, 12), Point(3), "cross_entropy", "error_rate", classes)
TABLE = replace(SERIES, name="toy-table", modality=Modality.TABLE, metric=METRICS["auroc_error"])
LABELS = toy(
    "toy-labels",
    Modality.SEQUENCE_1D,
    (2, 12),
    MultiLabel(2),
    "bce_with_logits",
    "multilabel_auroc_error",
    labels,
)
LINE = toy("toy-line", Modality.DENSE_1D, (1, 40), Dense((40,)), "mse", "nrmse", field(40), scale_target=True)
PLANE = toy(
    "toy-plane",
    Modality.DENSE_2D,
    (1, 9, 12),
    Dense((9, 12)),
    "mse",
    "nrmse",
    field(9, 12),
    scale_target=True,
)
MASK = toy("toy-mask", Modality.DENSE_2D, (1, 8, 8), Dense((8, 8)), "bce_with_logits", "balanced_error", mask)


@pytest.fixture(scope="session")
def toys() -> Mapping[str, Task]:
    """By name."""
    return {task.name: task for task in (SERIES, TABLE, LABELS, LINE, PLANE, MASK)}


@pytest.fixture(scope="session")
def problem_of(toys: Mapping[str, Task], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Problem]:
    """A toy's name → what a peer is fitted to."""
    torch.set_num_threads(1)
    cache = tmp_path_factory.mktemp("cache")

    def make(name: str, *, epochs: int = 2) -> Problem:
        data = load_task(toys[name], cache=cache)
        return Problem(
            data=data,
            train=Examples(data.train),
            val=Examples(data.val),
            epochs=epochs,
            batch_size=8,
            device=torch.device("cpu"),
        )

    return make


@pytest.fixture(scope="session")
def test_split(
    toys: Mapping[str, Task], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Examples]:
    """A toy's name → its test split."""
    cache = tmp_path_factory.mktemp("cache-test")
    return lambda name: Examples(open_test(toys[name], cache=cache))
