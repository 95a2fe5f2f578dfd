from __future__ import annotations

import datetime
import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pare_tune.data.frames import Frames, is_table, read_frame
from pare_tune.errors import DataError

NAN = float("nan")


def read(folder: Path, written: str | bytes, name: str = "t.csv", **how: Any) -> pd.DataFrame:
    content = written.encode() if isinstance(written, str) else written
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return read_frame(folder / name, **how)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,2\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b\r\n1,2,\r\n3,4,\r\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b,\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b,,\n1,2,,\n3,4\n", {"a": [1, 3], "b": [2, 4]}),
        (",a\n0,1\n1,3\n", {"Unnamed: 0": [0, 1], "a": [1, 3]}),
        ("\ufeffa;b\n1,5;2\n3;4\n", {"a": [1.5, 3.0], "b": [2, 4]}),
        ("sep=|\na|b\n1|2\n", {"a": [1], "b": [2]}),
        ('sep=;\n"a";b\n1,5;x,y\n', {"a": [1.5], "b": ["x,y"]}),
        ('"a;b;c",y\n"1;2;3;4",5\n', {"a;b;c": ["1;2;3;4"], "y": [5]}),
        ('"a,\nb"\tc\n1\t2\n', {"a,\nb": [1], "c": [2]}),
        ("price\n1,5\n2,25\n", {"price": [1.5, 2.25]}),
        (
            'a,b\n1,"1,000"\n2,-\n3,"-12,345,678.5"\n4,7\n',
            {"a": [1, 2, 3, 4], "b": [1000, NAN, -12345678.5, 7]},
        ),
        ('a,b\n1,"$1,000"\n2,-$5.5\n', {"a": [1, 2], "b": [1000, -5.5]}),
        ('a,b\n1,"1,00"\n2,"2,000"\n', {"a": [1, 2], "b": ["1,00", "2,000"]}),
        ('a,b\n1,"0,512"\n2,"2,000"\n', {"a": [1, 2], "b": ["0,512", "2,000"]}),
        ('a,b\n1,"1,000"\n2,few\n', {"a": [1, 2], "b": ["1,000", "few"]}),
        ("a,b\n1,63%\n2,7.5 %\n", {"a": [1, 2], "b": [63.0, 7.5]}),
        ("a;b\n1;6,5 €\n2;7 €\n", {"a": [1, 2], "b": [6.5, 7.0]}),
        ("a;b\n1;1.234,5\n2;7\n", {"a": [1, 2], "b": ["1.234,5", "7"]}),
        ("a,b\n1,$\n2,$$\n", {"a": [1, 2], "b": ["$", "$$"]}),
        ("a,b\n1,2024-01-05\n2,5-6\n", {"a": [1, 2], "b": ["2024-01-05", "5-6"]}),
        ("a,b\n1,NA\n2,3\n", {"a": [1, 2], "b": [NAN, 3.0]}),
        ("a,b\n1,-\nn/a,3\n?,4\n", {"a": [1.0, NAN, NAN], "b": [NAN, 3.0, 4.0]}),
        ("a,b\n1,True\n2,\n3,False\n", {"a": [1, 2, 3], "b": [True, None, False]}),
        ("a,b\n1,true\n2,NA\n", {"a": [1, 2], "b": [True, None]}),
        ("a,b\n1,NA\n2,Greece\n", {"a": [1, 2], "b": ["NA", "Greece"]}),
        ("a,b\n1,\n2,\n", {"a": [1, 2], "b": [NAN, NAN]}),
        ("self,a\n1,2\n", {"self": [1], "a": [2]}),
        ("a, b\n1, x\n2 , y\n", {"a": [1, 2], "b": ["x", "y"]}),
        ('a,b\n1,x \n2," x"\n3," "\n', {"a": [1, 2, 3], "b": ["x", "x", None]}),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_csv_is_read_as_it_is_meant(
    tmp_path: Path, text: str, columns: dict[str, list[Any]], name: str
) -> None:
    frame = read(tmp_path, text, name)
    assert list(frame.columns) == list(columns)
    for column, values in columns.items():
        got = [None if pd.isna(v) else v for v in frame[column].tolist()]
        assert got == [None if v is None or v != v else v for v in values], column


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y,a,b,y\n1,2,3,4\n", "two columns 'y'; give each a name of its own"),
        ("a,b\n1,2\n3\n", r"line 3 has 1 fields, the header 2\).* need quotes"),
        ("a,b\n1,2\n3,4,5\n", r"line 3 has 3 fields, the header 2\)"),
        ("sep=,\na,b\n1,2\n3,4,5\n", r"line 4 has 3 fields, the header 2\)"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("a,b,\n1,2,3\n", r"line 2 has 3 fields, the header 2\)"),
        ("", "not a CSV table with a header"),
        (b"a,b\n1,\xe9\n", "not a CSV table with a header in UTF-8"),
    ],
)
def test_what_pandas_would_repair_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_a_damaged_archive_and_another_file_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 1000)[:-20])
    with pytest.raises(DataError, match="not a CSV table"):
        read_frame(tmp_path / "t.csv.gz")
    (tmp_path / "u.csv.gz").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match=r"cannot read .*u\.csv\.gz"):
        read_frame(tmp_path / "u.csv.gz")
    with pytest.raises(DataError, match=r"cannot read .*absent\.csv"):
        read_frame(tmp_path / "absent.csv")


