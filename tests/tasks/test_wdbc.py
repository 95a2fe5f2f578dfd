from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.losses import build_loss
from pare_tune.tasks.wdbc import FEATURES, LABEL, WDBC, half_split, read_table, standardised, write_table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_table(tmp_path, 0)
    return tmp_path


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in WDBC.read(root, seed).items()}


def stacked(records: list[dict[str, Any]]) -> np.ndarray:
    return np.stack([r["x"][0] for r in records])


def as_arff(root: Path) -> None:
    frame = pd.read_csv(root / "wdbc.csv", dtype=str)
    lines = ["@RELATION wdbc", *(f"@ATTRIBUTE {name} REAL" for name in FEATURES)]
    lines += ["@ATTRIBUTE Class {1, 2}", "@DATA", *(",".join(row) for row in frame.to_numpy())]
    (root / "wdbc.arff").write_text("\n".join(lines))
    (root / "wdbc.csv").unlink()


def test_the_table_is_scikit_learns_with_malignant_as_class_1(root: Path) -> None:
    bundled = load_breast_cancer()
    table = read_table(root / "wdbc.csv", FEATURES, LABEL, ("1", "2"))
    np.testing.assert_array_equal(table.values, bundled.data)
    np.testing.assert_array_equal(table.y, bundled.target_names[bundled.target] == "malignant")
    assert np.bincount(table.y).tolist() == [357, 212]


def test_half_is_test_and_a_fifth_of_the_rest_is_validation_stratified(root: Path) -> None:
    splits = read(root)
    assert {split: len(records) for split, records in splits.items()} == {
        "train": 227,
        "val": 57,
        "test": 285,
    }
    for records in splits.values():
        assert np.mean([r["y"] for r in records]) == pytest.approx(212 / 569, abs=0.01)
    y = read_table(root / "wdbc.csv", FEATURES, LABEL, ("1", "2")).y
    rows = half_split(y, 0, root)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(569))


def test_the_split_is_fixed_by_the_seed(root: Path) -> None:
    first, again, other = (stacked(read(root, seed)["test"]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_only_training_rows_set_the_scale(root: Path) -> None:
    train = stacked(read(root)["train"])
    np.testing.assert_allclose(train.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1.0, atol=1e-5)

    table = read_table(root / "wdbc.csv", FEATURES, LABEL, ("1", "2"))
    rows = half_split(table.y, 0, root)
    frame = pd.read_csv(root / "wdbc.csv")
    frame.loc[rows["test"], "V1"] *= 1000.0
    frame.to_csv(root / "wdbc.csv", index=False)
    np.testing.assert_array_equal(stacked(read(root)["train"]), train)


def test_missing_values_become_the_mean() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan], [np.nan, 9.0], [7.0, 7.0]])
    scaled = standardised(values, fit_on=np.array([0, 1, 2]))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[-1, -1], [1, 0], [0, 1], [5, 0]])


def test_an_arff_file_gives_the_same_records(root: Path) -> None:
    from_csv = read(root)
    as_arff(root)
    from_arff = read(root)
    for split, records in from_csv.items():
        np.testing.assert_array_equal(stacked(records), stacked(from_arff[split]))
        assert [int(r["y"]) for r in records] == [int(r["y"]) for r in from_arff[split]]


def test_records_fit_the_store_the_task_and_its_balanced_loss(root: Path) -> None:
    write_store(root / "train.arrow", WDBC.read(root, 0)["train"])
    store = Store(root / "train.arrow")
    assert store[0]["x"].shape == WDBC.input_shape == (1, 30)
    assert callable(build_loss(WDBC, store))


def test_the_table_is_written_twice_alike(root: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "again", 5)
    assert (tmp_path / "again/wdbc.csv").read_bytes() == (root / "wdbc.csv").read_bytes()


def put(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def act(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return act


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.drop(columns=["V7", "V9"]), r"columns V1 to V30 and Class; V7, V9 not found"),
        (lambda f: f.rename(columns={"Class": "target"}), r"Class not found among"),
        (put(4, "V3", "wide"), r"column V3 must hold numbers: .*wide.* position 4"),
        (put(4, "V3", ""), r"column V3 must be finite, found nan at index \[4\]"),
        (put(4, "V3", "?"), r"column V3 must be finite, found nan at index \[4\]"),
        (put(4, "V3", "inf"), r"column V3 must be finite, found inf at index \[4\]"),
        (put(4, "Class", "3"), r"column Class must be one of 1, 2, found '3' in row 5"),
        (put(4, "Class", ""), r"column Class must be one of 1, 2, found nan in row 5"),
        (lambda f: f.iloc[:3], r"3 rows cannot be split by class"),
    ],
)
def test_a_bad_table_is_named_with_what_was_expected(
    root: Path, damage: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    path = root / "wdbc.csv"
    damage(pd.read_csv(path, dtype=str)).to_csv(path, index=False)
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert str(path) in str(caught.value)
    assert WDBC.homepage in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81", b'V1,V2\n1,2\n1,2,3,4\n"'])
def test_another_file_is_refused(root: Path, content: bytes) -> None:
    (root / "wdbc.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"wdbc\.csv is not a CSV table"):
        read(root)


@pytest.mark.parametrize("content", [b"", b"@RELATION x\n@ATTRIBUTE a BLOB\n@DATA\n1\n", b"\x89PNG\r\n"])
def test_another_arff_file_is_refused(root: Path, content: bytes) -> None:
    (root / "wdbc.csv").unlink()
    (root / "wdbc.arff").write_bytes(content)
    with pytest.raises(DataError, match=r"wdbc\.arff"):
        read(root)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*wdbc\.csv and no wdbc\.arff.*{WDBC.homepage}"):
        read(tmp_path)
