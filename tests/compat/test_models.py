from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pare_tune.config import load_trial

from .models import CASES, HERE, kept, predictions


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_an_earlier_release_predicts_the_same_numbers(name: str, tmp_path: Path) -> None:
    case = json.loads((HERE / name / "model.json").read_text())
    config = (HERE / name / "config.yaml").read_text()
    outputs = predictions(case, config, tmp_path / "final")
    assert list(outputs.shape) == case["outputs"]["shape"]
    np.testing.assert_allclose(kept(outputs), case["outputs"]["kept"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_configuration_of_an_earlier_release_is_read_and_written_again(name: str, tmp_path: Path) -> None:
    config = load_trial(HERE / name / "config.yaml")
    assert config.to_dict()["method"] == CASES[name][1]
    (tmp_path / "best.yaml").write_text(config.to_yaml())
    assert load_trial(tmp_path / "best.yaml") == config
