"""The method as a searched category: which other settings are asked is a matter of the method of each trial."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from pare_tune.config import (
    OptimizerConfig,
    RunConfig,
    SearchConfig,
    SourceConfig,
    TrainConfig,
    TrialConfig,
    default_trial,
)
from pare_tune.errors import ConfigError
from pare_tune.plan import Wish, plan_run
from pare_tune.sources import SOURCES
from pare_tune.tasks import get_task
from pare_tune.tune.available import source_problem
from pare_tune.tune.session import _first
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import BoundSpace, Space, open_space, spaces_folder
from pare_tune.tune.study import Study
from pare_tune.tune.warm import Point, Start

TEXT = """
k.start:
  float: [0.1, 1]
k.kind:
  choice: [linear, constant]
k.end:
  float: [0.0, 0.8]
  times: k.start
  when: {k.kind: [linear]}
gate.noise:
  float: [0.0, 2.0]
source.name:
  choice: [docs, waves]
align.epochs:
  int: [5, 50]
optimizer.lr:
  float: [0.1, 10]
  log: true
  relative: true
method:
  choice: [pare, mixup, orca, finetune, target_mask]
"""

ASKED = {
    "pare": {"k.start", "k.kind", "gate.noise", "source.name"},
    "mixup": {"k.start", "k.kind", "source.name"},
    "orca": {"source.name", "align.epochs"},
    "finetune": set(),
    "target_mask": {"k.start", "k.kind"},
}


def base(**changes: object) -> TrialConfig:
    settings = {
        "task": "wdbc",
        "backbone": "micro-roberta",
        "source": SourceConfig(name="docs"),
        "optimizer": OptimizerConfig(lr=1e-4),
        "train": TrainConfig(epochs=4, batch_size=8),
        **changes,
    }
    return TrialConfig(**settings)  # type: ignore[arg-type]


def space(folder: Path, text: str = TEXT, **changes: object) -> BoundSpace:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return Space.load(path).bind(base(**changes))


def test_each_trial_is_asked_what_its_own_method_has(tmp_path: Path) -> None:
    bound = space(tmp_path)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(80):
        trial = study.ask()
        config = bound.config(bound.suggest(trial))
        seen.add(config.method)
        asked = set(trial.params) - {"method", "optimizer.lr", "k.end / k.start"}
        assert asked == ASKED[config.method]
        assert ("k.end / k.start" in trial.params) == ("k.start" in asked and config.k.kind == "linear")
        untouched = {"k.start", "gate.noise", "source.name", "align.epochs"} - asked
        assert all(config.value_of(key) == bound.base.value_of(key) for key in untouched)
    assert seen == set(ASKED)


@pytest.mark.parametrize("method", ["pare", "finetune", "scratch"])
def test_trial_0_stays_the_base_whatever_its_method(tmp_path: Path, method: str) -> None:
    bound = space(tmp_path, method=method)
    study = optuna.create_study()
    study.enqueue_trial(bound.base_params())
    trial = study.ask()
    assert bound.config(bound.suggest_base(trial)) == bound.base
    # scratch is not among the choices: the record leaves it out rather than say something else.
    assert trial.params.get("method") == (None if method == "scratch" else method)
    assert ("k.start" in trial.params) == (method == "pare")


def test_without_the_category_only_the_runs_own_method_counts(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("method:")]
    assert [p.key for p in space(tmp_path, text, method="orca").parameters] == [
        "source.name", "align.epochs", "optimizer.lr",
    ]  # fmt: skip
    bound = space(tmp_path, text, method="pare")
    assert "align.epochs is not searched: method pare aligns nothing" in bound.notes
    assert not any("method" in p.when for p in bound.parameters)


def test_what_no_listed_method_has_is_dropped_with_a_note(tmp_path: Path) -> None:
    text = TEXT.replace("[pare, mixup, orca, finetune, target_mask]", "[finetune, target_mask]")
    bound = space(tmp_path, text)
    assert [p.key for p in bound.parameters] == ["method", "k.start", "k.kind", "k.end", "optimizer.lr"]
    assert "gate.noise is not searched: method finetune or target_mask has no gate" in bound.notes


def test_what_a_method_decides_is_asked_of_the_others_alone(tmp_path: Path) -> None:
    text = """
method:
  choice: [finetune, layernorm, scratch]
train.freeze:
  choice: [none, all]
input.embedder:
  choice: [pretrained, random]
"""
    when = {p.key: p.when for p in space(tmp_path, text).parameters if p.key != "method"}
    assert when["train.freeze"]["method"] == ("finetune", "scratch")
    assert when["input.embedder"]["method"] == ("finetune", "layernorm")
    notes = space(tmp_path, text[text.index("train.freeze") :], method="layernorm").notes
    assert "train.freeze is not searched: method layernorm decides that itself" in notes


def test_a_condition_on_the_method_narrows_further(tmp_path: Path) -> None:
    text = """
method:
  choice: [pare, mixup, finetune]
k.start:
  float: [0.1, 1]
  when: {method: [mixup, finetune]}
gate.noise:
  float: [0, 1]
  when: {method: [finetune]}
