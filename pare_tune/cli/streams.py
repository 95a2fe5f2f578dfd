"""Standard streams that end no command: closed ones, readers that left, and encodings that lack a character."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

_PLAIN = "pare-tune-plain"
_GONE = frozenset({errno.EPIPE, errno.EIO, errno.EBADF})
"""The reader of a pipe, or a whole terminal, went away: nothing was lost that anybody wanted."""


class _Lasting(io.FileIO):
    """Writes to a file descriptor until that is refused, and from then on to nowhere."""

    refused: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self.refused = error
            # The number itself: what is started from now on inherits it.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let standard output and standard error take any text and outlive whoever reads them.

    Streams that are closed are opened on nothing, since the next file would get their numbers. What an encoding lacks
    is written as plain characters. Streams that are no files, such as a test's, are left alone.
    """
    codecs.register_error(_PLAIN, _in_plain_characters)
    before = sys.stdin, sys.stdout, sys.stderr
    with ExitStack() as opened:
        # In this order, so that each is given the lowest free number, which is its own.
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                nothing = opened.enter_context(open(os.devnull, mode, encoding="utf-8"))
                setattr(sys, name, nothing)
        sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            sys.stdin, sys.stdout, sys.stderr = before


def is_lost(error: OSError) -> bool:
    """Whether somebody misses what was written: a full disk, and not a reader that left."""
    return error.errno not in _GONE


def refusal() -> OSError | None:
    """Why standard output goes nowhere; None as long as it is taken."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.refused if isinstance(raw, _Lasting) else None


def _lasting(stream: TextIO) -> TextIO:
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return stream
    with suppress(OSError, ValueError):
        stream.flush()
    raw = _Lasting(number, "w", closefd=False)
    unbuffered = getattr(stream, "write_through", False)  # python -u, PYTHONUNBUFFERED
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=_PLAIN,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=unbuffered,
    )


def _in_plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    """A handler of the codecs: bytes of file names as they are, other characters by what looks most like them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    from pare_tune.report.ink import STAND_INS  # most terminals never need it

    plain = STAND_INS.get(ord(character))
    if plain is None:
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
    return plain, error.start + 1
