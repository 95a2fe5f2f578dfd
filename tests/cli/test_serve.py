"""`pare-tune serve`: what it refuses."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from pare_tune.cli import main
from pare_tune.cli import serve as command


def serve(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pare-tune", "serve", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), capsys.readouterr().err


def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, told = serve(capsys, "final")
    assert code == 2
    assert "pip install 'pare-tune[serve]'" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere holds no model"),
        (["nowhere", "--max-body", "10"], "a size is a positive number with its unit"),
        (["nowhere", "--token", "x", "--no-token"], "--no-token asks for no token"),
    ],
)
def test_what_is_wrong_shows_before_ray_starts(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARE_TUNE_TOKEN", raising=False)
    monkeypatch.setattr(command, "_NEEDED", ())
    monkeypatch.setattr("pare_tune.serving.deploy.connect", None)
    code, told = serve(capsys, *words)
    assert code == 2
    assert message in " ".join(told.split())
