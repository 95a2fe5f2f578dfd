"""The command line as a person meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pare_tune.cli import main

CODE = "from pare_tune.cli import main; main()"


def run(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


class Call:
    """The same in this process, which has torch loaded already."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cwd: Path
    ) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "80")

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["pare-tune", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def refused(self, *arguments: str | Path, parts: list[str]) -> None:
        code, _, error = self(*arguments)
        assert code == 2, error
        assert "Traceback" not in error
        for part in parts:
            assert part in error


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    return Call(monkeypatch, capsys, tmp_path)


def test_help_shows_worked_examples_within_80_columns(call: Call) -> None:
    code, shown, _ = call("--help")
    assert code == 0
    assert "pare-tune --task psicov --budget 50" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_tasks_are_listed(call: Call) -> None:
    rows = json.loads(call("tasks", "--json")[1])
    assert {"psicov", "ninapro", "ecg", "advection", "wdbc"} <= {r["name"] for r in rows}
    assert max(map(len, call("tasks")[1].splitlines())) <= 80


def test_a_dry_run_prints_a_plan_that_runs(call: Call, tmp_path: Path) -> None:
    plan = json.loads(call("--task", "wdbc", "--budget", "2h", "--seed", "3", "--dry-run", "--json")[1])
    assert plan["search"]["budget"] == "2 h"
    assert plan["trial"]["seed"] == plan["search"]["seed"] == 3
    (tmp_path / "run.yaml").write_text(json.dumps(plan))  # JSON is YAML
    assert json.loads(call("--config", "run.yaml", "--dry-run", "--json")[1]) == plan
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--task", "psicof"], ["no task named 'psicof'", "Did you mean 'psicov'"]),
        (["--task", "wdbc", "--budget", "soon"], ["budget", "'soon'"]),
        (["--task", "wdbc", "--preset", "tiny"], ["--preset", "'tiny'"]),
        (["--task", "wdbc", "--method", "magic"], ["--method", "'magic'"]),
        (["--task", "wdbc", "--set", "k.begin=1"], ["k.begin"]),
        (["--task", "wdbc", "--set", "k.start=1.5"], ["k", "1.5"]),
        (["--task", "wdbc", "--set", "epochs"], ["KEY=VALUE"]),
        (["--task", "wdbc", "--backbone", "micro-swim"], ["no backbone named 'micro-swim'", "micro-swin"]),
        (["--task", "wdbc", "--backbone", "micro-swin"], ["sequence backbone", "micro-swin"]),
        (["--task", "wdbc", "--source", "dogs"], ["no source named 'dogs'"]),
        (["--task", "wdbc", "--data", "absent"], ["absent", "--data"]),
        (["--config", "absent.yaml"], ["absent.yaml"]),
        (["train", "absent.yaml"], ["absent.yaml"]),
        (["predict", "absent", "inputs.npy"], ["absent"]),
        (["resume", "absent"], ["absent"]),
        (["status", "absent"], ["absent"]),
        (["--seed", "3"], ["--task"]),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    call: Call, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    call.refused(*arguments, parts=parts)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_runs_folder_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    call.refused("--task", "wdbc", "--budget", "1", parts=["runs"])


def test_a_sample_is_written_in_the_releases_format(call: Call, tmp_path: Path) -> None:
    code, _, error = call("data", "sample", "ninapro", "copy")
    assert code == 0, error
    assert (tmp_path / "copy" / "ninaPro" / "ninapro_train.npy").is_file()
    call.refused("data", "sample", "ninapro", "copy", parts=["copy", "exists"])
    assert "data: real" in call("data", "prepare", "ninapro", "--data", "copy")[1]


def test_search_train_predict(tmp_path: Path) -> None:
    """The whole path in processes of their own, as README shows it, on the smallest real task."""
    short = ["--set", "train.epochs=2", "--max-concurrent", "1"]
    search = run("--task", "wdbc", "--budget", "2", *short, cwd=tmp_path)
    assert search.returncode == 0, search.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    best = f"runs/{folder.name}/best.yaml"
    assert f"pare-tune train {best}" in search.stdout
    for name in (
        "run.yaml",
        "space.yaml",
        "study.journal",
        "trials.parquet",
        "curves.parquet",
        "report.html",
    ):
        assert (folder / name).stat().st_size > 0
    trained = run("train", best, "--num-workers", "2", "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout.splitlines()[-1])
    assert result["workers"] == 2
    again = run("train", best, cwd=tmp_path)
    assert again.returncode == 2
    assert "already holds a trained model" in again.stderr
    np.save(tmp_path / "inputs.npy", np.zeros((5, 1, 30), np.float32))
    predicted = run("predict", folder / "final", "inputs.npy", "-o", "out.npy", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert np.load(tmp_path / "out.npy").shape == (5, 2)
