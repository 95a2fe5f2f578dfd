from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.hdf5 import Rows, get_dataset, open_hdf5
from pare_tune.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(12.0).reshape(3, 4)
        file["0000/grid/t"] = np.arange(5.0)
        file["packed"] = np.zeros((100, 1000))
        file.create_dataset("deflated", data=np.zeros((500, 1000)), compression="gzip", compression_opts=9)
        file.create_dataset("unwritten", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(1, 1024))
        file["empty"] = np.zeros((0, 3))
        file["scalar"] = 3.0
    return tmp_path / "a.h5"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", (3, 4)), ("0000/grid/t", (5,)), ("deflated", (500, 1000)), ("empty", (0, 3)), ("scalar", ())],
)
def test_data_sets_are_found_by_name(path: Path, name: str, shape: tuple[int, ...]) -> None:
    with open_hdf5(path) as file:
        assert get_dataset(file, name, path).shape == shape


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("y", r"a\.h5 must hold a data set 'y', found 0000, deflated, empty, packed, scalar, unwritten, x"),
        ("0000", r"must hold a data set '0000'"),
        ("0000/grid/x", r"a\.h5, 0000, grid must hold a data set 'x', found t"),
        ("0001/grid/t", "must hold a group '0001' with 't' in it"),
        ("x/t", "must hold a group 'x' with 't' in it"),
        ("unwritten", r"unwritten float32 \(1048576, 1048576\) needs 4,398,046,511,104 bytes, found 0"),
    ],
)
def test_what_is_not_there_is_named(path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message), open_hdf5(path) as file:
        get_dataset(file, name, path)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(DataError, match=r"a\.h5 is not a whole HDF5 file"), open_hdf5(tmp_path / "a.h5"):
        raise AssertionError
    with pytest.raises(DataError, match=r"no file .*absent\.h5"), open_hdf5(tmp_path / "absent.h5"):
        raise AssertionError


@pytest.mark.parametrize(
    "error", [RuntimeError("bad heap"), KeyError("x"), TypeError("bytes"), OSError("cut short")]
)
def test_what_h5py_raises_while_reading_is_one_kind_of_error(path: Path, error: Any) -> None:
    with pytest.raises(DataError, match=r"a\.h5 is not a whole HDF5 file"), open_hdf5(path):
        raise error


def test_rows_are_read_from_an_open_file(path: Path) -> None:
    with open_hdf5(path) as file:
        data = Rows(file["x"], path)
        assert (data.shape, data.dtype, len(data)) == ((3, 4), np.float64, 3)
        assert data[1:3].tolist() == [[4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]]
        with pytest.raises(DataError, match="unwritten float32 .* found 0"):
            Rows(file["unwritten"], path)
    with pytest.raises(DataError, match=r"a\.h5 is not a whole HDF5 file"):
        data[0]


def test_messages_of_our_own_pass_through(path: Path) -> None:
    with pytest.raises(DataError, match=r"^as it was$"), open_hdf5(path):
        raise DataError("as it was")
