"""The final training of one configuration: who may write where, following it, and what it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pare_tune.config import TrialConfig, load_trial, task_of
from pare_tune.data.files import owned, write_json, write_text
from pare_tune.errors import ConfigError, PareTuneError, RunBusy
from pare_tune.report import FinalWriter
from pare_tune.report.card import write_card
from pare_tune.report.follow import follow_epochs
from pare_tune.report.outcome import cost
from pare_tune.report.words import verdict
from pare_tune.tasks.load import load_task
from pare_tune.train.export import METRICS, ModelFolder
from pare_tune.train.final import CURVE
from pare_tune.train.fingerprint import Fingerprint, check_unchanged, read_fingerprint
from pare_tune.train.held_out import HELD_OUT
from pare_tune.train.patches import PATCHES
from pare_tune.tune.cluster import connect
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import snapshot

Notify = Callable[[str], None]
"""Takes one-line notes and warnings."""
ObserveEpoch = Callable[[dict[str, Any]], None]
"""Takes one epoch's numbers."""


def train_final(
    trial: TrialConfig,
    folder: Path,
    *,
    found_in: Path | None,
    num_workers: int,
    gpus_per_worker: float | None,
    with_val: bool,
    accept_changed_data: bool,
    observe: ObserveEpoch | None,
    notify: Notify,
) -> dict[str, Any]:
    """Train `trial` into `folder` through Ray Train; what metrics.json holds, and "folder".

    Args:
        found_in: the file that `trial` was read from, which may hold the fingerprint of what it was found on.

    Raises:
        PareTuneError: what is wrong and what to do; RunBusy when the folder is in use or already holds a model.
    """
    trial.train.per_worker(num_workers)
    task = task_of(trial)
    load_task(task, data=trial.data, canvas=trial.input.canvas)  # mistakes show before Ray
    fingerprint = Fingerprint.of(trial, task)
    if found_in is not None:
        _check_found_on(found_in, fingerprint, accept=accept_changed_data, notify=notify)
    if ModelFolder(folder).is_complete:
        raise RunBusy(f"{folder} already holds a trained model; give another folder with --out, or delete it")
    with (
        connect(
            workers=num_workers,
            gpus_per_worker=gpus_per_worker,
            several=num_workers > 1,
            name=f"pare-tune train {task.name}",
        ) as cluster,
        owned(folder, otherwise="wait for it, or give another --out"),
        FinalWriter(folder, task.metric.name) as board,
    ):
        _check_continues(folder, trial, with_val, fingerprint, accept=accept_changed_data, notify=notify)
        # Ray Train is slow to import, and predicting needs none of it.
        from pare_tune.train.keeper import home_of
        from pare_tune.train.worker import launch_final

        with (
            home_of(folder, cluster.node) as home,
            follow_epochs(folder / CURVE, [board.add] if observe is None else [board.add, observe]),
        ):
            launch_final(
                trial,
                home,
                with_val=with_val,
                num_workers=num_workers,
                cpus_per_worker=cluster.cpus_for(num_workers),
                gpus_per_worker=cluster.gpus_for(gpus_per_worker),
                searched=None if found_in is None else _held_out_of(found_in),
            )
        metrics: dict[str, Any] = ModelFolder(folder).metrics()
        board.end(metrics)
        shutil.rmtree(folder / PATCHES, ignore_errors=True)
        metrics["search"] = None if found_in is None else _compared(found_in)
        write_json(folder / METRICS, metrics)
        write_card(folder)
    return {**metrics, "folder": str(folder)}


def _compared(config: Path) -> str | None:
    """What the search that `config` is the best.yaml of compared, for people."""
    run = RunFolder(config.parent)
    if config.resolve() != run.best_yaml:
        return None
    with suppress(PareTuneError):
        seen = snapshot(run.path)
        return f"{cost(seen)}. {verdict(seen)}"
    return None


def _held_out_of(config: Path) -> Path | None:
    """What the search's model of these settings said of held-out samples; None unless `config` is its best.yaml."""
    run = RunFolder(config.parent)
    return run.best / HELD_OUT if config.resolve() == run.best_yaml else None


def _check_found_on(config: Path, now: Fingerprint, *, accept: bool, notify: Notify) -> None:
    """A configuration is trained on the data that it was found on; one that somebody wrote was found on none."""
    then = read_fingerprint(config)
    if then is None and not (config.absolute().parent / "run.yaml").is_file():
        return
    means = "these settings were chosen by scores on the old data, perhaps on samples that are tested now"
    check_unchanged(then, now, where=config, accept=accept, accepted_means=means, notify=notify)


def _check_continues(
    folder: Path, trial: TrialConfig, with_val: bool, now: Fingerprint, *, accept: bool, notify: Notify
) -> None:
    """A half-trained folder goes on only with the configuration and the data it was begun with."""
    begun = folder / ".begun.yaml"
    on = f"# with_val: {with_val}\n"
    if begun.is_file():
        # Read, not compared as text: an earlier version wrote fewer settings, and meant their defaults.
        if on not in begun.read_text(encoding="utf-8") or load_trial(begun) != trial:
            raise ConfigError(
                f"{folder} was begun with another configuration; give another --out, or delete the folder to start over"
            )
        means = "samples that are tested now may have been trained on"
        check_unchanged(
            read_fingerprint(begun), now, where=folder, accept=accept, accepted_means=means, notify=notify
        )
    write_text(begun, trial.to_yaml() + on + now.to_yaml())
