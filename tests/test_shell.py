from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from pare_tune.shell import command, shown


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("runs/wdbc", "runs/wdbc"),
        ("my runs [x]/wdbc", "'my runs [x]/wdbc'"),
        ("it's/$HOME", "'it'\"'\"'s/$HOME'"),
        ("-o/wdbc", "./-o/wdbc"),
        (".", "."),
    ],
)
def test_a_path_below_this_folder_is_told_from_here_and_quoted(
    path: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (Path(path), tmp_path / path):
        assert shown(given) == told
        assert command("train", given) == f"pare-tune train {told}"


def test_a_path_elsewhere_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown(tmp_path / "my runs") == shlex.quote(str(tmp_path / "my runs"))


def test_a_folder_that_was_removed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert shown(tmp_path / "run") == str(tmp_path / "run")
