"""The final training of one configuration: who may write where, following it, and what it leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pare_tune.config import TrialConfig, load_run, load_trial, task_of
from pare_tune.data.files import owned, write_json, write_text
from pare_tune.errors import ConfigError, PareTuneError, RunBusy
from pare_tune.report import FinalWriter, words
from pare_tune.report.card import write_card
from pare_tune.report.follow import follow_epochs
from pare_tune.report.outcome import cost
from pare_tune.tasks.base import Task
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.tasks.load import load_task
from pare_tune.train.export import METRICS, ModelFolder
from pare_tune.train.final import CURVE
from pare_tune.train.fingerprint import Fingerprint, check_unchanged, read_fingerprint
from pare_tune.train.held_out import HELD_OUT
from pare_tune.train.members import Member
from pare_tune.train.patches import PATCHES
from pare_tune.tune.cluster import connect
from pare_tune.tune.ensemble import Ensemble, choose_members
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import snapshot

Notify = Callable[[str], None]
"""Takes one-line notes and warnings."""
ObserveEpoch = Callable[[dict[str, Any]], None]
"""Takes one epoch's numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Which models are wanted of a search."""

    bag: bool = False
    """One a fold, averaged."""
    ensemble: bool = False
    """Several trials, averaged."""
    peers: bool = False
    """Simple models may join the ensemble."""


ONE = Models()


def train_final(
    trial: TrialConfig,
    folder: Path,
    *,
    found_in: Path | None,
    num_workers: int,
    gpus_per_worker: float | None,
    with_val: bool | None,
    accept_changed_data: bool,
    observe: ObserveEpoch | None,
    notify: Notify,
    models: Models = ONE,
) -> dict[str, Any]:
    """Train `trial` into `folder` through Ray Train; what metrics.json holds, and "folder".

    Args:
        found_in: the file that `trial` was read from, which may hold the fingerprint of what it was found on.
        with_val: train on train + validation; None does so where the search judged its trials over folds.
        models: one, or several.

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
    plan = _plan(trial, task, found_in, with_val, models, notify)
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
        _check_continues(folder, trial, plan, fingerprint, accept=accept_changed_data, notify=notify)
        searched = plan.searched
        if plan.ensemble is not None:
            searched = folder / HELD_OUT
            plan.ensemble.held_out.write(searched)
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
                with_val=plan.with_val,
                epoch=plan.epoch,
                members=plan.members,
                num_workers=num_workers,
                cpus_per_worker=cluster.cpus_for(num_workers),
                gpus_per_worker=cluster.gpus_for(gpus_per_worker),
                searched=searched,
            )
        metrics: dict[str, Any] = ModelFolder(folder).metrics()
        board.end(metrics)
        shutil.rmtree(folder / PATCHES, ignore_errors=True)
        metrics["search"] = None if found_in is None else _compared(found_in)
        write_json(folder / METRICS, metrics)
        write_card(folder)
    return {**metrics, "folder": str(folder)}


_PLANNED = ("# with_val: ", "# epoch: ", "# members: ")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is trained."""

    with_val: bool
    epoch: int | None = None
    """That the one model is trained until; None where validation or the schedule's end says it."""
    members: tuple[Member, ...] = ()
    searched: Path | None = None
    """What the search's model of these settings said of held-out samples."""
    ensemble: Ensemble | None = None

    @property
    def text(self) -> str:
        """Tells plans apart; of one model as earlier versions wrote it."""
        told = f"# with_val: {self.with_val}\n"
        if self.epoch is not None:
            told += f"# epoch: {self.epoch}\n"
        if self.members:
            told += f"# members: {json.dumps([member.to_dict() for member in self.members], default=str)}\n"
        return told


