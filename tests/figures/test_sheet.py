from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from pare_tune.errors import StorageError
from pare_tune.figures.sheet import WIDTH, Drawing, new_figure, style, write


def drawing(rows: Sequence[Sequence[object]] = (("a", 1, 0.1), ("b", 2, 1 / 3))) -> Drawing:
    with style():
        figure = new_figure(2.0, "Title", "toy, data: sample")
        figure.subplots().plot([1, 2])
    return Drawing(
        stem="9-toy", figure=figure, columns=("name", "n", "value"), rows=rows, caption="See\n  this."
    )


def test_a_figure_is_four_files_that_are_the_same_each_time(tmp_path: Path) -> None:
    files = write(tmp_path / "new" / "folder", drawing())
    assert [p.name for p in files] == ["9-toy.png", "9-toy.svg", "9-toy.csv", "9-toy.txt"]
    assert sorted(p.name for p in files) == sorted(p.name for p in (tmp_path / "new" / "folder").iterdir())
    png, svg, table, text = (p.read_bytes() for p in files)
    assert png.startswith(b"\x89PNG\r\n")
    assert b"<svg" in svg
    assert list(csv.reader(table.decode().splitlines())) == [
        ["name", "n", "value"], ["a", "1", "0.1"], ["b", "2", "0.333333333"],
    ]  # fmt: skip
    assert text == b"See this.\n"
    again = write(tmp_path / "again", drawing())
    assert [p.read_bytes() for p in again] == [png, svg, table, text]


def test_it_is_one_column_wide_at_300_dots_an_inch(tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(write(tmp_path, drawing())[0]) as picture:
        assert picture.size == (round(WIDTH * 300), 600)


def test_a_figure_that_fails_leaves_the_old_files_and_nothing_half_written(tmp_path: Path) -> None:
    before = [p.read_bytes() for p in write(tmp_path, drawing())]

    class Bad:
        def __str__(self) -> str:
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="free some space"):
        write(tmp_path, drawing([("a", 1, Bad())]))
    assert [
        p.read_bytes() for p in (tmp_path / f"9-toy{s}" for s in (".png", ".svg", ".csv", ".txt"))
    ] == before
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_made_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        write(tmp_path / "file", drawing())
