from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pare_tune.errors import DataError
from pare_tune.sources.base import SourceData, SourceRequest
from pare_tune.sources.conll2003 import CONLL2003, ENTITIES, label_of, read_words

# The release's own tagging, IOB1: an entity begins with I.
RELEASE = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
call NN I-NP O
. . O O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- O O

BRUSSELS NNP I-NP I-LOC
1996-08-22 CD I-NP O
"""
PER, LOC, ORG, MISC = range(4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "eng.train").write_text(RELEASE)
    return tmp_path


def characters(texts: Sequence[str]) -> list[list[int]]:
    return [list(text.strip().encode()) for text in texts]


def opened(root: Path, num_tokens: int) -> SourceData:
    return CONLL2003.open(
        SourceRequest(
            root=root,
            cache=root / "cache",
            num_tokens=num_tokens,
            tokenize=characters,
            tokenizer_name="characters",
        )
    )


def read(source: SourceData) -> list[tuple[str, int]]:
    items = [source.dataset[i] for i in range(len(source.dataset))]
    return [(bytes(item["x"].tolist()).decode(), int(item["y"])) for item in items]


def test_windows_are_exactly_n_sub_tokens_labelled_by_their_entity(root: Path) -> None:
    # EUrejects|GermanCal|l.PeterBl|ackburnBR|USSELS199|6-08-22 (too short)
    assert read(opened(root, 9)) == [
        ("EUrejects", ORG),
        ("Germancal", MISC),
        ("l.PeterBl", PER),
        ("ackburnBR", PER),
        ("USSELS199", LOC),
    ]


def test_windows_without_an_entity_are_left_out(root: Path) -> None:
    # EUrej|ectsG|erman|call.|Peter|Black|burnB|RUSSE|LS199|6-08-|22
    assert [text for text, _ in read(opened(root, 5))] == [
        *("EUrej", "ectsG", "erman", "Peter", "Black", "burnB", "RUSSE", "LS199")
    ]


@pytest.mark.parametrize(
    ("entities", "label"),
    [
        ([-1, -1, -1], None),
        ([-1, LOC, -1], LOC),
        ([PER, ORG, ORG, -1], ORG),
        ([MISC, PER, PER, MISC], MISC),
        ([-1, PER, MISC], PER),
    ],
)
def test_the_majority_wins_and_of_equals_the_first(entities: list[int], label: int | None) -> None:
    assert label_of(np.array(entities)) == label


def test_both_taggings_read_alike(root: Path) -> None:
    words, entities = read_words(root / "eng.train")
    assert words[:3] == ["EU", "rejects", "German"]
    assert [ENTITIES[e] if e >= 0 else "O" for e in entities[:3]] == ["ORG", "O", "MISC"]
    second = root / "iob2"
    second.write_text(
        RELEASE.replace("I-ORG", "B-ORG").replace("Peter NNP I-NP I-PER", "Peter NNP I-NP B-PER")
    )
    assert read_words(second) == (words, entities)


def test_words_are_tokenized_as_within_a_sentence(root: Path) -> None:
    seen: list[str] = []

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        seen.extend(texts)
        return characters(texts)

    CONLL2003.open(SourceRequest(root=root, cache=root / "cache", num_tokens=4, tokenize=tokenize))
    assert seen[:2] == [" EU", " rejects"]


def test_copies_named_train_txt_are_found(tmp_path: Path) -> None:
    (tmp_path / "conll2003").mkdir()
    (tmp_path / "conll2003" / "train.txt").write_text(RELEASE)
    assert len(opened(tmp_path, 9).dataset) == 5


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("EU NNP I-ORG", "EU NNP I-ORG"),
        ("EU NNP I-NP I-COMPANY", "I-COMPANY"),
        ("EU NNP I-NP ORG", "I-NP ORG"),
    ],
)
def test_lines_of_another_form_are_named(root: Path, line: str, found: str) -> None:
    (root / "eng.train").write_text(f"{RELEASE}\n{line}\n")
    with pytest.raises(DataError, match=rf"eng\.train, line 17: expected .*{found}"):
        opened(root, 9)


@pytest.mark.parametrize("content", [b"", b"-DOCSTART- -X- O O\n", b"\xff\xfe\x00broken"])
def test_files_without_words_are_refused(root: Path, content: bytes) -> None:
    (root / "eng.train").write_bytes(content)
    with pytest.raises(DataError, match=r"eng\.train"):
        opened(root, 9)


def test_a_window_longer_than_the_text_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="no window of 1000 sub-tokens"):
        opened(root, 1000)


def test_a_missing_file_names_the_homepage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no .*eng\.train.*clips\.uantwerpen\.be"):
        opened(tmp_path, 9)
