"""The Python API, and what the command line calls: each command is one function here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from rich.markup import escape

from pare_tune.check import data_lines, paper_line
from pare_tune.config import (
    Budget,
    RunConfig,
    SearchConfig,
    TrialConfig,
    default_trial,
    load_run,
    load_trial,
    own_of,
    parse_size,
    task_of,
    validate,
)
from pare_tune.data.files import write_text
from pare_tune.errors import ConfigError, RunBusy, StorageError
from pare_tune.method import METHODS
from pare_tune.report import FinalWriter, TensorBoardWriter, write_comparison, write_report
from pare_tune.report.follow import follow_epochs
from pare_tune.steps import step
from pare_tune.tasks import Task, get_task
from pare_tune.tasks import load as task_data
from pare_tune.tasks.base import Dense, MultiLabel, Point
from pare_tune.tasks.load import TaskData, provenance_of
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.survey import looked_at_once, survey
from pare_tune.tasks.own.task import own_task
from pare_tune.train.build import pick_device
from pare_tune.train.export import ModelFolder
from pare_tune.train.final import CURVE
from pare_tune.train.fingerprint import Fingerprint, check_unchanged, read_fingerprint
from pare_tune.train.opened import open_trial
from pare_tune.train.outputs import Predictions, require_writable, write_predictions
from pare_tune.train.patches import PATCHES
from pare_tune.train.predict import load_model, predict_array, prepare_inputs, to_probabilities
from pare_tune.tune.available import available_sources
from pare_tune.tune.cluster import connect
from pare_tune.tune.result import Result
from pare_tune.tune.run import resume as _resume
from pare_tune.tune.run import search as _search
from pare_tune.tune.run import snapshot
from pare_tune.tune.snapshot import Snapshot

Observe = Callable[[Snapshot], None]
Notify = Callable[[str], None]
"""Takes one-line notes and warnings."""

_TENSORBOARD_EVERY_S = 5.0
_SEARCH = "search."
"""Of dotted settings that are the search's."""


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
    rank_sources: bool = False,
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
        settings: dotted settings of trial 0, {"train.epochs": 5}.
        rank_sources: try the proxy data sets in the order of their promise (`pare-tune rank-sources`).
        observe: called with a `Snapshot` a few times a second.
        search: fields of `SearchConfig` (max_concurrent, warm_start, max_disk, …).

    Raises:
        PareTuneError: what is wrong and what to do.
        KeyboardInterrupt: after everything was saved.
    """
    plan = plan_run(
        task=task,
        budget=str(budget),
        data=None if data is None else Path(data),
        target=None if target is None else str(target),
        kind=kind,
        preset=preset,
        backbone=backbone,
        method=method,
        seed=seed,
        runs=Path(runs),
        settings=settings or {},
        search=search,
    )
    return run_search(rank_sources_of(plan) if rank_sources else plan, observe=observe)


@looked_at_once()
def train(
    config: TrialConfig | Path | str,
    *,
    out: Path | str | None = None,
    num_workers: int = 1,
    gpus_per_worker: float | None = None,
    with_val: bool = False,
    epochs: int | None = None,
    accept_changed_data: bool = False,
    observe: Callable[[dict[str, Any]], None] | None = None,
    notify: Notify | None = None,
) -> dict[str, Any]:
    """Train one configuration in full through Ray Train, score the test split once, and export the model.

    An interrupted training goes on from its last epoch when it is started again.

    Args:
        config: a `TrialConfig`, or the path of a best.yaml.
        out: folder of the model; by default final/ beside the config.
        with_val: train on train + validation.
        accept_changed_data: train although data, split or backbone are not those that the config was found on.
        observe: called with every epoch's numbers.
        notify: called with one-line notes and warnings.

    Returns:
        What metrics.json holds, and "folder".

    Raises:
        PareTuneError: what is wrong and what to do; RunBusy when the folder is in use or already holds a model.
    """
    trial = config if isinstance(config, TrialConfig) else load_trial(Path(config))
    if out is None:
        if isinstance(config, TrialConfig):
            raise ConfigError(
                "train(config, out=FOLDER): a config that came from no file needs a folder for its model"
            )
        out = Path(config).absolute().parent / "final"
    if epochs is not None:
        trial = trial.with_values({"train.epochs": epochs})
    folder = Path(out).absolute()
    task = task_of(trial)
    task_data.load_task(task, data=trial.data, canvas=trial.input.canvas)  # mistakes show before Ray
    fingerprint = Fingerprint.of(trial, task)
    tell = notify or (lambda line: None)
    if not isinstance(config, TrialConfig):
        _check_found_on(Path(config), fingerprint, accept=accept_changed_data, notify=tell)
    if ModelFolder(folder).is_complete:
        raise RunBusy(f"{folder} already holds a trained model; give another folder with --out, or delete it")
    with (
        connect(
            workers=num_workers,
            gpus_per_worker=gpus_per_worker,
            several=num_workers > 1,
            name=f"pare-tune train {task.name}",
        ) as cluster,
        _owned(folder),
        FinalWriter(folder, task.metric.name) as board,
    ):
        _check_continues(folder, trial, with_val, fingerprint, accept=accept_changed_data, notify=tell)
        # Ray Train is slow to import, and predicting needs none of it.
        from pare_tune.train.worker import launch_final

        with follow_epochs(folder / CURVE, [board.add] if observe is None else [board.add, observe]):
            launch_final(
                trial,
                folder,
                with_val=with_val,
                num_workers=num_workers,
                cpus_per_worker=cluster.cpus_for(num_workers),
                gpus_per_worker=cluster.gpus_for(gpus_per_worker),
            )
        metrics: dict[str, Any] = ModelFolder(folder).metrics()
        board.end(metrics)
        shutil.rmtree(folder / PATCHES, ignore_errors=True)
    return {**metrics, "folder": str(folder)}


def predict(
    model: Path | str, inputs: npt.NDArray[Any], *, probabilities: bool = False, batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Apply the model of a final/ or best/ folder to samples (n, channels, ...) → outputs (n, ...).

    The samples of a task of your own are raw, as those it was trained on.

    Raises:
        DataError: no model there, or inputs that do not fit it.
    """
    return _predict(Path(model), np.asarray(inputs), probabilities, batch_size).values


