from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pare_tune.compare.cell import CellResult, load_result
from pare_tune.compare.plan import Plan, make_plan, parse_budget
from pare_tune.compare.work import begin
from pare_tune.errors import ConfigError, StorageError, UnknownName


def plan(tmp_path: Path, tasks: str = "wdbc", methods: str = "finetune,linear", **more: Any) -> Plan:
    return make_plan(tasks.split(","), methods.split(","), folder=tmp_path, **more)


def test_a_plan_has_a_cell_for_every_task_method_and_seed(tmp_path: Path) -> None:
    found = plan(tmp_path, "wdbc,advection", "pare,linear,hist-gradient-boosting", budget=9, seeds=2)
    assert len(found.cells) == 2 * 3 * 2
    assert {c.method for c in found.cells if c.is_peer} == {"linear", "hist-gradient-boosting"}
    pare = next(c for c in found.cells if c.method == "pare" and c.seed == 1)
    assert (pare.config.trial.seed, pare.config.search.seed) == (1, 1)
    assert pare.needs_search
    assert str(pare.config.search.budget) == "9 trials"
    assert not any(c.needs_search for c in found.cells if c.is_peer)
    unfit = [c for c in found.cells if c.unfit is not None]
    assert {(c.task, c.method) for c in unfit} == {("advection", "hist-gradient-boosting")}
    assert found.notes == ("hist-gradient-boosting: learns tables, advection is of modality dense_1d",)
    assert [t.metric for t in found.tasks] == ["auroc_error", "nrmse"]
    assert found.presets == ("embedded",)


def test_cells_are_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = plan(Path("runs"))
    for cell in found.cells:
        assert cell.folder.is_relative_to(tmp_path / "runs")
        assert cell.config.runs.is_relative_to(tmp_path / "runs")


def test_a_table_of_both_presets_says_so(tmp_path: Path) -> None:
    found = plan(tmp_path, "wdbc,advection", data={"advection": tmp_path})
    assert found.presets == ("embedded", "paper")


def test_a_budget_of_one_needs_no_search(tmp_path: Path) -> None:
    assert not any(c.needs_search for c in plan(tmp_path, budget=1).cells)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": "finetune,finetune"}, "method 'finetune' is given twice"),
        ({"tasks": "advection,pde-advection"}, "task 'advection' is given twice"),
        ({"methods": ""}, "no method named ''"),
        ({"budget": 0}, "--budget must be at least 1, got 0"),
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"tasks": "advection", "methods": "hist-gradient-boosting"}, "no other --task is for it"),
        ({"settings": {"method": "scratch"}}, "--set cannot choose one"),
        ({"settings": {"no.such": 1}}, "no setting named 'no.such'"),
        ({"preset": "huge"}, "--preset is paper or embedded"),
        ({"data": {"car": Path("x")}}, "--data names 'car'"),
        ({"search": {"confirm": -1}}, "confirm"),
        ({"search": {"gpus_per_worker": 1.5}}, "gpus_per_worker"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, UnknownName), match=message):
        plan(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "near"), [("xgbost", "xgboost"), ("pare+soup", "pare")])
def test_an_unknown_method_is_told_with_the_nearest_ones(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=rf"no method named '{name.replace('+', '.')}'.*{near}"):
        plan(tmp_path, methods=name)


def test_a_folder_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    begin(plan(tmp_path).cells[0])
    more = plan(tmp_path, methods="finetune,linear,hist-gradient-boosting", seeds=5)
    assert len(more.cells) == 15, "more methods and seeds add to what is there"
    with pytest.raises(ConfigError, match="begun with other settings"):
        plan(tmp_path, settings={"train.epochs": 3})
    with pytest.raises(ConfigError, match="begun with other settings"):
        plan(tmp_path, budget=4)


def test_budgets_are_trials() -> None:
    assert parse_budget("20") == 20
    for text in ("2h", "600ep"):
        with pytest.raises(ConfigError, match="as many trials"):
            parse_budget(text)


def test_a_result_survives_the_disk_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert load_result(tmp_path) is None
    result = CellResult(
        task="t", method="m", seed=1, state="done", test=0.25, validation=0.5, epochs=3, settings={"a": 1}
    )
    result.save(tmp_path)
    assert load_result(tmp_path) == result
    (tmp_path / "result.json").write_text('{"task": "t"')
    with pytest.raises(StorageError, match=r"result.json is damaged.*delete its folder"):
        load_result(tmp_path)
