from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.io import savemat

from pare_tune.data.matfiles import open_mat
from pare_tune.errors import DataError


def write(path: Path, compress: bool = False, **arrays: Any) -> Path:
    savemat(path, arrays, do_compression=compress)
    return path


def whole(path: Path, name: str) -> npt.NDArray[Any]:
    found = open_mat(path, name)
    planes = list(found.planes())
    assert len(planes) == found.shape[-1]
    array = np.stack(planes, axis=-1)
    assert (array.shape, array.dtype) == (found.shape, found.dtype)
    return array


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (5, 3, 2), (2, 3, 4, 5)])
def test_arrays_are_read_as_scipy_wrote_them(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, compress: bool
) -> None:
    array = (100 * np.random.default_rng(0).random(shape)).astype(dtype)
    path = write(tmp_path / "a.mat", compress, before=np.arange(7.0), wanted=array, after="text")
    np.testing.assert_array_equal(whole(path, "wanted"), array)


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def by_hand(
    order: str, stored: int, numbers: bytes, shape: tuple[int, ...] = (2, 3), mxclass: int = 6
) -> bytes:
    """A file as MATLAB writes it: doubles that happen to be small are stored as small numbers."""
    head = (
        b"MATLAB 5.0 MAT-file".ljust(124)
        + struct.pack(f"{order}H", 0x0100)
        + (b"IM" if order == "<" else b"MI")
    )
    name = struct.pack(f"{order}HH", 1, 1) + b"a\0\0\0"
    parts = [
        element(order, 6, struct.pack(f"{order}II", mxclass, 0)),
        element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape)),
        name,
        element(order, stored, numbers),
    ]
    return head + element(order, 14, b"".join(parts))


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_stored_as_small_numbers_of_either_byte_order(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(by_hand(order, 4, struct.pack(f"{order}6H", 1, 2, 3, 4, 5, 60000)))
    np.testing.assert_array_equal(whole(path, "a"), [[1.0, 3.0, 5.0], [2.0, 4.0, 60000.0]])


def test_numbers_may_stand_in_the_tag(tmp_path: Path) -> None:
    write(tmp_path / "a.mat", a=np.array([[7]], np.uint8), b=np.array([[1, 2, 3]], np.int8))
    assert whole(tmp_path / "a.mat", "a").tolist() == [[7]]
    assert whole(tmp_path / "a.mat", "b").tolist() == [[1, 2, 3]]


def test_empty_arrays_have_no_planes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", a=np.zeros((0, 0)), b=np.ones((1, 1)))
    assert list(open_mat(path, "a").planes()) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.array([[1 + 2j]]), "complex numbers"),
        ("text", "MATLAB's class 4"),
        ({"field": 1.0}, "MATLAB's class 2"),
        (np.array([[1.0], ["a"]], object), "MATLAB's class 1"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(tmp_path: Path, value: Any, found: str) -> None:
    with pytest.raises(DataError, match=f"a must be an array of real numbers, found {found}"):
        open_mat(write(tmp_path / "a.mat", a=value), "a")


def test_a_missing_field_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold a field 'sol', found coeff, grid"):
        open_mat(write(tmp_path / "a.mat", coeff=np.ones(3), grid=np.ones(3)), "sol")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_files_are_named(tmp_path: Path, share: float, compress: bool) -> None:
    path = write(tmp_path / "a.mat", compress, a=np.random.default_rng(0).random((20, 20)))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        DataError, match=r"a\.mat is not a whole MATLAB 5 file|must hold a field 'a', found nothing"
    ):
        whole(path, "a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*absent\.mat: No such file"):
        open_mat(tmp_path / "absent.mat", "a")


@pytest.mark.parametrize("shape", [(1 << 30, 1 << 30), (1 << 20, 1 << 10), (4, 1 << 30)])
@pytest.mark.parametrize("compress", [False, True])
def test_a_header_that_claims_any_size_takes_no_memory(
    tmp_path: Path, shape: tuple[int, ...], compress: bool
) -> None:
    content = by_hand("<", 9, bytes(48), shape)
    if compress:
        packed = zlib.compress(content[128:])
        content = content[:128] + struct.pack("<II", 15, len(packed)) + packed
    (tmp_path / "a.mat").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="not a whole MATLAB 5 file"):
            whole(tmp_path / "a.mat", "a")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a_plane_at_a_time_takes_the_memory_of_a_plane(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mat", True, a=np.random.default_rng(0).integers(0, 9, (100, 100, 200)).astype(float)
    )
    tracemalloc.start()
    try:
        total = sum(float(plane.sum()) for plane in open_mat(path, "a").planes())
        assert tracemalloc.get_traced_memory()[1] < 6e6, "the array is 16 MB"
    finally:
        tracemalloc.stop()
    assert total == whole(path, "a").sum()
