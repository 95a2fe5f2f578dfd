"""The command line: options → a config → one call. Heavy imports stay inside the commands, so that help is instant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pare_tune.errors import ConfigError, PareTuneError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pare_tune.config import RunConfig
    from pare_tune.tune.result import Result

INTERRUPTED = 130

app = typer.Typer(
    name="pare-tune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    no_args_is_help=True, help="The data sets: where they are, preparing them, writing samples."
)
app.add_typer(data_app, name="data")

_SEARCH, _OWN, _MODEL, _CLUSTER = "Search", "Data of your own", "Data and model", "Cluster"
_SOURCES_ENV = ["PARE_TUNE_SOURCES", "PARE_TUNE_DATA"]
_FULL = typer.Option("--full", help="Solved data (PDEs) as many and as fine as the release; takes long.")

_TARGET = typer.Option(
    help="What to learn of them: a file, a folder of masks, or a column of the inputs' table.",
    rich_help_panel=_OWN,
)
_KIND = typer.Option(
    help="point (one class a sample), multilabel, or dense (a value at every position).", rich_help_panel=_OWN
)
_MODALITY = typer.Option(
    help="sequence_1d, grid_2d, table, dense_1d or dense_2d; default: seen from the shape.",
    rich_help_panel=_OWN,
)
_CHANNELS = typer.Option(
    help="Axis of a sample's channels: first, last or none; default: seen from the shape.",
    rich_help_panel=_OWN,
)


@app.callback(invoke_without_command=True)
def search(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Option(help="What to learn: a name (`pare-tune tasks` lists them) or a task file of your own."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Trials (50), wall time (90s, 30m, 2h) or epochs (600ep).", rich_help_panel=_SEARCH
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Repeat a search from its run.yaml.", rich_help_panel=_SEARCH)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the search and its trials.", rich_help_panel=_SEARCH)
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="A search space of your own (YAML).", rich_help_panel=_SEARCH)
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of the run folders.", rich_help_panel=_SEARCH)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved plan and stop.", rich_help_panel=_SEARCH)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, for scripts.", rich_help_panel=_SEARCH)
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="PARE_TUNE_DATA",
            help="Folder of the task's public release; without it the task brings its own data. With --kind: the "
            "file or folder of your own inputs.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    target: Annotated[str | None, _TARGET] = None,
    kind: Annotated[str | None, _KIND] = None,
    modality: Annotated[str | None, _MODALITY] = None,
    channels: Annotated[str | None, _CHANNELS] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="paper (big backbone, the paper's epochs; default with --data) or embedded (small, no download).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="micro-swin, micro-roberta, swin-base-22k, roberta-base, timm:NAME, hf:NAME-OR-FOLDER.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="pare, random, finetune, layernorm or scratch.", rich_help_panel=_MODEL),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Proxy data set of trial 0.", rich_help_panel=_MODEL)
    ] = None,
    source_data: Annotated[
        Path | None,
        typer.Option(
            envvar=_SOURCES_ENV,
            help="Folder of proxy data sets as released (`pare-tune sources`), or images or text of your own.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    source_samples: Annotated[
        int | None,
        typer.Option(help="A fixed subset of the proxy data set; default: all.", rich_help_panel=_MODEL),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of trial 0, e.g. train.epochs=5.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            help="Fresh seeds that the best two and the paper's default are trained again with; 0 for none. "
            "Default: 2, inside the budget.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Trials at a time; default: all that fit.", rich_help_panel=_CLUSTER)
    ] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(help="Data-parallel workers in each trial.", rich_help_panel=_CLUSTER)
    ] = None,
    cpus_per_worker: Annotated[
        float | None, typer.Option(help="CPUs of a worker.", rich_help_panel=_CLUSTER)
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="GPUs of a worker; 0.25 lets four share one.", rich_help_panel=_CLUSTER),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Fine-tune pretrained transformers on any modality with PaRe, and find the settings that make it win.

    Without a command, [bold]pare-tune --task TASK[/bold] searches: trial 0 is the paper's configuration,
    the rest try to beat it.

    [dim]Search, train the winner in full, use it:[/dim]

      pare-tune --task psicov --budget 50

      pare-tune train runs/psicov-…/best.yaml

      pare-tune predict runs/psicov-…/final inputs.npy -o out.npy

    [dim]Data of your own: arrays, tables, images; more in a task file (pare-tune --task my-task.yaml):[/dim]

      pare-tune --data inputs.npy --target labels.npy --kind point

    [dim]The real release, on the paper's backbone, two hours:[/dim]

      pare-tune --task psicov --data /data/protein --budget 2h
    """
    if version:
        from pare_tune import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is not None:
        return
    from pare_tune.api import plan_run

    if config is not None and _from_environment(context, "source_data"):
        source_data = None  # the file says where, and a search is repeated as it was
    if _from_environment(context, "data") and _is_own(task, target, kind, modality, channels):
        data = None  # a folder of releases, none of which is meant
    plan = plan_run(
        task=task,
        config=config,
        budget=budget,
        data=data,
        target=target,
        kind=kind,
        modality=modality,
        channels=channels,
        preset=preset,
        backbone=backbone,
        method=method,
        source=source,
        source_data=source_data,
        source_samples=source_samples,
        settings=_settings(settings or []),
        seed=seed,
        search={
            "space": space,
            "confirm": confirm,
            "max_concurrent": max_concurrent,
            "workers_per_trial": workers_per_trial,
            "cpus_per_worker": cpus_per_worker,
            "gpus_per_worker": gpus_per_worker,
        },
        runs=runs,
    )
    if dry_run:
        _print_plan(plan, as_json)
        return
    from pare_tune.api import run_search

    _watch(lambda **tell: run_search(plan, **tell), as_json=as_json, intro=plan)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    budget: Annotated[
        str | None, typer.Option(help="A new budget for the whole run, what is already spent included.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Go on with a search that was interrupted, or extend one that ended.

    pare-tune resume runs/psicov-20261122-113000 --budget 80
    """
    from pare_tune.api import resume_search

    _watch(lambda **tell: resume_search(run, budget=budget, **tell), as_json=as_json, run=run)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="best.yaml of a run, or one of your own.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the model; default: final/ beside the config."),
    ] = None,
    num_workers: Annotated[int, typer.Option(min=1, help="Data-parallel workers on the Ray cluster.")] = 1,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="Default: 1 where the cluster has GPUs.")
    ] = None,
    with_val: Annotated[
        bool,
        typer.Option("--with-val", help="Train on train + validation; the last epoch's weights are kept."),
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train longer than the trial did.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Train a configuration in full and score the test split, once.

    pare-tune train runs/psicov-…/best.yaml --num-workers 2
    """
    from pare_tune.api import train as train_final

    console = Console()
    progress = _epoch_printer(console, as_json)
    metrics = train_final(
        config,
        out=out,
        num_workers=num_workers,
        gpus_per_worker=gpus_per_worker,
        with_val=with_val,
        epochs=epochs,
        observe=progress,
    )
    if as_json:
        print(json.dumps({"event": "trained", **metrics}))
        return
    unit = "" if metrics["unit"] == "1" else f" {metrics['unit']}"
    console.print(
        f"\n[bold]test {metrics['metric']} {metrics['test']:.4g}{unit}[/bold] on {metrics['test_samples']} samples "
        f"(data: {metrics['data']}), weights of epoch {metrics['epoch']} of {metrics['epochs']}, "
        f"trained on {metrics['trained_on']}",
        highlight=False,
    )
    folder = _shown(Path(metrics["folder"]))
    console.print(f"model: {folder}", highlight=False, soft_wrap=True)
    console.print(f"next:  pare-tune predict {folder} inputs.npy -o out.npy", highlight=False, soft_wrap=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="The final/ or best/ folder of a run.")],
    inputs: Annotated[
        Path,
        typer.Argument(
            help="A .npy of model-ready samples, (n, channels, ...); of a task of your own: raw samples, in any form "
            "that it can be trained on."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the predictions go, .npy.")] = Path(
        "out.npy"
    ),
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Class probabilities instead of raw outputs.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
) -> None:
    """Apply a trained model to new inputs.

    pare-tune predict runs/psicov-…/final inputs.npy -o out.npy
    """
    from pare_tune.api import predict_file

    shape, names = predict_file(model, inputs, out, probabilities=probabilities, batch_size=batch_size)
    typer.echo(f"{out}: {shape}")
    if names:
        typer.echo(f"columns: {', '.join(names)}")


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """How a search stands: running here, in another process, or ended."""
    from pare_tune.report import snapshot_json, status_text
    from pare_tune.tune.run import snapshot

    found = snapshot(run)
    if as_json:
        print(json.dumps(snapshot_json(found), allow_nan=False))
    else:
        Console().print(status_text(found))


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html and the TensorBoard files of a run again."""
    from pare_tune.api import write_reports

    typer.echo(str(write_reports(run)))


@app.command()
def tasks(
    wanted: Annotated[
        str | None, typer.Argument(help="Only those with this in their name or benchmark.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of all.")] = False,
) -> None:
    """The tasks that can be tuned by name.

    pare-tune tasks openml
    """
    from pare_tune.listing import task_rows
    from pare_tune.report import task_table

    _print_rows(task_rows(wanted), partial(task_table, fold=wanted is None), as_json)


@app.command()
def sources(
    source_data: Annotated[
        Path | None,
        typer.Option("--source-data", "--data", envvar=_SOURCES_ENV, help="Folder of proxy data sets."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """The proxy data sets: what each is, and whether its release is here.

    pare-tune sources --source-data /data/proxies
    """
    from pare_tune.listing import source_rows
    from pare_tune.report import source_table

    _print_rows(source_rows(source_data), source_table, as_json)
    if not as_json:
        where = f"below {source_data}" if source_data else "nowhere: give --source-data or PARE_TUNE_SOURCES"
        Console().print(f"\nlooked {where}", style="dim", highlight=False, soft_wrap=True)


@data_app.command("status")
def data_status(
    wanted: Annotated[
        str | None, typer.Argument(help="Only tasks with this in their name or benchmark.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="PARE_TUNE_DATA", help="Folder of public releases.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """Each task: what its data would be, whether they are prepared, and the files of its public release.

    pare-tune data status --data /data/nas-bench-360
    """
    from pare_tune.listing import data_rows
    from pare_tune.report import data_table

    _print_rows(data_rows(data, wanted), data_table, as_json)
    if not as_json:
        where = f"below {data}" if data else "nowhere: give --data or PARE_TUNE_DATA"
        Console().print(f"\nreleases looked for {where}", style="dim", highlight=False, soft_wrap=True)


@data_app.command("clean")
def data_clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Remove prepared data that this version would not open again: made by other code, or unfinished.

    pare-tune data clean --dry-run
    """
    from pare_tune.housekeeping import find_stale, remove
    from pare_tune.report import stale_lines
    from pare_tune.tasks.stores import default_cache

    cache = default_cache()
    gone = [stale for stale in find_stale(cache) if dry_run or remove(stale)]
    if as_json:
        removed = [{"path": str(s.path), "bytes": s.num_bytes, "why": s.why} for s in gone]
        print(
            json.dumps({"removed": not dry_run, "bytes": sum(s.num_bytes for s in gone), "folders": removed})
        )
        return
    for line in stale_lines(cache, [(s.path, s.num_bytes, s.why) for s in gone], dry_run=dry_run):
        Console().print(line, highlight=False, markup=False, soft_wrap=True)


@data_app.command("check")
def data_check(
    task_file: Annotated[str | None, typer.Argument(help="A task file of your own (YAML).")] = None,
    data: Annotated[Path | None, typer.Option(help="Or: the file or folder of your inputs.")] = None,
    target: Annotated[str | None, _TARGET] = None,
    kind: Annotated[str | None, _KIND] = None,
    modality: Annotated[str | None, _MODALITY] = None,
    channels: Annotated[str | None, _CHANNELS] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Data of your own: what they are, what is wrong with them, and what would be trained; nothing is.

    pare-tune data check my-task.yaml

    pare-tune data check --data inputs.npy --target labels.npy --kind point
    """
    from pare_tune.check import print_check

    options = {"data": data, "target": target, "kind": kind, "modality": modality, "channels": channels}
    if not print_check(Console(), task_file, options, as_json=as_json):
        raise typer.Exit(2)


@data_app.command("prepare")
def data_prepare(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A name, or a task file of your own.")],
    data: Annotated[
        Path | None, typer.Option(envvar="PARE_TUNE_DATA", help="Folder of the public release.")
    ] = None,
    full: Annotated[bool, _FULL] = False,
) -> None:
    """Read a release (or make the task's own data) into the prepared store now, not at the first trial."""
    from pare_tune.api import load_task, solve_in_full

    if full:
        if data is not None and not _from_environment(context, "data"):
            raise ConfigError("--full solves data and --data reads them; give one of the two")
        data = solve_in_full(task, _note)
    opened = load_task(task, data=data)
    typer.echo(
        f"{task}: data: {opened.provenance}, {len(opened.train)} train, {len(opened.val)} val, "
        f"input {opened.input_shape}, output {opened.output}"
    )
    if full:
        typer.echo(f"next: pare-tune --task {task} --data {data}")


@data_app.command("sample")
def data_sample(
    task: Annotated[str, typer.Argument()],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    full: Annotated[bool, _FULL] = False,
) -> None:
    """Write the task's own data in the format of its public release, to look at or to copy."""
    from pare_tune.api import write_sample

    typer.echo(str(write_sample(task, out, full=full, notify=_note)))


def main() -> None:
    """Entry point: one message and an exit code for every error a user can meet."""
    try:
        app()
    except PareTuneError as error:
        _fail(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted")
        sys.exit(INTERRUPTED)


def _shown(path: Path) -> Path:
    """As short as it can be typed from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _note(text: str) -> None:
    Console(stderr=True).print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _fail(message: str) -> None:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)


def _is_own(task: str | None, *options: str | None) -> bool:
    """Whether the data are the user's own: a task file, or what describes them."""
    is_file = task is not None and task.lower().endswith((".yaml", ".yml"))
    return is_file or any(option is not None for option in options)


def _from_environment(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "ENVIRONMENT"


def _print_rows(rows: Sequence[Any], draw: Callable[[Any], RenderableType], as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console().print(draw(rows))


def _settings(pairs: list[str]) -> dict[str, Any]:
    from ruamel.yaml import YAML

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes KEY=VALUE, e.g. train.epochs=5, got {pair!r}")
        values[key.strip()] = YAML(typ="safe").load(text)
    return values


def _print_plan(plan: RunConfig, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan.model_dump(mode="json")))
        return
    from pare_tune.api import describe_plan

    console = Console()
    console.print(describe_plan(plan), highlight=False, emoji=False)
    console.print(plan.to_yaml(), highlight=False, markup=False, emoji=False)


def _watch(
    go: Callable[..., Result], *, as_json: bool, intro: RunConfig | None = None, run: Path | None = None
) -> None:
    """Run a search under the live view and end with what to do next."""
    from pare_tune.api import describe_plan
    from pare_tune.report import LiveView, summary
    from pare_tune.tune.run import SearchInterrupted, snapshot

    console = Console()
    if intro is not None and not as_json:
        console.print(describe_plan(intro), highlight=False, emoji=False)
    before = snapshot(run) if run is not None else None
    view = LiveView(console, mode="json" if as_json else "auto", before=before)

    try:
        with view:
            result = go(observe=view.update, notify=_note)
            last = snapshot(result.path)
            view.close(last)
    except SearchInterrupted as interrupted:
        _fail(f"interrupted; everything is saved. Go on with:\n  pare-tune resume {_shown(interrupted.run)}")
        sys.exit(INTERRUPTED)
    if not as_json:
        best = _shown(result.path / "best.yaml")
        console.print(summary(last, best_yaml=best, next_command=f"pare-tune train {best}"))
        console.print(f"report: {best.parent / 'report.html'}", highlight=False, soft_wrap=True)


def _epoch_printer(console: Console, as_json: bool) -> Any:
    def show(epoch: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps({"event": "epoch", **epoch}), flush=True)
            return
        score = epoch["score"]
        console.print(
            f"epoch {epoch['epoch']:>3}/{epoch['epochs']}  loss {epoch['train_loss']:.4g}"
            + ("" if score is None else f"  val {score:.4g}")
            + f"  k {epoch['k']}  {epoch['seconds']:.1f} s",
            highlight=False,
        )

    return show
