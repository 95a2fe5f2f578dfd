"""Source `docs`: the documentation of Python's standard library, labelled by what the module is for.

Docstrings are collected from the library's sources with `ast`: nothing is imported.
"""

from __future__ import annotations

import ast
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources import windows
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import num_tokens, open_stored

GROUPS: Final[dict[str, str]] = {
    "text": (
        "codecs difflib encodings gettext html locale pprint re reprlib shlex string stringprep textwrap"
    ),
    "data types": (
        "_collections_abc _pydatetime _strptime abc bisect calendar collections contextlib copy "
        "dataclasses datetime enum functools graphlib heapq numbers operator types typing uuid "
        "weakref zoneinfo"
    ),
    "maths": "_pydecimal colorsys fractions random statistics",
    "files": (
        "_pyio bz2 filecmp fileinput fnmatch genericpath glob gzip io linecache lzma mailbox ntpath "
        "os pathlib posixpath shutil stat tarfile tempfile zipfile"
    ),
    "formats": (
        "base64 configparser csv dbm json mimetypes pickle pickletools plistlib quopri shelve "
        "sqlite3 tomllib wave xml"
    ),
    "network": (
        "email ftplib http imaplib ipaddress poplib selectors smtplib socket socketserver ssl "
        "urllib webbrowser wsgiref xmlrpc"
    ),
    "concurrency": "_threading_local asyncio concurrent multiprocessing queue sched subprocess threading",
    "interfaces": "argparse cmd curses getopt getpass optparse tkinter turtle",
    "testing": (
        "bdb cProfile doctest logging pdb profile pstats timeit trace traceback tracemalloc unittest warnings"
    ),
    "language": (
        "ast code codeop dis importlib inspect pkgutil py_compile pyclbr pydoc pydoc_data runpy "
        "symtable tokenize zipimport"
    ),
}
"""Group → top-level modules and packages; those that a Python version lacks are passed over."""


def docstrings(stdlib: Path) -> dict[str, list[str]]:
    """Group → docstrings, in the order of the sources.

    Raises:
        DataError: a group has no documentation at `stdlib`, because the sources are not there.
    """
    texts_of = {
        group: [text for module in names.split() for path in _files(stdlib, module) for text in _texts(path)]
        for group, names in GROUPS.items()
    }
    for group, texts in texts_of.items():
        if not texts:
            raise DataError(
                f"this Python's standard library at {stdlib} has no source files for the modules of "
                f"{group!r} (a zipped or stripped installation); use a Python with sources, or another source"
            )
    return texts_of


def _files(stdlib: Path, module: str) -> list[Path]:
    package = stdlib / module
    if package.is_dir():
        files = sorted(package.rglob("*.py"))
        return [path for path in files if not {"test", "tests"} & set(path.relative_to(package).parts)]
    single = stdlib / f"{module}.py"
    return [single] if single.is_file() else []


def _texts(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_bytes(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
    if path.parts[-2:] == ("pydoc_data", "topics.py"):
        # The language reference behind help("topics"): a dict of long strings.
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 200:
                yield node.value


def _open_docs(request: SourceRequest) -> SourceData:
    length = num_tokens(request)
    stdlib = Path(sysconfig.get_path("stdlib"))

    def records() -> Iterator[Record]:
        for label, texts in enumerate(docstrings(stdlib).values()):
            ids = windows.token_ids([f"{text}\n" for text in texts], request)
            for x in windows.cut(ids, length):
                yield {"x": x, "y": np.asarray(label, dtype=np.int64)}

    return open_stored(
        DOCS,
        request,
        records,
        class_names=tuple(GROUPS),
        provenance=f"docstrings of Python {platform.python_version()}'s standard library (PSF licence)",
        tokenizer=request.tokenizer_name,
        length=length,
        python=platform.python_version(),
    )


DOCS = Source(
    name="docs",
    title="documentation of Python's standard library, labelled by module group",
    kind=SourceKind.TEXT,
    classes=len(GROUPS),
    embedded=True,
    open=_open_docs,
    homepage="https://docs.python.org/3/library/",
    fewest_tokens=16,
    uses=(windows,),
)
