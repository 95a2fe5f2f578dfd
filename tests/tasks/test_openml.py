from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from sklearn.datasets import load_breast_cancer

from pare_tune.errors import DataError, UnknownName
from pare_tune.tasks import TASKS, Modality, get_task
from pare_tune.tasks.base import Point
from pare_tune.tasks.load import load_task, open_test
from pare_tune.tasks.openml import SPECS, TABLES
from pare_tune.tasks.tables import read_table

REAL = {"balance-scale", "tic-tac-toe", "wdbc", "car"}


def test_the_thirty_are_registered_in_their_order() -> None:
    assert len(TABLES) == 30
    assert [name for name in TASKS if name in TABLES] == list(TABLES)
    assert [spec.id for spec in SPECS] == sorted(spec.id for spec in SPECS)
    assert all(get_task(name) is task and task.name == name for name, task in TABLES.items())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_tables_own_data_are_as_its_real_ones(spec: Any, tmp_path: Path) -> None:
    task = TABLES[spec.name]
    assert task.make is not None
    task.make(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == list(task.files)
    table = read_table(tmp_path / task.files[0], spec.form)
    assert sorted(np.bincount(table.y)) == sorted(spec.class_rows)
    assert len(table.columns) == spec.features == task.input_shape[-1]
    assert sum(c.is_categorical for c in table.columns) == len(spec.levels)
    assert sum(int(c.is_missing.sum()) for c in table.columns) == spec.gaps
    widths = [len(set(c.values) - {None}) for c in table.columns if c.is_categorical]
    assert sorted(widths) == sorted(spec.levels)
    splits = {split: list(records) for split, records in task.read(tmp_path, 0).items()}
    shape = splits["train"][0]["x"].shape
    assert shape[1] == spec.features
    assert shape[0] <= task.input_shape[0]
    assert sum(map(len, splits.values())) == sum(spec.class_rows)
    assert task.embedded_provenance == ("real" if spec.name in REAL else "sample")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("wdbc", "75568807f1ac329e"),
        ("car", "4653f3de410a0ce1"),
        ("credit-approval", "d338aadfaac7855d"),
        ("credit-approval@official", "a17b5160161d7644"),
        ("cylinder-bands", "1a8e084dd0ad4007"),
        ("dresses-sales@official", "0210d04f4c1f5cbf"),
        ("eucalyptus", "f2eeab9c05001c2a"),
        ("breast-w@official", "a02f454c9adc2264"),
    ],
)
def test_encoded_rows_are_those_that_every_recorded_score_was_measured_on(
    name: str, digest: str, tmp_path: Path
) -> None:
    task = get_task(name)
    assert task.make is not None
    task.make(tmp_path, 0)
    seen = hashlib.sha256()
    for records in task.read(tmp_path, 0).values():
        for record in records:
            x = record["x"]
            seen.update(str(x.shape).encode() + x.tobytes() + record["y"].tobytes() + str(x.dtype).encode())
    assert seen.hexdigest()[:16] == digest


@pytest.mark.parametrize("name", sorted(REAL))
def test_whole_tables_are_as_wide_as_they_say(name: str) -> None:
    assert load_task(TABLES[name]).input_shape == TABLES[name].input_shape


def test_wdbc_is_scikit_learns_with_malignant_as_class_1(tmp_path: Path) -> None:
    task = TABLES["wdbc"]
    assert task.make is not None
    task.make(tmp_path, 0)
    bundled = load_breast_cancer()
    table = read_table(tmp_path / "wdbc.csv", next(s for s in SPECS if s.name == "wdbc").form)
    np.testing.assert_array_equal(np.stack([c.values for c in table.columns], axis=1), bundled.data)
    np.testing.assert_array_equal(table.y, bundled.target_names[bundled.target] == "malignant")


def test_scores_are_those_of_the_papers_table_as_errors() -> None:
    assert TABLES["wdbc"].paper.score == 0.0053
    assert TABLES["blood-transfusion"].paper.score == 0.3713
    assert TABLES["banknote-authentication"].paper.score == 0.0
    mean = np.mean([task.paper.score for task in TABLES.values()])
    assert 1.0 - mean == pytest.approx(0.9030, abs=5e-5), "the paper's average AUROC"


