from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pare_tune import api
from pare_tune.config import RunConfig
from pare_tune.plan import Wish, plan_run
from pare_tune.tune.run import SessionOptions


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunConfig]:
    """The plans that reach the search, which is left out."""
    plans: list[RunConfig] = []

    def search(plan: RunConfig, _: SessionOptions) -> Any:
        plans.append(plan)
        return SimpleNamespace(path=tmp_path)

    monkeypatch.setattr(api, "_search", search)
    monkeypatch.setattr(api, "_measure_simple", lambda run: None)
    monkeypatch.setattr(api, "write_reports", lambda run: run)
    return plans


def test_a_search_that_cannot_mix_says_so_once_and_finetunes(searched: list[RunConfig]) -> None:
    notes: list[str] = []
    plan = plan_run(Wish(task="wdbc@official"))
    assert plan.trial.method == "pare"
    api.run_search(plan, SessionOptions(notify=notes.append))
    assert [p.trial.method for p in searched] == ["finetune"]
    assert notes == [
        "wdbc@official: a sample is one token, in which pare cannot replace a part; method finetune stands in for it"
    ]


def test_a_search_that_can_mix_goes_on_as_planned(searched: list[RunConfig]) -> None:
    notes: list[str] = []
    plan = plan_run(Wish(task="wdbc"))
    api.run_search(plan, SessionOptions(notify=notes.append))
    assert searched == [plan]
    assert notes == []


def test_a_seed_among_the_settings_is_kept(searched: list[RunConfig]) -> None:
    api.tune("wdbc", budget=1, settings={"seed": 7})
    api.tune("wdbc", budget=1, seed=5)
    assert [plan.trial.seed for plan in searched] == [7, 5]
