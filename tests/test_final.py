"""A half-trained folder goes on with what it was begun with, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from pare_tune import final
from pare_tune.config import RunConfig, SearchConfig, TrialConfig, default_trial
from pare_tune.errors import ConfigError
from pare_tune.tasks import get_task
from pare_tune.train import worker
from pare_tune.tune.folder import RunFolder
from pare_tune.yaml import dump_yaml, load_yaml

TRIAL = default_trial(get_task("balance-scale"), preset="embedded")


class Launched(Exception):
    """Training would begin now."""


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def no_cluster(**_: object) -> Iterator[Any]:
        yield SimpleNamespace(cpus_for=lambda workers: 1.0, gpus_for=lambda asked: 0.0, node="")

    def launch(*_: object, **plan: Any) -> None:
        raise Launched(plan)

    monkeypatch.setattr(final, "connect", no_cluster)
    monkeypatch.setattr(worker, "launch_final", launch)


def train(
    folder: Path,
    trial: TrialConfig = TRIAL,
    *,
    with_val: bool | None = False,
    found_in: Path | None = None,
    models: final.Models = final.ONE,
) -> None:
    final.train_final(
        trial,
        folder,
        found_in=found_in,
        num_workers=1,
        gpus_per_worker=None,
        with_val=with_val,
        accept_changed_data=False,
        observe=None,
        notify=lambda line: None,
        models=models,
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


def test_another_epoch_is_another_training(tmp_path: Path) -> None:
    best = searched(tmp_path / "run", "folds", 5)
    with pytest.raises(Launched):
        train(tmp_path / "final", with_val=None, found_in=best)
    with pytest.raises(ConfigError, match="another configuration"):
        train(tmp_path / "final", with_val=True)


def test_training_on_validation_too_is_another_training(tmp_path: Path) -> None:
    with pytest.raises(Launched):
        train(tmp_path)
    with pytest.raises(ConfigError, match="another configuration"):
        train(tmp_path, with_val=True)


def searched(folder: Path, validation: Literal["split", "folds"], epoch: int) -> Path:
    """best.yaml of a search that ended with trial 0, kept at `epoch`."""
    run = RunFolder(folder)
    folder.mkdir()
    search = SearchConfig(validation=validation, folds=3)
    run.run_yaml.write_text(RunConfig(trial=TRIAL, search=search).to_yaml())
    run.publish_best(0, TRIAL.to_yaml(), {"epoch": epoch})
    return run.best_yaml


BAG = final.Models(bag=True)


@pytest.mark.parametrize(
    ("validation", "with_val", "models", "trained_on_val", "epochs", "folds"),
    [
        ("folds", None, final.ONE, True, 5, []),
        ("folds", False, final.ONE, False, None, []),
        ("split", None, final.ONE, False, None, []),
        ("split", True, final.ONE, True, None, []),
        ("folds", None, BAG, True, None, [0, 1, 2]),
    ],
)
def test_what_the_search_left_decides_what_is_trained(
    tmp_path: Path,
    validation: Literal["split", "folds"],
    with_val: bool | None,
    models: final.Models,
    trained_on_val: bool,
    epochs: int | None,
    folds: list[int],
) -> None:
    best = searched(tmp_path / "run", validation, 5)
    with pytest.raises(Launched) as launched:
        train(tmp_path / "final", with_val=with_val, found_in=best, models=models)
    plan = launched.value.args[0]
    assert (plan["with_val"], plan["epoch"]) == (trained_on_val, epochs)
    assert [member.fold.number for member in plan["members"]] == folds
    assert all(m.epoch == 5 and m.weight == pytest.approx(1 / 3) for m in plan["members"])


@pytest.mark.parametrize("validation", ["split", None])
def test_several_models_need_what_they_are_made_of(
    tmp_path: Path, validation: Literal["split"] | None
) -> None:
    best = None if validation is None else searched(tmp_path / "run", validation, 5)
    with pytest.raises(ConfigError, match="give a run folder" if best is None else "search.validation=folds"):
        train(tmp_path / "final", found_in=best, models=BAG)
    assert not (tmp_path / "final").exists(), "nothing half-written"
