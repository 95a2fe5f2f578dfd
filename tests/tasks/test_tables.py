from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pare_tune.errors import DataError
from pare_tune.tasks.columns import Column
from pare_tune.tasks.tables import (
    TARGET_ATTRIBUTE,
    Form,
    Table,
    encode_official,
    encode_rows,
    find_table,
    half_split,
    read_splits,
    read_table,
)

HOMEPAGE = "https://example.org/pots"
FORM = Form(stems=("pots", "77"), homepage=HOMEPAGE, target="glaze", rows=60, features=4, classes=3)
"""height and width are numbers, kiln and batch categories; batch is called by numbers."""


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    glaze = rng.permutation(np.repeat(["raw", "salt", "ash"], 20))
    return pd.DataFrame(
        {
            "height": np.round(rng.normal(30.0, 4.0, 60), 2),
            "kiln": rng.choice(["climbing kiln", "pit", "gas, fired"], 60),
            "width": rng.integers(5, 60, 60),
            "batch": rng.integers(1, 4, 60),
            "glaze": glaze,
        }
    )


def as_csv(folder: Path, table: pd.DataFrame, name: str = "pots.csv") -> Path:
    table.to_csv(folder / name, index=False, na_rep="?")
    return folder / name


def as_arff(folder: Path, table: pd.DataFrame) -> Path:
    def kind(name: str) -> str:
        if name in ("height", "width"):
            return "REAL"
        return "{" + ",".join(f"'{value}'" for value in sorted(set(table[name].dropna().astype(str)))) + "}"

    def cell(name: str, value: object) -> str:
        if value is None or value != value:
            return "?"
        return str(value) if name in ("height", "width") else f"'{value}'"

    lines = ["% made here", "@RELATION pots", *(f"@ATTRIBUTE {name} {kind(name)}" for name in table.columns)]
    lines.append("@DATA")
    lines += [",".join(map(cell, table.columns, row)) for row in table.astype(object).to_numpy()]
    (folder / "pots.arff").write_text("\n".join(lines))
    return folder / "pots.arff"


def as_parquet(folder: Path, table: pd.DataFrame) -> Path:
    typed = table.astype({"kiln": "category", "batch": "category", "glaze": "category"})
    typed.to_parquet(folder / "pots.parquet")
    return folder / "pots.parquet"


def columns(table: Table) -> dict[str, list[object]]:
    return {column.name: column.values.tolist() for column in table.columns}


def with_gaps() -> pd.DataFrame:
    table = frame().astype({"width": float})
    table.loc[3, "height"] = np.nan
    table.loc[5, "width"] = np.nan
    table.loc[7, "kiln"] = None
    return table


@pytest.mark.parametrize("write", [as_arff, as_parquet])
def test_every_format_gives_the_same_table(
    tmp_path: Path, write: Callable[[Path, pd.DataFrame], Path]
) -> None:
    form = replace(FORM, numbered=("batch",))
    expected = read_table(as_csv(tmp_path, with_gaps()), form)
    table = read_table(write(tmp_path, with_gaps()), form)
    np.testing.assert_equal(columns(table), columns(expected))
    np.testing.assert_array_equal(table.y, expected.y)
    assert table.classes == expected.classes == ("ash", "raw", "salt")
    assert [c.is_categorical for c in table.columns] == [False, True, False, True]


def test_cells_are_numbers_categories_or_missing(tmp_path: Path) -> None:
    table = read_table(as_csv(tmp_path, with_gaps()), FORM)
    height, kiln, width, batch = table.columns
    assert [np.flatnonzero(c.is_missing).tolist() for c in table.columns] == [[3], [7], [5], []]
    assert (str(height.values[3]), str(width.values[5]), kiln.values[7]) == ("nan", "nan", None)
    assert set(kiln.values) == {"climbing kiln", "pit", "gas, fired", None}
    assert not batch.is_categorical, "no CSV file tells that numbers are names"
    source = with_gaps()
    np.testing.assert_array_equal(height.values, source["height"])
    assert [table.classes[i] for i in table.y] == source["glaze"].tolist()


