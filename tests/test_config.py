from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pare_tune.config import (
    Budget,
    RunConfig,
    SearchConfig,
    TrialConfig,
    default_trial,
    load_run,
    load_trial,
)
from pare_tune.errors import ConfigError
from pare_tune.tasks import TASKS, get_task


def trial(**changes: object) -> TrialConfig:
    return default_trial(get_task("psicov"), preset="embedded").with_values({"optimizer.lr": 1e-3, **changes})


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("preset", ["embedded", "paper"])
def test_every_task_has_a_default_trial_with_the_papers_method(name: str, preset: str) -> None:
    task = TASKS[name]
    config = default_trial(task, preset=preset, data=Path("/data") if preset == "paper" else None)  # type: ignore[arg-type]
    assert (config.k.kind, config.k.start, config.k.end) == ("linear", task.paper.k_start, 0.0)
    # In short trainings the mixed terms weigh less, as in the official 1D code.
    beta2 = 0.1 if preset == "embedded" else 1.0
    assert (config.loss.beta1, config.loss.beta2, config.gate.kind) == (1.0, beta2, "fc")
    if preset == "paper":
        assert config.optimizer.lr == task.paper.lr
        assert config.train.epochs == task.paper.epochs
        assert config.train.batch_size == task.paper.batch_size
        assert config.train.accumulation == task.paper.accumulation


def test_yaml_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(trial(**{"optimizer.lr": 1e-4, "k.start": 0.1, "optimizer.clip": None}).to_yaml())
    loaded = load_trial(path)
    assert loaded.to_yaml() == path.read_text()
    assert loaded.optimizer.lr == 1e-4


def test_a_run_config_comes_back(tmp_path: Path) -> None:
    config = RunConfig(trial=trial(), search={"budget": "2h", "seed": 3})  # type: ignore[arg-type]
    path = tmp_path / "run.yaml"
    path.write_text(config.to_yaml())
    assert load_run(path) == config
    assert str(load_run(path).search.budget) == "2 h"


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(trial().to_yaml().replace("lr: 0.001", "lr: 1e-4"))
    assert load_trial(path).optimizer.lr == 1e-4


