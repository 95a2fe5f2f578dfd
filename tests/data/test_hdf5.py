from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.hdf5 import Rows, datasets, get_dataset, open_hdf5, sources_of
from pare_tune.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(12.0).reshape(3, 4)
        file["0000/grid/t"] = np.arange(5.0)
        file["packed"] = np.zeros((100, 1000))
        file.create_dataset("deflated", data=np.zeros((500, 1000)), compression="gzip", compression_opts=9)
        file.create_dataset("unwritten", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(1, 1024))
        half = file.create_dataset("half", shape=(10, 4), dtype="f8", chunks=(2, 4))
        half[:6] = 1.0
        meant = file.create_dataset("meant", shape=(10, 4), dtype="f8", chunks=(2, 4), fillvalue=0.0)
        meant[:6] = 1.0
        file.create_dataset("claimed", shape=(9,), dtype="f8")
        for name, source in (("virtual", "x"), ("lost", "absent.h5")):
            layout = h5py.VirtualLayout(shape=(3, 4), dtype="f8")
            layout[:] = h5py.VirtualSource("." if source == "x" else source, "x", shape=(3, 4))
            file.create_virtual_dataset(name, layout)
        file["soft"] = h5py.SoftLink("/x")
        file["broken"] = h5py.SoftLink("/y")
        file["loop/around"] = h5py.SoftLink("/loop")
        file["empty"] = np.zeros((0, 3))
        file["scalar"] = 3.0
    return tmp_path / "a.h5"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x", (3, 4)),
        ("virtual", (3, 4)),
        ("soft", (3, 4)),
        ("meant", (10, 4)),
        ("0000/grid/t", (5,)),
        ("deflated", (500, 1000)),
        ("empty", (0, 3)),
        ("scalar", ()),
    ],
)
def test_data_sets_are_found_by_name(path: Path, name: str, shape: tuple[int, ...]) -> None:
    with open_hdf5(path) as file:
        assert get_dataset(file, name, path).shape == shape


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("y", r"a\.h5 must hold a data set 'y', found 0000, broken, .*, x"),
        ("0000", r"must hold a data set '0000'"),
        ("0000/grid/x", r"a\.h5, 0000, grid must hold a data set 'x', found t"),
        ("0001/grid/t", "must hold a group '0001' with 't' in it"),
        ("x/t", "must hold a group 'x' with 't' in it"),
        ("unwritten", r"0 of 1,073,741,824 chunks of unwritten float32 \(1048576, 1048576\) were written"),
        ("half", r"3 of 5 chunks of half float64 \(10, 4\) were written.* cut it to what was written"),
        ("claimed", r"claimed float64 \(9,\) needs 72 bytes, found 0; nothing was written into it"),
        ("lost", r"lost is put together from other files, and .*absent\.h5 is missing"),
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
        with pytest.raises(DataError, match="chunks of unwritten float32 .* were written"):
            Rows(file["unwritten"], path)
    with pytest.raises(DataError, match=r"a\.h5 is not a whole HDF5 file"):
        data[0]


def test_messages_of_our_own_pass_through(path: Path) -> None:
    with pytest.raises(DataError, match=r"^as it was$"), open_hdf5(path):
        raise DataError("as it was")


def test_data_sets_behind_links_are_listed_and_broken_links_are_not(path: Path) -> None:
    with h5py.File(path.with_name("b.h5"), "w") as file:
        file["near"] = np.zeros(3)
        file["far"] = h5py.ExternalLink("a.h5", "/x")
        file["folder"] = h5py.ExternalLink("a.h5", "/0000")
        file["gone"] = h5py.ExternalLink("c.h5", "/x")
    with open_hdf5(path.with_name("b.h5")) as file:
        assert sorted(datasets(file)) == ["far", "folder/grid/t", "near"]
        assert list(sources_of(file["far"], path.with_name("b.h5"))) == [path]
    with open_hdf5(path) as file:
        assert {"soft", "virtual", "x"} < set(datasets(file))
        assert not {"broken", "loop/around"} & set(datasets(file))
        assert np.asarray(get_dataset(file, "virtual", path)).tolist() == np.asarray(file["x"]).tolist()
