"""How a search stands, its report, and what can be tuned."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import SOURCES_ENV, print_rows


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

    print_rows(task_rows(wanted), partial(task_table, fold=wanted is None), as_json)


@app.command()
def sources(
    source_data: Annotated[
        Path | None,
        typer.Option("--source-data", "--data", envvar=SOURCES_ENV, help="Folder of proxy data sets."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """The proxy data sets: what each is, and whether its release is here.

    pare-tune sources --source-data /data/proxies
    """
    from pare_tune.listing import source_rows
    from pare_tune.report import source_table

    print_rows(source_rows(source_data), source_table, as_json)
    if not as_json:
        where = f"below {source_data}" if source_data else "nowhere: give --source-data or PARE_TUNE_SOURCES"
        Console().print(f"\nlooked {where}", style="dim", highlight=False, soft_wrap=True)
