"""Readers of .npy and .npz: what is documented is read, anything else is said with file, expected and found."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pare_tune.data import arrays
from pare_tune.data.arrays import (
    NpzRows,
    load_npy,
    load_npz,
    require_array,
    require_finite,
    require_range,
    stream_npz,
)
from pare_tune.errors import DataError, UnsafePickle

NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("exit 1",))


def saved(path: Path, array: object) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def objects(*values: object) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


class TestNpy:
    @pytest.mark.parametrize(
        "array",
        [NUMBERS, np.asfortranarray(NUMBERS), NUMBERS.astype(">i2"), np.array(3.0), np.zeros((0, 5)), np.array([True])],
        ids=["c", "fortran", "big-endian", "0-d", "empty", "bool"],
    )  # fmt: skip
    def test_arrays_come_back_as_they_were(self, tmp_path: Path, array: np.ndarray) -> None:
        got = load_npy(saved(tmp_path / "a.npy", array))
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)

    def test_numbers_are_memory_mapped_and_read_only(self, tmp_path: Path) -> None:
        got = load_npy(saved(tmp_path / "a.npy", NUMBERS))
        assert isinstance(got, np.memmap)
        assert not got.flags.writeable

    def test_object_arrays_go_through_the_restricted_unpickler(self, tmp_path: Path) -> None:
        triple = load_npy(saved(tmp_path / "a.npy", objects(3, "MKV", NUMBERS)), shape=(3,), kinds="O")
        assert triple[:2].tolist() == [3, "MKV"]
        np.testing.assert_array_equal(triple[2], NUMBERS)
        with pytest.raises(UnsafePickle, match=r"b\.npy: this pickle asks for \w+\.system"):
            load_npy(saved(tmp_path / "b.npy", objects(1, Harmful())), kinds="O")

    def test_a_saved_dict_is_an_array_of_no_axes(self, tmp_path: Path) -> None:
        got = load_npy(
            saved(tmp_path / "a.npy", {"data": NUMBERS, "label": np.array([1, 2])}), shape=(), kinds="O"
        )
        assert set(got.item()) == {"data", "label"}

    def test_objects_are_refused_unless_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.npy: signal must be .*float, found object"):
            load_npy(saved(tmp_path / "a.npy", objects(Harmful())), name="signal")

    @pytest.mark.parametrize(
        ("shape", "wanted"),
        [
            ((2, 3), r"\(2, 3\)"),
            ((None, 52, None), r"\(any, 52, any\)"),
            ((None,), r"\(any,\)"),
            ((), r"\(\)"),
        ],
    )
    def test_another_shape_says_what_was_expected_and_found(
        self, tmp_path: Path, shape: tuple[int | None, ...], wanted: str
    ) -> None:
        with pytest.raises(DataError, match=rf"a\.npy: x must have shape {wanted}, found \(2, 3, 4\)"):
            load_npy(saved(tmp_path / "a.npy", NUMBERS), shape=shape, name="x")

    def test_any_size_fits_a_wildcard(self, tmp_path: Path) -> None:
        assert load_npy(saved(tmp_path / "a.npy", NUMBERS), shape=(None, 3, None)).shape == (2, 3, 4)

    def test_another_dtype_says_what_was_expected_and_found(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"y must be int or uint, found float32"):
            load_npy(saved(tmp_path / "a.npy", NUMBERS), kinds="iu", name="y")

    def test_a_truncated_file_says_so(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy", NUMBERS)
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])
        with pytest.raises(
            DataError, match=r"a\.npy is cut short: float32 \(2, 3, 4\) needs 224 bytes, found 219"
        ):
            load_npy(path)
        for size in (0, 4, 9, 60, 127):
            path.write_bytes(whole[:size])
            with pytest.raises(DataError, match=r"a\.npy is not a \.npy array"):
                load_npy(path)

    def test_an_object_array_cut_short_says_so(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy", objects(3, "MKV", NUMBERS))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DataError, match=r"a\.npy is not a whole pickle"):
            load_npy(path, kinds="O")

    @pytest.mark.parametrize("shape", ["(1000000000000,)", f"({2**70}, 2)", "(-3,)"])
    def test_an_absurd_header_is_refused_before_anything_is_allocated(
        self, tmp_path: Path, shape: str
    ) -> None:
        (tmp_path / "a.npy").write_bytes(header(shape) + bytes(8))
        with pytest.raises(DataError, match=r"cut short|impossible shape"):
            load_npy(tmp_path / "a.npy")

    @pytest.mark.parametrize(
        ("shape", "descr"),
        [("(100000000000,)", "<U0"), (f"(0, {2**62})", "<f4"), (f"({2**70}, 0)", "<f4"), ("(3,)", "|V0")],
    )
    def test_nothing_of_any_size_is_still_impossible(self, tmp_path: Path, shape: str, descr: str) -> None:
        (tmp_path / "a.npy").write_bytes(header(shape, descr) + bytes(8))
        with pytest.raises(DataError, match="impossible shape"):
            load_npy(tmp_path / "a.npy", kinds="fUV")

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_numbers_that_stand_for_no_character_are_refused(self, tmp_path: Path, order: str) -> None:
        text = np.array([["abc", "d"], ["", "é"]], f"{order}U3")
        np.testing.assert_array_equal(
            load_npy(saved(tmp_path / "a.npy", np.asfortranarray(text)), kinds="U"), text
        )
        path = saved(tmp_path / "a.npy", text)
        code = struct.pack(f"{order}I", 0x110000)
        path.write_bytes(
            path.read_bytes().replace("d".encode(f"utf-32-{'le' if order == '<' else 'be'}"), code)
        )
        with pytest.raises(DataError, match=r"a\.npy: text holds 0x110000, which is no character"):
            load_npy(path, kinds="U")
        np.savez(tmp_path / "a.npz", x=text)
        assert load_npz(tmp_path / "a.npz", ["x"], kinds="U")["x"].tolist() == text.tolist()
        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("x.npy", path.read_bytes())
        with pytest.raises(DataError, match=r"array 'x': text holds 0x110000"):
            load_npz(tmp_path / "b.npz", ["x"], kinds="U")

    def test_brackets_that_exhaust_the_parser_say_so(self, tmp_path: Path) -> None:
        text = b"(" * 9000
        (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        with pytest.raises(DataError, match=r"is not a \.npy array"):
            load_npy(tmp_path / "a.npy")

    def test_a_header_by_python_2_is_read_without_a_warning(self, tmp_path: Path) -> None:
        (tmp_path / "a.npy").write_bytes(header("(2L, 1L)") + np.array([1.0, 2.0]).tobytes())
        np.testing.assert_array_equal(load_npy(tmp_path / "a.npy"), [[1.0], [2.0]])

    @pytest.mark.parametrize("text", ["(2,", "__import__('os')", "'x'", "(1.5,)"])
    def test_a_header_that_is_no_header_says_so(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.npy").write_bytes(header(text) + bytes(16))
        with pytest.raises(DataError, match=r"is not a \.npy array"):
            load_npy(tmp_path / "a.npy")

    def test_a_header_that_lies_about_its_objects_says_so(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.npy", objects(1, 2, 3))
        path.write_bytes(path.read_bytes().replace(b"(3,)", b"(4,)"))
        with pytest.raises(DataError, match=r"shape \(4,\) that its header gives"):
            load_npy(path, kinds="O")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"cannot read .*none\.npy: No such file"):
            load_npy(tmp_path / "none.npy")


def header(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


class TestNpz:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_the_named_arrays_are_read_and_no_other(self, tmp_path: Path, save: object) -> None:
        save(  # type: ignore[operator]
            tmp_path / "a.npz",
            x=NUMBERS,
            f=np.asfortranarray(NUMBERS),
            e=np.zeros((0, 2)),
            bad=objects(Harmful()),
        )
        got = load_npz(tmp_path / "a.npz", ["x", "f", "e"])
        assert list(got) == ["x", "f", "e"]
        np.testing.assert_array_equal(got["x"], NUMBERS)
        np.testing.assert_array_equal(got["f"], NUMBERS)
        assert got["e"].shape == (0, 2)

    def test_object_arrays_go_through_the_restricted_unpickler(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", good=objects("a", NUMBERS), bad=objects(Harmful()))
        assert load_npz(tmp_path / "a.npz", ["good"], kinds="O")["good"][0] == "a"
        with pytest.raises(UnsafePickle, match=r"array 'bad'.*system"):
            load_npz(tmp_path / "a.npz", ["bad"], kinds="O")
        with pytest.raises(DataError, match="good must be .*found object"):
            load_npz(tmp_path / "a.npz", ["good"])

    def test_a_missing_array_says_which_there_are(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=NUMBERS, y=NUMBERS)
        with pytest.raises(DataError, match=r"a\.npz has no array 'x_train'; it has x, y"):
            load_npz(tmp_path / "a.npz", ["x_train"])

    def test_a_truncated_archive_says_so(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=NUMBERS)
        whole = (tmp_path / "a.npz").read_bytes()
        for size in (0, 10, len(whole) // 2, len(whole) - 1):
            (tmp_path / "b.npz").write_bytes(whole[:size])
            with pytest.raises(DataError, match=r"b\.npz is not a whole \.npz file"):
                load_npz(tmp_path / "b.npz", ["x"])

    def test_damage_inside_a_member_says_so(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random(1000))
        whole = bytearray((tmp_path / "a.npz").read_bytes())
        whole[len(whole) // 2] ^= 0xFF
        (tmp_path / "a.npz").write_bytes(whole)
        with pytest.raises(DataError, match=r"a\.npz is not a whole \.npz file"):
            load_npz(tmp_path / "a.npz", ["x"])

    def test_an_absurd_header_is_refused_before_anything_is_allocated(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", header("(1000000000000,)") + bytes(8))
        with pytest.raises(
            DataError, match=r"array 'x' is cut short: float64 .* needs 8,000,000,000,128 bytes"
        ):
            load_npz(tmp_path / "a.npz", ["x"])

    def test_an_archive_that_claims_any_size_is_refused_before_anything_is_allocated(
        self, tmp_path: Path
    ) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", header("(100000000,)") + bytes(1000))
        content = bytearray((tmp_path / "a.npz").read_bytes())
        at = content.index(b"PK\x01\x02") + 24  # the member's length in the list at the end
        content[at : at + 4] = struct.pack("<I", 800_000_128)
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"cut short: float64 .* needs 800,000,128 bytes"):
            load_npz(tmp_path / "a.npz", ["x"])

    @pytest.mark.parametrize(
        ("offset", "value", "said"), [(6, 103, "version"), (8, 1, "encrypted"), (10, 99, "")]
    )
    def test_archives_that_numpy_does_not_write_say_so(
        self, tmp_path: Path, offset: int, value: int, said: str
    ) -> None:
        np.savez_compressed(tmp_path / "a.npz", x=NUMBERS)
        content = bytearray((tmp_path / "a.npz").read_bytes())
        content[content.index(b"PK\x01\x02") + offset] = value
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DataError, match=rf"is not a whole \.npz file .*{said}"):
            load_npz(tmp_path / "a.npz", ["x"])


class TestNpzStream:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_the_slabs_of_an_array_are_its_rows_in_order(
        self, tmp_path: Path, save: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = np.arange(70, dtype=np.int16).reshape(7, 5, 2)
        save(tmp_path / "a.npz", x=rows, f=np.asfortranarray(rows), none=rows[:0])  # type: ignore[operator]
        monkeypatch.setattr(arrays, "_SLAB", 45)  # two rows of ten numbers of two bytes, and no third
        slabs = list(stream_npz(tmp_path / "a.npz", "x", shape=(None, 5, 2), kinds="i"))
        assert [len(slab) for slab in slabs] == [2, 2, 2, 1]
        assert slabs[0].dtype == rows.dtype
        np.testing.assert_array_equal(np.concatenate(slabs), rows)
        np.testing.assert_array_equal(np.concatenate(list(stream_npz(tmp_path / "a.npz", "f"))), rows)
        assert list(stream_npz(tmp_path / "a.npz", "none")) == []

    def test_two_arrays_are_read_side_by_side(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        np.savez_compressed(tmp_path / "a.npz", x=np.arange(9), y=-np.arange(9))
        monkeypatch.setattr(arrays, "_SLAB", 8)
        pairs = zip(stream_npz(tmp_path / "a.npz", "x"), stream_npz(tmp_path / "a.npz", "y"), strict=True)
        assert [int(x[0] + y[0]) for x, y in pairs] == [0] * 9

    def test_what_the_header_says_is_checked_before_the_first_slab_is_taken(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=NUMBERS)
        with pytest.raises(DataError, match=r"x must have shape \(any, 4\), found \(2, 3, 4\)"):
            stream_npz(tmp_path / "a.npz", "x", shape=(None, 4))
        with pytest.raises(DataError, match="x must be int, found float32"):
            stream_npz(tmp_path / "a.npz", "x", kinds="i")
        with pytest.raises(DataError, match="no array 'y'; it has x"):
            stream_npz(tmp_path / "a.npz", "y")

    def test_damage_further_in_says_so(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random(1000))
        whole = bytearray((tmp_path / "a.npz").read_bytes())
        whole[len(whole) // 2] ^= 0xFF
        (tmp_path / "a.npz").write_bytes(whole)
        slabs = stream_npz(tmp_path / "a.npz", "x")
        with pytest.raises(DataError, match=r"a\.npz is not a whole \.npz file"):
            list(slabs)


class TestRequirements:
    def test_what_is_no_array_says_what_it_is(self) -> None:
        with pytest.raises(DataError, match=r"f\.pkl: ss must be an array, found list"):
            require_array([1, 2], "ss", "f.pkl")
        assert require_array(NUMBERS, "ss", "f.pkl", shape=(2, None, 4), kinds="f") is NUMBERS

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_the_first_value_that_is_not_finite_is_named(self, value: float) -> None:
        array = NUMBERS.copy()
        array[1, 2, 0] = array[1, 2, 3] = value
        with pytest.raises(DataError, match=rf"f\.npy: x must be finite, found {value} at index \[1, 2, 0\]"):
            require_finite(array, "x", "f.npy")

    def test_the_index_counts_over_the_whole_array_however_long(self) -> None:
        array = np.zeros((3, 3 << 20), np.float16)
        array[2, 7] = np.nan
        with pytest.raises(DataError, match=r"index \[2, 7\]"):
            require_finite(array, "x", "f.npy")

    def test_integers_and_finite_floats_pass(self) -> None:
        require_finite(np.arange(3), "x", "f")
        require_finite(NUMBERS, "x", "f")
        require_finite(np.zeros((0, 2)), "x", "f")
        require_finite(np.array(1.0), "x", "f")

    @pytest.mark.parametrize("value", [18, -1])
    def test_the_first_value_out_of_range_is_named(self, value: int) -> None:
        with pytest.raises(
            DataError, match=rf"f\.npy: label must lie in \[0, 17\], found {value} at index \[1\]"
        ):
            require_range(np.array([17, value, 99]), "label", "f.npy", low=0, high=17)

    def test_the_ends_are_in_range_and_nan_is_not(self) -> None:
        require_range(np.array([0.0, 17.0]), "x", "f", low=0, high=17)
        with pytest.raises(DataError, match="found nan"):
            require_range(np.array(np.nan), "x", "f", low=0, high=17)


def test_a_stream_that_is_no_zip_is_no_npz(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, NUMBERS)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"not a whole \.npz"):
        load_npz(tmp_path / "a.npz", ["x"])


def test_rows_of_an_archive_are_those_of_its_array(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(900, 3000))
    np.savez(tmp_path / "x.npz", x=array)
    rows = NpzRows(tmp_path / "x.npz", "x")
    assert (rows.shape, rows.dtype) == (array.shape, array.dtype)
    for part in (slice(0, 10), slice(10, 400), slice(700, 900), slice(5, 6)):
        np.testing.assert_array_equal(rows[part], array[part])