@pytest.mark.parametrize(
    ("name", "canonical", "modality", "shape", "provenance"),
    [
        ("openml:1510", "wdbc", Modality.TABLE, (1, 30), "real"),
        ("wdbc@official", "wdbc@official", Modality.SEQUENCE_1D, (30, 1), "real"),
        ("vehicle@official", "vehicle@official", Modality.SEQUENCE_1D, (18, 1), "sample"),
        ("openml:54", "openml-54", Modality.TABLE, (1, 18), "real"),
        ("openml-54@official", "openml-54@official", Modality.SEQUENCE_1D, (18, 1), "real"),
        ("car@official", "car@official", Modality.SEQUENCE_1D, (5, 6), "real"),
    ],
)
def test_a_name_tells_the_table_its_origin_and_its_layout(
    name: str, canonical: str, modality: Modality, shape: tuple[int, int], provenance: str
) -> None:
    task = get_task(name)
    assert (task.name, task.modality, task.input_shape) == (canonical, modality, shape)
    assert task.embedded_provenance == provenance
    assert get_task(task.name).name == task.name


@pytest.mark.parametrize("name", ["wdbk", "openml:", "openml:12x", "psicov@official", "wdbc@theirs"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownName, match=f"no task named '{name}'"):
        get_task(name)


@pytest.mark.parametrize(("name", "shape"), [("wdbc@official", (30, 1)), ("tic-tac-toe@official", (4, 9))])
def test_the_official_layout_has_the_same_splits(name: str, shape: tuple[int, int]) -> None:
    official, ours = load_task(get_task(name)), load_task(get_task(name.removesuffix("@official")))
    assert official.input_shape == shape
    assert [int(official.val.item(i)["y"]) for i in range(len(official.val))] == [
        int(ours.val.item(i)["y"]) for i in range(len(ours.val))
    ]


def pots() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "glaze": pd.Categorical(np.repeat(["raw", "salt", "ash"], 20)),
            "class": pd.Categorical(rng.choice(["1", "2"], 60)),
            "height": rng.normal(size=60),
            "mark": np.array([None, "a bird", 3] * 20, dtype=object),
        }
    )


@pytest.fixture
def openml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Puts tables, or errors, where scikit-learn would ask OpenML; returns the questions."""

    def answer(given: pd.DataFrame | Exception, *targets: str) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def fetch(**question: Any) -> SimpleNamespace:
            asked.append({**question, "timeout": socket.getdefaulttimeout()})
            if isinstance(given, Exception):
                raise given
            return SimpleNamespace(frame=given, target_names=list(targets))

        monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
        return asked

    return answer


def test_an_unknown_table_is_fetched_once_and_counted(
    openml: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    asked = openml(pots(), "glaze")
    task = get_task("openml:424242")
    assert task.output == Point(0)
    data = load_task(task, cache=tmp_path)
    load_task(task, cache=tmp_path)
    assert [question["data_id"] for question in asked] == [424242]
    assert asked[0]["as_frame"] is True
    assert asked[0]["timeout"] is not None
    assert socket.getdefaulttimeout() is None
    assert (data.output, data.task.output, data.provenance) == (Point(3), Point(3), "real")
    # class: two names and the rest; mark: two and the rest, None among them; height: one channel.
    assert data.input_shape == (3, 3)
    assert len(data.train) + len(data.val) + len(open_test(task, cache=tmp_path)) == 60


def test_a_known_tables_number_asks_for_the_real_one_and_checks_it(
    openml: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    openml(pots(), "glaze")
    with pytest.raises(DataError, match=r"54\.parquet must have 846 rows, found 60"):
        load_task(get_task("openml:54@official"), cache=tmp_path)


def test_without_a_network_the_way_out_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", unreachable)
    task = get_task("openml:424242")
    with pytest.raises(
        DataError, match=r"table 424242 could not be fetched .*no route.*424242\.csv, .*--data"
    ):
        load_task(task, cache=tmp_path / "cache")
    (tmp_path / "release").mkdir()
    pots()[["height", "glaze"]].to_csv(tmp_path / "release" / "424242.csv", index=False)
    data = load_task(task, data=tmp_path / "release", cache=tmp_path / "cache")
    assert (data.output, data.input_shape) == (Point(3), (1, 1))


@pytest.mark.parametrize("error", [ValueError("unknown dataset"), TimeoutError("timed out")])
def test_what_openml_answers_is_passed_on(
    openml: Callable[..., list[dict[str, Any]]], tmp_path: Path, error: Exception
) -> None:
    openml(error)
    with pytest.raises(DataError, match=rf"could not be fetched from OpenML \({error}\)"):
        load_task(get_task("openml:424242"), cache=tmp_path)


@pytest.mark.parametrize(("targets", "named"), [((), "none"), (("glaze", "height"), "glaze, height")])
def test_a_table_without_one_target_is_refused(
    openml: Callable[..., list[dict[str, Any]]], tmp_path: Path, targets: tuple[str, ...], named: str
) -> None:
    openml(pots(), *targets)
    with pytest.raises(DataError, match=f"one column of classes, it names {named}; .*--data FOLDER"):
        load_task(get_task("openml:424242"), cache=tmp_path)
