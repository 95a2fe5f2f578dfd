"""The command line: options → a config → one call. Heavy imports stay inside the commands, so that help is instant."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

# isort: off
# In the order of --help.
from pare_tune.cli import search, model, serve, look, compare, portfolio, figures, otdd, data

# isort: on
from pare_tune.cli.app import Interrupted, app
from pare_tune.cli.common import INTERRUPTED, fail, note
from pare_tune.cli.streams import is_lost, lasting_streams, refusal
from pare_tune.errors import PareTuneError
from pare_tune.signals import on_ending_signals

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
    "serve",
]


def main() -> None:
    """Entry point: one message and an exit code for every error, those that nobody thought of included."""
    with lasting_streams(), on_ending_signals():
        _have_a_home()
        code = _run()
        refused = refusal()
        if code == 0 and refused is not None and is_lost(refused):
            fail(f"cannot write standard output: {refused.strerror}")
            code = 1
    sys.exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Interrupted as interrupted:
        fail(str(interrupted))
        return INTERRUPTED
    except PareTuneError as error:
        fail(f"{type(error).__name__}: {error}")
        return error.exit_code
    except Exception as error:
        fail(_unexpected(error))
        return 1
    return 0


def _have_a_home() -> None:
    """Ray cannot even be imported where HOME is not set and nobody of this number is in /etc/passwd."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.mkdtemp(prefix="pare-tune-home-")
        note(
            f"there is no home folder, so {os.environ['HOME']} serves as one; set HOME or PARE_TUNE_CACHE to a folder "
            f"that lasts, and prepared data are found again"
        )


def _unexpected(error: Exception) -> str:
    """What to tell of an error that nobody thought of; its traceback goes to a file."""
    trace = "".join(traceback.format_exception(error))
    what = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    try:
        number, path = tempfile.mkstemp(prefix="pare-tune-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(trace)
    except OSError:
        return f"an error that pare-tune did not expect: {what}\n{trace}"
    return f"an error that pare-tune did not expect: {what}; its traceback is in {path}"
