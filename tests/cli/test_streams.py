from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pare_tune.cli.streams import is_lost, lasting_streams, refusal


@contextmanager
def standard_output(stream: io.TextIOWrapper | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with lasting_streams():
            yield
    if stream is not None:
        stream.close()


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "µ → 5 × 7 … Größé \N{SNOWMAN}".encode()),
        ("latin-1", b"\xb5 -> 5 \xd7 7 ... Gr\xf6\xdf\xe9 ?"),
        ("ascii", b"u -> 5 x 7 ... Gro?e ?"),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(
    encoding: str, written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with standard_output(io.TextIOWrapper(io.FileIO(out, "w"), encoding=encoding), monkeypatch):
        print("µ → 5 × 7 … Größé \N{SNOWMAN}", end="")
    assert out.read_bytes() == written


def test_names_of_files_that_are_no_text_are_written_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with standard_output(io.TextIOWrapper(io.FileIO(out, "w"), encoding="utf-8"), monkeypatch):
        print(os.fsdecode(b"runs/\xff\xfe"), end="")
    assert out.read_bytes() == b"runs/\xff\xfe"


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_left_ends_nothing(buffered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    raw = io.FileIO(write, "w")
    stream = io.TextIOWrapper(io.BufferedWriter(raw) if buffered else raw, write_through=not buffered)  # type: ignore[type-var]
    with standard_output(stream, monkeypatch):
        print("read", flush=True)
        assert os.read(read, 100) == b"read\n"
        assert refusal() is None
        os.close(read)
        for _ in range(3):
            print("x" * 100_000)
        refused = refusal()
        assert isinstance(refused, BrokenPipeError)
        assert not is_lost(refused)
        os.write(write, b"what is started from now on writes to nowhere as well")


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with standard_output(io.TextIOWrapper(io.FileIO("/dev/full", "w")), monkeypatch):
        print("result")
        refused = refusal()
        assert refused is not None
        assert is_lost(refused)


def test_closed_streams_are_opened_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with standard_output(None, monkeypatch):
        print("to nobody")
        assert sys.stdin.read() == ""
        assert refusal() is None
