"""The Python API, and what the command line calls: each command is one function here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pare_tune.apply import Asked, predict_to
from pare_tune.config import (
    Budget,
    RunConfig,
    TrialConfig,
    absolute,
    load_run,
    load_trial,
    own_of,
    parse_size,
)
from pare_tune.data.files import refused
from pare_tune.errors import ConfigError, StorageError
from pare_tune.final import Models, Notify, ObserveEpoch, train_final
from pare_tune.plan import Wish, plan_run
from pare_tune.report import NotebookView, TensorBoardWriter, in_notebook, write_comparison, write_report
from pare_tune.steps import step
from pare_tune.tasks import Task, get_task
from pare_tune.tasks import load as task_data
from pare_tune.tasks.load import TaskData
from pare_tune.tasks.own.survey import looked_at_once
from pare_tune.tasks.own.task import own_task
from pare_tune.train.opened import open_trial
from pare_tune.train.portable import export_model
from pare_tune.train.predict import Predictor
from pare_tune.train.simple.measure import measure_simple
from pare_tune.train.simple.scores import SIMPLE_FILE
from pare_tune.tune.mirror import local, sent_back
from pare_tune.tune.result import Result
from pare_tune.tune.run import SessionOptions, snapshot
from pare_tune.tune.run import resume as _resume
from pare_tune.tune.run import search as _search
from pare_tune.tune.session import Observe
from pare_tune.tune.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

_TENSORBOARD_EVERY_S = 5.0


def load_task(task: str | Task, *, data: Path | str | None = None, canvas: int | None = None) -> TaskData:
    """The train and validation splits of a task, prepared if that was not done before.

    Args:
        task: a benchmark's name, the path of a task file, or a `Task`.

    Raises:
        UnknownName, ConfigError, DataError, StorageError: what is wrong and what to do.
    """
    own = own_of(task) if isinstance(task, str) else None
    if own is not None:
        if data is not None:
            raise ConfigError(f"{task} says where its data are; leave out --data")
        return task_data.load_task(own_task(own), canvas=canvas)
    value = get_task(task) if isinstance(task, str) else task
    return task_data.load_task(value, data=None if data is None else Path(data), canvas=canvas)


@looked_at_once()
def tune(
    task: str | None = None,
    budget: int | str = 50,
    *,
    data: Path | str | None = None,
    target: Path | str | None = None,
    kind: str | None = None,
    preset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    seed: int | None = None,
    runs: Path | str = "runs",
    settings: Mapping[str, Any] | None = None,
    observe: Observe | None = None,
    **search: Any,
) -> Result:
    """Search for the settings that make PaRe win on `task`; what `pare-tune --task …` does.

    Args:
        task: a benchmark's name, or the path of a task file; None for `data`, `target` and `kind` of your own.
        data: folder of the benchmark's release, or the file of your own inputs.
        target: your own targets: a file, or a column of the inputs' table.
        kind: of your own task: point, multilabel, regression or dense.
        budget: trials (50), wall time ("2h") or epochs ("600ep").
        seed: of the search and its trials.
        settings: dotted settings of trial 0, {"train.epochs": 5}; of your own task, {"own.channels": "last"}.
        observe: called with a `Snapshot` a few times a second; None shows the live view in a notebook, and nothing
            elsewhere.
        search: fields of `SearchConfig` (max_concurrent, warm_start, max_disk, …).

    Raises:
        PareTuneError: what is wrong and what to do.
        KeyboardInterrupt: after everything was saved.
    """
    given = {"budget": str(budget), "seed": seed, **search}
    seeded = {} if seed is None else {"seed": seed}
    wish = Wish(
        task=task,
        data=None if data is None else Path(data),
        target=None if target is None else str(target),
        kind=kind,
        preset=preset,
        backbone=backbone,
        method=method,
        settings={**(settings or {}), **seeded, **{f"search.{key}": value for key, value in given.items()}},
        runs=runs,
    )
    plan = plan_run(wish)
    if observe is not None or not in_notebook():
        return run_search(plan, SessionOptions(observe=observe))
    with NotebookView() as view:
        result = run_search(plan, SessionOptions(observe=view.update))
        view.update(result.snapshot)
    return result


@looked_at_once()
def train(
    config: TrialConfig | Path | str,
    *,
    out: Path | str | None = None,
    num_workers: int = 1,
    gpus_per_worker: float | None = None,
    with_val: bool | None = None,
    bag: bool = False,
    ensemble: bool = False,
    peers: bool = False,
    epochs: int | None = None,
    accept_changed_data: bool = False,
    observe: ObserveEpoch | None = None,
    notify: Notify | None = None,
) -> dict[str, Any]:
    """Train one configuration in full through Ray Train, score the test split once, and export the model.

    An interrupted training goes on from its last epoch when it is started again.

    Args:
        config: a `TrialConfig`, or the path or URL of a run or its best.yaml.
        out: folder of the model; by default final/ beside the config.
        with_val: train on train + validation; None does so where the search judged its trials over folds.
        bag: keep one model a fold, and average them.
        ensemble: average several trials of the search, chosen by what they said of held-out samples.
        peers: let simple models join the ensemble.
        accept_changed_data: train although data, split or backbone are not those that the config was found on.
        observe: called with every epoch's numbers.
        notify: called with one-line notes and warnings.

    Returns:
        What metrics.json holds, and "folder".

    Raises:
        PareTuneError: what is wrong and what to do; RunBusy when the folder is in use or already holds a model.
    """
    if peers and not ensemble:
        raise ConfigError("--peers lets simple models join an ensemble; add --ensemble")
    if ensemble and epochs is not None:
        raise ConfigError(
            "--epochs is for one model; the members of an ensemble are trained as the search did"
        )
    if not isinstance(config, TrialConfig):
        config = absolute(local(config))
        config = config / "best.yaml" if config.is_dir() else config
    trial = config if isinstance(config, TrialConfig) else load_trial(config)
    if out is None:
        if isinstance(config, TrialConfig):
            raise ConfigError(
                "train(config, out=FOLDER): a config that came from no file needs a folder for its model"
            )
        out = config.parent / "final"
    if epochs is not None:
        trial = trial.with_values({"train.epochs": epochs})
    folder = absolute(Path(out))
    with sent_back(folder):
        return train_final(
            trial,
            folder,
            found_in=None if isinstance(config, TrialConfig) else config,
            num_workers=num_workers,
            gpus_per_worker=gpus_per_worker,
            with_val=with_val,
            models=Models(bag=bag, ensemble=ensemble, peers=peers),
            accept_changed_data=accept_changed_data,
            observe=observe,
            notify=notify or (lambda line: None),
        )


def predict(
    model: Path | str,
    inputs: npt.NDArray[Any] | pd.DataFrame | Path | str,
    *,
    probabilities: bool = False,
    batch_size: int = 64,
) -> npt.NDArray[np.float32]:
    """Apply the model of a final/ or best/ folder to samples (n, channels, ...) → outputs (n, ...).

    The samples of a task of your own are raw, as those it was trained on.

    Args:
        inputs: an array, or a file or folder as `pare-tune predict` takes it.

    Raises:
        DataError: no model there, or inputs that do not fit it.
    """
    return load(model, probabilities=probabilities, batch_size=batch_size)(inputs)


def load(model: Path | str, *, probabilities: bool = False, batch_size: int = 64) -> Predictor:
    """The model of a final/ or best/ folder, to be called with samples as often as you like: see `predict`.

    Raises:
        DataError: no model there.
    """
    return Predictor(local(model), probabilities=probabilities, batch_size=batch_size)


def predict_file(
    model: Path | str,
    inputs: Path,
    out: Path,
    *,
    probabilities: bool = False,
    coverage: float | None = None,
    batch_size: int = 64,
    num_workers: int = 1,
    notify: Notify = print,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """`predict` from a file or folder to .npy, .csv or .parquet; see `apply.predict_to`."""
    asked = Asked(
        model=absolute(local(model)),
        inputs=absolute(inputs),
        probabilities=probabilities,
        coverage=coverage,
        batch_size=batch_size,
    )
    return predict_to(asked, out, num_workers=num_workers, notify=notify)


def export(model: Path | str, out: Path | str, *, int8: bool = False) -> dict[str, Any]:
    """Write the model of a final/ or best/ folder as .onnx or .pt2, with a description; see `portable.export_model`."""
    return export_model(local(model), Path(out), int8=int8)


@looked_at_once()
def run_search(plan: RunConfig, options: SessionOptions) -> Result:
    """Run a planned search, with TensorBoard files while it runs and report.html at its end."""
    # Data, backbone and source are opened here once: mistakes in them show before a cluster starts or a folder is made.
    trial = open_trial(plan.trial).config
    if trial != plan.trial:
        options.notify(
            f"{trial.task}: a sample is one token, in which {plan.trial.method} cannot replace a part; "
            f"method {trial.method} stands in for it"
        )
        plan = plan.model_copy(update={"trial": trial})
    with _boards(options) as watched:
        result = _search(plan, watched)
    _measure_simple(result.path)
    write_reports(result.path)
    return result


@looked_at_once()
def resume_search(
    run: Path | str,
    *,
    budget: str | None = None,
    max_disk: str | None = None,
    accept_changed_data: bool = False,
    options: SessionOptions,
) -> Result:
    """Go on with a search, perhaps with a larger budget or another limit of its folder's size ("5GB").

    Raises:
        ConfigError: data, split or backbone changed since it began, which `accept_changed_data` accepts.
    """
    with _boards(options) as watched:
        parsed = None if budget is None else Budget.parse(budget)
        size = None if max_disk is None else parse_size(max_disk)
        result = _resume(run, parsed, max_disk=size, accept_changed_data=accept_changed_data, options=watched)
    _measure_simple(result.path, again=accept_changed_data)
    write_reports(result.path)
    return result


def _measure_simple(run: Path, *, again: bool = False) -> None:
    """After the search, so that its trials have all cores; seconds, once a run."""
    if again or not (run / SIMPLE_FILE).is_file():
        config = load_run(run / "run.yaml")
        with sent_back(run), step("what simple models get on the same samples"):
            measure_simple(config.trial, config.search.num_folds, run)


def write_reports(run: Path | str) -> Path:
    """Bring the TensorBoard files of a run up to date and write its report.html; returns the report's path.

    Raises:
        ConfigError, StudyFailed: there is no search in `run`.
        StorageError: the run cannot be written.
    """
    run = local(run)
    with sent_back(run), step("writing the report"):
        state = snapshot(run)
        with _told(run), TensorBoardWriter(run) as writer:
            writer.update(state)
        with _told(run):
            return write_report(run, state)


def compare_runs(runs: Sequence[Path | str], out: Path | None = None) -> Path:
    """One page about several runs; returns its path, by default compare.html beside the first run.

    Raises:
        ConfigError: a folder is no run folder, or is given twice.
        StudyFailed: a run ended before its first trial.
        StorageError: the page could not be written.
    """
    folders = [local(run).absolute() for run in runs]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is given twice; name each run once")
    with step("reading the runs, runs", len(folders)) as count:
        states = []
        for folder in folders:
            states.append(snapshot(folder))
            count()
    return write_comparison(states, out or folders[0].parent / "compare.html")


def solve_in_full(task: str, notify: Notify) -> Path:
    """The folder that holds a task's solved data at the size of its release, made on first use.

    Raises:
        UnknownName, DataError, StorageError: what is wrong and what to do.
    """
    value = get_task(task)
    if value.release_size:
        size = ", ".join(f"{count:,} {what}" for what, count in value.release_size.items())
        notify(f"{task} at the size of its release ({size}); solving it may take long")
    return task_data.sample_folder(value, full=True)


def write_sample(task: str, out: Path, *, full: bool = False, notify: Notify = print) -> Path:
    """Write a task's own data, in the format of its release, into the new folder `out`.

    Args:
        full: as many samples, at as many points, as the release has; for solved data.
    """
    value = get_task(task)
    if out.exists():
        raise StorageError(f"{out} exists; give a new folder")
    made = solve_in_full(task, notify) if full else task_data.sample_folder(value)
    try:
        shutil.copytree(made, out)
    except OSError as error:
        raise refused(out, error) from error
    return out


@contextmanager
def _boards(options: SessionOptions) -> Iterator[SessionOptions]:
    """Pass snapshots on, and to TensorBoard every few seconds."""
    writer: TensorBoardWriter | None = None
    last = 0.0

    def watch(seen: Snapshot) -> None:
        nonlocal writer, last
        if options.observe is not None:
            options.observe(seen)
        if time.monotonic() - last >= _TENSORBOARD_EVERY_S:
            with _told(seen.run):
                writer = writer or TensorBoardWriter(seen.run)
                writer.update(seen)
            last = time.monotonic()

    try:
        yield replace(options, observe=watch)
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _told(run: Path) -> Iterator[None]:
    """What a disk refuses to the writer of TensorBoard's files, which is no code of ours, as a StorageError."""
    try:
        yield
    except OSError as error:
        raise refused(Path(error.filename or run), error) from error
