"""How a search stands, its report, and what can be tuned."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import SOURCES_ENV, long_steps, print_json, print_rows, say
from pare_tune.errors import ConfigError
from pare_tune.shell import shown


@app.command()
def status(
    run: Annotated[str, typer.Argument(help="A run: its folder or URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """How a search stands: running here, in another process, or ended."""
    from pare_tune.report import resume_command, snapshot_json, status_text
    from pare_tune.tune.run import snapshot

    state = snapshot(run)
    if as_json:
        print_json(snapshot_json(state))
    else:
        Console().print(status_text(state))
        if (go_on := resume_command(state)) is not None:
            say(f" Go on with: {go_on}")


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="One run (folder or URL), or several to compare.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Page of a comparison; default: compare.html beside the first run."),
    ] = None,
) -> None:
    """Write report.html and the TensorBoard files of a run again; of several runs, a page that compares them.

    pare-tune report runs/psicov-20261122-113000

    pare-tune report runs/psicov-* -o psicov.html
    """
    from pare_tune.api import compare_runs, write_reports

    if len(runs) == 1 and out is not None:
        raise ConfigError(
            f"--out is for the page that compares several runs; the report of one is "
            f"{shown(Path(runs[0], 'report.html'))}"
        )
    with long_steps():
        written = write_reports(runs[0]) if len(runs) == 1 else compare_runs(runs, out)
    typer.echo(str(written))


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
    from pare_tune.inspect.listing import task_rows
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
    from pare_tune.inspect.listing import source_rows
    from pare_tune.report import source_table

    print_rows(source_rows(source_data), source_table, as_json)
    if not as_json:
        where = f"below {source_data}" if source_data else "nowhere: give --source-data or PARE_TUNE_SOURCES"
        say(f"\nlooked {where}", "dim")
