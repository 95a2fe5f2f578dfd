from __future__ import annotations

import hashlib
import json
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
from pare_tune.method.schedule import KSchedule
from pare_tune.sources import SOURCES
from pare_tune.tasks import TASKS, get_task
from pare_tune.tune.available import source_problem, sources_at_hand
from pare_tune.tune.sampler import RepeatableTPE
from pare_tune.tune.space import BoundSpace, Space, open_space, spaces_folder


def base(**changes: object) -> TrialConfig:
    settings = {
        "task": "wdbc",
        "source": SourceConfig(name="docs"),
        "optimizer": OptimizerConfig(lr=5e-6),
        "train": TrainConfig(epochs=4, batch_size=8),
        **changes,
    }
    return TrialConfig(**settings)  # type: ignore[arg-type]


def write(folder: Path, text: str, name: str = "space.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def sample(
    space: BoundSpace, count: int, seed: int = 0
) -> list[tuple[optuna.trial.Trial, dict[str, object]]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(count)]
    return [(trial, space.suggest(trial)) for trial in trials]


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("k.strat:\n  float: [0, 1]", 1, "no setting named 'k.strat'"),
        ("k.start:\n  float: [0, 1]\n  logg: true", 1, "unknown key 'logg'"),
        ("k.start: 3", 1, "needs a mapping"),
        ("k.start:\n  float: [0, 1]\n  int: [0, 1]", 1, "exactly one of float, int, choice, got float, int"),
        ("k.start:\n  default: 1", 1, "exactly one of float, int, choice, got none"),
        ("k.start:\n  float: [0.5, 0.5]", 1, "lo < hi, got [0.5, 0.5]"),
        ("k.start:\n  float: [0.5, .nan]", 1, "finite lo < hi"),
        ("k.start:\n  float: [0.5]", 1, "two numbers [lo, hi], got [0.5]"),
        ("k.start:\n  float: [a, b]", 1, "two numbers [lo, hi]"),
        ("gate.hidden:\n  int: [1.5, 3]", 1, "two whole numbers"),
        ("gate.kind:\n  choice: []", 1, "needs a list [a, b], got []"),
        ("gate.kind:\n  choice: fc", 1, "needs a list [a, b], got 'fc'"),
        ("gate.kind:\n  choice: [fc, fc]", 1, "must differ, got ['fc', 'fc']"),
        ("gate.kind:\n  choice: [fc, [mlp]]", 1, "must be numbers, words or true/false, got ['fc', ['mlp']]"),
        ("gate.kind:\n  choice: [fc, mlp]\n  step: 1", 1, "goes with neither log, step, relative nor times"),
        ("gate.hidden:\n  int: [8, 64]\n  step: 0.5", 1, "step of gate.hidden must be whole, got 0.5"),
        ("gate.hidden:\n  int: [8, 64]\n  step: 8\n  log: true", 1, "goes with neither log nor relative"),
        ("k.start:\n  float: [0, 1]\n  step: true", 1, "step of k.start must lie in (0, hi - lo], got True"),
        ("gate.hidden:\n  int: [8, 64]\n  times: 3", 1, "searched earlier in the file, got 3"),
        ("gate.hidden:\n  int: [8, 64]\n  times: k.start", 1, "goes with a float that is not relative"),
        ("k.start:\n  float: [0, 1]\n  where: here", 1, "unknown key 'where'"),
        ("gate.kind:\n  choice: [fc]\n  log: true", 1, "goes with neither log"),
        ("k.start:\n  float: [0, 1]\n  log: true", 1, "log of k.start needs lo > 0, got 0"),
        ("k.start:\n  float: [0, 1]\n  log: yes please", 1, "log of k.start must be true or false"),
        ("k.start:\n  float: [0, 1]\n  step: 3", 1, "step of k.start must lie in"),
        (
            "k.start:\n  float: [0.5, 1]\nk.end:\n  float: [0, 1]\n  times: k.strat",
            3,
            "searched earlier in the file",
        ),
        (
            "k.end:\n  float: [0, 1]\n  times: k.start\nk.start:\n  float: [0.5, 1]",
            1,
            "searched earlier in the file",
        ),
        (
            "gate.hidden:\n  int: [8, 9]\n  when: {gate.kind: [mlp]}\ngate.kind:\n  choice: [mlp]",
            1,
            "earlier in the file",
        ),
        (
            "gate.kind:\n  choice: [fc]\ngate.hidden:\n  int: [8, 9]\n  when: {gate.kind: [mlp]}",
            3,
            "which takes fc",
        ),
        (
            "gate.kind:\n  choice: [fc]\ngate.hidden:\n  int: [8, 9]\n  when: {gate.kind: mlp}",
            3,
            "needs a list of values",
        ),
        ("k.start:\n  float: [0.5, 1.5]", 1, "k.start = 1.5 is not valid"),
        ("gate.kind:\n  choice: [fc, magic]", 1, "gate.kind = 'magic' is not valid"),
        ("train.batch_size:\n  float: [1.5, 9.5]", 1, "train.batch_size = 1.5 is not valid"),
        ("- k.start", None, "maps settings"),
    ],
)
def test_mistakes_are_told_with_file_line_and_rule(
    tmp_path: Path, text: str, line: int | None, rule: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Space.load(path)
    where = str(path) if line is None else f"{path}:{line}:"
    assert str(caught.value).startswith(where)
    assert rule in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Space.load(write(tmp_path, "k.a:\n  float: [0, 1]\nk.b:\n  float: [0, 1]"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_default_outside_is_a_warning_and_stays_as_it_is(tmp_path: Path) -> None:
    space = Space.load(write(tmp_path, "k.start:\n  float: [0.1, 0.5]\n  default: 0.957"))
    assert len(space.warnings) == 1
    assert "0.957" in space.warnings[0]
    assert space.parameters[0].default == 0.957


def test_relative_bounds_are_multiples_of_trial_0(tmp_path: Path) -> None:
    space = Space.load(write(tmp_path, "optimizer.lr:\n  float: [0.1, 10]\n  log: true\n  relative: true"))
    [lr] = space.bind(base()).parameters
    assert (lr.low, lr.high) == pytest.approx((5e-7, 5e-5))
    decay = Space.load(write(tmp_path, "optimizer.weight_decay:\n  float: [0.1, 10]\n  relative: true"))
    with pytest.raises(ConfigError, match="relative to trial 0's value, which must be > 0"):
        decay.bind(base())


def test_a_share_of_another_setting_never_exceeds_it(tmp_path: Path) -> None:
    text = """
k.start:
  float: [0.05, 0.4]
k.kind:
  choice: [linear, constant]
k.end:
  float: [0.0, 1.0]
  times: k.start
  when: {k.kind: [linear]}
"""
    # Trial 0 ends above most of the searched starts.
    space = Space.load(write(tmp_path, text)).bind(base(k=KSchedule(start=0.9, end=0.45)))
    kinds = set()
    for trial, settings in sample(space, 60):
        config = space.config(settings)
        assert config.k.end <= config.k.start
        kinds.add(config.k.kind)
        if config.k.kind == "linear":
            assert config.k.end == trial.params["k.end / k.start"] * config.k.start
        else:
            assert "k.end / k.start" not in trial.params
            assert config.k.end == pytest.approx(config.k.start / 2), "not asked: trial 0's proportion"
    assert kinds == {"linear", "constant"}


def test_conditions_are_real_and_may_nest(tmp_path: Path) -> None:
    text = """
k.kind:
  choice: [linear, exponential]
gate.kind:
  choice: [fc, mlp_dropout]
  when: {k.kind: [exponential]}
gate.dropout:
  float: [0.1, 0.7]
  when: {gate.kind: [mlp_dropout]}
"""
    space = Space.load(write(tmp_path, text)).bind(base())
    seen = {tuple(sorted(trial.params)) for trial, _ in sample(space, 60)}
    assert seen == {("k.kind",), ("gate.kind", "k.kind"), ("gate.dropout", "gate.kind", "k.kind")}


def test_trial_0_is_the_base_also_where_the_space_cannot_hold_it(tmp_path: Path) -> None:
    text = """
k.start:
  float: [0.1, 0.5]
k.end:
  float: [0.0, 0.9]
  times: k.start
source.name:
  choice: [waves]
optimizer.lr:
  float: [0.1, 10]
  log: true
  relative: true
optimizer.weight_decay:
  float: [1e-6, 1e-1]
  log: true
"""
    start = base(k=KSchedule(start=0.7, end=0.11))
    space = Space.load(write(tmp_path, text)).bind(start)
    study = optuna.create_study()
    study.enqueue_trial(space.base_params())
    trial = study.ask()
    settings = space.suggest_base(trial)
    assert space.config(settings) == start
    assert settings["k.end"] == 0.11 != 0.11 / 0.7 * 0.7, "to the last bit"
    assert trial.params == {"k.end / k.start": 0.11 / 0.7, "optimizer.lr": 5e-6}


def test_what_the_method_ignores_is_not_searched(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "k.start:\n  float: [0.1, 1]\ngate.tau:\n  float: [0.1, 1]\noptimizer.warmup:\n  float: [0, 0.5]",
    )
    keys = {
        method: [p.key for p in Space.load(path).bind(base(method=method)).parameters]
        for method in ("pare", "random", "target_mask", "finetune")
    }
    assert keys == {
        "pare": ["k.start", "gate.tau", "optimizer.warmup"],
        "random": ["k.start", "optimizer.warmup"],
        "target_mask": ["k.start", "optimizer.warmup"],
        "finetune": ["optimizer.warmup"],
    }


def test_sources_that_cannot_be_used_are_dropped_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path, "# why\nsource.name:   # because\n  choice: [docs, waves, conll2003, photographs]")
    start = base(backbone="micro-roberta")
    space = Space.load(path).bind(start, usable=lambda key, name: sources_at_hand(key, name, start))
    [names] = space.parameters
    assert names.choices == ("docs", "waves")
    assert space.notes == (
        "source not tried: conll2003: no folder of files is given (--source-data)",
        "source not tried: photographs: micro-roberta cannot read images",
    )
    again = Space.load(write(tmp_path, space.to_yaml(), "again.yaml")).bind(start)
    assert again.parameters[0].choices == ("docs", "waves"), "space.yaml says what was searched"
    assert "# because" in space.to_yaml()

    (tmp_path / "eng.train").touch()
    with_files = base(source=SourceConfig(name="docs", data=tmp_path))
    assert source_problem("conll2003", with_files) is None
    assert source_problem("waves", base(backbone="roberta-base")) is not None
    assert "no such source" in str(source_problem("nothing", start))


def test_conditions_on_a_source_that_is_not_there_go_with_it(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
source.name: # why
  choice: [docs, conll2003]
k.start:
  float: [0.1, 1.0]
  when: {source.name: [docs, conll2003]}
loss.beta2:
  float: [0.1, 1.0]
  when: {source.name: [conll2003]}
""",
    )
    start = base(backbone="micro-roberta")
    space = Space.load(path).bind(start, usable=lambda key, name: sources_at_hand(key, name, start))
    assert [p.key for p in space.parameters] == ["source.name", "k.start"]
    assert "loss.beta2 is not searched: nothing is left of its condition on source.name" in space.notes
    again = Space.load(write(tmp_path, space.to_yaml(), "again.yaml")).bind(start)
    assert [(p.key, dict(p.when)) for p in again.parameters] == [
        ("source.name", {}),
        ("k.start", {"source.name": ("docs",)}),
    ]

    # Without any source at all, the default's own decides.
    nothing = Space.load(path).bind(
        start, usable=lambda key, name: "not here" if key == "source.name" else None
    )
    assert [(p.key, dict(p.when)) for p in nothing.parameters] == [("k.start", {})]
    alone = Space.load(write(tmp_path, nothing.to_yaml(), "alone.yaml")).bind(start)
    assert [p.key for p in alone.parameters] == ["k.start"]


def test_sources_that_lack_the_same_are_one_note_and_those_with_the_tasks_labels_are_out(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "source.name:\n  choice: [digits, cifar10, voc, cifar100]")
    start = base(task="spherical", backbone="micro-swin", source=SourceConfig(name="digits"))
    space = Space.load(path).bind(start, usable=lambda key, name: sources_at_hand(key, name, start))
    assert space.notes == (
        "sources not tried: cifar10, voc: no folder of files is given (--source-data)",
        "source not tried: cifar100: it holds validation samples of spherical, with their labels",
    )


def test_overrides_replace_add_and_remove_whole_settings(tmp_path: Path) -> None:
    first = write(tmp_path, "k.start:\n  float: [0.1, 1]\ngate.tau:\n  float: [0.1, 1]")
    second = write(
        tmp_path, "k.start:\n  float: [0.2, 0.3]\ngate.tau: null\ngate.noise:\n  float: [0, 1]", "task.yaml"
    )
    space = Space.load(first, second)
    assert [(p.key, p.low) for p in space.parameters] == [("k.start", 0.2), ("gate.noise", 0.0)]
    with pytest.raises(ConfigError, match=r"task\.yaml:1: k.start needs finite"):
        Space.load(first, write(tmp_path, "k.start:\n  float: [2, 1]", "task.yaml"))


def test_there_are_shipped_spaces() -> None:
    assert sorted(p.stem for p in spaces_folder().glob("*.yaml")) == [
        "dense_1d", "dense_2d", "grid_2d", "sequence_1d", "table",
    ]  # fmt: skip
    assert {p.stem for p in spaces_folder().glob("tasks/*.yaml")} <= set(TASKS)


@pytest.mark.parametrize("path", sorted(spaces_folder().rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_spaces_have_a_reason_for_every_setting(path: Path) -> None:
    space = Space.load(path)
    assert not space.warnings
    lines = path.read_text().splitlines()
    unexplained = [p.key for p in space.parameters if not any(
        line.startswith(f"{p.key}:") and "#" in line for line in lines
    )]  # fmt: skip
    assert not unexplained
    for parameter in space.parameters:
        if parameter.key == "source.name":
            assert set(parameter.choices) <= set(SOURCES)
        if parameter.default is not None:
            own = path.parent.name == "tasks"
            of = default_trial(get_task(path.stem), preset="paper") if own else base()
            expected = of.value_of(parameter.key)
            assert parameter.default == expected, (
                f"{parameter.key}: the default documents the configuration's own"
            )


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("wdbc", "1c5d320fb3d831d5"),
        ("ninapro", "a4d5f4899c38098f"),
        ("ecg", "4fe636c29b2dd28a"),
        ("cosmic", "49e61290b80b8d8c"),
        ("advection", "0dc246657d4608d9"),
    ],
)
def test_the_same_seed_gives_the_same_suggestions_as_ever(name: str, digest: str) -> None:
    task = get_task(name)
    start = default_trial(task, preset="embedded")
    space = Space.recorded(task).bind(start, usable=lambda key, value: sources_at_hand(key, value, start))
    study = optuna.create_study(sampler=RepeatableTPE(seed=3, startup_trials=3, priors=space.priors()))
    suggested = []
    for number in range(6):
        trial = study.ask()
        suggested.append([space.suggest(trial), trial.params])
        study.tell(trial, (number - 3.0) ** 2)
    assert hashlib.sha256(json.dumps(suggested).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("preset", ["embedded", "paper"])
@pytest.mark.parametrize("name", sorted(TASKS))
def test_any_point_of_a_shipped_space_builds_a_configuration(name: str, preset: str) -> None:
    task = get_task(name)
    start = default_trial(task, preset=preset)  # type: ignore[arg-type]
    space = open_space(RunConfig(trial=start, search=SearchConfig()), task)
    configs = [space.config(settings) for _, settings in sample(space, 8)]
    assert len({c.to_yaml() for c in configs}) == 8
    assert space.config(space.base_settings()) == start