def test_cells_can_be_left_as_they_are_written(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,b\n01,1\nNA,?\n", text=["a"])
    assert frame["a"].tolist() == ["01", "NA"]
    assert frame["b"].tolist()[0] == 1
    frame = read(tmp_path, "a,b\n01,1\n?,2\n", text=None, missing=("?", ""))
    assert frame["a"].tolist()[0] == "01"
    assert frame["a"].isna().tolist() == [False, True]


def test_a_few_rows_are_read_without_the_rest(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a,b\n1,2\n3,4\n5,6,7\n", rows=1)) == 1
    pd.DataFrame({"a": range(9)}).to_parquet(tmp_path / "t.parquet")
    assert read_frame(tmp_path / "t.parquet", rows=2)["a"].tolist() == [0, 1]


def test_parquet_columns_keep_their_meaning(tmp_path: Path) -> None:
    tensor = np.arange(24.0).reshape(2, 3, 4)
    table = pa.table(
        {
            "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(tensor),
            "money": pa.array([Decimal("1.25"), None]),
            "day": pa.array([datetime.date(2024, 3, 1), None]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    frame = read_frame(tmp_path / "t.parquet")
    np.testing.assert_array_equal(np.stack(frame["tensor"].tolist()), tensor)
    assert frame["money"].dtype == np.float64
    assert frame["money"].tolist()[0] == 1.25
    assert frame["day"].dt.day.tolist()[0] == 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("t.csv", True),
        ("T.CSV.GZ", True),
        ("t.pq", True),
        ("t.arff", True),
        ("t.npy", False),
        ("t.gz", False),
    ],
)
def test_tables_are_told_by_their_names(name: str, wanted: bool) -> None:
    assert is_table(Path(name)) is wanted


# Some rows at a time


MANY = pd.DataFrame(
    {
        "number": np.arange(9001) / 8,
        "gap": [None if i % 3 else float(i) for i in range(9001)],
        "code": [f"0{i % 7}" for i in range(9001)],
        "grouped": [f"{i:,.1f}" for i in range(9001)],
        "member": [i % 2 == 0 for i in range(9001)],
    }
)
PARTS = [range(5000), range(5000, 5001), range(6000, 9001), range(3, 7)]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet"])
def test_parts_hold_what_the_whole_holds(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        MANY.to_parquet(path, row_group_size=4321)
    else:
        # Among tabs, a comma is a decimal one.
        is_tsv = name.endswith("tsv")
        many = MANY.drop(columns="grouped") if is_tsv else MANY
        many.to_csv(path, index=False, sep="\t" if is_tsv else ",")
    whole, parts = read_frame(path, text=["code"]), Frames(path, text=["code"])
    assert len(parts) == len(whole) == 9001
    for rows in PARTS:
        pd.testing.assert_frame_equal(
            parts.rows(rows), whole.iloc[rows.start : rows.stop].reset_index(drop=True)
        )


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    MANY.to_csv(tmp_path / "t.csv", index=False)
    parts = Frames(tmp_path / "t.csv")
    MANY.head(10).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"t\.csv was changed while it was read"):
        parts.rows(range(20))
