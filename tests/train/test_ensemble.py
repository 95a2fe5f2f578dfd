from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.errors import ConfigError, DataError
from pare_tune.report.card import card
from pare_tune.tasks import get_task
from pare_tune.tasks.folds import Fold, Folds
from pare_tune.tasks.load import open_test
from pare_tune.train import members as training
from pare_tune.train.ensemble import Averaged, gathered, select, spread
from pare_tune.train.export import ENSEMBLE, ModelFolder
from pare_tune.train.final import CURVE, run_final
from pare_tune.train.loop import Context
from pare_tune.train.members import Member, member_folder
from pare_tune.train.predict import load_model, load_one
from pare_tune.train.simple.models import Constant

CPU = torch.device("cpu")
WDBC = get_task("wdbc")


def said(noise: float, seed: int, y: torch.Tensor) -> torch.Tensor:
    """Logits that are right to a degree."""
    logits = torch.randn(len(y), 2, generator=torch.Generator().manual_seed(seed)) * noise
    logits[torch.arange(len(y)), y] += 1.0
    return logits


def test_models_that_err_apart_are_averaged_and_bad_ones_left_out() -> None:
    y = torch.arange(200) % 2
    models = [said(1.0, 1, y), said(1.0, 2, y), said(1.0, 3, y), said(40.0, 4, y)]
    chosen = select(models, {"y": y}, np.arange(200), WDBC, most=3)
    assert sum(chosen.weights_M) == pytest.approx(1.0)
    assert chosen.weights_M[3] == 0
    assert sum(weight > 0.1 for weight in chosen.weights_M) >= 2
    assert chosen.score < chosen.single
    assert chosen.gain == pytest.approx(chosen.single - chosen.score)
    assert 0 < chosen.error < 10
    alone = select(models, {"y": y}, np.arange(200), WDBC, most=1)
    assert sorted(alone.weights_M)[-2:] == [0.0, 1.0], "no more than are asked for"


def test_a_choice_by_luck_is_not_told_as_a_gain() -> None:
    y = torch.arange(60) % 2
    on_itself, nested = [], []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        noise = [torch.randn(60, 2, generator=generator) for _ in range(8)]
        chosen = select(noise, {"y": y}, np.arange(60), WDBC, most=5)
        on_itself.append(WDBC.metric.score(chosen.outputs, {"y": y}))
        nested.append(chosen.score)
    assert np.mean(on_itself) < 0.4, "chosen for it"
    assert 0.42 < np.mean(nested) < 0.58, "each sample by what others chose"


@pytest.mark.parametrize("how", ["softmax", "sigmoid", "values"])
def test_an_average_of_equals_is_what_each_says(how: str) -> None:
    outputs = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    back = gathered(spread(outputs, how), how)  # type: ignore[arg-type]
    model = Averaged([Constant({"value": outputs[0]})] * 2, [1.0, 3.0], how)  # type: ignore[arg-type]
    averaged = model(torch.zeros(2, 1)).target[0]
    if how == "softmax":
        back, averaged, outputs = back.softmax(1), averaged.softmax(0), outputs.softmax(1)
    torch.testing.assert_close(back, outputs)
    torch.testing.assert_close(averaged, outputs[0])


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    torch.set_num_threads(1)
    return default_trial(WDBC, preset="embedded").with_values({"train.epochs": 2, "method": "finetune"})


@pytest.fixture(scope="module")
def members(config: TrialConfig) -> list[Member]:
    return [
        Member(config=config, weight=1.0, epoch=1, fold=Fold(Folds(2), 0)),
        Member(config=config, weight=3.0, simple="linear"),
    ]


@pytest.fixture(scope="module")
def final(config: TrialConfig, members: list[Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("final")
    assert [Member.from_dict(json.loads(json.dumps(m.to_dict(), default=str))) for m in members] == members
    run_final(config, Context(report=lambda r: None, folder=folder), with_val=True, members=members)
    return folder


def test_a_folder_of_several_predicts_their_average(final: Path) -> None:
    metrics = ModelFolder(final).metrics()
    assert [m["weight"] for m in metrics["members"]] == [1.0, 3.0]
    assert metrics["trained_on"] == "train+val"
    assert len((final / CURVE).read_text().splitlines()) == 1, "one epoch of two, and none of a linear model"
    test = open_test(WDBC)
    items = [test.item(i) for i in range(len(test))]
    x, y = torch.stack([i["x"] for i in items]), torch.stack([i["y"] for i in items])
    with torch.no_grad():
        one, two = (load_model(member_folder(final, n), CPU)[0](x).target.softmax(1) for n in range(2))
        together = load_model(final, CPU)[0](x).target
    torch.testing.assert_close(together.softmax(1), 0.25 * one + 0.75 * two)
    assert metrics["test"] == pytest.approx(WDBC.metric.score(together, {"y": y}))


def test_the_card_names_what_is_averaged(final: Path) -> None:
    told = card(final)
    assert "The average of 2 models (micro-roberta, finetune 25%, linear 75%), trained" in told
    assert "license: apache-2.0" in told
    with pytest.raises(
        DataError, match=r"test split was not scored: .* a member of an ensemble; give the final/"
    ):
        card(member_folder(final, 1))


def test_members_that_are_there_are_not_trained_again(
    config: TrialConfig, members: list[Member], final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (final / ENSEMBLE).unlink()
    assert not ModelFolder(final).is_complete

    def trained_again(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(training, "_train", trained_again)
    before = ModelFolder(final).metrics()["test"]
    run_final(config, Context(report=lambda r: None, folder=final), with_val=True, members=members)
    assert ModelFolder(final).metrics()["test"] == before


def test_what_looks_into_a_model_wants_one(final: Path) -> None:
    with pytest.raises(ConfigError, match="members/00"):
        load_one(final, CPU)
    assert load_one(member_folder(final, 0), CPU)[2].train.epochs == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"average": "softmax", "members": [1]}',
        '{"average": "softmax", "members": []}',
        '{"average": "mode", "members": [{"folder": "members/00", "weight": 1}]}',
        '{"average": "softmax", "members": [{"folder": "members/00", "weight": 0}]}',
        '{"average": "softmax", "members": [{"folder": "../final/members/00", "weight": 1}]}',
    ],
)
def test_a_damaged_list_of_members_is_named(final: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_bytes((final / "config.yaml").read_bytes())
    (tmp_path / ENSEMBLE).write_text(content)
    with pytest.raises(DataError, match=ENSEMBLE):
        load_model(tmp_path, CPU)


def test_a_refit_ends_with_the_epoch_that_folds_chose(config: TrialConfig, tmp_path: Path) -> None:
    metrics = run_final(config, Context(report=lambda r: None, folder=tmp_path), with_val=True, epoch=1)
    assert metrics is not None
    assert (metrics["epoch"], metrics["epochs"], metrics["trained_on"]) == (1, 2, "train+val")
