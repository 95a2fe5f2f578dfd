"""A search from its first trial to its result, and again after any interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

from pare_tune.config import Budget, RunConfig, load_run, task_of
from pare_tune.data.files import write_text
from pare_tune.data.remote import url_of
from pare_tune.errors import PareTuneError, StudyFailed
from pare_tune.shell import command
from pare_tune.tasks import Task
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.tasks.load import provenance_of
from pare_tune.train.build import open_data
from pare_tune.train.fingerprint import Fingerprint, check_unchanged, read_fingerprint
from pare_tune.train.keeper import home_of
from pare_tune.train.memory import memory_line
from pare_tune.train.place import Home
from pare_tune.train.simple.scores import read_simple
from pare_tune.tune.cluster import Cluster, connect
from pare_tune.tune.folder import RunFolder, check_runs
from pare_tune.tune.journal import load_study
from pare_tune.tune.mirror import is_searched, local
from pare_tune.tune.recorded import recorded_start
from pare_tune.tune.result import Result
from pare_tune.tune.session import SearchInterrupted, Session, SessionOptions
from pare_tune.tune.snapshot import Snapshot, TaskFacts
from pare_tune.tune.space import BoundSpace, Space, open_space
from pare_tune.tune.study import elapsed_before, view
from pare_tune.tune.summary import make_snapshot
from pare_tune.tune.trial import Job
from pare_tune.tune.warm import Start, gather, most_first

__all__ = ["SearchInterrupted", "SessionOptions", "resume", "search", "snapshot"]

_MIXED = (
    "trials so far keep their scores on the old data, which do not compare with new ones, and samples that are tested "
    "in the end may have been trained on"
)


_USUAL = SessionOptions()


def search(config: RunConfig, options: SessionOptions = _USUAL) -> Result:
    """Search around `config.trial` until the budget is spent.

    Raises:
        ConfigError, StorageError, ClusterError: something is wrong; nothing was written.
        StudyFailed: no trial can run.
        SearchInterrupted: after SIGINT or SIGTERM.
    """
    task = task_of(config.trial, options.cache)
    space = open_space(config, task)
    start = _start(config, space, task)
    check_runs(config.runs)
    config.trial.train.per_worker(config.search.workers_per_trial)
    fingerprint = Fingerprint.of(config.trial, task, options.cache)
    _check_folds(config, options)
    with _cluster(config, options) as cluster:
        cluster.capacity(config.search)
        if options.runner is None and cluster.gpus_for(config.search.gpus_per_worker):
            # Takes a second or two, in which the workers start.
            Thread(target=_tell_memory, args=(config, task, options.notify), daemon=True).start()
        folder = RunFolder.create(config.runs, config.trial.task)
        with folder.owned(), folder.mirrored(options.notify):
            write_text(folder.space_yaml, space.to_yaml())
            write_text(folder.fingerprint_yaml, fingerprint.to_yaml())
            if start is not None:
                start.save(folder.warm_start_yaml)
            write_text(folder.run_yaml, config.to_yaml())
            return _sit(folder, config, space, cluster, task, fingerprint, options)


def resume(
    run: Path | str,
    budget: Budget | None = None,
    *,
    max_disk: int | None = None,
    accept_changed_data: bool = False,
    options: SessionOptions = _USUAL,
) -> Result:
    """Go on with a search that was interrupted, killed or finished.

    Trials that were running go on from their own checkpoints, under their own numbers.

    Args:
        run: a run folder, or the URL of one.
        budget: over the whole search, replaces the one it had; None keeps that.
        max_disk: bytes that the run folder may take; None keeps what it had.
        accept_changed_data: go on although data, split or backbone are not those that it was begun with.

    Raises:
        ConfigError: `run` is no run folder, or what it was begun with changed.
        RunBusy: another process is searching there.
        StorageError, ClusterError, StudyFailed, SearchInterrupted: as `search`.
    """
    folder = RunFolder.existing(local(run))
    config = load_run(folder.run_yaml)
    task = task_of(config.trial, options.cache)
    space = Space.load(folder.space_yaml).bind(config.trial)
    fingerprint = Fingerprint.of(config.trial, task, options.cache)
    check_unchanged(
        read_fingerprint(folder.fingerprint_yaml),
        fingerprint,
        where=folder.path,
        accept=accept_changed_data,
        accepted_means=_MIXED,
        notify=options.notify,
    )
    with folder.owned(), folder.mirrored(options.notify):
        write_text(folder.fingerprint_yaml, fingerprint.to_yaml())
        given = {k: v for k, v in {"budget": budget, "max_disk": max_disk}.items() if v is not None}
        if given:
            config = config.model_copy(update={"search": config.search.model_copy(update=given)})
            write_text(folder.run_yaml, config.to_yaml())
        with _cluster(config, options) as cluster:
            return _sit(folder, config, space, cluster, task, fingerprint, options)


def snapshot(run: Path | str) -> Snapshot:
    """The state of a search, from its journal alone; also while another process runs it.

    Raises:
        ConfigError: `run` is no run folder.
        StudyFailed: it has no study yet.
    """
    folder = RunFolder.existing(local(run))
    config = load_run(folder.run_yaml)
    study = load_study(folder.journal)
    about, alive = study.user_attrs.get("about"), is_searched(folder.path)
    began = study.user_attrs.get("session") if alive else None
    if about is None:
        what = "look again in a moment" if alive else f"go on with: {command('resume', run)}"
        raise StudyFailed(f"{run} is only being begun; {what}")
    trials = [view(t, config.epochs_of_a_trial, began=began) for t in study.get_trials(deepcopy=False)]
    elapsed = elapsed_before(study)
    if began is not None:
        elapsed = max(elapsed, float(study.user_attrs["elapsed"]) + time.time() - began)
    state = make_snapshot(
        folder.path,
        TaskFacts.read(about),
        config.search,
        trials,
        elapsed=elapsed,
        is_running=alive,
        dashboard_url=study.user_attrs.get("dashboard") if alive else None,
    )
    return replace(state, simple=read_simple(folder.path))


def _tell_memory(config: RunConfig, task: Task, notify: Callable[[str], None]) -> None:
    with suppress(PareTuneError):  # the trials will say what is wrong
        notify(memory_line(config.trial, task, config.search.workers_per_trial))


def _check_folds(config: RunConfig, options: SessionOptions) -> None:
    """Raise DataError, before anything is begun, where the samples cannot be cut into so many folds."""
    if config.search.validation == "folds" and options.runner is None:
        open_data(config.trial, options.cache, Fold(Folds(config.search.folds), 0))


def _start(config: RunConfig, space: BoundSpace, task: Task) -> Start | None:
    """What the search begins with: what the user names, or else what the package knows."""
    search = config.search
    if search.warm_start or not search.portfolio:
        return gather(search.warm_start, space, task.modality, search.budget)
    start = recorded_start(task.name, most_first(search.budget, config.epochs_of_a_trial))
    return start if start is not None and start.ranked(space, search.seed) else None


def _cluster(config: RunConfig, options: SessionOptions) -> AbstractContextManager[Cluster]:
    several = config.search.workers_per_trial > 1
    return connect(
        several=several, dashboard=options.dashboard or several, name=f"pare-tune {config.trial.task}"
    )


def _sit(
    folder: RunFolder,
    config: RunConfig,
    space: BoundSpace,
    cluster: Cluster,
    task: Task,
    fingerprint: Fingerprint,
    options: SessionOptions,
) -> Result:
    """One session in a folder that the caller owns and has filled."""
    facts = _facts(task, config, fingerprint)
    with home_of(folder.path, cluster.node, url_of(folder.path)) as home:
        session = Session(folder, config, space, cluster, facts, fingerprint, options)
        return session.run(_job(config, cluster, home, options))


def _job(config: RunConfig, cluster: Cluster, home: Home, options: SessionOptions) -> Job:
    search_config = config.search
    return Job(
        home=home,
        runner=options.runner,
        cache=None if options.cache is None else options.cache.resolve(),
        num_workers=search_config.workers_per_trial,
        cpus_per_worker=search_config.cpus_per_worker,
        gpus_per_worker=cluster.gpus_for(search_config.gpus_per_worker),
        folds=search_config.num_folds,
    )


def _facts(task: Task, config: RunConfig, fingerprint: Fingerprint) -> TaskFacts:
    trial = config.trial
    judged_by = ("train", "val") if config.search.validation == "folds" else ("val",)
    return TaskFacts(
        task=task.name,
        direction=task.metric.direction,
        title=task.title,
        modality=task.modality.value,
        metric=task.metric.name,
        unit=task.metric.unit,
        provenance=provenance_of(task, trial.data),
        preset=trial.preset,
        backbone=trial.backbone,
        method=trial.method,
        samples=sum(int(fingerprint.splits.get(split, {}).get("samples", 0)) for split in judged_by),
    )
