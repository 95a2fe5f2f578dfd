"""`pare-tune --task …`, and going on with it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import (
    ACCEPT,
    CHANNELS,
    INTERRUPTED,
    KIND,
    MODALITY,
    SOURCES_ENV,
    TARGET,
    fail,
    from_environment,
    long_steps,
    note,
    parse_settings,
    shown,
)

if TYPE_CHECKING:
    from pare_tune.config import RunConfig
    from pare_tune.tune.result import Result
    from pare_tune.tune.snapshot import Snapshot

_SEARCH, _MODEL, _CLUSTER = "Search", "Data and model", "Cluster"
MAX_DISK = typer.Option(
    help="Most that the run folder may take (5GB, 800MB): what is least wanted goes first, never the best trial.",
    rich_help_panel=_SEARCH,
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
    target: Annotated[str | None, TARGET] = None,
    kind: Annotated[str | None, KIND] = None,
    modality: Annotated[str | None, MODALITY] = None,
    channels: Annotated[str | None, CHANNELS] = None,
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
        typer.Option(
            help="pare, finetune, …: how it is trained; README.md lists them.", rich_help_panel=_MODEL
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Proxy data set of trial 0.", rich_help_panel=_MODEL)
    ] = None,
    source_data: Annotated[
        Path | None,
        typer.Option(
            envvar=SOURCES_ENV,
            help="Folder of proxy data sets as released (`pare-tune sources`), or images or text of your own.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    source_samples: Annotated[
        int | None,
        typer.Option(help="A fixed subset of the proxy data set; default: all.", rich_help_panel=_MODEL),
    ] = None,
    rank_sources: Annotated[
        bool,
        typer.Option(
            "--rank-sources",
            help="Rank the proxy data sets first (`pare-tune rank-sources`), and begin with the most promising.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of trial 0 or of the search: train.epochs=5, search.judge=learned. --dry-run prints all.",
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
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(
            "--warm-start",
            metavar="RUN",
            help="An earlier run, of this or another task, or a file of `pare-tune portfolio`: its best points are "
            "tested first, with a fifth of the budget at most, and its ranking guides the beginning. Repeat for more.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    portfolio: Annotated[
        bool | None,
        typer.Option(
            "--portfolio/--no-portfolio",
            help="Test first the few configurations that cover best the other tasks whose curves come with the "
            "package, with a fifth of the budget at most. On unless --warm-start says what to begin with.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    max_disk: Annotated[str | None, MAX_DISK] = None,
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

      pare-tune --data table.csv --target yield --kind regression

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
    from pare_tune.tasks.own.survey import looked_at_once

    context.with_resource(looked_at_once())

    if config is not None and from_environment(context, "source_data"):
        source_data = None  # the file says where, and a search is repeated as it was
    own = _is_own(task, target, kind, modality, channels)
    if from_environment(context, "data") and (own or config is not None):
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
        settings=parse_settings(settings or []),
        seed=seed,
        search={
            "space": space,
            "confirm": confirm,
            "warm_start": warm_start or None,
            "portfolio": portfolio,
            "max_disk": max_disk,
            "max_concurrent": max_concurrent,
            "workers_per_trial": workers_per_trial,
            "cpus_per_worker": cpus_per_worker,
            "gpus_per_worker": gpus_per_worker,
        },
        runs=runs,
    )
    if rank_sources:
        from pare_tune.api import rank_sources_of

        with long_steps(as_json=as_json):
            plan = rank_sources_of(plan)
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
    max_disk: Annotated[str | None, MAX_DISK] = None,
    accept_changed_data: Annotated[bool, ACCEPT] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Go on with a search that was interrupted, or extend one that ended.

    pare-tune resume runs/psicov-20261122-113000 --budget 80
    """
    from pare_tune.api import resume_search

    _watch(
        lambda **tell: resume_search(
            run, budget=budget, max_disk=max_disk, accept_changed_data=accept_changed_data, **tell
        ),
        as_json=as_json,
        run=run,
    )


def _is_own(task: str | None, *options: str | None) -> bool:
    """Whether the data are the user's own: a task file, or what describes them."""
    is_file = task is not None and task.lower().endswith((".yaml", ".yml"))
    return is_file or any(option is not None for option in options)


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
    from pare_tune.errors import StudyFailed
    from pare_tune.report import LiveView, summary
    from pare_tune.tune.run import SearchInterrupted, snapshot

    console = Console()
    if intro is not None and not as_json:
        console.print(describe_plan(intro), highlight=False, emoji=False)
    before = None
    if run is not None:
        with suppress(StudyFailed):  # killed before its first trial, it begins
            before = snapshot(run)
    view = LiveView(console, mode="json" if as_json else "auto", before=before)

    def observe(seen: Snapshot) -> None:
        # What comes after the search (its report) shows itself below the view.
        (view.close if seen.finished else view.update)(seen)

    try:
        with long_steps(as_json=as_json), view:
            result = go(observe=observe, notify=note)
            last = snapshot(result.path)
            view.close(last)
    except SearchInterrupted as interrupted:
        saved = shlex.quote(str(shown(interrupted.run)))
        fail(f"interrupted; everything is saved. Go on with:\n  pare-tune resume {saved}")
        sys.exit(INTERRUPTED)
    if not as_json:
        best = shown(result.path / "best.yaml")
        console.print(summary(last, best_yaml=best, next_command=f"pare-tune train {best}"))
        console.print(f"report: {best.parent / 'report.html'}", highlight=False, soft_wrap=True)
