from __future__ import annotations

from typing import Any

import pytest

from pare_tune.config import default_trial
from pare_tune.errors import ConfigError
from pare_tune.fitting import misfit
from pare_tune.plan import Wish, plan_run
from pare_tune.sources import SOURCES
from pare_tune.tasks import TASKS, get_task


@pytest.mark.parametrize(
    ("task", "key", "value", "problem"),
    [
        ("ninapro", "head.kind", "stages", "value at every position; ninapro is of modality grid_2d: leave it at last"),
        ("psicov", "head.kind", "across", "for series; psicov is of modality dense_2d: choose stages or last"),
        ("wdbc", "head.width", 64, "value at every position; wdbc is of modality table: leave it out"),
        ("ninapro", "input.canvas", 64, "samples differ in size; ninapro"),
        ("ecg", "input.image_size", 64, "vision backbone reads; ecg"),
        ("wdbc", "input.max_tokens", 8, "series, which are cut into tokens; wdbc"),
        ("wdbc", "input.stem", "convolutions", "series; wdbc.*leave it at none"),
        ("balance-scale", "source.name", "docs", "4 tokens long.*fewer than 16 hold no label.*choose waves"),
    ],
)  # fmt: skip
def test_what_means_nothing_to_a_task_is_refused_where_it_is_asked_for(
    task: str, key: str, value: Any, problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"{key} = {value}: .*{problem}"):
        plan_run(Wish(task=task, settings={key: value}))


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("ninapro", {"head.kind": "last", "input.image_size": 32}),
        ("advection", {"head.kind": "stages", "head.width": 64, "input.max_tokens": 16}),
        ("psicov", {"input.canvas": 64, "source.name": "shapes"}),
        ("wdbc", {"source.name": "docs", "input.canvas": None, "input.stem": "none"}),
    ],
)
def test_what_a_task_has_is_taken(task: str, settings: dict[str, Any]) -> None:
    trial = plan_run(Wish(task=task, settings=settings)).trial
    assert all(trial.value_of(key) == value for key, value in settings.items() if value is not None)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_default_is_one_that_its_task_cannot_use(name: str) -> None:
    task, trial = get_task(name), default_trial(get_task(name), preset="embedded")
    for key in ("source.name", "head.kind", "input.image_size", "input.stem"):
        assert misfit(key, trial.value_of(key), trial, task) is None


def test_a_source_is_found_by_the_length_of_the_tokens() -> None:
    chosen = {
        name: default_trial(get_task(name), preset="embedded").source.name
        for name in ("wdbc", "balance-scale")
    }
    assert chosen == {"wdbc": "docs", "balance-scale": "waves"}
    assert SOURCES["docs"].fewest_tokens == 16
