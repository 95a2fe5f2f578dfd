from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pare_tune.errors import DataError
from pare_tune.sources import textfile
from pare_tune.sources.base import SourceData, SourceRequest
from pare_tune.sources.textfile import TEXTFILE

ROWS = [("good", "what a film"), ("bad", 'dull, "slow"'), ("good", "again!"), ("bad", "no")]


def characters(texts: Sequence[str]) -> list[list[int]]:
    return [list(text.encode()) for text in texts]


def opened(path: Path | None, cache: Path, num_tokens: int = 4, **fields: Any) -> SourceData:
    return TEXTFILE.open(
        SourceRequest(
            root=path,
            cache=cache,
            num_tokens=num_tokens,
            tokenize=characters,
            tokenizer_name="characters",
            **fields,
        )
    )


def windows(source: SourceData) -> list[tuple[str, str]]:
    items = [source.dataset[i] for i in range(len(source.dataset))]
    return [(source.class_names[int(i["y"])], bytes(i["x"].tolist()).decode()) for i in items]


def write(path: Path, rows: Sequence[tuple[str, str]] = ROWS) -> Path:
    if path.suffix.lower() == ".txt":
        text = "".join(f"{label}\t{text}\n" for label, text in rows)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        quoted = [
            separator.join((str(i), '"' + t.replace('"', '""') + '"', label))
            for i, (label, t) in enumerate(rows)
        ]
        text = "\n".join([separator.join(("id", "text", "label")), *quoted]) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.TXT"])
def test_every_form_gives_the_same_windows_of_one_class_each(tmp_path: Path, name: str) -> None:
    source = opened(write(tmp_path / name), tmp_path / "cache")
    assert source.class_names == ("bad", "good")
    found = windows(source)
    # Texts of a label are laid end to end, a line break after each, and cut into fours.
    text = {label: "".join(f"{t}\n" for la, t in ROWS if la == label) for label in ("bad", "good")}
    for label, whole in text.items():
        cut = [whole[i : i + 4] for i in range(0, len(whole) - 3, 4)]
        assert [w for la, w in found if la == label] == cut
    assert len(found) == sum(len(t) // 4 for t in text.values())


def test_windows_do_not_depend_on_how_many_rows_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", ROWS * 7)
    whole = windows(opened(path, tmp_path / "one"))
    monkeypatch.setattr(textfile, "_ROWS_AT_ONCE", 3)
    assert windows(opened(path, tmp_path / "two")) == whole


def test_a_subset_is_fixed_by_its_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ROWS * 20)
    some = windows(opened(path, tmp_path / "cache", max_samples=9))
    assert len(some) == 9
    assert windows(opened(path, tmp_path / "cache", max_samples=9)) == some
    assert windows(opened(path, tmp_path / "cache", max_samples=9, seed=1)) != some
    assert not Counter(some) - Counter(windows(opened(path, tmp_path / "cache")))


def test_a_folder_with_one_file_will_do(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.tsv")
    assert len(opened(tmp_path / "data", tmp_path / "cache").dataset) > 0
    write(tmp_path / "data" / "b.csv")
    with pytest.raises(DataError, match=r"the only \.csv, \.tsv, \.txt of a folder.*holds 2"):
        opened(tmp_path / "data", tmp_path / "cache")
    with pytest.raises(DataError, match="absent does not exist"):
        opened(tmp_path / "absent", tmp_path / "cache")
    with pytest.raises(DataError, match="none was given.*--source-data"):
        opened(None, tmp_path / "cache")


def test_long_texts_and_marks_of_byte_order_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{'x' * 300_000},long\nshort one,brief\n", encoding="utf-8-sig")
    assert len(opened(path, tmp_path / "cache", num_tokens=1000).dataset) == 300
    lines = tmp_path / "a.txt"
    lines.write_text("a\tone two\nb\tthree four\n", encoding="utf-8-sig")
    assert opened(lines, tmp_path / "cache").class_names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "must begin with the names of its columns, text and label among them, found ''"),
        ("a.csv", b"words,label\na,b\n", "text and label among them, found 'words,label'"),
        ("a.csv", b"text,label\nabc,x\ndef\n", "line 3: expected 2 columns, found 1"),
        ("a.csv", b"text,label\nabc,x\n\ndef,\n", "line 4 has no label"),
        ("a.csv", b'text,label\nabc,x\n"def,y\n', "cannot be read as a table in UTF-8"),
        ("a.csv", b"text,label\na,b,c,d\ne,f,g,h,i\n", "line 2: expected 2 columns, found 4"),
        ("a.csv", b"text,label\n\xff\xfe,x\n", "cannot be read as a table in UTF-8"),
        ("a.csv", b"text,label\nabcdefgh,x\nijkl,x\n", "at least two labels, found 1"),
        ("a.tsv", b"text,label\na,b\n", "text and label among them, found 'text,label'"),
        ("a.txt", b"", "at least two labels, found 0"),
        (
            "a.txt",
            b"good what a film\n",
            r"line 1: expected a label, a tab and a text, found 'good what.*\.csv",
        ),
        ("a.txt", b"good\tfine\n\tnothing\n", "line 2 has no label"),
        ("a.txt", b"good\t\xff\n", "cannot be read as UTF-8 text"),
        ("a.txt", b"x\tab\ny\tcd\n", "no label with 4 sub-tokens"),
    ],
)
def test_bad_files_are_described(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / name, tmp_path / "cache")
    assert not list(tmp_path.rglob("*.arrow"))


def test_numbers_are_not_taken_for_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [(f"{i / 7:.4f}", "some text") for i in range(1500)])
    with pytest.raises(DataError, match="more than 1000 different labels"):
        opened(path, tmp_path / "cache")