def test_classes_called_by_numbers_are_in_their_order(tmp_path: Path) -> None:
    table = frame()
    table["glaze"] = table["glaze"].map({"raw": 2, "salt": 10, "ash": 1})
    assert read_table(as_csv(tmp_path, table), FORM).classes == ("1", "2", "10")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b", "c", "d", "e"], "e"),
        (["a", "Class", "c", "d", "e"], "Class"),
        (["target", "Class", "c", "d", "e"], "e"),
    ],
)
def test_an_unknown_target_is_the_one_called_so_or_the_last(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    table = frame()
    for name in table.columns:
        table[name] = table["batch"]
    path = as_csv(tmp_path, table.set_axis(names, axis=1))
    read = read_table(path, Form(stems=("pots",), homepage=HOMEPAGE))
    assert [c.name for c in read.columns] == [name for name in names if name != expected]


def test_a_parquet_file_can_name_its_target(tmp_path: Path) -> None:
    table = frame()
    table.attrs[TARGET_ATTRIBUTE] = "kiln"
    table.to_parquet(tmp_path / "77.parquet")
    read = read_table(tmp_path / "77.parquet", Form(stems=("77",), homepage=HOMEPAGE))
    assert read.classes == ("climbing kiln", "gas, fired", "pit")


def test_columns_to_ignore_are_no_features_and_may_be_absent(tmp_path: Path) -> None:
    form = replace(FORM, ignored=("id", "potter"))
    with_id = frame().assign(id=range(60))
    first = read_table(as_csv(tmp_path, with_id), form)
    second = read_table(as_csv(tmp_path, frame()), form)
    np.testing.assert_equal(columns(first), columns(second))


@pytest.mark.parametrize("name", ["Pots.CSV", "77.csv", "export-of-today.csv"])
def test_a_table_is_found_under_its_name_its_number_or_alone(tmp_path: Path, name: str) -> None:
    as_csv(tmp_path, frame(), name)
    (tmp_path / "notes.txt").write_text("not a table")
    assert find_table(tmp_path, FORM.stems) == tmp_path / name


def test_of_several_files_the_one_that_tells_kinds_is_taken(tmp_path: Path) -> None:
    paths = [as_csv(tmp_path, frame()), as_arff(tmp_path, frame()), as_parquet(tmp_path, frame())]
    assert find_table(tmp_path, ("cups",)) == paths[-1], "one table, in three formats"
    as_csv(tmp_path, frame(), "bowls.csv")
    for path in reversed(paths):
        assert find_table(tmp_path, FORM.stems) == path
        path.unlink()
    as_csv(tmp_path, frame(), "cups.csv")
    with pytest.raises(
        DataError, match=r"no table in .*, found bowls\.csv, cups\.csv: it must hold pots\.csv"
    ):
        find_table(tmp_path, FORM.stems)


def table_of(*values: list[float] | list[str | None], classes: int = 2) -> Table:
    made = tuple(
        Column(f"f{i}", np.array(v, dtype=np.float64 if isinstance(v[0], float) else np.object_))
        for i, v in enumerate(values)
    )
    rows = len(values[0])
    return Table(made, np.arange(rows) % classes, tuple(map(str, range(classes))))


def x_of(
    table: Table, fit_on: list[int], encoder: Callable[..., Iterator[np.ndarray]] = encode_rows
) -> np.ndarray:
    return np.stack(list(encoder(table, np.array(fit_on), np.arange(len(table.y)))))


def test_whole_numbers_columns_alone_are_one_channel() -> None:
    x = x_of(table_of([1.0, 3.0, 9.0], [4.0, 4.0, 4.0]), [0, 1])
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, [[[-1, 0]], [[1, 0]], [[7, 0]]])


def test_a_column_that_training_saw_no_variation_in_is_0() -> None:
    nan = np.nan
    x = x_of(table_of([0.1, 0.1, 0.1, 1e6], [nan, nan, nan, 5.0], [1.0, 2.0, 3.0, 2.0]), [0, 1, 2])
    np.testing.assert_array_equal(x[:, :, :2], 0.0)


