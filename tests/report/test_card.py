from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

import pare_tune
from pare_tune.config import default_trial
from pare_tune.data.files import write_json
from pare_tune.errors import DataError
from pare_tune.report.card import card, write_card
from pare_tune.tasks import get_task
from pare_tune.train.export import METRICS, ModelFolder
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("card") / "final"
    config = default_trial(get_task("wdbc"), preset="embedded", method="finetune")
    run_final(
        config.with_values({"train.epochs": 1}),
        Context(report=lambda epoch: None, folder=folder),
        with_val=False,
    )
    return folder


def test_the_front_matter_is_what_the_hub_reads(final: Path) -> None:
    text = write_card(final).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    about: Any = YAML(typ="safe").load(io.StringIO(front))
    metrics = ModelFolder(final).metrics()
    (result,) = about["model-index"][0]["results"]
    assert about["library_name"] == "pare-tune"
    assert about["license"] == "apache-2.0"
    assert "proxy data" not in body, "finetune reads none"
    assert about["pipeline_tag"] == result["task"]["type"] == "tabular-classification"
    assert result["metrics"][0]["value"] == metrics["test"]
    for part in (
        "wdbc: real",
        "arrays of shape (n, 1, 30)",
        "backbone micro-roberta: apache-2.0 (it comes with pare-tune)",
        "data of wdbc: not known here: see where it came from",
        "without a search beside it",
    ):
        assert part in body


def test_the_interval_of_the_score_is_told(final: Path) -> None:
    metrics = ModelFolder(final).metrics()
    low, high = metrics["test_interval"]
    assert low < metrics["test"] < high
    assert f"95 % interval {low:.4g} to {high:.4g}" in card(final)


def test_the_lines_that_load_the_model_do(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", card(final), re.DOTALL)
    monkeypatch.chdir(final.parent)
    names: dict[str, Any] = {"inputs": np.zeros((3, 1, 30), np.float32)}
    exec(compile(code, "card", "exec"), names)
    assert len([line for line in code.splitlines() if line]) == 3
    np.testing.assert_array_equal(names["outputs"], pare_tune.predict(final, names["inputs"]))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"test": None, "test_interval": None}, "not defined on the test split"),
        ({"data": "sample"}, "The data are simulated"),
        ({"search": "50 trials. Better than the default by 3 %."}, "50 trials. Better"),
        ({"calibration": None}, "Not calibrated"),
    ],
)
def test_what_a_reader_must_know_is_said(final: Path, change: dict[str, Any], line: str) -> None:
    before = ModelFolder(final).metrics()
    write_json(final / METRICS, {**before, **change})
    try:
        assert line in card(final)
    finally:
        write_json(final / METRICS, before)


def test_a_folder_that_was_copied_in_part_is_told(final: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((final / "config.yaml").read_bytes())
    with pytest.raises(DataError, match="whole"):
        write_card(tmp_path)
    assert not (tmp_path / "README.md").exists()
