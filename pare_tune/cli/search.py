"""`pare-tune --task …`, and going on with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import (
    ACCEPT,
    KIND,
    SOURCES_ENV,
    TARGET,
    from_environment,
    long_steps,
    note,
    parse_settings,
    print_json,
    say,
)
from pare_tune.cli.streams import refusal
from pare_tune.shell import command, shown

if TYPE_CHECKING:
    from pare_tune.config import RunConfig
    from pare_tune.tune.result import Result
    from pare_tune.tune.run import SessionOptions
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
        str | None,
        typer.Option(
            help="Folder of the run folders, or a URL (s3://bucket/runs, gs://…, abfs://…) that every node reaches.",
            rich_help_panel=_SEARCH,
        ),
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
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Anything else: of trial 0 (train.epochs=5, source.samples=500), of the search (search.confirm=0, "
            "search.portfolio=false), of a task of your own (own.channels=last). --dry-run prints them all.",
            rich_help_panel=_MODEL,
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
    max_disk: Annotated[str | None, MAX_DISK] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(
            help="Trials at a time; default: all that fit. More than that wait for the nodes that an autoscaler adds.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(help="Data-parallel workers in each trial.", rich_help_panel=_CLUSTER)
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

    After the default come plain fine-tuning and two configurations that cover best the other tasks whose learning
    curves ship with the package (--set search.portfolio=false leaves these out). A trial stops after 34 % of its
    epochs, rounded up, or after twice as many, unless it is among the better half there. At the end the best two and
    the default are trained again with two fresh seeds, and the best mean wins (--set search.confirm=0: off). Data of
    your own with fewer than 300 validation samples, or fewer than 50 of a class, are searched over folds
    (--set search.validation=split: not).

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
    from pare_tune.plan import Wish, plan_run
    from pare_tune.tasks.own.survey import looked_at_once

    context.with_resource(looked_at_once())

    if config is not None and from_environment(context, "source_data"):
        source_data = None  # the file says where, and a search is repeated as it was
    if from_environment(context, "data") and (config is not None or _is_own(task, target, kind)):
        data = None  # a folder of releases, none of which is meant
    wish = Wish(
        task=task,
        config=config,
        data=data,
        target=target,
        kind=kind,
        preset=preset,
        backbone=backbone,
        method=method,
        runs=runs,
        settings=parse_settings(settings or [])
        | _said(
            {
                "seed": seed,
                "source.name": source,
                "source.data": source_data,
                "search.seed": seed,
                "search.budget": budget,
                "search.space": space,
                "search.warm_start": warm_start or None,
                "search.max_disk": max_disk,
                "search.max_concurrent": max_concurrent,
                "search.workers_per_trial": workers_per_trial,
                "search.gpus_per_worker": gpus_per_worker,
            }
        ),
    )
    plan = plan_run(wish)
    if dry_run:
        _print_plan(plan, as_json)
        return
    from pare_tune.api import run_search

    _watch(lambda options: run_search(plan, options), as_json=as_json, intro=plan)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="A run: its folder or URL.")],
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
        lambda options: resume_search(
            run, budget=budget, max_disk=max_disk, accept_changed_data=accept_changed_data, options=options
        ),
        as_json=as_json,
        run=run,
    )


def _is_own(task: str | None, *options: str | None) -> bool:
    """Whether the data are the user's own: a task file, or what describes them."""
    is_file = task is not None and task.lower().endswith((".yaml", ".yml"))
    return is_file or any(option is not None for option in options)


def _said(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _print_plan(plan: RunConfig, as_json: bool) -> None:
    if as_json:
        print_json(plan.model_dump(mode="json"))
        return
    from pare_tune.config import task_of
    from pare_tune.plan import describe_plan
    from pare_tune.train.memory import memory_line

    need = memory_line(plan.trial, task_of(plan.trial), plan.search.workers_per_trial)
    Console().print(describe_plan(plan), highlight=False, emoji=False, soft_wrap=True)
    say(f"{need}\n{plan.to_yaml()}")


def _watch(
    go: Callable[[SessionOptions], Result],
    *,
    as_json: bool,
    intro: RunConfig | None = None,
    run: Path | str | None = None,
) -> None:
    """Run a search under the live view and end with what to do next."""
    from pare_tune.errors import StudyFailed
    from pare_tune.plan import describe_plan
    from pare_tune.report import LiveView, summary
    from pare_tune.tune.run import SearchInterrupted, SessionOptions, snapshot

    console = Console()
    if intro is not None and not as_json:
        console.print(describe_plan(intro), highlight=False, emoji=False, soft_wrap=True)
    before = None
    if run is not None:
        with suppress(StudyFailed):  # killed before its first trial, it begins
            before = snapshot(run)
    view = LiveView(console, mode="json" if as_json else "auto", before=before)
    told_unread = False

    def observe(seen: Snapshot) -> None:
        nonlocal run, told_unread
        run = seen.run
        # What comes after the search (its report) shows itself below the view.
        (view.close if seen.finished else view.update)(seen)
        if not told_unread and refusal() is not None:
            note(f"nobody reads standard output any more; the search goes on: {command('status', run)}")
            told_unread = True

    try:
        with long_steps(as_json=as_json), view:
            result = go(SessionOptions(observe=observe, notify=note))
            last = snapshot(result.path)
            view.close(last)
    except KeyboardInterrupt as interrupted:
        if run is None:  # it has not begun
            raise
        why = interrupted.why if isinstance(interrupted, SearchInterrupted) else str(interrupted)
        raise KeyboardInterrupt(
            f"{why or 'interrupted'}; everything is saved. Go on with:\n  {command('resume', run)}"
        ) from None
    if not as_json:
        best = result.path / "best.yaml"
        console.print(summary(last, best_yaml=best, next_command=command("train", best)))
        say(f"report: {shown(result.path / 'report.html')}")
