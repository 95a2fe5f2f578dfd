"""Search, train and predict in processes of their own, as README shows them, on the smallest real task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def test_search_train_predict(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
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
    np.save(tmp_path / "inputs.npy", np.zeros((5, 1, 30), np.float32))
    options = ("-o", "out.csv", "--probabilities")
    predicted = run("predict", folder / "final", "inputs.npy", *options, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows[0] == "class,probability:0,probability:1"
    assert len(rows) == 6
