from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pare_tune import api
from pare_tune.config import RunConfig
from pare_tune.errors import ConfigError


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunConfig]:
    """The plans that reach the search, which is left out."""
    plans: list[RunConfig] = []

    def search(plan: RunConfig, **_: Any) -> Any:
        plans.append(plan)
        return SimpleNamespace(path=tmp_path)

    monkeypatch.setattr(api, "_search", search)
    monkeypatch.setattr(api, "write_reports", lambda run: run)
    return plans


def test_a_search_that_cannot_mix_says_so_once_and_finetunes(searched: list[RunConfig]) -> None:
    notes: list[str] = []
    plan = api.plan_run(task="wdbc@official", budget="1")
    assert plan.trial.method == "pare"
    api.run_search(plan, notify=notes.append)
    assert [p.trial.method for p in searched] == ["finetune"]
    assert notes == [
        "wdbc@official: a sample is one token, in which pare cannot replace a part; method finetune stands in for it"
    ]


def test_a_search_that_can_mix_goes_on_as_planned(searched: list[RunConfig]) -> None:
    notes: list[str] = []
    plan = api.plan_run(task="wdbc", budget="1")
    api.run_search(plan, notify=notes.append)
    assert searched == [plan]
    assert notes == []


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"preset": "paper"}, "--preset"),
        ({"backbone": "roberta-base"}, "--backbone"),
        ({"method": "finetune"}, "--method"),
        ({"data": Path("release")}, "--data"),
    ],
)
def test_what_a_repeated_search_cannot_take_is_refused(
    tmp_path: Path, given: dict[str, Any], option: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(api.plan_run(task="wdbc").to_yaml())
    assert api.plan_run(config=config, budget="3").search.budget.amount == 3
    with pytest.raises(ConfigError, match=f"{option} says what trial 0 is made of"):
        api.plan_run(config=config, **given)


def test_settings_of_the_search_are_told_from_those_of_the_trial(tmp_path: Path) -> None:
    settings = {"train.epochs": 5, "search.pruning": False, "search.confirm": 1}
    plan = api.plan_run(task="wdbc", settings=settings, search={"confirm": 3})
    assert (plan.trial.train.epochs, plan.search.pruning, plan.search.confirm) == (5, False, 3)
    config = tmp_path / "run.yaml"
    config.write_text(plan.to_yaml())
    again = api.plan_run(config=config, settings={"search.judge": "learned"})
    assert (again.trial, again.search.pruning, again.search.judge) == (plan.trial, False, "learned")


def test_a_seed_among_the_settings_is_kept(searched: list[RunConfig]) -> None:
    api.tune("wdbc", budget=1, settings={"seed": 7})
    api.tune("wdbc", budget=1, seed=5)
    assert [plan.trial.seed for plan in searched] == [7, 5]
