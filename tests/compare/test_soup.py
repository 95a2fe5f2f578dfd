from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pare_tune.compare.soup import average, difference, greedy_soup, ingredients, soup_of_run
from pare_tune.config import RunConfig, SearchConfig, TrialConfig, default_trial
from pare_tune.errors import ConfigError, RunBusy
from pare_tune.tasks import get_task
from pare_tune.train.checkpoint import load_weights, save_weights
from pare_tune.train.loop import Context, FitResult
from pare_tune.train.predict import load_model
from pare_tune.train.trial import open_trial, run_trial
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import snapshot
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import open_space
from pare_tune.tune.study import Study


def state(value: float) -> dict[str, Tensor]:
    return {"encoder.w": torch.full((2, 3), value), "encoder.index": torch.tensor([4])}


def near(target: float) -> object:
    return lambda s: abs(float(s["encoder.w"][0, 0]) - target)


def lower(a: float, b: float) -> bool:
    return a < b


def test_copies_average_to_themselves_to_the_last_bit() -> None:
    torch.manual_seed(0)
    one = {
        "encoder.w": torch.randn(50, 7),
        "encoder.half": torch.randn(9).bfloat16(),
        "encoder.index": torch.arange(3),
    }
    for copies in (2, 3, 7):
        found = average([one] * copies)
        assert all(torch.equal(found[name], one[name]) for name in one)
        assert all(found[name].dtype == one[name].dtype for name in one)


def test_the_mean_is_taken_of_what_predicts_and_the_rest_is_the_firsts() -> None:
    a = {"encoder.w": torch.tensor([1.0]), "mixer.gate.w": torch.tensor([1.0])}
    b = {"encoder.w": torch.tensor([4.0]), "source_head.w": torch.zeros(3)}
    assert average([a, b]) == {"encoder.w": torch.tensor([2.5]), "mixer.gate.w": torch.tensor([1.0])}


def test_states_of_other_names_or_shapes_are_refused() -> None:
    other = {"encoder.w": torch.zeros(2, 4), "encoder.index": torch.tensor([4])}
    assert difference(state(1), other) == "encoder.w is (2, 3) in one, (2, 4) in the other"
    assert difference(state(1), {"encoder.w": torch.zeros(2, 3)}) == "encoder.index is in one of them only"
    assert difference(state(1), state(2)) is None
    with pytest.raises(ConfigError, match="same shape"):
        average([state(1), other])


def test_what_helps_joins_and_what_hurts_is_left_out() -> None:
    soup = greedy_soup([state(1.0), state(9.0), state(3.0)], near(2.0), lower)
    assert soup.members == (0, 2), "the mean of 1 and 3 is right, 9 takes it away"
    assert (soup.validation, soup.alone) == (0.0, 1.0)
    assert torch.equal(soup.state["encoder.w"], torch.full((2, 3), 2.0))


@pytest.mark.parametrize("values", [(1.0, 1.0), (5.0, 7.0, 1.0), (0.0, -4.0, 8.0, 3.0, 3.5)])
def test_validation_never_gets_worse(values: tuple[float, ...]) -> None:
    soup = greedy_soup([state(v) for v in values], near(2.0), lower)
    assert soup.validation <= soup.alone
    assert soup.validation == near(2.0)(soup.state)


def test_a_score_that_is_no_number_never_joins() -> None:
    soup = greedy_soup(
        [state(1.0), state(3.0)], lambda s: float("nan") if s["encoder.w"][0, 0] == 2 else 1.0, lower
    )
    assert soup.members == (0,)


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    torch.set_num_threads(1)
    settings = {"train.epochs": 1, "method": "finetune", "optimizer.lr": 1e-3}
    return default_trial(get_task("balance-scale"), preset="embedded").with_values(settings)


@pytest.fixture(scope="module")
def run(config: TrialConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of three trials whose weights are all still there; the last one was spoilt."""
    whole = RunConfig(trial=config, search=SearchConfig(budget="3"), runs=tmp_path_factory.mktemp("runs"))
    task = get_task(config.task)
    space = open_space(whole, task)
    folder = RunFolder.create(whole.runs, config.task)
    folder.space_yaml.write_text(space.to_yaml())
    folder.run_yaml.write_text(whole.to_yaml())
    facts = TaskFacts(
        task=task.name, metric=task.metric.name, unit="1", direction="min", provenance="real",
        preset="embedded", backbone=config.backbone,
    )  # fmt: skip
    study = Study(folder.journal, space, whole.search, epochs=1, facts=facts)
    for number in range(3):
        asked = study.ask()
        trial = space.config(asked.settings).with_values({"seed": number % 2})
        path = folder.trial(asked.number)
        path.mkdir()
        (path / "config.yaml").write_text(trial.to_yaml())
        result = train(trial, path)
        study.record(
            asked.number, {**result.curve[0].to_dict(), **({"best_score": 0.9} if number == 2 else {})}
        )
        study.complete(asked.number)
    weights, told = load_weights(folder.trial(2) / "best.safetensors")
    model = open_trial(config).build()
    model.load_state_dict({name: t if t.dtype == torch.int64 else -3 * t for name, t in weights.items()})
    save_weights(folder.trial(2) / "best.safetensors", model, told)
    study.close()
    return folder.path


def train(config: TrialConfig, folder: Path) -> FitResult:
    return run_trial(config, Context(report=lambda epoch: None, folder=folder))


def test_the_soup_of_a_run_is_a_model_that_stands_alone(run: Path, tmp_path: Path) -> None:
    kept = ingredients(run, snapshot(run))
    assert [i.number for i in kept][-1] == 2, "best first"
    metrics = soup_of_run(run, tmp_path / "soup")
    assert metrics["ingredients"] == [i.number for i in kept]
    assert metrics["soup"][0] == kept[0].number
    assert 2 not in metrics["soup"], "the spoilt one hurts"
    assert metrics["validation"] <= metrics["validation_alone"] == pytest.approx(kept[0].validation, abs=1e-6)
    assert 0 <= metrics["test"] <= 1
    assert json.loads((tmp_path / "soup" / "metrics.json").read_text())["test"] == metrics["test"]
    names = {p.name for p in (tmp_path / "soup").iterdir()}
    assert names == {"model.safetensors", "config.yaml", "metrics.json", "environment.txt"}
    _, _, loaded = load_model(tmp_path / "soup", torch.device("cpu"))
    assert loaded.task == "balance-scale"
    with pytest.raises(RunBusy, match="already holds"):
        soup_of_run(run, tmp_path / "soup")


def test_a_run_that_kept_too_little_says_so(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    import shutil

    shutil.copytree(run, copy)
    (copy / "trials" / "0001" / "best.safetensors").unlink()
    changed = copy / "trials" / "0002" / "config.yaml"
    changed.write_text(changed.read_text().replace("max_tokens: 64", "max_tokens: 32"))
    with pytest.raises(ConfigError, match="kept 1 .trial 2: input.max_tokens is 32, not 64.*--confirm 1"):
        soup_of_run(copy, tmp_path / "soup")
    with pytest.raises(ConfigError, match="not a run folder"):
        soup_of_run(tmp_path / "nothing", tmp_path / "soup")
