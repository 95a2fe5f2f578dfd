from __future__ import annotations

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from pare_tune.report import resume_command, snapshot_json, status_text, summary
from pare_tune.report.outcome import settings


def draw(renderable: object, width: int = 80, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, force_terminal=False).print(renderable)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_the_end_of_a_search(make_search) -> None:
    s = make_search(50, running=0, finished=True, spent=1.0)
    text = draw(summary(s, best_yaml=s.run / "best.yaml", next_command=f"pare-tune train {s.run}/best.yaml"))
    assert lines(text) == [
        "",
        " psicov · data: sample · mae_8 in Å, lower is better",
        " embedded preset, micro-swin",
        "",
        " Best         2.628 Å  trial 5, epoch 9 of 9",
        " Default      2.931 Å  trial 0",
        "",
        " Better than the default by 0.303 Å (10.3 %).",
        "",
        " setting       default       best",
        " k.start         0.957      0.509  ●",
        " k.kind         linear     cosine  ●",
        " optimizer.lr    0.001  0.0006977  ●",
        " loss.beta2          1      1.765  ●",
        " gate.kind          fc        mlp  ●",
        " gate.hidden         –        107  ●",
        "",
        " 38 finished · 11 stopped early · 1 failed (diverged)",
        " Cost   50 trials, 377 epochs, 13 min of wall time, 25 min of training",
        " Data   sample: simulated data of the same format and kind; the scores say",
        "        nothing about the real benchmark",
        " Score  on validation data, one seed a trial; the test split was not read",
        " File   runs/psicov-20261122-113000/best.yaml",
        "",
        " Next: pare-tune train runs/psicov-20261122-113000/best.yaml",
        "",
    ]


@pytest.mark.parametrize("width", [50, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_keeps_to_the_width(make_search, width: int, encoding: str) -> None:
    s = make_search(50, running=0, finished=True, run=Path("/data/" + "deep/" * 30))
    for renderable in (summary(s, best_yaml=s.run / "best.yaml", next_command=None), status_text(s)):
        assert max(cell_len(line) for line in draw(renderable, width, encoding).splitlines()) <= width


def test_a_long_command_is_broken_as_a_shell_joins_it(make_search) -> None:
    command = "pare-tune train /data/" + "deep/" * 30 + "best.yaml"
    text = draw(summary(make_search(), best_yaml=None, next_command=command))
    shown = text.partition(" Next:\n")[2].strip()
    assert max(len(line) for line in shown.splitlines()) <= 80
    answer = subprocess.run(
        ["sh", "-c", f"printf %s\\\\n {shown}"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == command.split(" ")


def test_nothing_finished(make_search, make_trial) -> None:
    failed = make_trial(0, "failed", epoch=0, cause="crashed", message="crashed: no such file")
    text = draw(summary(make_search(trials=(failed,)), best_yaml=Path("best.yaml"), next_command=None))
    assert "No trial has finished, so there is no best configuration." in text
    assert "1 failed (crashed)" in text
    assert "best.yaml" not in text


def test_settings_that_the_best_lacks_are_shown(make_search, make_trial) -> None:
    default = make_trial(0, params={"gate.kind": "mlp", "gate.hidden": 64, "k.start": 0.957})
    best = make_trial(1, params={"gate.kind": "fc", "k.start": 0.957}, floor=1.0)
    rows = {r.name: (*r.values, r.differs) for r in settings(make_search(trials=(default, best)))}
    assert rows == {
        "gate.kind": ("mlp", "fc", True),
        "gate.hidden": ("64", "–", True),
        "k.start": ("0.957", "0.957", False),
    }


def test_status_is_the_same_picture_without_the_keys(make_search) -> None:
    text = draw(status_text(make_search()))
    assert "Best so far  2.628 Å" in text
    assert "Ctrl-C" not in text


@pytest.mark.parametrize("width", [40, 120])
def test_status_of_a_killed_search_says_how_far_it_came_and_how_to_go_on(make_search, width: int) -> None:
    run = Path("runs") / ("a long [name] " * 5) / "psicov-20261122-113000"
    killed = replace(make_search(), run=run, is_running=False, remaining_s=None)
    text = draw(status_text(killed), width)
    assert "% of 50 trials" in text
    assert "stopped after" in text
    assert " left" not in text
    assert resume_command(killed) == f"pare-tune resume '{run}'"
    assert not snapshot_json(killed)["running"]
    assert resume_command(replace(killed, finished=True)) is None
    assert resume_command(make_search()) is None


def test_the_snapshot_as_json_has_no_nan(make_search) -> None:
    found = snapshot_json(make_search(8))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert found["provenance"] == "sample"
    assert [t["trial"] for t in found["trials"]] == list(range(8))
    assert found["trials"][0]["curve"][0]["score"] == make_search(8).trials[0].curve[0]["score"]
    gaps = [r["gate_source"] for r in found["trials"][0]["curve"] if r["k"] == 0]
    assert all(g is None for g in gaps)