def _plan(
    trial: TrialConfig,
    task: Task,
    found_in: Path | None,
    with_val: bool | None,
    models: Models,
    notify: Notify,
) -> _Plan:
    """What to train, by what the search of `found_in` left.

    Raises:
        ConfigError: several models are wanted, and `found_in` is no best.yaml of a search that has what they need.
    """
    run = None if found_in is None else RunFolder(found_in.parent)
    if run is None or found_in is None or found_in.resolve() != run.best_yaml or not run.run_yaml.is_file():
        if models != ONE:
            raise ConfigError(
                "--bag and --ensemble need what a search left: give a run folder or its best.yaml"
            )
        return _Plan(bool(with_val))
    config, kept = load_run(run.run_yaml), run.best_metrics()
    folds = Folds(config.search.num_folds) if config.search.num_folds > 1 else None
    refits = folds is not None if with_val is None else with_val
    # Another length of training has another best epoch.
    same = run.best_yaml.is_file() and load_trial(run.best_yaml).train.epochs == trial.train.epochs
    epoch = int(kept["epoch"]) if folds is not None and same and kept.get("epoch") else None
    searched = run.best / HELD_OUT
    if models.ensemble:
        ensemble = choose_members(snapshot(run.path), task, config.trial, peers=models.peers)
        notify(_told(ensemble, task))
        members = _bagged(ensemble.members, folds) if models.bag else ensemble.members
        return _Plan(refits, None, tuple(members), searched, ensemble)
    if models.bag:
        return _Plan(refits, None, _bagged([Member(config=trial, weight=1.0, epoch=epoch)], folds), searched)
    if refits and epoch is not None:
        notify(
            f"trained on train + validation until epoch {epoch} of {trial.train.epochs}, which folds chose "
            f"(--no-with-val keeps validation out)"
        )
    return _Plan(refits, epoch if refits else None, (), searched)


def _bagged(members: Sequence[Member], folds: Folds | None) -> tuple[Member, ...]:
    """Each member once a fold; simple models stay whole."""
    if folds is None:
        raise ConfigError(
            "--bag keeps one model a fold, and this search judged its trials by the validation split; search with "
            "--set search.validation=folds"
        )
    return tuple(
        replace(member, weight=member.weight / (1 if fold is None else folds.count), fold=fold)
        for member in members
        for fold in ([None] if member.simple else [Fold(folds, n) for n in range(folds.count)])
    )


def _told(ensemble: Ensemble, task: Task) -> str:
    chosen, unit = ensemble.selection, task.metric.unit
    members = ", ".join(
        f"{name} ({member.weight:.0%})" for name, member in zip(ensemble.names, ensemble.members, strict=True)
    )
    sure = "" if chosen.gain > 2 * chosen.error else ", which these samples do not tell from luck"
    return (
        f"ensemble of {words.plural(len(ensemble.members), 'model')} among {ensemble.candidates}: {members}. By nested "
        f"validation {task.metric.name} {words.score(chosen.score, unit)}, the best single model "
        f"{words.score(chosen.single, unit)}: better by {chosen.gain:.3g} ± {2 * chosen.error:.2g}{sure}"
    )


def _compared(config: Path) -> str | None:
    """What the search that `config` is the best.yaml of compared, for people."""
    run = RunFolder(config.parent)
    if config.resolve() != run.best_yaml:
        return None
    with suppress(PareTuneError):
        seen = snapshot(run.path)
        return f"{cost(seen)}. {words.verdict(seen)}"
    return None


def _check_found_on(config: Path, now: Fingerprint, *, accept: bool, notify: Notify) -> None:
    """A configuration is trained on the data that it was found on; one that somebody wrote was found on none."""
    then = read_fingerprint(config)
    if then is None and not (config.absolute().parent / "run.yaml").is_file():
        return
    means = "these settings were chosen by scores on the old data, perhaps on samples that are tested now"
    check_unchanged(then, now, where=config, accept=accept, accepted_means=means, notify=notify)


def _check_continues(
    folder: Path, trial: TrialConfig, plan: _Plan, now: Fingerprint, *, accept: bool, notify: Notify
) -> None:
    """A half-trained folder goes on only with the configuration and the data it was begun with."""
    begun = folder / ".begun.yaml"
    if begun.is_file():
        # Read, not compared as text: an earlier version wrote fewer settings, and meant their defaults.
        lines = begun.read_text(encoding="utf-8").splitlines()
        if [line for line in lines if line.startswith(_PLANNED)] != plan.text.splitlines() or (
            load_trial(begun) != trial
        ):
            raise ConfigError(
                f"{folder} was begun with another configuration; give another --out, or delete the folder to start over"
            )
        means = "samples that are tested now may have been trained on"
        check_unchanged(
            read_fingerprint(begun), now, where=folder, accept=accept, accepted_means=means, notify=notify
        )
    write_text(begun, trial.to_yaml() + plan.text + now.to_yaml())