"""
    bound = space(tmp_path, text)
    assert [(p.key, dict(p.when)) for p in bound.parameters] == [
        ("method", {}),
        ("k.start", {"method": ("mixup",)}),
    ]
    assert any(note.startswith("gate.noise is not searched: its `when`") for note in bound.notes)


def test_the_space_as_searched_can_be_read_again(tmp_path: Path) -> None:
    bound = space(tmp_path)
    again = space(tmp_path, bound.to_yaml())
    assert [(p.key, p.extremes, dict(p.when)) for p in again.parameters] == [
        (p.key, p.extremes, dict(p.when)) for p in bound.parameters
    ]


def test_an_unknown_method_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"space.yaml:1: method = 'magic' is not valid"):
        space(tmp_path, "method:\n  choice: [pare, magic]")


def test_a_study_learns_over_methods(tmp_path: Path) -> None:
    """Define-by-run through the real study: conditions hold for TPE's trials too, and it finds the better method."""
    bound = space(tmp_path)
    search = SearchConfig(startup_trials=8, pruning=False)
    study = Study(
        tmp_path / "journal", bound, search, epochs=1, facts=TaskFacts(task="wdbc", direction="min")
    )
    for _ in range(40):
        asked = study.ask()
        config = bound.config(asked.settings)
        extra = {"orca": 0.0, "pare": 0.2}.get(config.method, 0.5)
        score = extra + abs(config.align.epochs - 20) / 100
        report = {"epoch": 1, "best_score": score, "score": score, "seconds": 0.0}
        study.record(asked.number, report)
        study.complete(asked.number)
    trials = study.optuna.get_trials(deepcopy=False)
    assert bound.config(study.settings(0)) == bound.base
    for trial in trials[1:]:
        assert (
            set(trial.params) - {"method", "optimizer.lr", "k.end / k.start"} == ASKED[trial.params["method"]]
        )
    late = [t.params["method"] for t in trials[20:]]
    assert late.count("orca") >= 2 * len(late) / 5, "twice what chance would give of five"
    assert trials[study.best or 0].params["method"] == "orca"
    study.close()


@pytest.mark.parametrize("name", ["ecg", "ninapro", "advection", "wdbc"])
def test_the_example_space_is_one_for_every_modality(name: str) -> None:
    task = get_task(name)
    start = default_trial(task, preset="embedded")
    bound = open_space(
        RunConfig(trial=start, search=SearchConfig(space=spaces_folder() / "examples" / "methods.yaml")), task
    )
    assert not bound.warnings
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    methods = {bound.config(bound.suggest(study.ask())).method for _ in range(30)}
    assert methods == {"pare", "mixup", "orca", "finetune"}
    assert bound.config(bound.base_settings()) == start


@pytest.mark.parametrize(
    ("task", "usable"), [("wdbc", {"docs", "waves"}), ("ninapro", {"photographs", "digits", "shapes"})]
)
def test_the_sources_at_hand_are_those_that_the_backbone_reads(task: str, usable: set[str]) -> None:
    start = default_trial(get_task(task), preset="embedded")
    assert {name for name in SOURCES if source_problem(name, start) is None} == usable


def test_a_search_that_is_given_no_method_tries_others_and_plain_fine_tuning_first() -> None:
    plan = plan_run(Wish(task="wdbc"))
    bound = open_space(plan, get_task("wdbc"))
    assert len(bound.parameters) <= 10
    assert bound.config(bound.base_settings()) == plan.trial
    plain = bound.plain()
    assert plain is not None
    assert plain["method"] == "finetune"
    assert plain["optimizer.lr"] == plan.trial.optimizer.lr
    assert not any(key.startswith(("k.", "loss.", "gate.", "source.", "align.")) for key in plain)


def test_a_search_keeps_to_the_method_that_it_is_given() -> None:
    plan = plan_run(Wish(task="wdbc", method="pare"))
    bound = open_space(plan, get_task("wdbc"))
    assert bound.plain() is None
    assert "method" not in {p.key for p in bound.parameters}
    assert "method:" not in bound.to_yaml()


def test_methods_that_mix_are_not_tried_where_a_sample_is_one_token() -> None:
    task = get_task("wdbc@official")
    start = default_trial(task, preset="embedded", method="finetune")
    bound = open_space(RunConfig(trial=start, search=SearchConfig(methods=True)), task)
    assert [p.extremes for p in bound.parameters if p.key == "method"] == [("finetune", "orca")]
    assert (
        "method not tried: pare, mixup: samples of wdbc@official are one token, in which no part can be replaced"
        in (bound.notes)
    )


@pytest.mark.parametrize(("method", "first"), [("pare", ["finetune", "pare"]), ("finetune", ["finetune"])])
def test_plain_fine_tuning_comes_before_what_earlier_searches_found(method: str, first: list[str]) -> None:
    task = get_task("wdbc")
    start = default_trial(task, preset="embedded", method=method)
    bound = open_space(RunConfig(trial=start, search=SearchConfig(methods=True)), task)
    point = Point(settings={"optimizer.warmup": 0.2}, task="car", modality="table")
    params = _first(bound, Start((point,), 1))
    assert [p["method"] for p in params] == first
    assert params[-1]["optimizer.warmup"] == 0.2
    assert len(_first(bound, None)) == len(first) - 1
