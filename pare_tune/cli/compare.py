"""Methods and peers on one protocol."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import long_steps, parse_settings, print_json, say
from pare_tune.errors import ConfigError
from pare_tune.shell import shown

if TYPE_CHECKING:
    from pare_tune.compare.cell import CellResult
    from pare_tune.compare.plan import Plan

_SEARCH, _MODEL, _CLUSTER = "Search", "Data and model", "Cluster"


@app.command()
def compare(
    task: Annotated[
        list[str],
        typer.Option(help="What to learn: names or task files, with commas or as several options."),
    ],
    methods: Annotated[
        str,
        typer.Option(
            help="Ours (pare, orca, finetune, ...) and peers: "
            "hist-gradient-boosting, xgboost, lightgbm, catboost (tables), fno, unet (fields), "
            "minirocket (series), linear, perceiver (anything)."
        ),
    ] = "pare,finetune,linear",
    budget: Annotated[
        str,
        typer.Option(help="Trials of every method's search; 1: its default alone.", rich_help_panel=_SEARCH),
    ] = "1",
    seeds: Annotated[int, typer.Option(help="Of every method on every task.", rich_help_panel=_SEARCH)] = 3,
    confirm: Annotated[
        int | None,
        typer.Option(
            help="Fresh seeds at the end of our own searches, inside the budget; default: 2.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run failed cells again.", rich_help_panel=_SEARCH)
    ] = False,
    runs: Annotated[
        Path, typer.Option(help="Folder of the cells; what is finished there is not repeated.")
    ] = Path("runs/compare"),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the tables and figures; default: that of --runs."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of the task's public release; TASK=FOLDER where there are several tasks.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="paper (default with --data) or embedded.", rich_help_panel=_MODEL),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Of our own methods.", rich_help_panel=_MODEL)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of our own trials, e.g. train.epochs=5 (networks among the peers follow).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(help="Trials of our own searches at a time.", rich_help_panel=_CLUSTER)
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="GPUs of a trial or cell; 0.25 lets four share one.", rich_help_panel=_CLUSTER),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")] = False,
) -> None:
    """Compare methods and peers: same splits, validation for every choice, test scored once.

    Runs what is missing and writes compare.html, compare.md, compare.tex, scores.csv, pairs.csv and figures. The same
    command goes on after an interruption; more tasks, methods or seeds add to what is there.

    pare-tune compare --task wdbc,car --methods pare,finetune,xgboost --budget 20

    pare-tune compare --task advection --methods pare,orca,fno,unet --budget 1 --seeds 3
    """
    from pare_tune.compare.plan import make_plan, parse_budget

    tasks = [name for entry in task for name in _names(entry)]
    plan = make_plan(
        tasks,
        _names(methods),
        folder=runs,
        budget=parse_budget(budget),
        seeds=seeds,
        preset=preset,
        backbone=backbone,
        data=_data(data or [], tasks),
        settings=parse_settings(settings or []),
        search={
            key: value
            for key, value in {
                "confirm": confirm,
                "max_concurrent": max_concurrent,
                "gpus_per_worker": gpus_per_worker,
            }.items()
            if value is not None
        },
    )
    from pare_tune.compare.run import run_plan

    try:
        with long_steps(as_json=as_json):
            results = run_plan(plan, tell=_tell(as_json), retry=retry)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; finished cells are kept, and the same command goes on from there"
        ) from None
    _show(plan, results, out or runs, as_json)


def _show(plan: Plan, results: list[CellResult], out: Path, as_json: bool) -> None:
    from pare_tune.compare.comparison import summarise
    from pare_tune.compare.export import PAGE, write_files
    from pare_tune.compare.terminal import comparison_view

    summary = summarise(plan, results)
    files = write_files(summary, out)
    if as_json:
        print_json({"event": "compared", "files": [str(path) for path in files]})
        return
    console = Console()
    console.print(comparison_view(summary, console))
    say(f"\nfiles: {shown(out)}, of which {PAGE} holds all")


def _tell(as_json: bool) -> Any:
    from pare_tune.report.words import duration, number

    def as_line(result: CellResult, done: int, total: int) -> None:
        said = f"test {number(result.test)}" if result.state == "done" else f"{result.state}: {result.cause}"
        took = "" if result.seconds is None else f", {duration(result.seconds)}"
        typer.echo(
            f"{done}/{total}  {result.task}  {result.method}  seed {result.seed}: {said}{took}", err=True
        )

    def as_object(result: CellResult, done: int, total: int) -> None:
        print_json({"event": "cell", "done": done, "total": total, **asdict(result)})

    return as_object if as_json else as_line


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _data(entries: list[str], tasks: list[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if len(tasks) == 1 and not (equals and name == tasks[0]):
            name, folder = tasks[0], entry  # a path, which may hold a = of its own
        elif not equals:
            raise ConfigError(f"with several tasks, --data says whose: TASK=FOLDER, got {entry!r}")
        folders[name] = Path(folder)
    return folders
