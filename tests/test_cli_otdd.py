"""`pare-tune otdd`, as a person meets it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pare_tune.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("PARE_TUNE_DATA", "PARE_TUNE_SOURCES"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pare-tune", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_the_distance_is_printed_with_what_it_is_made_of(call: Call) -> None:
    code, out, _ = call("otdd", "wdbc", "waves", "--samples", "50")
    assert code == 0
    first, *rest = out.splitlines()
    assert first.startswith("OTDD ")
    assert "between wdbc and waves (inner: gaussian, features: micro-roberta)" in first
    assert rest[0].startswith("  wdbc: 50 samples, 2 classes; data: real")
    assert rest[1].startswith("  waves: 50 samples, ")
    code, out, _ = call("otdd", "waves", "wdbc", "--samples", "50", "--json")
    found = json.loads(out)
    assert code == 0
    assert f"{found['otdd']:.4g}" == first.split()[1]
    assert found["samples"] == [50, 50]
    assert found["inner"] == "gaussian"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("otdd", "ninpro", "docs"), "Did you mean 'ninapro'"),
        (("otdd", "docs", "wave"), "Did you mean 'waves'"),
        (("otdd", "docs", "waves", "--inner", "sinkhorn"), "--inner is gaussian or exact, got 'sinkhorn'"),
        (("otdd", "conll2003", "docs"), "--source-data"),
    ],
)
def test_mistakes_are_one_message_and_exit_2(call: Call, arguments: tuple[str, ...], said: str) -> None:
    code, out, error = call(*arguments)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
    assert not out
