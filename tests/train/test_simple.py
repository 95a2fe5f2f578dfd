from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pare_tune.config import TrialConfig, default_trial
from pare_tune.data.store import Record
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense, MultiLabel, Numbers, Output, Point, Split
from pare_tune.tasks.load import load_task
from pare_tune.train.build import open_data
from pare_tune.train.checkpoint import BEST, load_weights, save_weights
from pare_tune.train.evaluation import Context
from pare_tune.train.export import ModelFolder
from pare_tune.train.held_out import HeldOut
from pare_tune.train.members import _fit_simple
from pare_tune.train.opened import open_probe
from pare_tune.train.predict import load_model
from pare_tune.train.simple import measure
from pare_tune.train.simple.fits import FITS, Training, fit_constant
from pare_tune.train.simple.measure import measure_simple, predict_whole, read_whole, simple_file
from pare_tune.train.simple.models import SIMPLE, SimpleModel, kind_of
from pare_tune.train.simple.scores import SIMPLE_FILE, read_simple


def samples(output: Output, n: int = 60) -> Training:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2, 12)).astype("f")
    signal = x[:, 0, :3].sum(1) - x[:, 1, 4]
    match output:
        case Point(num_classes=2):
            y = torch.from_numpy((signal > 0).astype(np.int64))
        case Point():
            y = torch.from_numpy(np.digitize(signal, [-1.0, 1.0]))  # the fourth class is never seen
        case MultiLabel():
            y = torch.from_numpy(np.stack([signal > 0, signal > 1], 1).astype("f"))
        case _:
            y = torch.from_numpy(np.stack([signal, signal**2], 1).astype("f"))
    return Training(torch.from_numpy(x), y, output, is_mask=False)


@pytest.mark.parametrize("output", [Point(2), Point(4), MultiLabel(2), Numbers(2)])
@pytest.mark.parametrize("kind", list(SIMPLE))
def test_a_file_of_tensors_rebuilds_what_was_fitted(kind: str, output: Output, tmp_path: Path) -> None:
    training = samples(output)
    model = FITS[kind].fit(training)
    outputs = predict_whole(model, training.x)
    assert outputs.dtype == torch.float32
    save_weights(tmp_path / "m.safetensors", model, {})
    again = SIMPLE[kind_of(model)](load_weights(tmp_path / "m.safetensors")[0])
    torch.testing.assert_close(predict_whole(again, training.x), outputs, rtol=0, atol=0)
    if kind != "constant" and isinstance(output, Point):
        assert (outputs.argmax(1) != training.y).float().mean() < 0.25


@pytest.mark.parametrize("classes", [2, 4])
def test_trees_and_linear_models_give_what_scikit_learn_gives(classes: int) -> None:
    training = samples(Point(classes))
    x, y = training.x.flatten(1).numpy(), training.y.numpy()
    trees = HistGradientBoostingClassifier(random_state=0, early_stopping=False, min_samples_leaf=3)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for kind, theirs in (("trees", trees), ("linear", linear)):
        ours = predict_whole(FITS[kind].fit(training), training.x).softmax(1).numpy()
        expected = theirs.fit(x, y).predict_proba(x)
        np.testing.assert_allclose(ours[:, : expected.shape[1]], expected, atol=1e-3)


