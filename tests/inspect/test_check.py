"""`pare-tune data check`, as a person and as a script meet it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pare_tune.config import load_own
from pare_tune.errors import DataError
from pare_tune.inspect.check import check_data, check_lines

N = 60
RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    x = RNG.normal(size=(N, 4, 100)).astype(np.float32)
    x[:, 2] = 1.5
    x[40] = x[0]
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.array(["idle", "walk", "run"])[[0, 0, 0, 1, 1, 2] * 10])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "task.yaml").write_text(f"name: gait\nkind: point\ninput: x.npy\ntarget: y.npy\n{text}")
    return folder / "task.yaml"


def printed(task: Path) -> tuple[bool, str]:
    check = check_data(load_own(task))
    return check.training is not None, "\n".join(check_lines(check))


def test_it_says_what_the_data_are_and_what_would_be_trained(folder: Path) -> None:
    ok, shown = printed(written(folder, "split: {seed: 3}\n"))
    assert ok
    for part in (
        "gait: series of 100 steps, 4 channels → 3 classes",
        "x.npy: 60 × 4 × 100 float32",
        "no NaN",
        "y.npy: 60 text, 3 classes",
        "sequence_1d, 4 channels (first); mean 0 and variance 1 a channel, fitted on train",
        "70/15/15 %, seed 3, classes in proportion",
        "idle  30 (50 %): train 2",
        "constant  channels 2",
        "1 samples repeat another; none is in two splits",
        "1 of 4 channels are constant",
        "would train micro-roberta on 25 tokens a sample (from 4 × 100), source docs",
        "with --preset paper: roberta-base, 60 epochs in batches of 64, source conll2003 (--source-data FOLDER)",
    ):
        assert part in shown, part


def test_a_script_reads_the_same_as_json(folder: Path) -> None:
    told = json.loads(json.dumps(check_data(load_own(written(folder, ""))).to_json()))
    assert told["ok"]
    assert told["problems"] == []
    assert told["constant"] == [2]
    assert sum(told["counts"].values()) == N
    assert sum(told["class_counts"]["run"].values()) == 10
    assert told["inputs"]["nan"] == 0
    training = told["training"]
    assert training["tokens"] == 25
    assert training["steps"] == -(-told["counts"]["train"] // training["batch_size"]) * training["epochs"]


def test_problems_are_told_beside_what_was_seen(folder: Path) -> None:
    x = np.load(folder / "x.npy")
    x[5, 0, 0] = np.nan
    np.save(folder / "x.npy", x)
    ok, shown = printed(written(folder, ""))
    assert not ok
    assert "1 NaN or infinite" in shown
    assert "problem: x.npy: 1 input values are NaN or infinite, in 1 samples (5)" in shown
    assert "would train" not in shown


@pytest.mark.parametrize(
    "text", ["metric: rmse\n", "class_weights: [1, 2]\n", "metric: torchmetrics:Recal\n"]
)
def test_what_does_not_fit_the_targets_is_a_problem_too(folder: Path, text: str) -> None:
    check = check_data(load_own(written(folder, text)))
    assert len(check.problems) == 1
    assert check.training is None


def test_what_cannot_be_looked_at_is_one_error(folder: Path) -> None:
    task = written(folder, "")
    (folder / "y.npy").unlink()
    with pytest.raises(DataError, match="no file or folder"):
        printed(task)


def test_a_table_with_masses_of_columns_and_classes_stays_readable(folder: Path) -> None:
    frame = pd.DataFrame(RNG.normal(size=(200, 50)), columns=[f"c{i}" for i in range(50)])
    frame.assign(y=np.arange(200) % 40, flat=0.0).to_csv(folder / "t.csv", index=False)
    (folder / "task.yaml").write_text("name: wide\nkind: point\ninput: t.csv\ntarget: y\n")
    check = check_data(load_own(folder / "task.yaml"))
    lines = list(check_lines(check))
    assert any("constant  columns flat" in line for line in lines)
    assert any("and 20 more" in line for line in lines)
    assert len(lines) < 40
    assert len(json.dumps(check.to_json())) < 10_000
