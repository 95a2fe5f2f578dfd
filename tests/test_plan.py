"""Options → plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.config import RunConfig
from pare_tune.errors import ConfigError
from pare_tune.plan import Wish, describe_plan, plan_run, setting_keys


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
    config.write_text(plan_run(Wish(task="wdbc")).to_yaml())
    assert plan_run(Wish(config=config, settings={"search.budget": "3"})).search.budget.amount == 3
    with pytest.raises(ConfigError, match=f"{option} says what trial 0 is made of"):
        plan_run(Wish(config=config, **given))


def test_settings_of_the_search_are_told_from_those_of_the_trial(tmp_path: Path) -> None:
    settings = {"train.epochs": 5, "search.pruning": False, "search.confirm": 1, "search.max_disk": None}
    plan = plan_run(Wish(task="wdbc", settings=settings))
    assert (plan.trial.train.epochs, plan.search.pruning, plan.search.confirm) == (5, False, 1)
    config = tmp_path / "run.yaml"
    config.write_text(plan.to_yaml())
    again = plan_run(Wish(config=config, settings={"search.startup_trials": 3}))
    assert (again.trial, again.search.pruning, again.search.startup_trials) == (plan.trial, False, 3)


def test_what_a_task_file_says_is_a_setting_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 40, 3)).astype(np.float32))
    np.save("y.npy", np.arange(60) % 2)
    data: dict[str, Any] = {"data": Path("x.npy"), "target": "y.npy", "kind": "point"}
    own = plan_run(Wish(**data, settings={"own.channels": "last", "own.split.seed": 3})).trial.own
    assert own is not None
    assert (own.channels, own.split.seed) == ("last", 3)
    (tmp_path / "task.yaml").write_text("name: mine\nkind: point\ninput: x.npy\ntarget: y.npy\n")
    again = plan_run(Wish(task="task.yaml", settings={"own.channels": "last", "own.split.seed": 3})).trial.own
    assert again is not None
    assert again.model_copy(update={"name": own.name}) == own
    with pytest.raises(ConfigError, match="options: channels: .*'middle'"):
        plan_run(Wish(**data, settings={"own.channels": "middle"}))
    with pytest.raises(
        ConfigError, match="--set own.channels is for data of your own, --task wdbc has its own"
    ):
        plan_run(Wish(task="wdbc", settings={"own.channels": "last"}))
    with pytest.raises(ConfigError, match="no setting named own.channels.first"):
        plan_run(Wish(**data, settings={"own.channels": "last", "own.channels.first": True}))


RELATIVE: list[tuple[dict[str, Any], str]] = [
    ({"data": Path("release")}, "data"),
    ({"data": Path("~/release")}, "data"),
    ({"settings": {"source.data": "proxies"}}, "source.data"),
    ({"settings": {"source.data": Path("~/proxies")}}, "source.data"),
    ({"settings": {"search.space": "space.yaml"}}, "search.space"),
    ({"settings": {"search.warm_start": ["runs/before", "~/runs/before"]}}, "search.warm_start"),
    ({"backbone": "hf:models/bert"}, "backbone"),
    ({"backbone": "hf:./absent"}, "backbone"),
    ({"backbone": "hf:~/bert"}, "backbone"),
    ({"backbone": "timm:swin_tiny@weights/model.safetensors"}, "backbone"),
    ({"backbone": "timm:swin_tiny@~/model.safetensors"}, "backbone"),
]


@pytest.mark.parametrize(("options", "key"), RELATIVE)
def test_paths_are_made_absolute_once_wherever_they_are_said(
    options: dict[str, Any], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials have working directories of their own, so that nothing they read may depend on one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "models" / "bert").mkdir(parents=True)
    plan = plan_run(Wish(task="wdbc", **options))

    def said(tree: RunConfig) -> list[str]:
        value = (
            getattr(tree.search, key.removeprefix("search."))
            if key.startswith("search.")
            else tree.trial.value_of(key)
        )
        return [str(v) for v in value] if isinstance(value, tuple) else [str(value)]

    for path in said(plan):
        assert f"{tmp_path}/" in path
        assert "~" not in path
        assert ("home" in path) == ("~" in str(options.values())) or len(said(plan)) > 1
    config = tmp_path / "run.yaml"
    config.write_text(plan.to_yaml())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert said(plan_run(Wish(config=config))) == said(plan), (
        "read again somewhere else, it is the same place"
    )


def test_a_name_of_the_hub_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hf:prajjwal1/bert-tiny", "timm:vit_tiny_patch16_224", "roberta-base"):
        assert plan_run(Wish(task="wdbc", backbone=name)).trial.backbone == name


def test_every_setting_has_a_key() -> None:
    keys = setting_keys()
    assert {"train.epochs", "k.start", "gate.kind", "source.samples", "search.confirm"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_what_trials_are_judged_by_is_chosen_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARE_TUNE_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 1, 20)))
    np.save(tmp_path / "y.npy", np.arange(60) % 2)
    own = {"data": tmp_path / "x.npy", "target": str(tmp_path / "y.npy"), "kind": "point"}

    def told(**settings: Any) -> tuple[str, int, str]:
        plan = plan_run(Wish(**own, settings={f"search.{k}": v for k, v in settings.items()}))
        [line] = [line for line in describe_plan(plan).splitlines() if line.startswith("validation: ")]
        return plan.search.validation, plan.search.folds, line

    method, folds, line = told()
    assert (method, folds) == ("folds", 3)
    assert "3 folds of train and val, each held out once" in line
    assert "the validation split has 9 samples, fewer than 300" in line
    assert told(validation="split")[2] == "validation: the validation split (as you ask)"
    assert told(folds=4)[:2] == ("folds", 4)
    plan = plan_run(Wish(**own))
    assert plan.epochs_of_a_trial == 3 * plan.trial.train.epochs
    config = tmp_path / "run.yaml"
    config.write_text(plan.to_yaml())
    assert plan_run(Wish(config=config)).search == plan.search
    config.write_text("".join(line for line in plan.to_yaml().splitlines(True) if "folds" not in line))
    assert plan_run(Wish(config=config)).search.num_folds == 1, "files of earlier versions mean the split"
    benchmark = plan_run(Wish(task="wdbc"))
    assert benchmark.search.num_folds == 1
    assert "the benchmark's protocol" in describe_plan(benchmark)


@pytest.mark.parametrize(
    ("wish", "methods"),
    [
        (Wish(task="wdbc"), True),
        (Wish(task="wdbc", method="pare"), False),
        (Wish(task="wdbc", settings={"method": "orca"}), False),
        (Wish(task="wdbc", settings={"search.methods": False}), False),
        (Wish(task="wdbc", method="pare", settings={"search.methods": True}), True),
    ],
)
def test_a_method_that_is_asked_for_is_the_only_one_tried(wish: Wish, methods: bool) -> None:
    assert plan_run(wish).search.methods is methods
