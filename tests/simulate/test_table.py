from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pare_tune.errors import ConfigError, DataError, StorageError, UnknownName
from pare_tune.recorded.table import Table, read_table
from simulate.record import Recording
from simulate.tables import load_table, pack, write_table


def write_records(folder: Path, count: int = 4, **changes: Any) -> Path:
    """As the recorder writes them; the last one diverged before its first epoch."""
    recording = Recording.open("wdbc")
    for number in range(count):
        record = {
            "task": "wdbc",
            "number": number,
            "version": "1",
            "base": recording.space.base.to_dict(),
            "settings": recording.settings(number),
            "cause": None,
            "message": None,
            "curve": [
                {"epoch": e, "score": 0.1 / e + number / 3, "cpu_seconds": 0.5}
                for e in range(1, recording.space.base.train.epochs + 1)
            ],
        }
        if number == count - 1:
            record |= {"cause": "diverged", "message": "diverged: loss became nan", "curve": []}
        path = recording.path(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**record, **changes}))
    return folder / "wdbc"


def test_packed_records_come_back_to_the_last_bit(tmp_path: Path) -> None:
    records = write_records(tmp_path)
    table, path = pack(records, tmp_path / "tables")
    recording = Recording.open("wdbc")
    assert [c.number for c in table.configurations] == [0, 1, 2, 3]
    for found in table.configurations:
        settings = recording.settings(found.number)
        assert found.settings == settings
        assert {k: type(v) for k, v in found.settings.items()} == {k: type(v) for k, v in settings.items()}
    assert table.configurations[1].scores == tuple(0.1 / e + 1 / 3 for e in range(1, table.epochs + 1))
    assert table.configurations[1].seconds == (0.5,) * table.epochs
    assert table.configurations[3].cause == "diverged"
    assert [c.is_complete for c in table.configurations] == [True, True, True, False]
    assert (table.task, table.metric, table.direction, table.provenance) == (
        "wdbc", "auroc_error", "min", "real",
    )  # fmt: skip
    assert table.base == recording.space.base
    assert read_table(path) == table == load_table("wdbc", tmp_path / "tables")
    assert [p.name for p in path.parent.iterdir()] == ["wdbc.parquet"]


def test_anyone_can_read_a_table(tmp_path: Path) -> None:
    _, path = pack(write_records(tmp_path), tmp_path)
    frame = pq.read_table(path).to_pandas()
    assert frame["k.start"][0] == pytest.approx(Recording.open("wdbc").space.base.k.start)
    assert len(frame["score"][0]) == len(frame["cpu_seconds"][0]) == 18


def test_records_around_different_defaults_are_not_mixed(tmp_path: Path) -> None:
    records = write_records(tmp_path)
    record = json.loads((records / "0001.json").read_text())
    record["base"]["optimizer"]["lr"] *= 2
    (records / "0001.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="different trial 0s"):
        pack(records, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("text", ['{"task": "wdbc"', "[]", '{"task": "wdbc"}'])
def test_a_damaged_record_is_named(text: str, tmp_path: Path) -> None:
    records = write_records(tmp_path)
    (records / "0002.json").write_text(text)
    with pytest.raises(DataError, match=r"0002\.json is (damaged|no record)"):
        pack(records, tmp_path)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no records in"):
        pack(tmp_path, tmp_path)


def crash(records: Path, number: int) -> None:
    path = records / f"{number:04d}.json"
    record = json.loads(path.read_text())
    crashed = {
        "cause": "crashed",
        "message": "OSError: No space left on device",
        "curve": record["curve"][:2],
    }
    path.write_text(json.dumps({**record, **crashed, "version": "of another day"}))


def test_crashes_of_the_recording_machine_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = write_records(tmp_path, 5)
    pack(records, tmp_path)
    assert not caplog.messages
    crash(records, 1)
    crash(records, 2)
    table, path = pack(records, tmp_path)
    assert [(c.number, c.cause) for c in table.configurations] == [(0, None), (3, None), (4, "diverged")]
    assert read_table(path) == table
    [message] = caplog.messages
    assert "left out 2 of 5 records" in message


def test_nothing_but_crashes_makes_no_table(tmp_path: Path) -> None:
    records = write_records(tmp_path, 2)
    crash(records, 0)
    crash(records, 1)
    with pytest.raises(DataError, match="no records in .* but those of 2 crashes"):
        pack(records, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_a_damaged_table_is_refused(tables: Path, tmp_path: Path) -> None:
    whole = (tables / "wdbc.parquet").read_bytes()
    for name, data in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"number,epochs\n0,1\n")):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        with pytest.raises(DataError, match="is no table of recorded curves"):
            read_table(path)


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"number": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="is no table of recorded curves"):
        read_table(tmp_path / "x.parquet")


def test_an_unrecorded_task_is_refused_with_the_nearest(tables: Path) -> None:
    with pytest.raises(UnknownName, match="no recorded task named 'wdbd'. Did you mean 'wdbc'"):
        load_table("wdbd", tables)


def test_without_any_table_the_next_step_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pack them with its --pack .* with --tables"):
        load_table("wdbc", tmp_path)


def test_a_failing_write_leaves_the_old_table(
    new_table: Callable[..., Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wdbc.parquet"
    write_table(new_table(20), path)
    before = path.read_bytes()

    def fill_the_disk(table: Any, where: Path, **options: Any) -> None:
        where.write_bytes(b"PAR1 and no more")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fill_the_disk)
    with pytest.raises(StorageError, match="No space left on device"):
        write_table(new_table(21), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
