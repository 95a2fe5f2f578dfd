from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pare_tune.config import TrialConfig, default_trial, load_own, load_trial
from pare_tune.errors import DataError, StorageError
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Point
from pare_tune.tasks.load import open_test
from pare_tune.tasks.own.task import own_task
from pare_tune.train import final as final_training
from pare_tune.train import predict as predicting
from pare_tune.train.calibration import Calibration
from pare_tune.train.checkpoint import load_weights
from pare_tune.train.export import ModelFolder
from pare_tune.train.final import CURVE, run_final
from pare_tune.train.held_out import HeldOut
from pare_tune.train.loop import Context, EpochReport
from pare_tune.train.patches import PATCHES, read_patches
from pare_tune.train.predict import Predictor, load_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    torch.set_num_threads(1)
    return default_trial(get_task("wdbc"), preset="embedded").with_values({"train.epochs": 2})


@pytest.fixture(scope="module")
def final(config: TrialConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("final")
    run_final(config, Context(report=lambda r: None, folder=folder), with_val=False)
    return folder


def test_it_leaves_a_folder_that_stands_alone(final: Path, config: TrialConfig) -> None:
    names = {p.name for p in final.iterdir()}
    files = {"model.safetensors", "config.yaml", "metrics.json", "environment.txt", "calibration.json"}
    assert names == files | {CURVE, PATCHES}
    assert [r.epoch for r in read_patches(final)] == [1, 2], "for the caller to draw"
    assert load_trial(final / "config.yaml") == config
    assert "torch " in (final / "environment.txt").read_text()
    assert len((final / CURVE).read_text().splitlines()) == 2


def predict(model: Path, inputs: np.ndarray | Path, **options: Any) -> np.ndarray:
    """Outputs of all samples, made piece by piece."""
    predictor = Predictor(model, **options)
    samples = predictor.open(inputs)
    pieces = predictor.pieces(samples)
    return np.concatenate([predictor.predict(samples.piece(rows)).values for rows in pieces])


def test_prediction_gives_the_numbers_of_the_evaluation(final: Path) -> None:
    task = get_task("wdbc")
    test = open_test(task)
    items = [test.item(i) for i in range(len(test))]
    inputs = np.stack([i["x"].numpy() for i in items])
    outputs = predict(final, inputs, batch_size=17)
    score = task.metric.score(torch.from_numpy(outputs), {"y": torch.stack([i["y"] for i in items])})
    metrics = json.loads((final / "metrics.json").read_text())
    assert metrics["test"] == pytest.approx(score, abs=1e-9)
    assert metrics["test_samples"] == len(test) == 285
    np.testing.assert_allclose(predict(final, inputs, probabilities=True).sum(1), 1.0, rtol=1e-5)


def test_probabilities_are_calibrated_and_sets_hold_what_metrics_say(final: Path, tmp_path: Path) -> None:
    task, metrics = get_task("wdbc"), json.loads((final / "metrics.json").read_text())["calibration"]
    test = open_test(task)
    items = [test.item(i) for i in range(len(test))]
    inputs, y = np.stack([i["x"].numpy() for i in items]), np.array([int(i["y"]) for i in items])
    logits, probabilities = predict(final, inputs), predict(final, inputs, probabilities=True)
    scaled = np.exp(logits / metrics["temperature"])
    np.testing.assert_allclose(probabilities, scaled / scaled.sum(1, keepdims=True), rtol=1e-4)
    predictor = Predictor(final, coverage=metrics["coverage"])
    members = predictor.predict(predictor.open(inputs).piece(range(len(y)))).members
    assert members is not None
    assert members[np.arange(len(y)), y].mean() == pytest.approx(metrics["covered"])

    older = shutil.copytree(final, tmp_path / "older")
    (older / "calibration.json").unlink()
    with pytest.raises(DataError, match=r"calibration\.json is missing: the folder was copied in part"):
        Predictor(older)
    (older / "metrics.json").write_text("{}")  # as earlier versions left it
    np.testing.assert_array_equal(predict(older, inputs), logits)
    assert np.abs(predict(older, inputs, probabilities=True) - probabilities).max() > 1e-4


def test_pieces_of_any_size_give_the_same_numbers(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = np.random.default_rng(0).normal(size=(50, 1, 30)).astype(np.float32)
    whole = predict(final, inputs, batch_size=8)
    monkeypatch.setattr(predicting, "_MOST_ROWS", 17)
    predictor = Predictor(final, batch_size=8)
    assert [len(rows) for rows in predictor.pieces(predictor.open(inputs))] == [16, 16, 16, 2]
    np.testing.assert_array_equal(predict(final, inputs, batch_size=8), whole)


def test_the_test_split_of_a_release_is_predicted_from_its_folder(final: Path, tmp_path: Path) -> None:
    task = get_task("wdbc")
    assert task.make is not None
    task.make(tmp_path / "release", 0)
    test = open_test(task, data=tmp_path / "release")
    inputs = np.stack([test.item(i)["x"].numpy() for i in range(len(test))])
    np.testing.assert_array_equal(predict(final, tmp_path / "release"), predict(final, inputs))


def test_training_on_validation_too_keeps_the_last_epoch(config: TrialConfig, tmp_path: Path) -> None:
    seen: list[EpochReport] = []
    metrics = run_final(config, Context(report=seen.append, folder=tmp_path), with_val=True)
    assert metrics is not None
    assert (metrics["trained_on"], metrics["validation"], metrics["epoch"]) == ("train+val", None, 2)
    assert metrics["calibration"] is None, "nothing was held out"
    with pytest.raises(DataError, match="no calibration, which --coverage needs"):
        Predictor(tmp_path, coverage=0.9)
    assert all(np.isnan(r.score) for r in seen)


def test_what_the_search_held_out_calibrates_a_model_that_held_out_nothing(
    config: TrialConfig, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    searched = HeldOut(np.arange(80), rng.normal(size=(80, 2)).astype(np.float32), y, 1)
    searched.write(tmp_path / "held_out.safetensors")
    metrics = run_final(
        config.with_values({"train.epochs": 1}),
        Context(report=lambda r: None, folder=tmp_path / "final"),
        with_val=True,
        searched=tmp_path / "held_out.safetensors",
    )
    assert metrics is not None
    told = metrics["calibration"]
    assert (told["fitted_on"], told["samples"]) == ("the search's held-out samples", 80)
    calibration = ModelFolder(tmp_path / "final").calibration()
    assert calibration == Calibration.fit(
        *searched.predictions, Point(2), is_mask=False, fitted_on="the search's held-out samples"
    )


def test_an_interrupted_final_training_goes_on(config: TrialConfig, tmp_path: Path, final: Path) -> None:
    class Killed(BaseException):
        pass

    def die(report: EpochReport) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_final(config, Context(report=die, folder=tmp_path), with_val=False)
    with (tmp_path / CURVE).open("a") as file:
        file.write('{"epoch": 2, "torn')
    run_final(config, Context(report=lambda r: None, folder=tmp_path), with_val=False)
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / CURVE).read_text().splitlines()]
    assert epochs == [1, 2]
    undisturbed = json.loads((final / "metrics.json").read_text())
    resumed = json.loads((tmp_path / "metrics.json").read_text())
    assert resumed["test"] == undisturbed["test"]


def test_a_folder_without_its_model_is_not_finished(
    config: TrialConfig, final: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, partial: Path) -> None:
        partial.write_bytes(b"half a model")
        raise OSError(28, "No space left on device")

    def no_links(source: Path, partial: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    folder = ModelFolder(tmp_path)
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(StorageError, match="No space left"):
        folder.write(final / "model.safetensors", config.to_yaml(), {"test": 1.0})
    assert (tmp_path / "metrics.json").is_file()
    assert not folder.is_complete
    monkeypatch.undo()
    folder.write(final / "model.safetensors", config.to_yaml(), {"test": 1.0})
    assert folder.is_complete


def test_only_the_first_worker_touches_the_curve(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    monkeypatch.setattr(final_training, "fit", stop)
    written = b'{"epoch": 1}\n{"epoch": 2, "to'
    for rank, left in ((1, written), (0, b'{"epoch": 1}\n')):
        (tmp_path / CURVE).write_bytes(written)
        with pytest.raises(Stopped):
            run_final(config, Context(report=lambda r: None, folder=tmp_path, rank=rank), with_val=False)
        assert (tmp_path / CURVE).read_bytes() == left


@pytest.mark.parametrize("torn", ["", '{"epoch": 2, "to'])
def test_a_full_disk_costs_no_line_of_the_curve(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: str
) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    def full(path: Path, *_: object, **__: object) -> None:
        path.open("w").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(final_training, "fit", stop)
    written = '{"epoch": 1}\n' + torn
    (tmp_path / CURVE).write_text(written)
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError if torn else Stopped):
        run_final(config, Context(report=lambda r: None, folder=tmp_path), with_val=False)
    assert (tmp_path / CURVE).read_text() == written
    assert [p.name for p in tmp_path.iterdir()] == [CURVE]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 1, 29), np.float32), r"shape \(n, 1, 30\), got \(3, 1, 29\)"),
        (np.zeros((3, 30), np.float32), r"got \(3, 30\)"),
        (np.array([["a"]]), "shape"),
        (np.zeros((3, 1, 30), np.complex64), "takes numbers, got dtype complex64"),
        (np.full((3, 1, 30), np.nan, np.float32), "sample 0 holds NaN"),
        (np.zeros((0, 1, 30), np.float32), "0 samples, .* give at least one sample"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    final: Path, tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "inputs.npy", array)
    with pytest.raises(DataError, match=message):
        predict(final, tmp_path / "inputs.npy")