@pytest.mark.parametrize(
    ("task", "backbone", "lr", "source"),
    [
        ("balance-scale", None, 3e-4, "waves"),
        ("balance-scale", "micro-roberta", 3e-4, "waves"),
        ("balance-scale", "roberta-base", 5e-5, "docs"),
        ("psicov", "vit-base", 5e-5, "shapes"),
    ],
)
def test_other_encoders_keep_what_they_know_and_get_a_source_that_they_read(
    task: str, backbone: str | None, lr: float, source: str
) -> None:
    config = default_trial(get_task(task), preset="embedded", backbone=backbone)
    assert (config.optimizer.lr, config.source.name) == (lr, source)
    # New parts learn as fast with all of them.
    assert config.optimizer.lr * config.optimizer.new_parts >= 3e-4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr: 0.001", "lr: fast", r"best.yaml:\d+: optimizer.lr: .*got 'fast'"),
        ("lr: 0.001", "learning_rate: 0.001", r"best.yaml:\d+: unknown key 'optimizer.learning_rate'"),
        ("start: 0.957", "start: 1.5", r"best.yaml:\d+: k: .*end <= start <= 1"),
        ("start: 0.957", "begin: 0.957", r"best.yaml:\d+: k: unknown key 'begin'"),
        ("epochs: ", "epochs: 0 # ", r"best.yaml:\d+: train.epochs: .*got 0"),
        ("task: psicov", "task: [", r"best.yaml:\d+: not valid YAML"),
        ("method: pare", "method: magic", r"best.yaml:\d+: method: .*got 'magic'"),
    ],
)
def test_mistakes_name_file_line_rule_and_value(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = trial().to_yaml()
    assert old in text
    path = tmp_path / "best.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_trial(path)


def test_the_line_is_the_right_one(tmp_path: Path) -> None:
    lines = trial().to_yaml().splitlines()
    at = next(i for i, line in enumerate(lines) if "weight_decay" in line)
    lines[at] = "  weight_decay: -1"
    path = tmp_path / "best.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=f"best.yaml:{at + 1}: optimizer.weight_decay"):
        load_trial(path)


@pytest.mark.parametrize(
    ("method", "key", "decided", "undecided"),
    [
        ("layernorm", "train.freeze", "layernorm", "none"),
        ("scratch", "input.embedder", "random", "pretrained"),
    ],
)
@pytest.mark.parametrize("preset", ["embedded", "paper"])
def test_what_a_method_decides_is_what_the_configuration_says(
    tmp_path: Path, preset: str, method: str, key: str, decided: str, undecided: str
) -> None:
    task = get_task("psicov")
    config = default_trial(task, preset=preset, method=method)  # type: ignore[arg-type]
    assert config.value_of(key) == decided
    # Files of earlier releases said what the method then overrode.
    path = tmp_path / "best.yaml"
    path.write_text(
        config.to_yaml().replace(f"{key.split('.')[1]}: {decided}", f"{key.split('.')[1]}: {undecided}")
    )
    assert load_trial(path) == config
    assert config.with_values({key: decided, "seed": 1}).value_of(key) == decided
    with pytest.raises(
        ConfigError, match=f"{key} is always {decided} with method {method}, got '{undecided}'; leave"
    ):
        config.with_values({key: undecided})
    # It goes with the method, and comes back with the next one.
    other = default_trial(task, preset=preset)  # type: ignore[arg-type]
    assert other.with_values({"method": method}) == config
    assert config.with_values({"method": "pare"}) == other
    assert config.with_values({"method": "pare", key: decided}).value_of(key) == decided


def test_a_file_that_contradicts_its_method_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(trial(method="layernorm").to_yaml().replace("freeze: layernorm", "freeze: all"))
    with pytest.raises(
        ConfigError, match=r"best.yaml:\d+: train: train.freeze is always layernorm .* got 'all'"
    ):
        load_trial(path)


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("train", "restart: null", None),
        ("search", "restart: false", None),
        (
            "train",
            "restart: 3",
            r"run.yaml:\d+: trial.train: restart: 3 is no longer there.*; delete the line to train",
        ),
        (
            "search",
            "restart: true",
            r"run.yaml:\d+: search: restart: True is no longer there.*to search anew",
        ),
        ("search", "source_order: []", None),
        (
            "search",
            "source_order: [docs]",
            r"run.yaml:\d+: search: source_order: \['docs'\] is no longer there, for ranked sources.*to search anew",
        ),
        (
            "search",
            "judge: last",
            r"run.yaml:\d+: search: judge: 'last' is no longer there.*to search anew",
        ),
        ("search", "judge: best", None),
    ],
)
def test_what_earlier_files_say_of_options_that_were_removed(
    tmp_path: Path, section: str, line: str, message: str | None
) -> None:
    config = RunConfig(trial=trial(), search=SearchConfig())
    first, _, rest = config.to_yaml().partition(f"{section}:\n")
    indent = "    " if section == "train" else "  "
    path = tmp_path / "run.yaml"
    path.write_text(f"{first}{section}:\n{indent}{line}\n{rest}")
    if message is None:
        assert load_run(path) == config
        return
    with pytest.raises(ConfigError, match=message):
        load_run(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent.yaml"):
        load_trial(tmp_path / "absent.yaml")


def test_unknown_dotted_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"k\.begin"):
        trial(**{"k.begin": 0.5})


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("50", 50, "trials"),
        ("1 trial", 1, "trials"),
        ("90s", 90, "seconds"),
        ("30m", 1800, "seconds"),
        ("2h", 7200, "seconds"),
        ("1.5h", 5400, "seconds"),
        ("100.123s", 100.123, "seconds"),
        ("7201s", 7201, "seconds"),
        ("1d", 86400, "seconds"),
        ("600ep", 600, "epochs"),
    ],
)
def test_budgets_are_read(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount=amount, unit=unit)  # type: ignore[arg-type]
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


@pytest.mark.parametrize("text", ["", "0", "-3", "ten", "2 weeks", "1.5", "1.5ep", "h"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Budget.parse(text)


@pytest.mark.parametrize(("task", "lr", "decay"), [("cifar100", 1e-4, 1e-3), ("ecg", 1e-6, 0.1)])
def test_presets_of_sgd_step_as_far_as_sums_of_gradients_at_the_published_rate(
    task: str, lr: float, decay: float
) -> None:
    config = default_trial(get_task(task), preset="paper")
    count = config.train.accumulation
    steps = torch.randn(3, count, 5, generator=torch.Generator().manual_seed(0))
    ends = []
    for rate, shrink, combine in (
        (lr, decay, torch.sum),
        (config.optimizer.lr, config.optimizer.weight_decay, torch.mean),
    ):
        weight = torch.nn.Parameter(torch.ones(5))
        optimizer = torch.optim.SGD([weight], rate, momentum=config.optimizer.momentum, weight_decay=shrink)
        for gradients in steps:
            weight.grad = combine(gradients, dim=0)
            optimizer.step()
        ends.append(weight.detach() - 1)
    assert ends[0].abs().max() > 0
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("task", "precision"),
    [("wdbc", "bf16"), ("cosmic", "bf16"), ("psicov", "fp32"), ("advection", "fp32"), ("darcy", "fp32")],
)
@pytest.mark.parametrize("preset", ["embedded", "paper"])
def test_values_are_trained_in_full_precision_unless_a_file_is_older(
    task: str, precision: str, preset: str
) -> None:
    config = default_trial(get_task(task), preset=preset)  # type: ignore[arg-type]
    assert config.train.precision == precision
    before = config.to_dict()
    del before["train"]["precision"]
    assert TrialConfig.model_validate(before).train.precision == "bf16"