def test_a_missing_number_is_the_mean_and_flagged_if_training_met_one() -> None:
    nan = np.nan
    x = x_of(table_of([1.0, 3.0, nan, nan, 5.0], [0.0, 2.0, 0.0, nan, 2.0]), [0, 1, 2])
    np.testing.assert_allclose(x[:, 0, 0], [-1, 1, 0, 0, 3])
    np.testing.assert_allclose(x[:, 1, 0], [0, 0, 1, 1, 0])
    np.testing.assert_allclose(x[3, :, 1], [0, 0], err_msg="no flag that training never saw")


def test_a_category_has_a_slot_and_the_rest_share_the_last() -> None:
    kiln = ["pit", "gas", "pit", "gas", "rare", None, "unseen", "pit"]
    x = x_of(table_of(kiln, [0.0, 2.0] * 4), [0, 1, 2, 3, 4, 5])
    assert x.shape == (8, 3, 2)
    slot = {"gas": 0, "pit": 1}
    for row, name in enumerate(kiln):
        np.testing.assert_array_equal(x[row, :, 0], np.eye(3)[slot.get(str(name), 2)])
    np.testing.assert_array_equal(x[:, 1:, 1], 0.0)


def test_no_feature_is_wider_than_the_most_frequent_categories() -> None:
    names = [f"n{i}" for i in range(300) for _ in range(3 if i < 50 else 2)]
    x = x_of(table_of(names), list(range(len(names))))
    assert x.shape == (650, 128, 1)
    assert set(np.flatnonzero(x[names.index("n49")])) != {127}
    assert set(np.flatnonzero(x[names.index("n299")])) == {127}


@pytest.mark.parametrize("encoder", [encode_rows, encode_official])
def test_only_training_rows_shape_the_encoding(encoder: Callable[..., Iterator[np.ndarray]]) -> None:
    height, kiln = [1.0, 2.0, 3.0, 4.0], ["a", "b", "a", "b"]
    before = x_of(table_of(height, kiln), [0, 1, 2, 3], encoder)
    after = x_of(table_of([*height, 1e6, np.nan], [*kiln, "c", None]), [0, 1, 2, 3], encoder)
    np.testing.assert_array_equal(after[:4], before)


def test_the_official_layout_of_numbers_is_one_token_of_whole_columns() -> None:
    x = x_of(table_of([1.0, 3.0], [np.nan, 3.0], [6.0, 2.0]), [0, 1], encode_official)
    np.testing.assert_allclose(x, [[[-1], [1]], [[1], [-1]]])


def test_the_official_layout_with_categories_is_theirs_first_padded_to_the_widest() -> None:
    table = table_of([1.0, np.nan], ["b", "a"], ["u", None])
    x = x_of(table, [0, 1], encode_official)
    b_u_1 = [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    a_none_0 = [[1, 0, -1], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(x, [b_u_1, a_none_0])


@pytest.mark.parametrize("seed", [0, 1])
def test_half_is_test_and_a_fifth_of_the_rest_validation(seed: int) -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 60, 40]))
    rows = half_split(y, seed, Path("pots.csv"))
    assert {split: len(r) for split, r in rows.items()} == {"train": 80, "val": 20, "test": 100}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(200))
    for chosen in rows.values():
        np.testing.assert_allclose(np.bincount(y[chosen]) / len(chosen), [0.5, 0.3, 0.2], atol=0.01)
    again, other = half_split(y, seed, Path()), half_split(y, seed + 1, Path())
    np.testing.assert_array_equal(rows["test"], again["test"])
    assert not np.array_equal(rows["test"], other["test"])


@pytest.mark.parametrize(("encoding", "shape"), [("tokens", (4, 4)), ("official", (4, 4))])
def test_splits_hold_every_row_once(tmp_path: Path, encoding: str, shape: tuple[int, ...]) -> None:
    as_csv(tmp_path, frame())
    splits = read_splits(FORM, encoding, tmp_path, 0)  # type: ignore[arg-type]
    records = {split: list(part) for split, part in splits.items()}
    assert {split: len(part) for split, part in records.items()} == {"train": 24, "val": 6, "test": 30}
    assert {r["x"].shape for part in records.values() for r in part} == {shape}
    classes = [int(r["y"]) for part in records.values() for r in part]
    assert np.bincount(classes).tolist() == [20, 20, 20]


