"""Source `conll2003`: English news with named entities, the paper's 1D proxy.

Tjong Kim Sang and De Meulder, CoNLL 2003, https://aclanthology.org/W03-0419. How the official code's windows
were cut and labelled is not published (its source head has 8 outputs, perhaps one a non-O tag, B and I
apart). Here: windows of exactly N sub-tokens through the whole file; a window's class is the entity type that
most of its entity sub-tokens have (PER, LOC, ORG, MISC: 4 classes), of equals the one that comes first in the
window; windows without an entity are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.arrays import read_text
from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.sources import windows
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import find_release, inventory, num_tokens, open_stored

ENTITIES: Final = ("PER", "LOC", "ORG", "MISC")

_FILES: Final = ("eng.train", "train.txt")
"""The shared task's name, and the usual one of copies."""

_OUTSIDE: Final = -1


def read_words(path: Path) -> tuple[list[str], list[int]]:
    """Words and, for each, the index of its entity type in `ENTITIES`, -1 outside of entities.

    Takes both taggings: IOB1 (the release) and IOB2 (most copies).

    Raises:
        DataError: a line does not have the four columns word, part of speech, chunk, entity.
    """
    text = read_text(path, f"get it again ({CONLL2003.homepage})")
    words: list[str] = []
    entities: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            continue
        columns = line.split()
        kind = _entity(columns[3]) if len(columns) == 4 else None
        if kind is None:
            raise DataError(
                f"{path}, line {number}: expected 'word part-of-speech chunk entity', the entity such as O, "
                f"I-PER or B-LOC, found {line[:60]!r}; get the file again ({CONLL2003.homepage})"
            )
        words.append(columns[0])
        entities.append(kind)
    if not words:
        raise DataError(f"{path} holds no words; get it again ({CONLL2003.homepage})")
    return words, entities


def label_of(entities: npt.NDArray[Any]) -> int | None:
    """Majority entity type of a window's sub-tokens, of equals the first to come; None without an entity."""
    inside = entities[entities != _OUTSIDE]
    if not len(inside):
        return None
    counts = np.bincount(inside, minlength=len(ENTITIES))
    return int(inside[np.argmax(counts[inside])])


def _entity(tag: str) -> int | None:
    if tag == "O":
        return _OUTSIDE
    position, _, kind = tag.partition("-")
    return ENTITIES.index(kind) if position in ("B", "I") and kind in ENTITIES else None


def _labelled_windows(path: Path, request: SourceRequest) -> Iterator[Record]:
    words, entities = read_words(path)
    # A leading space: byte-pair tokenizers know words as they stand within a sentence.
    ids = list(windows.token_ids([f" {word}" for word in words], request))
    spread = [[entity] * len(word) for entity, word in zip(entities, ids, strict=True)]
    length = num_tokens(request)
    has_window = False
    for x, kinds in zip(windows.cut(ids, length), windows.cut(spread, length), strict=True):
        label = label_of(kinds)
        if label is not None:
            has_window = True
            yield {"x": x, "y": np.asarray(label, dtype=np.int64)}
    if not has_window:
        raise DataError(
            f"{path} has no window of {length} sub-tokens with an entity in it; give the whole training file"
        )


def _open_conll2003(request: SourceRequest) -> SourceData:
    file = find_release(request, CONLL2003)

    def records() -> Iterator[Record]:
        return _labelled_windows(file, request)

    return open_stored(
        CONLL2003,
        request,
        records,
        class_names=ENTITIES,
        provenance="CoNLL-2003 English training text (Reuters), windows labelled by majority entity type",
        files=inventory([file], CONLL2003.homepage),
        tokenizer=request.tokenizer_name,
        length=num_tokens(request),
    )


CONLL2003 = Source(
    name="conll2003",
    title="CoNLL-2003: news text, windows labelled by entity type",
    kind=SourceKind.TEXT,
    classes=len(ENTITIES),
    embedded=False,
    open=_open_conll2003,
    homepage="https://www.clips.uantwerpen.be/conll2003/ner/",
    releases=tuple(home + file for home in ("", "conll2003/") for file in _FILES),
    uses=(windows,),
)
