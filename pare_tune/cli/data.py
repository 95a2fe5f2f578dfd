"""`pare-tune data …`: the data sets, where they are, preparing, checking and writing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pare_tune.cli.app import data_app
from pare_tune.cli.common import (
    CHANNELS,
    FULL,
    KIND,
    MODALITY,
    TARGET,
    from_environment,
    long_steps,
    note,
    print_rows,
)
from pare_tune.errors import ConfigError


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

    print_rows(data_rows(data, wanted), data_table, as_json)
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
    target: Annotated[str | None, TARGET] = None,
    kind: Annotated[str | None, KIND] = None,
    modality: Annotated[str | None, MODALITY] = None,
    channels: Annotated[str | None, CHANNELS] = None,
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
    full: Annotated[bool, FULL] = False,
) -> None:
    """Read a release (or make the task's own data) into the prepared store now, not at the first trial."""
    from pare_tune.api import load_task, solve_in_full

    if full:
        if data is not None and not from_environment(context, "data"):
            raise ConfigError("--full solves data and --data reads them; give one of the two")
        with long_steps():
            data = solve_in_full(task, note)
    with long_steps():
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
    full: Annotated[bool, FULL] = False,
) -> None:
    """Write the task's own data in the format of its public release, to look at or to copy."""
    from pare_tune.api import write_sample

    with long_steps():
        written = write_sample(task, out, full=full, notify=note)
    typer.echo(str(written))