def test_pickled_truncated_and_missing_inputs_are_refused(final: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "whole.npy", np.zeros((3, 1, 30), np.float32))
    (tmp_path / "torn.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-50])
    for name in ("objects.npy", "torn.npy", "absent.npy"):
        with pytest.raises(DataError, match=name):
            predict(final, tmp_path / name)


def test_archives_are_no_inputs(final: Path, tmp_path: Path) -> None:
    path = tmp_path / "inputs.npz"
    np.savez(path, x=np.zeros((3, 1, 30), np.float32), y=np.zeros(3))
    for keep in (None, 100):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=r"inputs\.npz is an archive .* as \.npy with numpy\.save"):
            predict(final, path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        load_model(tmp_path, CPU)


def test_a_damaged_model_is_named(final: Path, tmp_path: Path) -> None:
    for path in (p for p in final.iterdir() if p.is_file()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match="damaged"):
        load_model(tmp_path, CPU)


@pytest.mark.parametrize(
    ("lost", "written_by", "message"),
    [
        ("config.yaml", None, "holds no model .* of a run, whole"),
        ("model.safetensors", None, "holds no model"),
        (
            None,
            "99.0",
            r"was written by pare-tune 99\.0, which is later than this one .* install that version",
        ),
        (None, None, "does not say how its model is built"),
    ],
)
def test_a_folder_of_another_version_or_copied_in_part_is_told(
    final: Path, tmp_path: Path, lost: str | None, written_by: str | None, message: str
) -> None:
    for path in (p for p in final.iterdir() if p.is_file() and p.name != lost):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if lost is None:
        tensors, about = load_weights(final / "model.safetensors")
        (tmp_path / "model.safetensors").unlink()
        metadata = {"pare_tune": json.dumps({**about, "what is to come": 1})}
        save_file(tensors, tmp_path / "model.safetensors", metadata=metadata)
    if written_by is not None:
        (tmp_path / "environment.txt").write_text(f"python 3.99\npare-tune {written_by}\n")
    with pytest.raises(DataError, match=message):
        load_model(tmp_path, CPU)


# A task of the user's own


@pytest.fixture(scope="module")
def own_final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 30 noisy series whose class is text, of different lengths and an odd unit; its data are gone."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    series = {f"s{i}": 1000 + 50 * rng.normal(size=(2, 20 + i)).astype(np.float32) for i in range(30)}
    np.savez(folder / "series.npz", **series)
    np.save(folder / "labels.npy", np.array(["walk", "run"] * 15))
    (folder / "task.yaml").write_text("name: gait\nkind: point\ninput: series.npz:*\ntarget: labels.npy\n")
    spec = load_own(folder / "task.yaml")
    config = default_trial(own_task(spec), preset="embedded", method="finetune", own=spec)
    config = config.with_values({"train.epochs": 1})
    run_final(config, Context(report=lambda r: None, folder=folder / "final"), with_val=False)
    return folder


def test_an_own_model_carries_its_preprocessing(own_final: Path) -> None:
    found = json.loads((own_final / "final" / "metrics.json").read_text())
    assert (found["task"], found["data"], found["outputs"]) == ("gait", "real", ["run", "walk"])
    config = load_trial(own_final / "final" / "config.yaml")
    task = own_task(config.own)  # type: ignore[arg-type]
    test = open_test(task)
    outputs = predict(own_final / "final", own_final / "series.npz", batch_size=7)
    ready = Predictor(own_final / "final").open(own_final / "series.npz").piece(range(30))
    assert outputs.shape == (30, 2)
    rows = [
        int(np.flatnonzero((ready.x == test.item(i)["x"].numpy()).all(axis=(1, 2)))[0])
        for i in range(len(test))
    ]
    batch = {"y": torch.stack([test.item(i)["y"] for i in range(len(test))])}
    assert found["test"] == pytest.approx(task.metric.score(torch.from_numpy(outputs[rows]), batch), abs=1e-9)


def test_an_own_model_predicts_where_its_data_are_not(own_final: Path, tmp_path: Path) -> None:
    for path in (p for p in (own_final / "final").iterdir() if p.is_file()):
        text = path.read_bytes()
        (tmp_path / path.name).write_bytes(text.replace(str(own_final).encode(), b"/gone"))
    predictor = Predictor(tmp_path)
    raw = 1000 + 50 * np.random.default_rng(1).normal(size=(4, 2, 25))
    ready = predictor.open(raw).piece(range(4))
    assert abs(float(ready.x[:, :2, :25].mean())) < 0.5
    assert predictor.predict(ready).values.shape == (4, 2)
    with pytest.raises(DataError, match="the model takes samples of 2 × any, got 4 of 3 × 25"):
        predictor.open(np.zeros((4, 3, 25)))
