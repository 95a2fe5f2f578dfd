"""Tables of any columns, from the file to the model's input and back to new rows."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.io import savemat

from pare_tune.errors import DataError
from pare_tune.tasks.load import TaskData, load_task
from pare_tune.tasks.own.dates import date_parts, time_order
from pare_tune.tasks.own.predict import Piece
from pare_tune.tasks.own.predict import prepare as open_new
from pare_tune.tasks.own.read import Opened, files_of, open_data
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.survey import survey
from pare_tune.tasks.own.tables import Cells, Long, read_table
from pare_tune.tasks.own.task import own_task
from pare_tune.yaml import validate


def prepare(*given: Any) -> Piece:
    """All of the new samples."""
    samples = open_new(*given)
    return samples.piece(range(len(samples)))


N = 60
Y = np.where(np.arange(N) % 2 == 0, "no", "yes")
RNG = np.random.default_rng(0)


def frame() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "speed km/h": RNG.normal(50.0, 9.0, N).round(2),
            "colour": [("red", "green", "blue")[i % 3] for i in range(N)],
            "member": [i % 4 == 0 for i in range(N)],
            "seen": [f"2024-0{1 + i // 20}-{1 + i % 20:02d}" for i in range(N)],
            "gap": [None if i % 7 == 0 else float(i % 5) for i in range(N)],
            "const": 3,
            "remark": [f"text {i}" for i in range(N)],
            "label": Y,
        }
    )
    table.loc[4, "colour"] = None
    return table


def spec_of(root: Path, **tree: Any) -> OwnData:
    whole = {"name": "mine", "kind": "point", "input": "t.csv", "target": "label", **tree}
    return validate(OwnData, whole, where="task").under(root)


def opened(root: Path, **tree: Any) -> Opened:
    return open_data(spec_of(root, **tree))


def data_of(root: Path, **tree: Any) -> TaskData:
    return load_task(own_task(spec_of(root, **tree), root / "cache"), cache=root / "cache")


def raw_of(data: TaskData) -> Any:
    assert data.task.raw is not None
    return data.task.raw


def labels(found: Opened) -> list[Any]:
    assert found.labels is not None
    return found.labels.tolist()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_any_column_becomes_a_token(tmp_path: Path, suffix: str) -> None:
    table = frame()
    getattr(table, f"to_{suffix}")(tmp_path / f"t.{suffix}", index=False)
    data = data_of(tmp_path, input=f"t.{suffix}")
    titles = [
        "speed km/h",
        "colour",
        "member",
        "seen day",
        "seen month",
        "seen weekday",
        "gap",
        "const",
        "remark",
    ]
    seen = survey(spec_of(tmp_path, input=f"t.{suffix}"), tmp_path / "cache")
    assert list(seen.survey.columns) == titles
    assert data.input_shape == (4, 9)
    assert any("column 'remark' of 42 of 42 training rows" in w for w in seen.survey.warnings)
    train = np.stack([data.train.item(i)["x"].numpy() for i in range(len(data.train))])
    for place, title in enumerate(titles):
        token = train[:, :, place]
        if title == "colour":
            assert (token.sum(axis=1) == 1).all(), "one slot a category, one for the rest"
        elif title == "const":
            assert (token == 0).all()
        elif title != "remark":
            np.testing.assert_allclose(token[:, 0].mean(), 0.0, atol=0.05, err_msg=title)
    gaps = table["gap"].isna().to_numpy()[seen.rows("train")]
    np.testing.assert_array_equal(train[:, 1, 6], gaps)
    np.testing.assert_array_equal(train[gaps, 0, 6], 0.0)


def test_new_rows_are_encoded_as_the_training_rows_were(tmp_path: Path) -> None:
    table = frame()
    table.to_csv(tmp_path / "t.csv", index=False)
    data = data_of(tmp_path)
    raw = raw_of(data)
    rows = survey(spec_of(tmp_path), tmp_path / "cache").rows("train")
    again = prepare(tmp_path / "t.csv", raw, None)
    train = np.stack([data.train.item(i)["x"].numpy() for i in range(len(data.train))])
    np.testing.assert_array_equal(again.x[rows], train)
    outputs = np.zeros((N, 2), np.float32)
    assert again.restore(outputs) is outputs

    new = table.drop(columns="label").iloc[:4][list(reversed(table.columns[:-1]))].astype({"const": object})
    new.loc[0, "colour"] = "violet"
    new.loc[1, "speed km/h"] = None
    new.loc[2, "const"] = "NA"
    new.to_csv(tmp_path / "new.csv", index=False)
    x = prepare(tmp_path / "new.csv", raw, None).x
    np.testing.assert_array_equal(x[0, :, 1], [0, 0, 0, 1])
    assert x[1, 0, 0] == 0.0, "what is missing is the mean, without a flag that training never saw"
    np.testing.assert_array_equal(x[3], again.x[3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": None}, "has no column 'colour'"),
        ({"gap": "wide"}, "input column 'gap' must hold numbers, found 'wide' in row 1"),
        ({"seen": "soon"}, "column 'seen' held dates in training, found 'soon'; write dates as 2024-03-01"),
        ({"seen": "3/4/2024"}, "can be day/month or month/day"),
        ({"speed km/h": "inf"}, "row 1 holds infinity"),
    ],
)
def test_new_rows_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    frame().to_csv(tmp_path / "t.csv", index=False)
    raw = raw_of(data_of(tmp_path))
    new = frame().iloc[:3].astype(object)
    for name, value in change.items():
        new = new.drop(columns=name) if value is None else new.assign(**{name: value})
    new.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "new.csv", raw, None)
    with pytest.raises(DataError, match="give a table with the columns speed km/h, colour"):
        prepare(np.zeros((2, 9)), raw, None)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y %H:%M", "%Y-%m-%d", "%d %b %Y"])
def test_a_date_is_read_as_those_of_training_whatever_stands_beside_it(tmp_path: Path, form: str) -> None:
    dates = pd.date_range("2024-01-01", periods=N, freq="35h").strftime(form)
    pd.DataFrame({"seen": dates, "label": Y}).to_csv(tmp_path / "t.csv", index=False)
    raw = raw_of(data_of(tmp_path))
    whole = prepare(tmp_path / "t.csv", raw, None).x
    rows = open_new(tmp_path / "t.csv", raw, None)
    for first, last in ((0, 2), (2, 9), (9, N)):
        np.testing.assert_array_equal(rows.piece(range(first, last)).x, whole[first:last])
        pd.DataFrame({"seen": dates[first:last]}).to_csv(tmp_path / "new.csv", index=False)
        np.testing.assert_array_equal(prepare(tmp_path / "new.csv", raw, None).x, whole[first:last])
    turned = {"%d/%m/%Y": "01/25/2024", "%m/%d/%Y": "25/01/2024"}.get(form)
    if turned is not None:
        (tmp_path / "new.csv").write_text(f"seen\n{turned}\n")
        order = "day first" if form.startswith("%d") else "month first"
        with pytest.raises(
            DataError, match=f"column seen: '{turned}' was {order} in training; write dates as"
        ):
            prepare(tmp_path / "new.csv", raw, None)


def test_categories_of_new_rows_are_taken_as_they_are_written(tmp_path: Path) -> None:
    codes = ["01", "2", "true", "x"]
    table = pd.DataFrame({"code": [codes[i % 4] for i in range(N)], "label": Y})
    table.to_csv(tmp_path / "t.csv", index=False)
    raw = raw_of(data_of(tmp_path))
    whole = prepare(tmp_path / "t.csv", raw, None).x
    for i, code in enumerate(codes):
        (tmp_path / "new.csv").write_text(f"code\n{code}\n")
        np.testing.assert_array_equal(prepare(tmp_path / "new.csv", raw, None).x[0], whole[i])


@pytest.mark.parametrize(
    "column",
    [
        [str(i / 8) for i in range(N)],
        [None if i == 7 else str(i) for i in range(N)],
        [None if i == 7 else i % 2 == 0 for i in range(N)],
        [None] * N,
    ],
    ids=["numbers in text", "with a gap", "truth values with a gap", "nothing"],
)
def test_any_column_that_was_trained_on_is_read_again(tmp_path: Path, column: list[Any]) -> None:
    pd.DataFrame({"a": np.arange(N), "k": column, "label": Y}).to_parquet(tmp_path / "t.parquet")
    data = data_of(tmp_path, input="t.parquet")
    again = prepare(tmp_path / "t.parquet", raw_of(data), None).x
    rows = survey(spec_of(tmp_path, input="t.parquet"), tmp_path / "cache").rows("train")
    train = np.stack([data.train.item(i)["x"].numpy() for i in range(len(data.train))])
    np.testing.assert_array_equal(again[rows], train)


def test_a_column_that_is_empty_in_train_says_nothing_anywhere(tmp_path: Path) -> None:
    table = frame()
    table["split"] = (["train"] * 40 + ["val"] * 10 + ["test"] * len(table))[: len(table)]
    table["late"] = np.where(table.split == "train", np.nan, 7.5)
    table.to_csv(tmp_path / "t.csv", index=False)
    columns = [name for name in table if name not in ("label", "split")]
    tree = {"input": {"file": "t.csv", "columns": columns}, "split": {"column": "split"}}
    seen = survey(spec_of(tmp_path, **tree), tmp_path / "cache").survey
    assert any("column 'late' is empty in all 40 training rows" in warning for warning in seen.warnings)
    data = data_of(tmp_path, **tree)
    assert not any(part.item(0)["x"][:, -1].any() for part in (data.train, data.val))


def test_rare_categories_share_a_slot_and_shares_are_of_training_rows_alone(tmp_path: Path) -> None:
    names = [f"town {i}" if i % 10 == 0 else "city" for i in range(N)]
    fold = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    pd.DataFrame({"town": names, "label": Y, "fold": fold}).to_csv(tmp_path / "t.csv", index=False)
    (token,) = raw_of(data_of(tmp_path, split={"column": "fold"}))["inputs"]["tokens"]
    assert token["categories"] == ("city",)


def test_tables_of_each_split_are_read_as_one(tmp_path: Path) -> None:
    table = frame()
    table["code"] = [str(i % 3) for i in range(N)]
    table.loc[: N // 3, "code"] = "none given"
    table.iloc[: N // 2].to_csv(tmp_path / "a.csv", index=False)
    table.iloc[N // 2 :][list(reversed(table.columns))].to_csv(tmp_path / "b.csv", index=False)
    parts = {"train": {"input": "a.csv", "target": "label"}, "test": {"input": "b.csv", "target": "label"}}
    found = open_data(validate(OwnData, {"name": "m", "kind": "point", **parts}, where="t").under(tmp_path))
    assert isinstance(found.inputs, Cells)
    code = next(c for c in found.inputs.columns if c.name == "code")
    assert code.values.tolist() == table["code"].tolist()
    table.drop(columns="gap").iloc[N // 2 :].to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(
        DataError, match=r"inputs of all splits have the same columns, 'gap' is only in one of"
    ):
        open_data(validate(OwnData, {"name": "m", "kind": "point", **parts}, where="t").under(tmp_path))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"normalise": "none"}, "normalise: none goes with numbers without gaps; .* take normalise: channel"),
        (
            {"input": {"file": "t.csv", "columns": ["nested", "gap"]}},
            "column 'nested' must hold .*, found dict",
        ),
        ({"input": {"file": "odd.csv"}}, "column a must hold numbers, found 'tall' in row 60"),
    ],
)
def test_columns_that_cannot_be_learned_say_why(tmp_path: Path, tree: dict[str, Any], message: str) -> None:
    table = frame()
    table.to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"a": [*map(str, range(N - 1)), "tall"], "label": Y}).to_csv(tmp_path / "odd.csv")
    if "nested" in str(tree):
        table.assign(nested=[{"a": 1}] * N).to_parquet(tmp_path / "t.parquet")
        tree = {"input": {**tree["input"], "file": "t.parquet"}}
    with pytest.raises(DataError, match=message):
        survey(spec_of(tmp_path, **tree), tmp_path / "cache")


@pytest.mark.parametrize(
    ("steps", "order"),
    [
        ([3, 1, 2], [1, 2, 0]),
        (["8:00", "14:30", "9:15"], [0, 2, 1]),
        (["8:00 am", "12:30 PM", "12:10 am"], [2, 0, 1]),
        (["10:00:02.5", "10:00:02", "9:59"], [2, 1, 0]),
        (["t10", "t9", "t1"], [2, 1, 0]),
        (["10 s", "9 s", "1.5 s"], [2, 1, 0]),
        (["13/1/2024", "2/2/2024", "1/12/2023"], [2, 0, 1]),
        (["1/13/2024", "2/1/2024", "12/2/2023"], [2, 0, 1]),
        (["3.1.2024", "2.2.2023", "1.3.2023"], [1, 2, 0]),
        (["2024-03-01T10:00", "2024-03-01 09:00", "2023-12-31"], [2, 1, 0]),
        (["2024-03-01T10:00+02:00", "2024-03-01T09:00+00:00", "2023-12-31T00:00Z"], [2, 0, 1]),
        (["1 Mar 2024", "28 February 2024", "2 Mar 2024"], [1, 0, 2]),
        ([datetime.date(2024, 3, 1), datetime.date(2024, 2, 1), datetime.date(2023, 1, 1)], [2, 1, 0]),
        ([datetime.time(14), datetime.time(8), datetime.time(9)], [1, 2, 0]),
    ],
)
def test_time_steps_are_in_the_order_of_their_time(steps: list[Any], order: list[int]) -> None:
    assert np.argsort(time_order(pd.Series(steps), "t"), kind="stable").tolist() == order


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["22:00", "23:00", "0:00"], "the clock times of a pass midnight; write dates as"),
        (["8:00", "9:00", "8:00"], "two rows of a have one time; leave out `time:`"),
        ([1, 2, 2], "two rows of a have one time"),
    ],
)
def test_times_that_do_not_say_which_step_is_which_are_refused(
    tmp_path: Path, times: list[Any], message: str
) -> None:
    file = tmp_path / "t.csv"
    pd.DataFrame({"id": "a", "t": times, "x": [1.0, 2.0, 3.0]}).to_csv(file, index=False)
    with pytest.raises(DataError, match=message):
        Long.of(read_table(file), "id", "t")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["1/3/2024", "2/3/2024"], "t: '1/3/2024' can be day/month or month/day; write dates as 2024-03-01"),
        (["13/1/2024", "1/13/2024"], "some of its dates have the day first, some the month"),
        (["early", "late"], "time must be numbers, clock times or dates, found 'early'"),
        (["t1", "u2"], "time must be numbers"),
        (["t-3", "t-2", "t-1"], "'t-3' can count up or back from there; write numbers"),
        (["2024-03-01", "2024-02-31"], "time must be numbers"),
    ],
)
def test_time_that_has_no_order_says_what_to_write(steps: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        time_order(pd.Series(steps), "t")


def test_parts_of_dates_have_gaps_where_dates_have() -> None:
    parts = date_parts(pd.Series(["1970-01-02 06:00", None, "n/a", "1970-02-01"]), "when")
    assert parts is not None
    np.testing.assert_array_equal(parts["day"], [1.25, np.nan, np.nan, 31.0])
    np.testing.assert_array_equal(parts["month"], [1, np.nan, np.nan, 2])
    np.testing.assert_array_equal(parts["weekday"], [4, np.nan, np.nan, 6])
    np.testing.assert_array_equal(parts["hour"], [6, np.nan, np.nan, 0])
    assert date_parts(pd.Series(["red", "2024-01-01"]), "when") is None
    assert date_parts(pd.Series([1.0, 2.0]), "when") is None


def write_readmes_files(root: Path) -> None:
    with h5py.File(root / "vibration.h5", "w") as file:
        file["signals"] = RNG.normal(size=(N, 64)).astype(np.float32)
    runs = [f"run {i}" for i in range(N)]
    rows = [(run, f"t{t}", t, -t) for run in reversed(runs) for t in range(11)]
    pd.DataFrame(rows, columns=["run", "t", "x", "y"]).to_csv(root / "series.csv", index=False)
    pd.DataFrame({"fault": Y, "machine": [f"m{i // 5}" for i in range(N)]}).to_csv(
        root / "labels.csv", index=False
    )


README = {"target": "labels.csv:fault", "split": {"group": "labels.csv:machine"}}


def test_labels_of_another_table_go_row_by_row(tmp_path: Path) -> None:
    write_readmes_files(tmp_path)
    found = opened(tmp_path, input="vibration.h5:signals", **README)
    assert labels(found) == Y.tolist()
    assert found.groups == [f"m{i // 5}" for i in range(N)]
    by_first = opened(
        tmp_path, input={"file": "series.csv", "id": "run", "time": "t", "columns": ["x", "y"]}, **README
    )
    assert labels(by_first) == Y.tolist(), "without ids, in the order in which samples first appear"
    np.testing.assert_array_equal(next(by_first.inputs.each(np.arange(1)))[0], np.arange(11))


def test_labels_go_by_the_inputs_id_where_both_tables_have_it(tmp_path: Path) -> None:
    write_readmes_files(tmp_path)
    table = pd.read_csv(tmp_path / "labels.csv").assign(run=[f"run {i}" for i in range(N)])
    table.to_csv(tmp_path / "labels.csv", index=False)
    found = opened(
        tmp_path, input={"file": "series.csv", "id": "run", "time": "t", "columns": ["x", "y"]}, **README
    )
    assert labels(found) == Y[::-1].tolist()
    assert found.groups == [f"m{i // 5}" for i in reversed(range(N))]


def write_shuffled_labels(root: Path) -> None:
    table = pd.DataFrame({"who": [f"{i:03d}" for i in range(N)], "a": np.arange(N) / 7.0, "label": Y})
    table[["who", "a"]].to_csv(root / "t.csv", index=False)
    table[["who", "label"]].iloc[::-1].to_csv(root / "labels.csv", index=False)


@pytest.mark.parametrize("cell", ["{} km", "1.{:03d},5", "photo {}.raw"])
def test_text_of_which_nothing_can_be_learned_is_refused(tmp_path: Path, cell: str) -> None:
    table = pd.DataFrame({"a": [cell.format(i) for i in range(N)], "label": Y})
    table.to_csv(tmp_path / "t.csv", index=False)
    (problem,) = survey(spec_of(tmp_path), tmp_path / "cache").survey.problems
    assert "every column says the same" in problem
    table.assign(b=np.arange(N)).to_csv(tmp_path / "t.csv", index=False)
    seen = survey(spec_of(tmp_path), tmp_path / "cache").survey
    assert not seen.problems
    assert any("column 'a' of 42 of 42 training rows" in warning for warning in seen.warnings)


def test_rows_with_an_id_each_are_samples(tmp_path: Path) -> None:
    write_shuffled_labels(tmp_path)
    tree: dict[str, Any] = {"input": {"file": "t.csv", "id": "who"}, "target": "labels.csv:label"}
    found = opened(tmp_path, **tree)
    assert found.columns == ("a",)
    assert labels(found) == Y.tolist()
    again = prepare(tmp_path / "t.csv", raw_of(data_of(tmp_path, **tree)), None)
    assert again.x.shape == (N, 1, 1)
    assert again.names is not None
    assert again.names[:2] == ["000", "001"]
    pd.read_csv(tmp_path / "t.csv").drop(columns="who").to_csv(tmp_path / "new.csv", index=False)
    nameless = prepare(tmp_path / "new.csv", raw_of(data_of(tmp_path, **tree)), None)
    assert nameless.names is None
    np.testing.assert_array_equal(nameless.x, again.x)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"target": "labels.csv:label"}, r"both have the column 'who', in another order; .* id: 'who'}"),
        (
            {"input": {"file": "t.csv", "time": "a"}, "target": "labels.csv:label"},
            r"time \(a\) .* goes with id",
        ),
    ],
)
def test_rows_are_not_mixed_up_in_silence(tmp_path: Path, tree: dict[str, Any], message: str) -> None:
    write_shuffled_labels(tmp_path)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, **tree)


@pytest.mark.parametrize(
    ("one", "other"), [("1.1", "1.10"), ("1", "01"), ("10", "1e1"), (str(10**24), str(10**24 + 1))]
)
def test_what_tells_samples_or_groups_apart_is_kept_as_written(tmp_path: Path, one: str, other: str) -> None:
    names = [one, other, *map(str, range(2, 10))]
    rows = [(name, name, t, i % 2) for i, name in enumerate(names) for t in range(20)]
    pd.DataFrame(rows, columns=["run", "where", "x", "label"]).to_csv(tmp_path / "t.csv", index=False)
    found = opened(tmp_path, input={"file": "t.csv", "id": "run", "columns": ["x"]}, split={"group": "where"})
    assert found.groups == names
    assert found.inputs.names is not None
    assert list(found.inputs.names) == names


def test_missing_values_of_nullable_columns_are_told(tmp_path: Path) -> None:
    whole = pd.DataFrame({"a": np.arange(N), "g": pd.array([i // 5 for i in range(N)], dtype="Int64")})
    whole["label"] = pd.array([i % 2 for i in range(N)], dtype="Int64")
    whole.to_parquet(tmp_path / "t.parquet")
    found = opened(tmp_path, input="t.parquet", split={"group": "g"})
    assert labels(found) == [i % 2 for i in range(N)]
    assert found.groups is not None
    assert found.groups[:6] == ["0", "0", "0", "0", "0", "1"]
    for column, role in (("label", "target"), ("g", "group")):
        gap = whole.copy()
        gap.loc[7, column] = pd.NA
        gap.to_parquet(tmp_path / "t.parquet")
        with pytest.raises(DataError, match=rf"sample 7 has no {role} \({column}\); leave such samples out"):
            opened(tmp_path, input="t.parquet", split={"group": "g"})


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [("speed km/h", "speed km/h", "regression"), ("2", 2, "point"), ("a.b:c", "a.b:c", "point")],
)
def test_columns_may_be_called_anything(tmp_path: Path, name: str, target: Any, kind: str) -> None:
    pd.DataFrame({"x": np.arange(N), name: np.arange(N) % 3}).to_csv(tmp_path / "t.csv", index=False)
    found = opened(tmp_path, kind=kind, target=target)
    assert found.columns == ("x",)
    assert np.asarray(labels(found)).reshape(-1).tolist() == [i % 3 for i in range(N)]


@pytest.mark.parametrize("classes", [[False, True], ["False", "True"], [0, 1]])
def test_truth_values_are_classes_however_they_are_spelled(tmp_path: Path, classes: list[Any]) -> None:
    pd.DataFrame({"x": np.arange(N), "label": Y == "yes"}).to_csv(tmp_path / "t.csv", index=False)
    seen = survey(spec_of(tmp_path, classes=classes), tmp_path / "cache")
    assert not seen.survey.problems
    assert list(seen.survey.class_counts) == [
        str(c).lower() if isinstance(c, bool) else str(c) for c in classes
    ]


def test_matlab_files_give_arrays_and_labels(tmp_path: Path) -> None:
    x: npt.NDArray[Any] = RNG.normal(size=(N, 40))
    savemat(tmp_path / "d.mat", {"x": x, "y": (np.arange(N) % 3)[None] + 1.0})
    found = opened(tmp_path, input="d.mat:x", target="d.mat:y")
    np.testing.assert_array_equal(np.stack(list(found.inputs.each(np.arange(N)))), x)
    assert labels(found) == [1.0 + i % 3 for i in range(N)]
    with h5py.File(tmp_path / "new.mat", "w") as file:  # as MATLAB 7.3 writes it: axes in reverse
        file["x"], file["y"] = x.T, (np.arange(N) % 3)[:, None]
    found = opened(tmp_path, input="new.mat:x", target="new.mat:y")
    np.testing.assert_array_equal(np.stack(list(found.inputs.each(np.arange(N)))), x)
    assert labels(found) == [i % 3 for i in range(N)]


def test_a_label_of_each_hdf5_group_goes_with_its_input(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for i in range(12):
            file[f"runs/s{i}/x"] = np.full(5 + i, float(i))
            file[f"runs/s{i}/y"] = ("no", "yes")[i % 2]
    found = opened(tmp_path, input="d.h5:runs/*/x", target="d.h5:runs/*/y")
    assert [float(x[0]) for x in found.inputs.each(np.arange(12))] == list(range(12))
    assert labels(found) == ["no", "yes"] * 6
    assert list(found.inputs.names or ()) == [f"s{i}" for i in range(12)]
    shutil.copy(tmp_path / "d.h5", tmp_path / "e.h5")
    with h5py.File(tmp_path / "e.h5", "a") as file:
        del file["runs/s3/y"]
        file["runs/s33/y"] = "no"
    with pytest.raises(DataError, match="holds sample 's3' where .* holds the target of 's4'"):
        opened(tmp_path, input="e.h5:runs/*/x", target="e.h5:runs/*/y")


def test_files_behind_links_are_watched_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file["x"] = RNG.normal(size=(N, 20))
    with h5py.File(tmp_path / "near.h5", "w") as file:
        file["x"] = h5py.ExternalLink("far.h5", "/x")
        layout = h5py.VirtualLayout(shape=(N, 20), dtype="f8")
        layout[:] = h5py.VirtualSource("far.h5", "x", shape=(N, 20))
        file.create_virtual_dataset("v", layout)
    np.save(tmp_path / "y.npy", np.arange(N) % 2)
    for key in "xv":
        spec = spec_of(tmp_path, input=f"near.h5:{key}", target="y.npy")
        assert len(open_data(spec).inputs) == N
        assert {path.name for path in files_of(spec)} == {"near.h5", "far.h5", "y.npy"}
