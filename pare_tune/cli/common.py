"""What several commands share: options of the same meaning, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from pare_tune.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pare_tune.report import Bars

INTERRUPTED = 130

OWN = "Data of your own"
SOURCES_ENV = ["PARE_TUNE_SOURCES", "PARE_TUNE_DATA"]
FULL = typer.Option("--full", help="Solved data (PDEs) as many and as fine as the release; takes long.")

ACCEPT = typer.Option(
    "--accept-changed-data",
    help="Go on although data, split or backbone changed: old and new scores do not compare, and what is tested may "
    "have been trained on.",
)

TARGET = typer.Option(
    help="What to learn of them: a file, a folder of masks, or a column of the inputs' table. A table of "
    "its own goes by the inputs' `id` column where both have it, else row by row.",
    rich_help_panel=OWN,
)
KIND = typer.Option(
    help="point (one class a sample), multilabel, regression (one number a sample, or several), or dense (a value at "
    "every position).",
    rich_help_panel=OWN,
)


def say(text: str = "", style: str | None = None) -> None:
    """A line for people on standard output, as it is: a path may hold what rich takes for markup."""
    _print(Console(), text, style)


@contextmanager
def long_steps(*, as_json: bool = False) -> Iterator[Bars | None]:
    """Show the long steps of a command on standard error; none to scripts that asked for JSON."""
    from pare_tune.report import Bars, mode_of
    from pare_tune.steps import watched_by

    if as_json:
        yield None
        return
    err = Console(stderr=True)
    bars = Bars(err, mode=mode_of(Console(), err))
    with watched_by(bars):
        yield bars


def note(text: str) -> None:
    """A warning, on standard error."""
    _print(Console(stderr=True), text, "yellow")


def fail(message: str) -> None:
    """Why a command ends, on standard error."""
    _print(Console(stderr=True), message, "red")


def _print(console: Console, text: str, style: str | None) -> None:
    console.print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)


def from_environment(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "ENVIRONMENT"


def print_json(value: Any) -> None:
    """One line, at once. NaN and infinity become null."""
    from pare_tune.data.files import plain_json

    print(json.dumps(plain_json(value), allow_nan=False), flush=True)


def print_rows(rows: Sequence[Any], draw: Callable[[Any], RenderableType], as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json([asdict(row) for row in rows])
    else:
        Console().print(draw(rows))


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`--set KEY=VALUE` as dotted settings. Raises ConfigError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes KEY=VALUE, e.g. train.epochs=5, got {pair!r}")
        try:
            values[key.strip()] = YAML(typ="safe").load(text)
        except YAMLError as error:
            raise ConfigError(f"--set {pair}: the value is not valid YAML") from error
    return values
