"""Searches replayed on recorded learning curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import print_json


@app.command()
def simulate(
    task: Annotated[
        list[str] | None, typer.Option(help="A recorded task; may be repeated. Default: all of them.")
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="ours (without its confirmation), ours-alone (without the other tasks' tables, too), random+default, "
            "ray-asha, optuna-hyperband and priorband (with NePS), which all know the default; random, which does not; "
            "or default alone. May be repeated."
        ),
    ] = None,
    budget: Annotated[int, typer.Option(help="Of every search, in whole trials' worth of epochs.")] = 50,
    seeds: Annotated[int, typer.Option(help="Searches of every strategy on every task.")] = 20,
    parallel: Annotated[int, typer.Option(help="Trials at a time.")] = 2,
    jobs: Annotated[int | None, typer.Option(help="Processes; default: one a CPU.")] = None,
    tables: Annotated[
        Path | None,
        typer.Option(
            help="Folder of tables of recorded curves, from jobs/record_curves.py --pack; default: those of the "
            "package."
        ),
    ] = None,
    wrong_default: Annotated[
        bool,
        typer.Option(
            "--wrong-default",
            help="Search around the worst recorded configuration: what a default costs that misleads.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare ways to search on recorded learning curves, in seconds instead of days.

    The package has tables of such curves; jobs/record_curves.py records more, and with --pack makes tables of them.

    pare-tune simulate --task wdbc --strategy ours --strategy random --seeds 5
    """
    from pare_tune.recorded.names import recorded_tasks
    from pare_tune.simulate.names import check_names

    check_names(task or (), strategy or (), tables)
    # Slow to import: wrong names are told before.
    from pare_tune.simulate.compare import Plan, compare
    from pare_tune.simulate.strategies import installed

    plan = Plan(
        tasks=tuple(task or recorded_tasks(tables)),
        strategies=tuple(strategy or installed()),
        trials=budget,
        seeds=seeds,
        parallel=parallel,
        tables=tables,
        wrong_default=wrong_default,
    )
    screen = Console(stderr=True)
    with screen.status("simulating …") as status:
        results = compare(
            plan,
            jobs=jobs or os.cpu_count() or 1,
            progress=lambda done, total: status.update(f"simulating … {done} of {total} searches"),
        )
    from pare_tune.simulate.summary import summarize, summary_tables

    if as_json:
        print_json(summarize(results))
    else:
        for table in summary_tables(results):
            Console().print(table)
