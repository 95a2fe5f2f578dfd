"""The command line: options → a config → one call. Heavy imports stay inside the commands, so that help is instant."""

from __future__ import annotations

import sys

# isort: off
# In the order of --help.
from pare_tune.cli import search, model, look, compare, portfolio, figures, otdd, data, simulate

# isort: on
from pare_tune.cli.app import app
from pare_tune.cli.common import INTERRUPTED, fail
from pare_tune.errors import PareTuneError

__all__ = [
    "app",
    "compare",
    "data",
    "figures",
    "look",
    "main",
    "model",
    "otdd",
    "portfolio",
    "search",
    "simulate",
]


def main() -> None:
    """Entry point: one message and an exit code for every error a user can meet."""
    try:
        app()
    except PareTuneError as error:
        fail(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(INTERRUPTED)
