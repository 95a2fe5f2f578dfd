"""The restricted unpickler: plain arrays come back as they were, anything else is refused before it runs."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data.pickles import load_pickle, read_pickle
from pare_tune.errors import DataError, UnsafePickle

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def loaded(data: bytes, where: str) -> object:
    return read_pickle(io.BytesIO(data), where)


def objects(*values: object) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


PLAIN = {
    "float": ARRAY,
    "big-endian": ARRAY.astype(">f8"),
    "half": ARRAY.astype(np.float16),
    "int": np.array([-1, 2], dtype=np.int8),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"xyz", b""]),
    "fortran": np.asfortranarray(ARRAY),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "strided": np.arange(12)[::3],
    "0-d": np.array(3.5),
    "empty": np.zeros((0, 4)),
    "numpy scalar": np.float32(1.5),
    "dtype": np.dtype(">i4"),
    "python": {"s": "é", "b": b"\x00\xff", "n": None, "t": (1, 2.5, True), "c": 1j, "l": [10**30], 3: {4, 5}},
    "bytearray": bytearray(b"ab"),
    "frozenset": frozenset({1, 2}),
}


def assert_same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    if isinstance(want, np.ndarray):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    else:
        assert got == want


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_come_back_as_they_were(name: str, protocol: int) -> None:
    assert_same(loaded(pickle.dumps(PLAIN[name], protocol=protocol), "file"), PLAIN[name])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_may_hold_arrays_and_containers(protocol: int) -> None:
    nested = {"data": objects(ARRAY, [ARRAY, ("x", {"deep": ARRAY})], None), "same": [ARRAY, ARRAY]}
    got = loaded(pickle.dumps(nested, protocol=protocol), "file")
    assert isinstance(got, dict)
    assert_same(got["data"][0], ARRAY)
    assert_same(got["data"][1][1][1]["deep"], ARRAY)
    assert got["data"][2] is None
    assert got["same"][0] is got["same"][1], "what was one array stays one"


def test_an_object_array_of_no_axes_holds_one_object() -> None:
    got = loaded(pickle.dumps(np.array({"label": ARRAY}, dtype=object)), "file")
    assert isinstance(got, np.ndarray)
    assert got.shape == ()
    assert_same(got.item()["label"], ARRAY)


def test_structures_that_contain_themselves_do_not_hang() -> None:
    loop: list[Any] = [ARRAY]
    loop.append(loop)
    got = loaded(pickle.dumps(loop), "file")
    assert isinstance(got, list)
    assert got[1] is got
    assert_same(got[0], ARRAY)


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_pickle_by_python_2_is_read(core: bytes) -> None:
    # Protocol 2 as Python 2 wrote it: `str` is bytes (SHORT_BINSTRING), builtins live in __builtin__.
    raw = np.array([1.5, -2.0], "<f8").tobytes()
    data = (
        b"\x80\x02}(U\x04dataq\x00c" + core + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U" + bytes([len(raw)]) + raw + b"tbU\x04nameU\x02\xe9!u."
    )
    got = loaded(data, "file")
    assert isinstance(got, dict)
    assert_same(got["data"], np.array([1.5, -2.0]))
    assert got["name"] == "é!"


class Reduces:
    """Pickles as the call that is given, which unpickling then makes."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


HOSTILE = {
    "os.system": Reduces(os.system, ("exit 1",)),
    "eval": Reduces(eval, ("1",)),
    "getattr": Reduces(getattr, (1, "real")),
    "import": Reduces(__import__, ("os",)),
    "partial": functools.partial(print, 1),
    "open": Reduces(open, ("/dev/null",)),
    "np.load": Reduces(np.load, ("x.npy",)),
    "np.fromfile": Reduces(np.fromfile, ("/dev/null",)),
    "np.memmap": Reduces(np.memmap, ("/dev/null",)),
    "np.frompyfunc": Reduces(np.frompyfunc, (1, 1, 1)),
    "masked": np.ma.array([1], mask=[True]),
    "recarray": np.zeros(1, [("a", "i4")]).view(np.recarray),
    "class": OrderedDict,
    "instance": Path("x"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1, {"k": (x,)}], lambda x: objects(ARRAY, x)])
