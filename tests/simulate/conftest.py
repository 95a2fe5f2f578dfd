"""A table of synthetic curves whose optimum is known: a tenfold learning rate and few replaced patches are best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from pare_tune.config import default_trial
from pare_tune.recorded.table import Configuration, Table
from pare_tune.tasks import get_task
from pare_tune.tune.space import BoundSpace, Space
from simulate.surrogate import World
from simulate.tables import write_table

EPOCHS = 6


def make_space() -> BoundSpace:
    base = default_trial(get_task("wdbc"), preset="embedded").with_values({"train.epochs": EPOCHS})
    return Space.recorded(get_task("wdbc")).bind(
        base, usable=lambda key, name: "no" if key == "source.name" and name != "docs" else None
    )


def true_scores(space: BoundSpace, settings: Mapping[str, Any]) -> tuple[float, ...]:
    distance = (math.log10(settings["optimizer.lr"] / space.base.optimizer.lr) - 1.0) ** 2
    return tuple(0.1 + 0.2 * distance + 0.1 * settings["k.start"] + 0.3 / e for e in range(1, EPOCHS + 1))


def make_table(configurations: int = 40, *, failing: bool = False, noise: float = 0.0) -> Table:
    """With `failing`, the highest learning rates diverge in epoch 3."""
    space = make_space()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    rng = np.random.default_rng(0)
    found = []
    for number in range(configurations):
        settings = space.suggest(study.ask()) if number else space.base_settings()
        fails = failing and settings["optimizer.lr"] > 4 * space.base.optimizer.lr
        length = 2 if fails else EPOCHS
        scores = np.array(true_scores(space, settings)) * np.exp(noise * rng.normal(size=EPOCHS))
        found.append(
            Configuration(
                number=number,
                settings=settings,
                scores=tuple(scores[:length].tolist()),
                seconds=(1.0,) * length,
                cause="diverged" if fails else None,
                message="diverged: told so" if fails else None,
            )
        )
    return Table(
        task="wdbc",
        metric="auroc_error",
        unit="1",
        direction="min",
        provenance="real",
        version="0",
        base=space.base,
        configurations=tuple(found),
    )


@pytest.fixture(scope="session")
def space() -> BoundSpace:
    return make_space()


@pytest.fixture(scope="session")
def table() -> Table:
    return make_table()


@pytest.fixture(scope="session")
def world(table: Table, space: BoundSpace) -> World:
    return World(table, space=space)


@pytest.fixture(scope="session")
def new_table() -> Callable[..., Table]:
    return make_table


@pytest.fixture(scope="session")
def truth(space: BoundSpace) -> Callable[[Mapping[str, Any]], tuple[float, ...]]:
    return lambda settings: true_scores(space, settings)


@pytest.fixture(scope="session")
def tables(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the synthetic table as that of wdbc."""
    folder = tmp_path_factory.mktemp("tables")
    write_table(table, folder / "wdbc.parquet")
    return folder
