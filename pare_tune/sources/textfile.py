"""Source `textfile`: text of your own with a label each, as windows of exactly N sub-tokens.

A `.csv` or `.tsv` with columns `text` and `label` (others are passed over), or lines `label<TAB>text`. Texts of one
label are laid end to end and cut, so that every window is of one class and as long as the target, however short the
texts are.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources import windows
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import StoredSamples, inventory, num_tokens, stored

MAX_CLASSES: Final = 1000
"""More different labels than this are numbers or names, not classes."""

_ROWS_AT_ONCE = 1000
_LONGEST_TEXT = 1 << 27  # characters; without an end to it, an unclosed quote takes the whole file
_NAMES = "classes.json"
_SEPARATORS: Final = {".csv": ",", ".tsv": "\t"}


def rows(path: Path) -> Iterator[tuple[str, str]]:
    """(label, text) of each row of the file, streamed.

    Raises:
        DataError: the file is no text, a column is missing, or a row has no label.
    """
    separator = _SEPARATORS.get(path.suffix.lower())
    labelled_texts = _lines(path) if separator is None else _table(path, separator)
    for where, label, text in labelled_texts:
        if not label:
            raise DataError(f"{path}, {where} has no label; give it one, or take the row out")
        yield label, text


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                label, tab, text = line.rstrip("\n").partition("\t")
                if not tab:
                    raise DataError(
                        f"{path}, line {number}: expected a label, a tab and a text, found {line[:60]!r}; a file with "
                        f"columns must end in .csv or .tsv"
                    )
                yield f"line {number}", label.strip(), text
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}); convert it") from error


def _table(path: Path, separator: str) -> Iterator[tuple[str, str, str]]:
    limit = csv.field_size_limit(_LONGEST_TEXT)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=separator, strict=True)
            header = next(reader, [])
            if header.count("text") != 1 or header.count("label") != 1:
                raise DataError(
                    f"{path} must begin with the names of its columns, text and label among them, found "
                    f"{separator.join(header)[:60]!r}"
                )
            label, text = header.index("label"), header.index("text")
            for row in reader:
                if row and len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected {len(header)} columns, found {len(row)}; put texts "
                        f"that hold {separator!r} in quotes"
                    )
                if row:
                    yield f"line {reader.line_num}", row[label].strip(), row[text]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table in UTF-8 ({error}); write it anew") from error
    finally:
        csv.field_size_limit(limit)


def _names(path: Path) -> tuple[str, ...]:
    names: set[str] = set()
    for label, _ in rows(path):
        names.add(label)
        if len(names) > MAX_CLASSES:
            raise DataError(
                f"{path} has more than {MAX_CLASSES} different labels, such as {label[:40]!r}; a source needs classes"
            )
    if len(names) < 2:
        raise DataError(f"{path} must have texts of at least two labels, found {len(names)}")
    return tuple(sorted(names))


def _labelled_windows(path: Path, names: tuple[str, ...], request: SourceRequest) -> Iterator[Record]:
    length = num_tokens(request)
    index = {name: i for i, name in enumerate(names)}
    rest: dict[str, list[int]] = {name: [] for name in names}
    has_window = False
    stream = rows(path)
    while batch := list(islice(stream, _ROWS_AT_ONCE)):
        ids = windows.token_ids([f"{text}\n" for _, text in batch], request)
        for (label, _), tokens in zip(batch, ids, strict=True):
            queue = rest[label]
            queue += tokens
            if len(queue) < length:
                continue
            has_window = True
            whole = windows.cut([queue], length)
            rest[label] = queue[whole.size :]
            for x in whole:
                yield {"x": x, "y": np.asarray(index[label], dtype=np.int64)}
    if not has_window:
        raise DataError(
            f"{path} has no label with {length} sub-tokens of text, which one window takes; give more text"
        )


def _file(root: Path | None) -> Path:
    if root is None:
        raise DataError(
            f"source {TEXTFILE.name} reads a file of labelled texts and none was given; give one with --source-data"
        )
    if root.is_file():
        return root
    suffixes = (*_SEPARATORS, ".txt")
    files = sorted(p for p in root.glob("*") if p.suffix.lower() in suffixes and p.is_file())
    if len(files) != 1:
        raise DataError(
            f"source {TEXTFILE.name} reads one file, or the only {', '.join(suffixes)} of a folder; {root} "
            + (f"holds {len(files)}" if root.is_dir() else "does not exist")
        )
    return files[0]


def _open_textfile(request: SourceRequest) -> SourceData:
    length = num_tokens(request)
    file = _file(request.root)

    @cache
    def names() -> tuple[str, ...]:
        return _names(file)

    def write_names(folder: Path) -> None:
        (folder / _NAMES).write_text(json.dumps(names()), encoding="utf-8")

    def records() -> Iterator[Record]:
        return _labelled_windows(file, names(), request)

    path = stored(
        TEXTFILE,
        request,
        records,
        beside=write_names,
        files=inventory([file], TEXTFILE.homepage),
        tokenizer=request.tokenizer_name,
        length=length,
    )
    # Read back: finding them again would take a pass over the whole text at every trial.
    class_names = tuple(json.loads((path.parent / _NAMES).read_text(encoding="utf-8")))
    return SourceData(
        name=TEXTFILE.name,
        kind=TEXTFILE.kind,
        dataset=StoredSamples(path, TEXTFILE.kind, request),
        num_classes=len(class_names),
        class_names=class_names,
        provenance=f"windows of {file}, labelled by its {len(class_names)} labels",
    )


TEXTFILE = Source(
    name="textfile",
    title="text of your own: a CSV or TSV of text and label, or lines label<TAB>text",
    kind=SourceKind.TEXT,
    classes=None,
    embedded=False,
    open=_open_textfile,
    uses=(windows,),
)