def predict_file(
    model: Path, inputs: Path, out: Path, *, probabilities: bool, batch_size: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """`predict` from a file to .npy, .csv or .parquet: the outputs' shape, and the names of classes, labels or numbers.

    `out` is replaced atomically.

    Raises:
        ConfigError: `out` has another suffix.
    """
    require_writable(out)
    predictions = _predict(model, inputs, probabilities, batch_size, out)
    write_predictions(out, predictions)
    return predictions.values.shape, predictions.names


def _predict(
    model: Path,
    inputs: Path | npt.NDArray[Any],
    probabilities: bool,
    batch_size: int,
    out: Path | None = None,
) -> Predictions:
    device = pick_device()
    network, shape, config = load_model(model, device)
    if out is not None:
        require_writable(out, axes=1 + (len(shape.output.shape) if isinstance(shape.output, Dense) else 1))
    prepared = prepare_inputs(inputs, shape, config)
    outputs = predict_array(network, prepared.x, batch_size=batch_size, device=device)
    if probabilities:
        outputs = to_probabilities(outputs, shape)
    has_logits = isinstance(shape.output, Point | MultiLabel)
    return Predictions(
        values=prepared.restore(outputs),
        names=() if shape.raw is None else tuple(shape.raw["target"]["names"]),
        samples=prepared.names,
        meaning="probability" if probabilities else "logit" if has_logits else "value",
        are_classes=isinstance(shape.output, Point),
    )


def plan_run(
    *,
    task: str | None = None,
    config: Path | None = None,
    budget: str | None = None,
    data: Path | None = None,
    target: str | None = None,
    kind: str | None = None,
    modality: str | None = None,
    channels: str | None = None,
    preset: str | None = None,
    backbone: str | None = None,
    method: str | None = None,
    source: str | None = None,
    source_data: Path | None = None,
    source_samples: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    search: Mapping[str, Any] | None = None,
    runs: Path | None = None,
) -> RunConfig:
    """Options → RunConfig; with `config`, the file's values are kept where no option is given.

    Args:
        settings: dotted settings of trial 0 and, as "search.judge", of the search.

    Raises:
        ConfigError, UnknownName: an option, key or value that does not exist.
        DataError: a task of the user's own cannot be trained on its data.
    """
    own = own_of(task, data=data, target=target, kind=kind, modality=modality, channels=channels)
    if config is not None:
        release = data if own is None else None
        fixed = {"--data": release, "--preset": preset, "--backbone": backbone, "--method": method}
        extra = [name for name, value in fixed.items() if value is not None]
        if extra:
            raise ConfigError(
                f"{extra[0]} says what trial 0 is made of, and {config} says so already; leave it out, change the "
                f"file, or begin anew with --task"
            )
        base = load_run(config)
        if own != base.trial.own if own is not None else task not in (None, base.trial.task):
            what = f"--task {task}" if task is not None else "--data"
            raise ConfigError(
                f"{what} contradicts {config}, which is for {base.trial.task}; give one of them"
            )
        trial, old, folder = base.trial, base.search.model_dump(mode="json"), base.runs
    elif task is not None or own is not None:
        trial, old, folder = _default(task, own, data, preset, backbone, method), {}, Path("runs")
    else:
        raise ConfigError(
            "what shall be learned? Give --task TASK (see `pare-tune tasks`), --config run.yaml, or --data, --target "
            "and --kind of your own"
        )
    said = settings or {}
    changes = {key: value for key, value in said.items() if not key.startswith(_SEARCH)}
    for key, value in {
        "source.name": source,
        "source.data": None if source_data is None else str(source_data.absolute()),
        "source.samples": source_samples,
        "seed": seed,
    }.items():
        if value is not None:
            changes[key] = value
    given = {key.removeprefix(_SEARCH): value for key, value in said.items() if key.startswith(_SEARCH)}
    given |= {k: v for k, v in (search or {}).items() if v is not None}
    if budget is not None:
        given["budget"] = budget
    if seed is not None:
        given["seed"] = seed
    plan = RunConfig(
        trial=trial.with_values(changes),
        search=validate(SearchConfig, {**old, **_plain(given)}, where="options"),
        runs=runs or folder,
    )
    task_of(plan.trial)
    return plan


def rank_sources_of(plan: RunConfig) -> RunConfig:
    """`plan`, whose search takes the proxy data sets in the order of their promise, found before any training.

    Raises:
        ConfigError: the method reads no source, or there are not two to choose from.
        PareTuneError: task, backbone or a source cannot be opened.
    """
    trial, names = plan.trial, available_sources(plan.trial)
    if not METHODS[trial.method].reads_source:
        raise ConfigError(
            f"--rank-sources orders what is mixed in, and method {trial.method} reads no source"
        )
    if len(names) < 2:
        raise ConfigError(
            f"--rank-sources needs two sources or more that {trial.backbone} reads, found "
            f"{', '.join(names) or 'none'}; give --source-data FOLDER (`pare-tune sources` lists what is looked for)"
        )
    # Slow to import, and few searches ask for it.
    from pare_tune.train.proxy import rank_sources

    with step("ranking the proxy data sets"):
        order = tuple(source.name for source in rank_sources(trial, names))
    return plan.model_copy(update={"search": plan.search.model_copy(update={"source_order": order})})


def describe_plan(plan: RunConfig) -> str:
    """What will run and what it costs, in a few lines of rich markup."""
    trial, task = plan.trial, task_of(plan.trial)
    provenance = provenance_of(task, trial.data)
    why = "default with --data" if trial.data is not None else "default without --data"
    more = ""
    if trial.own is not None:
        why = "default for data of your own"
        seen = survey(trial.own, task_data.default_cache()).survey
        more = "".join(f"\n  {escape(line)}" for line in data_lines(trial.own, seen))
        more += "".join(f"\n[yellow]warning: {escape(line)}[/yellow]" for line in seen.warnings)
        more += f"\nwith --preset paper: {escape(paper_line(task, trial.own))}"
    effective = trial.train.batch_size * trial.train.accumulation
    order = ""
    if plan.search.source_order:
        order = f"sources, most promising first: {', '.join(plan.search.source_order)}\n"
    return (
        f"[bold]{escape(task.name)}[/bold]: {escape(task.title)}\n"
        f"data: {provenance} · preset: {trial.preset} ({why}) · backbone: {trial.backbone}"
        f" · source: {trial.source.name}\n"
        f"{order}"
        f"budget: {plan.search.budget} · a full trial: {trial.train.epochs} epochs in batches of {effective}"
        f"{more}"
    )


@looked_at_once()
def run_search(plan: RunConfig, *, observe: Observe | None = None, notify: Notify | None = None) -> Result:
    """Run a planned search, with TensorBoard files while it runs and report.html at its end."""
    # Data, backbone and source are opened here once: mistakes in them show before a cluster starts or a folder is made.
    trial = open_trial(plan.trial).config
    if trial != plan.trial:
        if notify is not None:
            notify(
                f"{trial.task}: a sample is one token, in which {plan.trial.method} cannot replace a part; "
                f"method {trial.method} stands in for it"
            )
        plan = plan.model_copy(update={"trial": trial})
    with _boards(observe) as watch:
        result = _search(plan, observe=watch, notify=notify)
    write_reports(result.path)
    return result


@looked_at_once()
def resume_search(
    run: Path,
    *,
    budget: str | None = None,
    max_disk: str | None = None,
    accept_changed_data: bool = False,
    observe: Observe | None = None,
    notify: Notify | None = None,
) -> Result:
    """Go on with a search, perhaps with a larger budget or another limit of its folder's size ("5GB").

    Raises:
        ConfigError: data, split or backbone changed since it began, which `accept_changed_data` accepts.
    """
    with _boards(observe) as watch:
        parsed = None if budget is None else Budget.parse(budget)
        size = None if max_disk is None else parse_size(max_disk)
        result = _resume(
            run,
            parsed,
            max_disk=size,
            accept_changed_data=accept_changed_data,
            observe=watch,
            notify=notify,
        )
    write_reports(result.path)
    return result


def write_reports(run: Path) -> Path:
    """Bring the TensorBoard files of a run up to date and write its report.html; returns the report's path."""
    with step("writing the report"):
        found = snapshot(run)
        with TensorBoardWriter(run) as writer:
            writer.update(found)
        return write_report(run, found)


def compare_runs(runs: Sequence[Path], out: Path | None = None) -> Path:
    """One page about several runs; returns its path, by default compare.html beside the first run.

    Raises:
        ConfigError: a folder is no run folder, or is given twice.
        StudyFailed: a run ended before its first trial.
        StorageError: the page could not be written.
    """
    folders = [run.absolute() for run in runs]
    twice = next((run for run in folders if folders.count(run) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is given twice; name each run once")
    with step("reading the runs, runs", len(folders)) as count:
        found = []
        for run in folders:
            found.append(snapshot(run))
            count()
    return write_comparison(found, out or folders[0].parent / "compare.html")


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
        raise StorageError(f"cannot write {out}: {error}") from error
    return out


def _default(
    task: str | None,
    own: OwnData | None,
    data: Path | None,
    preset: str | None,
    backbone: str | None,
    method: str | None,
) -> TrialConfig:
    chosen = preset or ("paper" if data is not None and own is None else "embedded")
    if chosen not in ("paper", "embedded"):
        raise ConfigError(f"--preset is paper or embedded, got {chosen!r}")
    if method is not None and method not in METHODS:
        raise ConfigError(f"--method is one of {', '.join(METHODS)}, got {method!r}")
    return default_trial(
        get_task(task or "") if own is None else own_task(own),
        preset=cast("Any", chosen),
        data=None if data is None or own is not None else data.absolute(),
        backbone=backbone,
        method=method or "pare",
        own=own,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in values.items()}


@contextmanager
def _boards(observe: Observe | None) -> Iterator[Observe]:
    """Pass snapshots on, and to TensorBoard every few seconds."""
    writer: TensorBoardWriter | None = None
    last = 0.0

    def watch(seen: Snapshot) -> None:
        nonlocal writer, last
        if observe is not None:
            observe(seen)
        if time.monotonic() - last >= _TENSORBOARD_EVERY_S:
            writer = writer or TensorBoardWriter(seen.run)
            writer.update(seen)
            last = time.monotonic()

    try:
        yield watch
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """One process trains into a folder; the lock goes with the process, however it ends."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunBusy(
            f"another process is training into {folder}; wait for it, or give another --out"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error}") from error
    try:
        yield
    finally:
        lock.release()


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
    head = f"{trial.to_yaml()}# with_val: {with_val}\n"
    if begun.is_file():
        if not begun.read_text(encoding="utf-8").startswith(head):
            raise ConfigError(
                f"{folder} was begun with another configuration; give another --out, or delete the folder to start over"
            )
        means = "samples that are tested now may have been trained on"
        check_unchanged(
            read_fingerprint(begun), now, where=folder, accept=accept, accepted_means=means, notify=notify
        )
    write_text(begun, head + now.to_yaml())