def test_numbers_are_those_of_scikit_learn() -> None:
    training = samples(Numbers(2))
    x, y = training.x.flatten(1).numpy(), training.y.numpy()
    ours = predict_whole(FITS["trees"].fit(training), training.x)[:, 1].numpy()
    trees = HistGradientBoostingRegressor(random_state=0, early_stopping=False, min_samples_leaf=3)
    np.testing.assert_allclose(ours, trees.fit(x, y[:, 1]).predict(x), rtol=1e-4, atol=1e-4)
    ours = predict_whole(FITS["linear"].fit(training), training.x).numpy()
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=len(x) * np.logspace(-4, 4, 17)))
    np.testing.assert_allclose(ours, ridge.fit(x, y).predict(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("targets", "output", "guess"),
    [
        ([0, 2, 2, 2], Point(3), [0.25, 0.0, 0.75]),
        ([[0.0, 1.0], [1.0, 1.0]], MultiLabel(2), [0.5, 1.0]),
        ([[1.0, -4.0], [3.0, 4.0]], Numbers(2), [2.0, 0.0]),
        ([[[1.0, 2.0]], [[3.0, 6.0]]], Dense((1, 2)), [[2.0, 4.0]]),
    ],
)
def test_a_constant_is_what_training_shows_on_average(
    targets: list[object], output: Output, guess: object
) -> None:
    said = fit_constant(Training(torch.empty(0), torch.tensor(targets), output, False)).outputs(
        torch.empty(1)
    )[0]
    if isinstance(output, Point):
        said = said.exp()
    if isinstance(output, MultiLabel):
        said = said.sigmoid()
    torch.testing.assert_close(said.float(), torch.tensor(guess), atol=1e-5, rtol=0)


def pictures(root: Path, seed: int) -> Mapping[Split, Iterable[Record]]:
    """Bars that lie or stand."""

    def records(count: int) -> Iterable[Record]:
        for i in range(count):
            x = np.random.default_rng((seed, count, i)).normal(size=(1, 8, 8), scale=0.3).astype("f")
            (x[0] if i % 2 else x[0].T)[2 + i % 4] += 3.0
            yield {"x": x, "y": np.int64(i % 2) if root.name == "classes" else np.float32([50.0 + i % 2])}

    return {"train": records(40), "val": records(20), "test": records(2)}


@pytest.mark.parametrize("output", [Point(2), Numbers(1)])
def test_a_probe_is_kept_as_any_other_model(output: Output, tmp_path: Path) -> None:
    release = tmp_path / ("classes" if isinstance(output, Point) else "numbers")
    release.mkdir()
    task = replace(
        get_task("ninapro"), name="bars", read=pictures, output=output, item=lambda record, canvas, rng: dict(record),
        input_shape=(1, 8, 8), loss="cross_entropy" if isinstance(output, Point) else "scaled_mse",
        scale_target=isinstance(output, Numbers),
    )  # fmt: skip
    data = load_task(task, data=release, cache=tmp_path / "cache")
    opened = open_probe(default_trial(task, preset="embedded"), data)
    _fit_simple("probe", opened, data.train, Context(report=lambda r: None, folder=tmp_path))
    ModelFolder(tmp_path).write(tmp_path / BEST, opened.config.to_yaml(), {})
    held_out = read_whole(data.val)
    outputs = predict_whole(load_model(tmp_path, torch.device("cpu"))[0], held_out["x"])
    said = outputs.argmax(1) if isinstance(output, Point) else outputs[:, 0].round()
    assert (said == held_out["y"].squeeze()).float().mean() > 0.8


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    return default_trial(get_task("balance-scale"), preset="embedded")


@pytest.mark.parametrize("folds", [1, 2])
def test_they_are_scored_on_what_trials_are_scored_on(
    config: TrialConfig, tmp_path: Path, folds: int
) -> None:
    measure_simple(config, folds, tmp_path)
    scores = {score.kind: score for score in read_simple(tmp_path)}
    assert set(scores) == {"constant", "linear", "trees"}, "convolutions are for series"
    data, metric = open_data(config), get_task("balance-scale").metric
    development = np.arange(len(data.train) + len(data.val))
    for kind, score in scores.items():
        kept = HeldOut.read(simple_file(tmp_path, kind))
        np.testing.assert_array_equal(np.sort(kept.index_N), data.val_index if folds == 1 else development)
        assert score.score == pytest.approx(metric.score(*kept.predictions))
        assert len(score.influences) == 50
    assert (scores["linear"].score or 1) < (scores["constant"].score or 0)


def test_what_takes_long_to_read_is_left_out(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_MOST_NUMBERS", 10)
    measure_simple(config, 1, tmp_path)
    (only,) = read_simple(tmp_path)
    assert only.score is None
    assert "samples take longer than seconds to read" in (only.skipped or "")


@pytest.mark.parametrize("content", ["", "[", "[1]", '[{"kind": "x"}]'])
def test_a_damaged_file_counts_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / SIMPLE_FILE).parent.mkdir()
    (tmp_path / SIMPLE_FILE).write_text(content)
    assert read_simple(tmp_path) == ()


def test_a_kind_is_that_of_the_module() -> None:
    one_class = Training(torch.zeros(3, 1, 4), torch.zeros(3, dtype=torch.long), Point(2), is_mask=False)
    for kind in ("linear", "trees"):
        model: SimpleModel = FITS[kind].fit(one_class)
        assert kind_of(model) == "constant", "one class alone has no other model"
