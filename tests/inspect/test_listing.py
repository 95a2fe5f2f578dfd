from __future__ import annotations

from pathlib import Path

import pytest

from pare_tune.errors import UnknownName
from pare_tune.inspect.listing import (
    BENCHMARKS,
    NAS_BENCH,
    OPENML,
    PDE_BENCH,
    data_rows,
    source_rows,
    task_rows,
)
from pare_tune.sources import SOURCES
from pare_tune.tasks import TASKS, get_task
from pare_tune.tasks.load import load_task, sample_folder
from pare_tune.tasks.stores import MARK


def test_every_task_has_one_row_under_its_benchmark() -> None:
    rows = {row.name: row for row in task_rows()}
    assert set(rows) == set(TASKS)
    assert {row.benchmark for row in rows.values()} <= set(BENCHMARKS)
    assert rows["psicov"].benchmark == NAS_BENCH
    assert (rows["psicov"].metric, rows["psicov"].unit, rows["psicov"].paper) == ("mae_8", "Å", 0.99)
    assert rows["advection"].benchmark == PDE_BENCH
    assert (rows["wdbc"].benchmark, rows["wdbc"].input, rows["wdbc"].output) == (OPENML, "1×30", "2 classes")


def test_benchmarks_stand_together() -> None:
    for rows in (task_rows(), data_rows(None)):
        order = [row.benchmark for row in rows]
        assert order == sorted(order, key=BENCHMARKS.index)


@pytest.mark.parametrize("wanted", ["psicov", "PSI", "sico"])
def test_tasks_are_chosen_by_part_of_a_name(wanted: str) -> None:
    assert [row.name for row in task_rows(wanted)] == ["psicov"]


def test_tasks_are_chosen_by_benchmark() -> None:
    assert {row.benchmark for row in task_rows("openml")} == {OPENML}
    with pytest.raises(UnknownName, match="no task or benchmark named 'psikov'.*'psicov'"):
        task_rows("psikov")


def test_sources_are_embedded_found_or_missing(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "VOC2012" / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt").touch()
    rows = {row.name: row for row in source_rows(tmp_path)}
    assert list(rows) == list(SOURCES)
    assert rows["photographs"].data == "embedded"
    assert (rows["cifar10"].data, rows["cifar10"].path) == ("found", str(tmp_path / "cifar-10-batches-py"))
    assert rows["voc"].data == "found"
    assert (rows["cifar100"].data, rows["cifar100"].path) == ("missing", None)
    assert (rows["textfile"].data, rows["textfile"].classes) == ("your own", None)
    assert {row.data for row in source_rows(None)} == {"embedded", "missing", "your own"}


def test_data_are_the_tasks_own_until_its_release_is_there(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    own = data_rows(None, "ninapro", cache=cache)[0]
    assert (own.data, own.prepared_bytes, own.files, own.lacking) == ("sample", None, ("ninaPro",), None)
    elsewhere = data_rows(tmp_path, "ninapro", cache=cache)[0]
    assert (elsewhere.data, elsewhere.lacking) == ("sample", ("ninaPro",))
    release = sample_folder(get_task("ninapro"), cache)
    copy = data_rows(release, "ninapro", cache=cache)[0]
    assert (copy.data, copy.lacking, copy.prepared_bytes) == ("sample", (), None), (
        "what was made here is no release"
    )
    (release / MARK).unlink()
    assert data_rows(release, "ninapro", cache=cache)[0].data == "real"


def test_data_are_prepared_once_they_were_opened(tmp_path: Path) -> None:
    task = get_task("wdbc")
    load_task(task, cache=tmp_path)
    row = data_rows(None, "wdbc", cache=tmp_path)[0]
    (store,) = (tmp_path / "prepared").glob("wdbc-real-*")
    assert row.store == str(store)
    assert row.prepared_bytes == sum(path.stat().st_size for path in store.iterdir())
