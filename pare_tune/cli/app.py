"""The command that all others hang on."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from pare_tune.errors import ConfigError


class Interrupted(Exception):
    """Ctrl-C, SIGTERM or SIGHUP, with what to tell. No KeyboardInterrupt: of that Typer tells nothing."""


class _Group(TyperGroup):
    """Tells of an interruption, and how to say a setting that is no option."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(str(error) or "interrupted") from error

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Of Click, or of the copy of it that newer versions of Typer bring along.
            if type(error).__name__ != "NoSuchOption":
                raise
            option = str(getattr(error, "option_name", ""))
            key = _setting_called(option)
            if key is None:
                raise
            raise ConfigError(f"{option} is no option but a setting; write --set {key}=VALUE") from None


def _setting_called(option: str) -> str | None:
    """The dotted setting that somebody means who writes `--epochs`, `--no-pruning` or `--source-samples`."""
    from pare_tune.plan import setting_keys  # brings torch

    name = option.lstrip("-").removeprefix("no-").replace("-", "_")
    keys = setting_keys()
    for key in keys:
        if name in (key.replace(".", "_"), key.removeprefix("search.")):
            return key
    return next((key for key in keys if key.rpartition(".")[2] == name), None)


app = typer.Typer(
    name="pare-tune",
    cls=_Group,
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