def test_anything_else_is_refused_and_named(name: str, protocol: int, wrap: Any) -> None:
    data = pickle.dumps(wrap(HOSTILE[name]), protocol=protocol)
    with pytest.raises(UnsafePickle, match=r"^evil\.pkl: this pickle asks for"):
        loaded(data, "evil.pkl")


def test_nothing_runs_before_it_is_refused(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    with pytest.raises(UnsafePickle, match=r"asks for \w+\.system"):
        loaded(pickle.dumps([Reduces(os.system, (f"touch {witness}",))]), "evil")
    assert not witness.exists()


# Opcodes by hand, for what no pickler writes. g(): a global; R: call; b: set state.
def g(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


RECONSTRUCT = g("numpy._core.multiarray", "_reconstruct") + g("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
F8 = (
    g("numpy", "dtype")
    + b"\x8c\x02f8\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
OBJECT = (
    g("numpy", "dtype")
    + b"\x8c\x02O8\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
)


@pytest.mark.parametrize(
    "program",
    {
        "call ndarray with a size": g("numpy", "ndarray") + b"J\xff\xff\xff\x7f\x85R.",
        "a function instead of data": g("_codecs", "encode") + b".",
        "a function as a key": b"}" + g("_codecs", "encode") + b"K\x01s.",
        "a function in a tuple key": b"}" + g("_codecs", "encode") + b"\x85K\x01s.",
        "a function in an object array": RECONSTRUCT
        + b"(K\x01K\x01\x85"
        + OBJECT
        + b"\x89]"
        + g("numpy", "dtype")
        + b"atb.",
        "alter a function": g("_codecs", "encode") + b"N}\x8c\x0c__defaults__K\x01s\x86b.",
        "another codec": g("_codecs", "encode") + b"\x8c\x01a\x8c\x03zip\x86R.",
        "a subclass of ndarray": g("numpy._core.multiarray", "_reconstruct")
        + g("numpy", "dtype")
        + b"K\x00\x85C\x01b\x87R.",
        "an outside object": b"\x80\x02K\x01Q.",
    }.items(),
    ids=lambda item: item[0],
)
def test_programs_that_misuse_the_permitted_names_are_refused(program: tuple[str, bytes]) -> None:
    with pytest.raises(UnsafePickle, match="not loaded"):
        loaded(program[1], "evil")


def array_of(shape: bytes, dtype: bytes = F8, contents: bytes = b"C\x08" + bytes(8)) -> bytes:
    return RECONSTRUCT + b"(K\x01" + shape + dtype + b"\x89" + contents + b"tb."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (array_of(b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85"), "8000000000000 bytes, the pickle holds 8"),
        (array_of(b"\x8a\x09" + (2**64).to_bytes(9, "little") + b"\x85"), "needs"),
        (array_of(b"K\x01J\xfe\xff\xff\xff\x86"), "shape"),
        (array_of(b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85", OBJECT, b"](K\x01e"), "elements"),
        (array_of(b"K\x02\x85"), "needs 16 bytes"),
        (array_of(b"K\x01\x85", F8, b"](K\x01e"), "contents"),
        (array_of(b"K\x01\x85", OBJECT), "elements"),
        (array_of(b"K\x01\x85", b"N"), "dtype"),
        (array_of(b"K\x01\x85", g("numpy", "dtype") + b"\x8c\x06O8, f8\x85R"), "dtype"),
        (array_of(b"K\x01\x85", g("numpy", "dtype") + b"\x8c\x02V8\x85R"), "dtype"),
        (RECONSTRUCT + b".", "no contents"),
        (g("builtins", "bytes") + b"J\xff\xff\xff\x7f\x85R.", "malformed bytes"),
        (g("builtins", "bytearray") + b"J\xff\xff\xff\x7f\x85R.", "malformed bytes"),
        (b"](" + RECONSTRUCT + b"}h", "."),
        (b"K\x01" * 5, "."),
        (b"(" * 10, "."),
        (b"\x80\xff.", "protocol"),
    ],
)  # fmt: skip
def test_malformed_and_absurd_pickles_say_so(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        loaded(data, "broken.pkl")
    assert str(caught.value).startswith("broken.pkl")


def test_a_forged_dtype_cannot_make_pointers_of_bytes() -> None:
    # V8 whose state says that it has a field of dtype object: NumPy's own dtype would believe it.
    fields = b"}\x8c\x01p" + OBJECT + b"K\x00\x86s"
    forged = (
        g("numpy", "dtype") + b"\x8c\x02f8\x85R(K\x03\x8c\x01|N\x8c\x01p\x85" + fields + b"K\x08K\x01K\x00tb"
    )
    with pytest.raises(DataError, match="structured"):
        loaded(array_of(b"K\x01\x85", forged, b"C\x08" + struct.pack("<Q", 0x41414141)), "evil")


def test_structured_arrays_are_not_read() -> None:
    with pytest.raises(DataError, match="dtype"):
        loaded(pickle.dumps(np.zeros(2, [("a", "i4"), ("b", "f8")])), "file")


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_every_truncation_says_so(protocol: int) -> None:
    whole = pickle.dumps({"a": ARRAY, "b": objects("x", ARRAY)}, protocol=protocol)
    for size in range(len(whole) - 1):
        with pytest.raises(DataError, match=r"^part\.pkl"):
            loaded(whole[:size], "part.pkl")


def test_random_damage_never_escapes_as_another_error() -> None:
    whole = pickle.dumps({"a": ARRAY, "b": objects("x", ARRAY), "c": np.float32(2)}, protocol=4)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] = int(rng.integers(256))
        with contextlib.suppress(DataError):
            loaded(bytes(damaged), "damaged")


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\x02Nr\xff\xff\xff\xff.",  # None under number 4,294,967,295
        b"Np99999999999999\n.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 36) + b"x.",  # a bytearray of 64 GiB
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 36) + b"x.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 36) + b"N.",  # a frame of 64 GiB
    ],
)
def test_numbers_that_a_file_claims_take_no_memory(hostile: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(DataError):
            assert loaded(hostile, "hostile") is None
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_numbers_that_stand_for_no_character_are_refused() -> None:
    whole = pickle.dumps(np.array(["abc", "d"]), 4)
    for code in (0x110000, 0xFFFFFFFF, 0xD800):
        damaged = whole.replace("a".encode("utf-32-le"), struct.pack("<I", code))
        with pytest.raises(DataError, match=f"text holds {code:#x}, which is no character"):
            loaded(damaged, "part.pkl")


class TestFiles:
    def test_gzip_is_told_by_its_content(self, tmp_path: Path) -> None:
        for name in ("a.gz", "a.pkl"):
            (tmp_path / name).write_bytes(gzip.compress(pickle.dumps({"x": ARRAY})))
            got = load_pickle(tmp_path / name)
            assert isinstance(got, dict)
            assert_same(got["x"], ARRAY)

    def test_plain_files_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(ARRAY))
        assert_same(load_pickle(tmp_path / "a.pkl"), ARRAY)

    def test_a_gzip_cut_short_says_so(self, tmp_path: Path) -> None:
        buffer = io.BytesIO(gzip.compress(pickle.dumps(np.random.default_rng(0).random(1000))))
        (tmp_path / "a.gz").write_bytes(buffer.getvalue()[:2000])
        with pytest.raises(DataError, match=r"a\.gz is not a whole pickle"):
            load_pickle(tmp_path / "a.gz")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"cannot read .*none\.pkl: No such file"):
            load_pickle(tmp_path / "none.pkl")
