"""What several commands share: options of the same meaning, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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
    help="What to learn of them: a file, a folder of masks, or a column of the inputs' table.",
    rich_help_panel=OWN,
)
KIND = typer.Option(
    help="point (one class a sample), multilabel, regression (one number a sample, or several), or dense (a value at "
    "every position).",
    rich_help_panel=OWN,
)
MODALITY = typer.Option(
    help="sequence_1d, grid_2d, table, dense_1d or dense_2d; default: seen from the shape.",
    rich_help_panel=OWN,
)
CHANNELS = typer.Option(
    help="Axis of a sample's channels: first, last or none; default: seen from the shape.",
    rich_help_panel=OWN,
)


def shown(path: Path) -> Path:
    """As short as it can be typed from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


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
    Console(stderr=True).print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)


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

        print(json.dumps([asdict(row) for row in rows]))
    else:
        Console().print(draw(rows))


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`--set KEY=VALUE` as dotted settings. Raises ConfigError."""
    from ruamel.yaml import YAML

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes KEY=VALUE, e.g. train.epochs=5, got {pair!r}")
        values[key.strip()] = YAML(typ="safe").load(text)
    return values
