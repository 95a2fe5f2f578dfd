"""Predictions are written as the file's suffix says, one row a sample, under names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pare_tune.data.frames import read_frame
from pare_tune.errors import ConfigError, StorageError
from pare_tune.train.outputs import Predictions, require_writable, writing

VALUES = np.array([[0.25, 0.75], [0.9, 0.1], [0.5, np.nan]], np.float32)


def write_predictions(out: Path, *pieces: Predictions) -> None:
    with writing(out) as write:
        for piece in pieces:
            write(piece)


def predictions(**fields: Any) -> Predictions:
    usual = {
        "values": VALUES,
        "names": ("cat", "dog"),
        "samples": None,
        "meaning": "probability",
        "are_classes": True,
    }
    return Predictions(**{**usual, **fields})


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        ({}, ["class", "probability:cat", "probability:dog"]),
        ({"meaning": "logit"}, ["class", "logit:cat", "logit:dog"]),
        ({"names": ()}, ["class", "probability:0", "probability:1"]),
        ({"are_classes": False}, ["probability:cat", "probability:dog"]),
        ({"are_classes": False, "meaning": "value"}, ["cat", "dog"]),
        ({"are_classes": False, "meaning": "value", "names": ()}, ["value:0", "value:1"]),
        ({"samples": ["a.png", "b,c.png", "d"]}, ["sample", "class", "probability:cat", "probability:dog"]),
        (
            {
                "samples": ["a", "b", "c"],
                "names": ("sample", "dog"),
                "meaning": "value",
                "are_classes": False,
            },
            ["sample id", "sample", "dog"],
        ),
    ],
)
def test_columns_are_named(tmp_path: Path, fields: dict[str, Any], columns: list[str]) -> None:
    write_predictions(tmp_path / "new" / "out.csv", predictions(**fields))
    lines = (tmp_path / "new" / "out.csv").read_text().splitlines()
    assert lines[0].split(",") == columns
    assert len(lines) == 1 + len(VALUES)
    assert lines[1].endswith("0.25,0.75")
    assert lines[3].endswith("0.5,")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
def test_tables_hold_the_outputs_and_the_most_likely_class(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    write_predictions(out, predictions(values=VALUES[:2], samples=["a.png", "b,c.png"]))
    table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    assert table["sample"].tolist() == ["a.png", "b,c.png"]
    assert table["class"].tolist() == ["dog", "cat"]
    np.testing.assert_array_equal(
        table[["probability:cat", "probability:dog"]].to_numpy(np.float32), VALUES[:2]
    )
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 5)])
def test_an_array_is_the_outputs_to_the_last_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    write_predictions(tmp_path / "out.npy", predictions(values=values))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), values)


def test_a_number_called_sample_has_its_own_column(tmp_path: Path) -> None:
    named = predictions(samples=["a", "b", "c"], names=("sample", "dog"), meaning="value", are_classes=False)
    write_predictions(tmp_path / "out.parquet", named)
    assert list(pd.read_parquet(tmp_path / "out.parquet").columns) == ["sample id", "sample", "dog"]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.csv.gz", ".csv"])
def test_other_suffixes_are_refused_with_the_choices(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"--out must end in \.npy, \.csv or \.parquet"):
        require_writable(tmp_path / name)


def test_arrays_are_no_rows_of_text(tmp_path: Path) -> None:
    for name in ("out.npy", "out.parquet"):
        require_writable(tmp_path / name, axes=3)
    with pytest.raises(ConfigError, match=r"an array a sample.*give an --out in \.npy or \.parquet"):
        require_writable(tmp_path / "out.csv", axes=3)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
def test_pieces_make_the_file_that_the_whole_makes(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).random((12, 2)).astype(np.float32)
    names = [f"s{i}" for i in range(12)]
    cut = [(0, 5), (5, 10), (10, 12)]
    parts = [predictions(values=values[a:b], samples=names[a:b]) for a, b in cut]
    write_predictions(tmp_path / f"pieces{suffix}", *parts)
    write_predictions(tmp_path / f"whole{suffix}", predictions(values=values, samples=names))
    if suffix == ".parquet":
        pd.testing.assert_frame_equal(
            *(pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("pieces", "whole"))
        )
    else:
        assert (tmp_path / f"pieces{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_maps_in_parquet_keep_their_shape_beside_their_names(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    write_predictions(tmp_path / "out.parquet", predictions(values=values, samples=["a", "b", "c"], names=()))
    frame = read_frame(tmp_path / "out.parquet")
    assert frame["sample"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(np.stack(frame["probability"]), values)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write .*file"):
        write_predictions(tmp_path / "file" / "out.csv", predictions())
