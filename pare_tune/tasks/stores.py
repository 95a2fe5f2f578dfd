"""Where the data of a task lie in the cache: names that change with the code, so that no old store is opened.

    samples/<task>-release-<code>[-full]                        the task's own data, in the format of its release
    prepared/<task>-<given|real|sample|solved>-<code>-<data>    its splits, as the training reads them

<code> is a digest of what reads the release (or writes the sample), <data> one of what is read: names, sizes and times
of the release's files, or the code that makes the sample.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import pare_tune.data
from pare_tune.data.cache import CHOOSE_ANOTHER
from pare_tune.errors import StorageError
from pare_tune.tasks.base import Provenance, Task

PREPARED, SAMPLES = "prepared", "samples"
"""Folders of the cache."""

MARK: Final = "PROVENANCE"
"""File in a folder of data that pare-tune made, so that they are not taken for the release when given with --data."""

_GIVEN = "given"
_TASKS = "pare_tune.tasks."
_NO_DATA = frozenset(f"{_TASKS}{name}" for name in ("base", "load", "losses", "metrics", "stores"))
"""Modules of tasks that decide nothing about what is stored."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def default_cache() -> Path:
    """Where prepared data go: $PARE_TUNE_CACHE, else $XDG_CACHE_HOME/pare-tune, else ~/.cache/pare-tune.

    Raises:
        StorageError: none of them is set, and this user has no home folder.
    """
    chosen = os.environ.get("PARE_TUNE_CACHE")
    if chosen:
        return Path(chosen).absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:  # HOME is not set, and the system knows no user of this number
        raise StorageError(f"there is no home folder for prepared data; {CHOOSE_ANOTHER}") from error
    return Path(base).absolute() / "pare-tune"


def provenance_of(task: Task, data: Path | None) -> Provenance:
    """What the data are: the release's, or what the task brings itself, or wrote there before."""
    if data is None:
        return task.embedded_provenance
    try:
        mark = (data / MARK).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "real"
    marks: tuple[Provenance, ...] = ("sample", "solved")
    return next((word for word in marks if mark.startswith(word)), "real")


def write_mark(folder: Path, provenance: Provenance) -> None:
    """Say in `folder` what the data in it are; nothing of released ones."""
    if provenance == "real":
        return
    how = "simulated" if provenance == "sample" else "solved"
    text = f"{provenance}: {how} by pare-tune, not the released data. Take this file away with the data beside it.\n"
    (folder / MARK).write_text(text, encoding="utf-8")


def sample_key(task: Task, *, full: bool = False) -> str:
    """Folder of `samples/` that holds the task's own data, at the release's size if `full`; it must have some."""
    assert task.make is not None
    key = f"{task.name}-release-{_digest(_code_of(task.make), task.version)}"
    return f"{key}-full" if full else key


def store_key(task: Task, data: Path | None) -> str:
    """Folder of `prepared/` that holds the task's splits, of the release in `data` or of its own data."""
    if data is not None:
        return f"{_code_key(task, _GIVEN)}-{_digest(str(data.resolve()), *_inventory(task, data))}"
    key = _code_key(task, task.embedded_provenance)
    return key if task.make is None else f"{key}-{_digest(_code_of(task.make))}"


def opened_by_this_code(task: Task, place: str, name: str) -> bool:
    """Whether folder `name` of `place` (PREPARED or SAMPLES), which is one of `task`'s, can still be of use.

    A store of data that were given is, as long as its code is the present one: they may be given again.
    """
    if place == SAMPLES:
        return task.make is not None and name in (sample_key(task), sample_key(task, full=True))
    return name == store_key(task, None) or name.startswith(f"{_code_key(task, _GIVEN)}-")


def task_of(place: str, name: str) -> str | None:
    """Name of the task that folder `name` of `place` was made for, by any version of the code."""
    kinds = "release" if place == SAMPLES else f"{_GIVEN}|real|sample|solved"
    match = re.fullmatch(rf"(?P<task>.+)-({kinds})(-[0-9a-f]{{12}})+(-full)?", name)
    return None if match is None else match["task"]


def release_files(task: Task, root: Path) -> Iterator[Path]:
    """Every file of the release in `root`.

    A loader may accept other names for a folder of the release; then everything under the root counts.
    """
    named = [root / name for name in task.files]
    for top in named if named and all(path.exists() for path in named) else [root]:
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                yield path


def _code_key(task: Task, kind: str) -> str:
    code = _digest(_code_of(task.read), _code_of_data(), task.version, sorted(task.ragged))
    return f"{task.name}-{kind}-{code}"


def _inventory(task: Task, root: Path) -> list[str]:
    """Names, sizes and times of the release's files: a changed release is prepared anew."""
    entries: list[str] = []
    for path in release_files(task, root):
        stat = path.stat()
        entries.append(f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}")
    return entries


def _code_of(function: Callable[..., Any]) -> str:
    """The modules that `function` is made of, and the values that one shared by several tasks is bound to."""
    if isinstance(function, partial):
        bound = _ADDRESS.sub("", repr((function.args, sorted(function.keywords.items()))))
        return _code_of(function.func) + bound
    owner = getattr(function, "__self__", None)
    bound = "" if owner is None else _ADDRESS.sub("", repr(owner))
    return "".join(_sources(function.__module__).values()) + bound


@cache
def _sources(module: str) -> Mapping[str, str]:
    """Text of a module and of all modules of `pare_tune.tasks` that it imports, by name and in order."""
    if not module.startswith(_TASKS):
        return {module: inspect.getsource(sys.modules[module])}
    text_of: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is not None and name not in text_of:
            text_of[name] = path.read_text(encoding="utf-8")
            waiting += _imported(text_of[name])
    return dict(sorted(text_of.items()))


def _imported(text: str) -> Iterator[str]:
    """Names that the import statements of a source text may mean as modules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(module: str) -> Path | None:
    """The file of a module of `pare_tune.tasks` that decides what is stored; None for anything else."""
    if not module.startswith(_TASKS) or module in _NO_DATA:
        return None
    stem = Path(__file__).parent.joinpath(*module.removeprefix(_TASKS).split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


@cache
def _code_of_data() -> str:
    """The readers and the store: what a loader is built on."""
    return "".join(
        path.read_text(encoding="utf-8") for path in sorted(Path(pare_tune.data.__path__[0]).glob("*.py"))
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12]
