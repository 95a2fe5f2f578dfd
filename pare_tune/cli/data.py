"""`pare-tune data …`: the data sets, where they are, preparing, checking and writing them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pare_tune.cli.app import data_app
from pare_tune.cli.common import (
    FULL,
    KIND,
    TARGET,
    from_environment,
    long_steps,
    note,
    parse_settings,
    print_json,
    print_rows,
    say,
)
from pare_tune.errors import ConfigError, PareTuneError
from pare_tune.shell import command


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
    from pare_tune.inspect.listing import data_rows
    from pare_tune.report import data_table

    print_rows(data_rows(data, wanted), data_table, as_json)
    if not as_json:
        where = f"below {data}" if data else "nowhere: give --data or PARE_TUNE_DATA"
        say(f"\nreleases looked for {where}", "dim")


@data_app.command("clean")
def data_clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Remove prepared data that this version would not open again: made by other code, or unfinished.

    pare-tune data clean --dry-run
    """
    from pare_tune.inspect.clean import find_stale, remove
    from pare_tune.report import stale_lines
    from pare_tune.tasks.stores import default_cache

    cache = default_cache()
    gone = [stale for stale in find_stale(cache) if dry_run or remove(stale)]
    if as_json:
        removed = [{"path": str(s.path), "bytes": s.num_bytes, "why": s.why} for s in gone]
        print_json({"removed": not dry_run, "bytes": sum(s.num_bytes for s in gone), "folders": removed})
        return
    for line in stale_lines(cache, [(s.path, s.num_bytes, s.why) for s in gone], dry_run=dry_run):
        say(line)


@data_app.command("check")
def data_check(
    task_file: Annotated[str | None, typer.Argument(help="A task file of your own (YAML).")] = None,
    data: Annotated[Path | None, typer.Option(help="Or: the file or folder of your inputs.")] = None,
    target: Annotated[str | None, TARGET] = None,
    kind: Annotated[str | None, KIND] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="own.KEY=VALUE", help="Anything that a task file says: own.channels=last."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Data of your own: what they are, what is wrong with them, and what would be trained; nothing is.

    pare-tune data check my-task.yaml

    pare-tune data check --data inputs.npy --target labels.npy --kind point
    """
    from pare_tune.config import own_of
    from pare_tune.inspect.check import check_data, check_lines

    given = _own(parse_settings(settings or []))
    try:
        spec = own_of(task_file, data=data, target=target, kind=kind, settings=given)
        if spec is None:
            raise ConfigError(
                "data check looks at data of your own: give a task file (.yaml), or --data, --target and --kind"
            )
        check = check_data(spec)
    except PareTuneError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": str(error).splitlines()})
        raise typer.Exit(2) from None
    if as_json:
        print_json(check.to_json())
    else:
        for line in check_lines(check):
            say(line)
        if check.training is not None:
            options = {"--task": task_file, "--data": data, "--target": target, "--kind": kind}
            words = [word for name, value in options.items() if value is not None for word in (name, value)]
            words += [word for pair in settings or [] for word in ("--set", pair)]
            say(f"\nnext: {command(*words, '--budget', '20')}")
    if check.training is None:
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
    if full and data is not None:
        say(f"next: {command('--task', task, '--data', data)}")


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


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    other = next((key for key in settings if not key.startswith("own.")), None)
    if other is not None:
        raise ConfigError(f"data check takes what a task file says, --set own.KEY=VALUE; got {other!r}")
    return {key.removeprefix("own."): value for key, value in settings.items()}
