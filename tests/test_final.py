"""A half-trained folder goes on with what it was begun with, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pare_tune import final
from pare_tune.config import TrialConfig, default_trial
from pare_tune.errors import ConfigError
from pare_tune.tasks import get_task
from pare_tune.train import worker
from pare_tune.yaml import dump_yaml, load_yaml

TRIAL = default_trial(get_task("balance-scale"), preset="embedded")


class Launched(Exception):
    """Training would begin now."""


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def no_cluster(**_: object) -> Iterator[Any]:
        yield SimpleNamespace(cpus_for=lambda workers: 1.0, gpus_for=lambda asked: 0.0, node="")

    def launch(*_: object, **__: object) -> None:
        raise Launched

    monkeypatch.setattr(final, "connect", no_cluster)
    monkeypatch.setattr(worker, "launch_final", launch)


def train(folder: Path, trial: TrialConfig = TRIAL, *, with_val: bool = False) -> None:
    final.train_final(
        trial,
        folder,
        found_in=None,
        num_workers=1,
        gpus_per_worker=None,
        with_val=with_val,
        accept_changed_data=False,
        observe=None,
        notify=lambda line: None,
    )


def fewer_settings(tree: dict[str, Any]) -> None:
    """As a version wrote it that did not know them yet."""
    del tree["head"], tree["optimizer"]["new_parts"], tree["optimizer"]["decays"], tree["input"]["norm"]


def other_rate(tree: dict[str, Any]) -> None:
    tree["optimizer"]["lr"] = 0.5


@pytest.mark.parametrize(
    ("change", "error"),
    [(lambda tree: None, Launched), (fewer_settings, Launched), (other_rate, ConfigError)],
)
def test_settings_are_compared_by_what_they_mean(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], error: type[Exception]
) -> None:
    with pytest.raises(Launched):
        train(tmp_path)
    begun = tmp_path / ".begun.yaml"
    tree = load_yaml(begun)
    change(tree)
    begun.write_text(f"{dump_yaml(tree)}# with_val: False\n", encoding="utf-8")
    with pytest.raises(error):
        train(tmp_path)


def test_training_on_validation_too_is_another_training(tmp_path: Path) -> None:
    with pytest.raises(Launched):
        train(tmp_path)
    with pytest.raises(ConfigError, match="another configuration"):
        train(tmp_path, with_val=True)