def put(row: int, column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def act(table: pd.DataFrame) -> pd.DataFrame:
        changed = table.astype(object)
        changed.loc[row, column] = value
        return changed

    return act


NUMERIC = replace(FORM, features=3, numeric=True, ignored=("kiln",), gaps=False)


@pytest.mark.parametrize(
    ("form", "damage", "message"),
    [
        (FORM, lambda t: t.drop(columns="glaze"), "must have a column glaze, the class; found height, kiln"),
        (FORM, lambda t: t.drop(columns="width"), "must have 4 features beside glaze, found 3: height, kiln, batch"),
        (FORM, lambda t: t.iloc[:58], "must have 60 rows, found 58"),
        (FORM, put(8, "glaze", "matt"), "column glaze must hold 3 classes, found 4: ash, matt, raw, salt"),
        (FORM, put(8, "glaze", None), "column glaze, the class, is empty in row 9; leave such rows out"),
        (FORM, put(4, "height", "tall"), "column height must hold numbers, found 'tall' in row 5; if .* ARFF"),
        (FORM, put(4, "height", "inf"), r"column height must be finite, found inf at index \[4\]"),
        (NUMERIC, put(4, "batch", None), "column batch is empty in row 5; this table has no gaps"),
        (replace(NUMERIC, features=4, ignored=()), lambda t: t, "column kiln must hold numbers, found '.*' in row 1"),
        (replace(FORM, classes=None, target="height"), lambda t: t, "must hold classes, found .* different values"),
        (replace(FORM, classes=None), lambda t: t.assign(glaze="raw"), "must hold classes, found 1 different"),
        (
            replace(FORM, rows=None, classes=None),
            lambda t: pd.concat([t[t.glaze != "raw"], t[t.glaze == "raw"].iloc[:1]]),
            "41 rows cannot be split by class",
        ),
    ],
)  # fmt: skip
def test_a_bad_table_is_named_with_what_was_expected(
    tmp_path: Path, form: Form, damage: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    path = as_csv(tmp_path, damage(frame()))
    with pytest.raises(DataError, match=message) as caught:
        read_splits(form, "tokens", tmp_path, 0)
    assert str(path) in str(caught.value)
    assert HOMEPAGE in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("pots.csv", b"", "CSV"),
        ("pots.csv", b"\xff\xfe\x00\x81", "CSV"),
        ("pots.csv", b'a,b\n1,2\n1,2,3,4\n"', "CSV"),
        ("pots.arff", b"", "ARFF"),
        ("pots.arff", b"@RELATION x\n@ATTRIBUTE a BLOB\n@DATA\n1\n", "ARFF"),
        ("pots.arff", b"\x89PNG\r\n", "ARFF"),
        ("pots.arff", b"@RELATION x\n@ATTRIBUTE a {u,v}\n@DATA\nw\n", "ARFF"),
        ("pots.parquet", b"", "Parquet"),
        ("pots.parquet", b"PAR1 but no more", "Parquet"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is not a.? {kind} table .* get it again .*{HOMEPAGE}"):
        read_splits(FORM, "tokens", tmp_path, 0)


def test_an_arff_file_of_texts_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pots.arff").write_text("@RELATION x\n@ATTRIBUTE a STRING\n@DATA\n'u'\n")
    with pytest.raises(DataError, match=r"pots\.arff: .*save the table as CSV or Parquet"):
        read_splits(FORM, "tokens", tmp_path, 0)


def test_an_empty_folder_is_told_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no table in .*: it must hold pots\.csv, pots\.arff.*{HOMEPAGE}"):
        read_splits(FORM, "tokens", tmp_path, 0)


def test_openmls_csv_quotes_are_no_part_of_a_name(tmp_path: Path) -> None:
    text = "kiln,glaze\n" + "'climbing kiln',raw\npit,salt\n'climbing kiln',raw\npit,salt\n" * 4
    (tmp_path / "pots.csv").write_text(text)
    table = read_table(tmp_path / "pots.csv", Form(stems=("pots",), homepage=HOMEPAGE, target="glaze"))
    assert set(table.columns[0].values) == {"climbing kiln", "pit"}
