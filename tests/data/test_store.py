"""Prepared stores: what is written comes back, zero-copy, and nothing half-written is ever left or read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pare_tune.data import store as store_module
from pare_tune.data.store import Record, Store, write_store
from pare_tune.errors import DataError


def records(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        {
            "x": rng.standard_normal((3, 4), dtype=np.float32),
            "y": np.array(i, dtype=np.int64),
            "flag": np.array(i % 2 == 0),
            "half": rng.standard_normal(5).astype(np.float16),
            "map": rng.standard_normal((i % 4 + 1, i % 3 + 2)).astype(np.float16),
            "series": rng.integers(0, 255, i % 5, dtype=np.uint8),
        }
        for i in range(count)
    ]


RAGGED = frozenset({"map", "series"})


def assert_same(got: Record, want: Record) -> None:
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert np.asarray(got[name]).dtype == value.dtype, name
        np.testing.assert_array_equal(got[name], value, strict=np.ndim(value) > 0, err_msg=name)


@pytest.fixture
def written(tmp_path: Path) -> Store:
    write_store(tmp_path / "train.arrow", records(7), ragged=RAGGED)
    return Store(tmp_path / "train.arrow")


def test_every_record_comes_back_as_it_was(written: Store) -> None:
    assert len(written) == 7
    assert written.fields == ("x", "y", "flag", "half", "map", "series")
    for index, want in enumerate(records(7)):
        assert_same(written[index], want)


def test_the_number_of_records_is_returned(tmp_path: Path) -> None:
    assert write_store(tmp_path / "a.arrow", records(5), ragged=RAGGED) == 5


def test_many_batches_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH_BYTES", 200)
    write_store(tmp_path / "a.arrow", iter(records(50)), ragged=RAGGED)
    assert pa.ipc.open_file(str(tmp_path / "a.arrow")).num_record_batches > 10
    store = Store(tmp_path / "a.arrow")
    for index, want in enumerate(records(50)):
        assert_same(store[index], want)
    np.testing.assert_array_equal(store.column("y"), np.arange(50))
    assert store.column("x").shape == (50, 3, 4)


def test_negative_indices_count_from_the_end_and_others_are_refused(written: Store) -> None:
    assert_same(written[-1], records(7)[6])
    for index in (7, -8):
        with pytest.raises(IndexError):
            written[index]


def test_columns_come_whole_where_records_have_one_shape(written: Store) -> None:
    np.testing.assert_array_equal(written.column("half"), np.stack([r["half"] for r in records(7)]))
    np.testing.assert_array_equal(written.column("flag"), [True, False, True, False, True, False, True])
    with pytest.raises(DataError, match="'map' has another shape in every record"):
        written.column("map")
    with pytest.raises(DataError, match=r"no field 'z'; it has x, y, flag"):
        written.column("z")


def test_a_share_is_a_fixed_choice_that_holds_every_smaller_one(tmp_path: Path) -> None:
    write_store(tmp_path / "a.arrow", records(40), ragged=RAGGED)
    chosen = {share: Store(tmp_path / "a.arrow", share=share) for share in (0.001, 0.1, 0.5, 0.9, 1.0)}
    assert [len(store) for store in chosen.values()] == [1, 4, 20, 36, 40]
    labels = [store.column("y").tolist() for store in chosen.values()]
    assert all(set(fewer) < set(more) for fewer, more in pairwise(labels))
    half = chosen[0.5]
    assert labels[2] == sorted(labels[2]) != list(range(20))
    for again in (Store(half.path, share=0.5), pickle.loads(pickle.dumps(half))):
        for index, label in enumerate(labels[2]):
            assert_same(again[index], records(40)[label])


def test_arrays_are_views_that_cannot_be_written(written: Store) -> None:
    for name in ("x", "half", "map"):
        array = written[3][name]
        assert not array.flags.writeable
        assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        written[0]["x"][0, 0] = 1


def test_a_store_pickles_as_its_path(written: Store) -> None:
    data = pickle.dumps(written)
    assert len(data) < 1000
    assert_same(pickle.loads(data)[2], records(7)[2])


class TestWhatIsRefused:
    def test_an_empty_split(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="val: the split is empty"):
            write_store(tmp_path / "val.arrow", [])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"x": np.zeros((3, 5), np.float32)},
                r"record 1, field 'x': got float32 \(3, 5\).*float32 \(3, 4\)",
            ),
            ({"x": np.zeros((3, 4))}, r"field 'x': got float64"),
            ({"map": np.zeros(3, np.float16)}, r"field 'map': got float16 \(3,\)"),
            ({"more": np.zeros(1)}, r"record 1 has fields .*'more'"),
        ],
        ids=["shape", "dtype", "axes of a ragged field", "fields"],
    )
    def test_a_record_unlike_the_first(self, tmp_path: Path, change: Record, message: str) -> None:
        first, second = records(2)
        with pytest.raises(DataError, match=message):
            write_store(tmp_path / "a.arrow", [first, second | change], ragged=RAGGED)
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no prepared store at .*prepare"):
            Store(tmp_path / "none.arrow")

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_a_truncated_file(self, written: Store, share: float) -> None:
        whole = written.path.read_bytes()
        path = written.path.with_name("cut.arrow")
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"cut\.arrow is not a prepared store .*prepare again"):
            Store(path)

    def test_a_file_whose_end_is_damaged(self, written: Store) -> None:
        whole = bytearray(written.path.read_bytes())
        whole[-10:-6] = b"\xff\xff\xff\x7f"  # the footer's length
        path = written.path.with_name("bad.arrow")
        path.write_bytes(whole)
        with pytest.raises(DataError, match="not a prepared store"):
            Store(path)

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        table = pa.table({"a": [1]})
        with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
            writer.write_table(table)
        (tmp_path / "b.arrow").write_text("no Arrow at all, but longer than a header")
        for name in ("a.arrow", "b.arrow"):
            with pytest.raises(DataError, match="not a prepared store"):
                Store(tmp_path / name)


class TestInterruption:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, DataError])
    @pytest.mark.parametrize("after", [0, 3])
    def test_leaves_nothing(self, tmp_path: Path, error: type[BaseException], after: int) -> None:
        def interrupted() -> Iterator[Record]:
            yield from records(after)
            raise error("stop")

        with pytest.raises(error, match="stop"):
            write_store(tmp_path / "a.arrow", interrupted(), ragged=RAGGED)
        assert list(tmp_path.iterdir()) == []

    def test_leaves_the_former_store_whole(self, written: Store) -> None:
        def interrupted() -> Iterator[Record]:
            yield records(1)[0]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_store(written.path, interrupted(), ragged=RAGGED)
        assert [p.name for p in written.path.parent.iterdir()] == ["train.arrow"]
        assert len(Store(written.path)) == 7

    def test_nothing_is_visible_until_all_is_written(self, tmp_path: Path) -> None:
        def watched() -> Iterator[Record]:
            for record in records(3):
                assert not (tmp_path / "a.arrow").exists()
                yield record

        write_store(tmp_path / "a.arrow", watched(), ragged=RAGGED)
        assert [p.name for p in tmp_path.iterdir()] == ["a.arrow"]
