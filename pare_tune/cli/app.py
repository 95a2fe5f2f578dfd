"""The command that all others hang on."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="pare-tune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    no_args_is_help=True, help="The data sets: where they are, preparing them, writing samples."
)
app.add_typer(data_app, name="data")
