"""One number a sample, or several: from files to a trained model, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image

from pare_tune.config import default_trial, load_own
from pare_tune.errors import ConfigError, DataError
from pare_tune.inspect.check import check_data, check_lines
from pare_tune.inspect.listing import _output
from pare_tune.method import TargetScale
from pare_tune.tasks.base import Dense, Modality, Numbers, Task
from pare_tune.tasks.load import TaskData, load_task, open_test
from pare_tune.tasks.own.score import find_metric
from pare_tune.tasks.own.spec import MetricSpec, OwnData
from pare_tune.tasks.own.survey import survey
from pare_tune.tasks.own.target import Target
from pare_tune.tasks.own.task import own_task
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context
from pare_tune.train.predict import Predictor
from pare_tune.yaml import validate

N = 60
ONE, TWO = Target(output=Numbers, names=("y",)), Target(output=Numbers, names=("a", "b"), spread=(2.0, 1e-3))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def spec_of(root: Path, **tree: Any) -> OwnData:
    whole = {"name": "mine", "kind": "regression", "input": "x.npy", "target": "y.npy", **tree}
    return validate(OwnData, {k: v for k, v in whole.items() if v is not None}, where="task").under(root)


def task_of(root: Path, **tree: Any) -> Task:
    return own_task(spec_of(root, **tree), root / "cache")


def data_of(root: Path, **tree: Any) -> TaskData:
    return load_task(task_of(root, **tree), cache=root / "cache")


def inputs(shape: tuple[int, ...] = (2, 40)) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(N, *shape)).astype(np.float32)


def numbers(*shape: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(1).normal(5.0, 2.0, size=(N, *shape))


def save(root: Path, **arrays: Any) -> None:
    for name, array in arrays.items():
        np.save(root / f"{name}.npy", array)


def targets(data: Any) -> npt.NDArray[np.float32]:
    return np.stack([data.item(i)["y"].numpy() for i in range(len(data))])


def table(root: Path) -> pd.DataFrame:
    """Two numbers a row, of units that differ by a million, and row numbers as pandas writes them unasked."""
    x = inputs((3,))
    frame = pd.DataFrame(x, columns=["u", "v", "w"]).assign(
        heat=x[:, 0] * 1e3 + 4e4, weight=1e-3 * (x[:, 1] - x[:, 2])
    )
    frame.to_csv(root / "t.csv")
    return frame


# From files to the model


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_number_a_sample_becomes_an_output_of_its_own(tmp_path: Path, shape: tuple[int, ...]) -> None:
    y = numbers(*shape)
    save(tmp_path, x=inputs(), y=y)
    task = task_of(tmp_path)
    data = load_task(task, cache=tmp_path / "cache")
    test = open_test(task, cache=tmp_path / "cache")
    assert (task.modality, data.output, data.input_shape) == (Modality.SEQUENCE_1D, Numbers(1), (2, 40))
    assert (task.loss, task.metric.name, task.metric.unit) == ("scaled_mse", "rmse", "unit of y")
    assert task.raw is not None
    assert task.raw["target"]["names"] == ("y",)  # as the file is called
    train = targets(data.train)
    assert train.dtype == np.float32
    assert train.shape == (42, 1)
    everything = np.concatenate([train, targets(data.val), targets(test)])
    np.testing.assert_array_equal(np.sort(everything.ravel()), np.sort(y.ravel()).astype(np.float32))
    assert data.target_scale is not None
    torch.testing.assert_close(data.target_scale, (torch.tensor([train.mean()]), torch.tensor([train.std()])))


def test_each_of_several_columns_is_scaled_by_itself(tmp_path: Path) -> None:
    frame = table(tmp_path)
    data = data_of(tmp_path, input="t.csv", target={"columns": ["heat", "weight"]})
    assert (data.output, data.input_shape, data.task.modality) == (Numbers(2), (1, 3), Modality.TABLE)
    assert data.task.raw is not None
    assert data.task.raw["target"]["names"] == ("heat", "weight")
    train = targets(data.train)
    assert set(map(tuple, train.tolist())) <= set(
        map(tuple, frame[["heat", "weight"]].to_numpy(np.float32).tolist())
    )
    assert data.target_scale is not None
    mean, spread = data.target_scale
    np.testing.assert_allclose(mean, train.mean(0, dtype=np.float64), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(spread, train.std(0, dtype=np.float64), rtol=1e-4)


def test_a_small_number_weighs_as_much_as_a_large_one_in_the_loss(tmp_path: Path) -> None:
    table(tmp_path)
    data = data_of(tmp_path, input="t.csv", target={"columns": ["heat", "weight"]})
    assert data.target_scale is not None
    mean, spread = data.target_scale
    batch = {"y": torch.from_numpy(targets(data.train))}
    assert float(data.loss(mean.expand_as(batch["y"]), batch)) == pytest.approx(1.0, rel=1e-4)
    for off in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])):
        assert float(data.loss(batch["y"] + 3 * off * spread, batch)) == pytest.approx(4.5, rel=1e-3)
    with pytest.raises(ValueError, match="must have one shape"):
        data.loss(batch["y"][:, 0], batch)


def test_a_table_of_targets_alone_gives_every_column_but_its_ids(tmp_path: Path) -> None:
    save(tmp_path, x=inputs())
    pd.DataFrame(numbers(2), columns=["a", "b"]).to_csv(tmp_path / "y.csv")
    data = data_of(tmp_path, target="y.csv")
    assert data.task.raw is not None
    assert data.task.raw["target"]["names"] == ("a", "b")


def test_images_and_series_of_any_size_have_numbers_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(12):
        pixels = rng.integers(0, 255, (20 + i, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    made: dict[str, Any] = {f"s{i}": rng.normal(size=20 + i) for i in range(12)}
    np.savez(tmp_path / "s.npz", **made)
    save(tmp_path, y=np.arange(12.0))
    grid = data_of(tmp_path, name="grid", input="images")
    assert (grid.task.modality, grid.input_shape, grid.output) == (Modality.GRID_2D, (3, 64, 64), Numbers(1))
    series = data_of(tmp_path, name="series", input="s.npz:*")
    assert series.task.modality is Modality.SEQUENCE_1D
    assert series.train.item(0)["y"].shape == (1,)
    assert set(series.train.item(0)) == {"x", "y"}  # what is padded is the input alone


def test_whole_numbers_of_few_values_are_numbers_where_one_says_so(tmp_path: Path) -> None:
    save(tmp_path, x=inputs(), y=np.arange(N) % 3)
    data = data_of(tmp_path)
    assert data.output == Numbers(1)
    assert set(targets(data.train).ravel().tolist()) == {0.0, 1.0, 2.0}


# What is wrong with them


def spoiled(*places: int) -> npt.NDArray[np.float64]:
    y = numbers()
    y[list(places)] = np.nan
    return y


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (spoiled(4, 9), r"target 'y' is NaN or infinite in 2 samples \(4, 9\); leave such samples out"),
        (np.full(N, 7), "target 'y' is 7 for every sample; there is nothing to learn"),
        (np.where([True, False], numbers(2), 3.0), "target 'y 1' is 3 for every sample"),
        (np.array(["low", "high"] * 30), r"needs numbers, found 'low' \(sample 0, y\); classes in words are"),
        (np.arange(N) % 2 == 0, "needs numbers, found bool; true and false are classes, kind point"),
        (numbers(4, 5), r"a row of several, found targets of shape \(60, 4, 5\); a value at every position"),
        (numbers() * 1e39, "target 'y' reaches .*, more than single precision holds"),
        (numbers() * 1e-34, "varies by .*, less than single precision holds well: rescale it"),
        (2.46e6 + 1e-3 * numbers(), "varies by 0.00.* around 2460000.*, too little for single precision"),
        (numbers()[:50], "holds 60 samples and y.npy 50 targets"),
    ],
)
def test_targets_that_cannot_be_learned_say_why(tmp_path: Path, y: npt.NDArray[Any], message: str) -> None:
    save(tmp_path, x=inputs(), y=y)
    with pytest.raises(DataError, match=message) as told:
        task_of(tmp_path)
    assert "\n" not in str(told.value)


def test_too_few_samples_are_one_message(tmp_path: Path) -> None:
    save(tmp_path, x=inputs()[:2], y=numbers()[:2])
    with pytest.raises(DataError, match="holds 2 samples; train, val and test need at least one each"):
        task_of(tmp_path)
    save(tmp_path, x=inputs()[:3], y=numbers()[:3])
    with pytest.raises(DataError, match="target 'y' is .* for all 1 training samples, so nothing of it"):
        task_of(tmp_path)
    save(tmp_path, x=inputs()[:6], y=numbers()[:6])
    with pytest.raises(ConfigError, match="R2Score does not score values .*two samples"):
        task_of(tmp_path, metric="torchmetrics:R2Score")


def test_a_number_that_may_mark_a_missing_one_is_a_warning(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(150, 2, 40))
    y = np.random.default_rng(1).normal(5.0, 2.0, size=150)
    y[37] = -999
    save(tmp_path, x=x, y=y)
    (warning,) = survey(spec_of(tmp_path), tmp_path / "cache").survey.warnings
    assert "target 'y' of sample 37 is -999, 12 spreads from the mean; if it marks a missing" in warning


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,y\n1,2.5\n2,\n3,4\n", "y", r"sample 1 has no target \(y\); leave such samples out"),
        ("a,y\n1,2.5\n2,n/a\n3,4\n", "y", r"sample 1 has no target \(y\); leave such samples out"),
        ("a,y\n1,2.5\n2,two\n3,4\n", "y", r"needs numbers, found 'two' \(sample 1, y\)"),
        ("a,y\n1,\n2,\n3,\n", "y", "y is empty throughout; it cannot be the target"),
        ("a,y\n1,2.5\n2,3\n3,4\n", "t.csv", "inputs and target are one table; say which of its columns"),
        ("a,y\n1,2.5\n2,3\n3,4\n", {"columns": ["y", "y"]}, "each target column once, got y, y"),
    ],
)
def test_a_wrong_column_is_one_message(tmp_path: Path, text: str, target: Any, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        task_of(tmp_path, input="t.csv", target=target)


def test_a_task_and_its_numbers_must_agree(tmp_path: Path) -> None:
    save(tmp_path, x=inputs(), y=numbers())
    task = task_of(tmp_path)
    with pytest.raises(DataError, match=r"train sample 0: y has shape \(1,\), not \(2,\)"):
        load_task(replace(task, name="other", output=Numbers(2)), cache=tmp_path / "cache")
    for loss in ("bce_with_logits", "cross_entropy"):
        with pytest.raises(ConfigError, match=f"loss '{loss}' needs"):
            load_task(replace(task, loss=loss), cache=tmp_path / "cache")
    with pytest.raises(
        ConfigError, match="loss 'scaled_mse' needs numbers a sample, task 'mine' gives Dense"
    ):
        load_task(replace(task, output=Dense((1,))), cache=tmp_path / "cache")


def test_splits_whose_target_columns_differ_are_refused(tmp_path: Path) -> None:
    save(tmp_path, x=inputs())
    for name, columns in (("train", ["a", "b"]), ("test", ["b", "a"])):
        pd.DataFrame(numbers(2), columns=columns).to_csv(tmp_path / f"{name}.csv", index=False)
    parts = {name: {"input": "x.npy", "target": f"{name}.csv"} for name in ("train", "test")}
    with pytest.raises(DataError, match="are the same, in one order, found a, b and b, a"):
        task_of(tmp_path, input=None, target=None, **parts)


# Scores


def test_rmse_is_of_the_whole_split_and_not_of_each_sample() -> None:
    prediction, y = torch.tensor([[1.0], [2.0], [7.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert find_metric(None, ONE).score(prediction, {"y": y}) == pytest.approx((16 / 3) ** 0.5)
    named = find_metric(MetricSpec(name="rmse", unit="mg"), TWO)
    two = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert named.score(two + torch.tensor([3.0, 1.0]), {"y": two}) == pytest.approx(2.0)
    assert named.unit == "mg"
    assert np.isnan(find_metric(None, ONE).score(prediction * torch.nan, {"y": y}))
    with pytest.raises(ValueError, match="must have one shape"):
        find_metric(None, ONE).score(prediction, {"y": y[:, 0]})


def test_several_numbers_are_scored_in_units_of_their_training_spread() -> None:
    metric = find_metric(None, TWO)
    y = torch.zeros(5, 2)
    assert metric.name == "scaled_rmse"
    assert metric.score(y + torch.tensor([2.0, 3e-3]), {"y": y}) == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["R2Score", "MeanAbsoluteError", "MeanSquaredError", "SpearmanCorrCoef"])
@pytest.mark.parametrize("target", [ONE, TWO])
def test_torchmetrics_score_each_number_and_average(name: str, target: Target) -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    theirs = {
        "R2Score": r2_score,
        "MeanAbsoluteError": mean_absolute_error,
        "MeanSquaredError": mean_squared_error,
        "SpearmanCorrCoef": lambda y, p: np.mean([spearmanr(a, b)[0] for a, b in zip(y.T, p.T, strict=True)]),
    }[name]
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, len(target.names))).astype(np.float32) * [1.0, 1e3][: len(target.names)]
    prediction = (y + rng.normal(size=y.shape) * y.std(axis=0)).astype(np.float32)
    metric = find_metric(MetricSpec(name=f"torchmetrics:{name}"), target)
    batch = {"y": torch.from_numpy(y.astype(np.float32))}
    assert metric.score(torch.from_numpy(prediction), batch) == pytest.approx(theirs(y, prediction), rel=1e-4)
    assert metric.direction == ("max" if name in ("R2Score", "SpearmanCorrCoef") else "min")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (MetricSpec(name="nrmse"), "nrmse does not score values; those that do: rmse, scaled_rmse, torchm"),
        (MetricSpec(name="error_rate"), "does not score values"),
        (MetricSpec(name="torchmetrics:R2Score", options={"multioutput": "every"}), "multioutput"),
        (MetricSpec(name="torchmetrics:MulticlassRecall"), "does not score values|missing"),
    ],
)
def test_a_metric_that_does_not_score_numbers_is_refused(spec: MetricSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_metric(spec, ONE)


def test_one_score_of_several_can_be_left_to_options() -> None:
    spec = MetricSpec(name="torchmetrics:R2Score", options={"multioutput": "variance_weighted"})
    assert np.isfinite(find_metric(spec, TWO).score(torch.randn(9, 2), {"y": torch.randn(9, 2)}))


# What people are told


def test_the_check_tells_range_mean_spread_and_what_would_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, x=inputs(), y=np.stack([np.arange(N), 100.0 - np.arange(N)], axis=1))
    (tmp_path / "task.yaml").write_text("name: mine\nkind: regression\ninput: x.npy\ntarget: y.npy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARE_TUNE_CACHE", str(tmp_path / "cache"))
    check = check_data(load_own(Path("task.yaml")))
    assert check.training is not None
    lines = "\n".join(check_lines(check))
    for part in (
        "mine: series of 40 steps, 2 channels → 2 numbers",
        "y.npy: 60 × 2 float64, 0 to 100, no NaN, 2 numbers a sample",
        "y 0  0 to 59, mean 29.5, spread 17.32 (the rmse of always saying the mean)",
        "70/15/15 %, seed 0)",
        "loss scaled_mse, metric scaled_rmse in spreads of y, lower is better",
    ):
        assert part in lines, part
    told = check.to_json()
    expected = {"low": 41, "high": 100, "mean": 70.5, "spread": 17.318}
    assert told["values"]["y 1"] == pytest.approx(expected, rel=1e-4)
    assert told["class_counts"] == {}


def test_the_check_shows_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, x=inputs(), y=spoiled(3))
    (tmp_path / "task.yaml").write_text("name: mine\nkind: regression\ninput: x.npy\ntarget: y.npy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARE_TUNE_CACHE", str(tmp_path / "cache"))
    told = check_data(load_own(Path("task.yaml"))).to_json()
    assert told["training"] is None
    assert told["targets"]["nan"] == 1
    assert np.isfinite(told["targets"]["high"])
    assert len(told["problems"]) == 1


def test_a_listing_says_how_many_numbers() -> None:
    assert [_output(Numbers(n)) for n in (1, 3)] == ["a number", "3 numbers"]


# A whole training


def test_a_real_table_is_learned_better_than_its_mean(tmp_path: Path) -> None:
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True).frame
    frame.to_csv(tmp_path / "diabetes.csv", index=False)
    own = spec_of(tmp_path, name="progression", input="diabetes.csv", target="target")
    task = own_task(own, tmp_path / "cache")
    config = default_trial(task, preset="embedded", own=own, method="finetune").with_values(
        {"train.epochs": 4, "optimizer.lr": 1e-3}
    )
    metrics = run_final(
        config, Context(report=lambda r: None, folder=tmp_path / "final"), with_val=False,
        cache=tmp_path / "cache",
    )  # fmt: skip
    assert metrics is not None
    assert (metrics["metric"], metrics["outputs"]) == ("rmse", ["target"])
    data = load_task(task, cache=tmp_path / "cache")
    assert data.target_scale is not None
    y = targets(open_test(task, cache=tmp_path / "cache"))
    of_the_mean = float(np.sqrt(np.square(y - float(data.target_scale[0])).mean()))
    assert metrics["test"] < 0.9 * of_the_mean

    predictor = Predictor(tmp_path / "final")
    assert predictor.shape.output == Numbers(1)
    assert [m.std.shape for m in predictor.model.modules() if isinstance(m, TargetScale)] == [(1,)]
    found = predictor.predict(predictor.open(tmp_path / "diabetes.csv").piece(range(442))).values
    assert found.shape == (442, 1)
    # In the unit of the file: from a whole table back to its own column.
    assert np.corrcoef(found[:, 0], frame["target"])[0, 1] > 0.5
    assert np.sqrt(np.square(found[:, 0] - frame["target"]).mean()) < 0.9 * frame["target"].std()
    with pytest.raises(DataError, match="predicts numbers, not probabilities; leave out --probabilities"):
        Predictor(tmp_path / "final", probabilities=True)
