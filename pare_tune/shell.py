"""How commands and paths are told: as a shell takes them, from the folder that the reader stands in.

What is told here is plain text: whoever prints it with rich turns rich's markup off, since a folder may be called
`my runs [x]`.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def command(*words: str | Path) -> str:
    """`pare-tune` and `words`, quoted where a shell needs it.

    A `Path` is told as short as it can be typed from here; a string as it is.
    """
    return shlex.join(["pare-tune", *(_typed(word) if isinstance(word, Path) else word for word in words)])


def shown(path: Path) -> str:
    """`path` as short as it can be typed from here, quoted where a shell needs it; of a run's copy, its URL."""
    return shlex.quote(_typed(path))


def _typed(path: Path) -> str:
    from pare_tune.data.remote import url_of

    if (url := url_of(path)) is not None:
        return url
    try:
        here = Path.cwd()
    except OSError:  # the folder was removed under us
        return str(path)
    text = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    # As an option, a path that begins with a dash would not arrive.
    return os.path.join(os.curdir, text) if text.startswith("-") else text
