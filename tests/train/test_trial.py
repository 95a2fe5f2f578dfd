from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.method import METHODS
from pare_tune.tasks import get_task
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context, EpochReport
from pare_tune.train.predict import load_model
from pare_tune.train.trial import open_trial, run_trial


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def trial(task: str, method: str = "pare") -> TrialConfig:
    config = default_trial(get_task(task), preset="embedded", method=method)
    return config.with_values({"train.epochs": 1, "optimizer.lr": 1e-3})


@pytest.mark.parametrize("method", [n for n, m in METHODS.items() if m.mixer is not None])
def test_finetune_stands_in_where_a_sample_is_one_token(method: str) -> None:
    opened = open_trial(trial("wdbc@official", method))
    assert opened.num_tokens == 1
    assert opened.config == trial("wdbc@official", "finetune")
    assert opened.source is None


@pytest.mark.parametrize(("task", "method"), [("wdbc", "target_mixup"), ("wdbc@official", "layernorm")])
def test_other_trials_are_as_asked_for(task: str, method: str) -> None:
    assert open_trial(trial(task, method)).config == trial(task, method)


def test_one_token_trains_and_reports_that_nothing_was_mixed() -> None:
    curve: list[EpochReport] = []
    result = run_trial(trial("wdbc@official"), Context(report=curve.append))
    assert [report.k for report in curve] == [0]
    assert result.best_score < 0.2


def test_the_final_model_says_what_it_was_trained_by(tmp_path: Path) -> None:
    run_final(trial("wdbc@official"), Context(report=lambda r: None, folder=tmp_path), with_val=False)
    _, shape, config = load_model(tmp_path, torch.device("cpu"))
    assert config.method == "finetune"
    assert (shape.input_shape, shape.source_kind) == ((30, 1), None)
