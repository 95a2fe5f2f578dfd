"""Predicting files, in this process and on a cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pare_tune import api
from pare_tune.apply import Asked, _Worker
from pare_tune.config import default_trial
from pare_tune.errors import ConfigError, DataError
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.task import own_task
from pare_tune.train import predict as predicting
from pare_tune.train.export import METRICS
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context
from pare_tune.yaml import validate

N = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with its model in `final`."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("apply")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N, 3)).round(3), columns=["a", "b", "c"])
    frame["colour"] = [("red", "green", "blue")[i % 3] for i in range(N)]
    frame["id"] = [f"s{i}" for i in range(N)]
    frame["label"] = np.where(frame.a + frame.b > 0, "high", "low")
    frame.to_csv(folder / "t.csv", index=False)
    tree = {"name": "t", "kind": "point", "input": {"file": "t.csv", "id": "id"}, "target": "label"}
    own = validate(OwnData, tree, where="task").under(folder)
    config = default_trial(own_task(own, folder / "cache"), preset="embedded", own=own, method="finetune")
    run_final(
        config.with_values({"train.epochs": 1}),
        Context(report=lambda epoch: None, folder=folder / "final"),
        with_val=False,
        cache=folder / "cache",
    )
    return folder


def predict(folder: Path, inputs: str, out: str, **options: Any) -> list[str]:
    notes: list[str] = []
    api.predict_file(
        folder / "final", folder / inputs, folder / out, batch_size=8, notify=notes.append, **options
    )
    return notes


def test_the_table_that_was_trained_from_is_predicted_with_names_sets_and_ids(folder: Path) -> None:
    assert not predict(folder, "t.csv", "out.csv", probabilities=True, coverage=0.8)
    rows = pd.read_csv(folder / "out.csv", keep_default_na=False)
    assert list(rows) == ["sample", "class", "set", "probability:high", "probability:low"]
    assert rows["sample"].tolist() == [f"s{i}" for i in range(N)]
    assert set(rows["set"]) <= {"", "high", "low", "high|low"}
    likeliest = np.where(rows["probability:high"] >= rows["probability:low"], "high", "low")
    assert rows["class"].tolist() == likeliest.tolist()


def test_order_of_columns_and_size_of_pieces_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(folder, "t.csv", "whole.parquet")
    frame = pd.read_csv(folder / "t.csv")
    frame[["label", "colour", "c", "id", "a", "b"]].to_parquet(folder / "other.parquet")
    monkeypatch.setattr(predicting, "_MOST_ROWS", 16)
    predict(folder, "other.parquet", "pieces.parquet")
    whole, pieces = (pd.read_parquet(folder / f"{name}.parquet") for name in ("whole", "pieces"))
    pd.testing.assert_frame_equal(whole, pieces)


def test_categories_that_training_never_saw_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "_MOST_ROWS", 16)
    frame = pd.read_csv(folder / "t.csv")
    frame.loc[::4, "colour"] = "mauve"
    frame.to_csv(folder / "new.csv", index=False)
    (note,) = predict(folder, "new.csv", "out.npy")
    assert "15 of 60 cells of column 'colour' hold categories that training saw too rarely, or never" in note


def test_a_model_that_one_fold_was_left_out_of_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "final", tmp_path / "final")
    shutil.copy(folder / "t.csv", tmp_path)
    told = tmp_path / "final" / METRICS
    told.write_text(json.dumps({**json.loads(told.read_text()), "folds": 3}))
    (note,) = predict(tmp_path, "t.csv", "out.npy")
    assert "the last of 3 folds" in note


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns="b"), "has no column 'b'"),
        (lambda f: f.assign(a=f.a.astype(str).where(f.index != 41, "much")), "found 'much' in row 42"),
        (lambda f: f.assign(a=f.a.where(f.index != 41, np.inf)), "row 42 holds infinity"),
        (lambda f: f.head(0), "has no row"),
    ],
)
def test_rows_that_do_not_fit_leave_no_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, message: str
) -> None:
    monkeypatch.setattr(predicting, "_MOST_ROWS", 16)
    spoil(pd.read_csv(folder / "t.csv")).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=message):
        api.predict_file(folder / "final", tmp_path / "bad.csv", tmp_path / "out.csv", batch_size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_sets_go_into_tables(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"sets of classes are a column of a table; give an --out in \.csv"):
        predict(folder, "t.csv", "out.npy", coverage=0.8)


@pytest.mark.ray
def test_a_cluster_gives_the_same_numbers_and_errors(tmp_path: Path, ray_cluster: None) -> None:
    torch.set_num_threads(1)
    series = np.random.default_rng(0).normal(size=(150, 32768)).astype(np.float32)
    np.save(tmp_path / "x.npy", series[:30])
    np.save(tmp_path / "y.npy", np.arange(30) % 2)
    own = validate(OwnData, {"name": "s", "kind": "point", "input": "x.npy", "target": "y.npy"}, where="task")
    own = own.under(tmp_path)
    config = default_trial(own_task(own, tmp_path / "cache"), preset="embedded", own=own, method="finetune")
    context = Context(report=lambda epoch: None, folder=tmp_path / "final")
    small = config.with_values({"train.epochs": 1, "input.max_tokens": 8})
    run_final(small, context, with_val=False, cache=tmp_path / "cache")
    np.save(tmp_path / "many.npy", series)
    predict(tmp_path, "many.npy", "one.npy")
    predict(tmp_path, "many.npy", "two.npy", num_workers=2)
    one, two = (np.load(tmp_path / name) for name in ("one.npy", "two.npy"))
    assert one.shape == (150, 2), "more than a piece"
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
    series[149, 7] = np.nan
    np.save(tmp_path / "bad.npy", series)
    with pytest.raises(DataError, match=r"bad\.npy: sample 149 holds NaN"):
        predict(tmp_path, "bad.npy", "three.npy", num_workers=2)
    assert not (tmp_path / "three.npy").exists()


def test_what_is_wrong_on_a_worker_is_told_by_its_driver(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.zeros((3, 3)))
    asked = Asked(model=folder / "final", inputs=tmp_path / "bad.npy")
    with pytest.raises(DataError, match="this model was trained on a table") as told:
        asked.open().open(asked.inputs)
    given = _Worker(asked, torch.get_num_threads())({"id": 0})["given"]
    assert isinstance(given, DataError)
    assert str(given) == str(told.value)
