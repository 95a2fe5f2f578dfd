from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pare_tune.errors import StorageError
from pare_tune.tasks import TASKS, get_task
from pare_tune.tasks.base import Provenance
from pare_tune.tasks.stores import (
    MARK,
    PREPARED,
    SAMPLES,
    default_cache,
    opened_by_this_code,
    provenance_of,
    release_files,
    sample_key,
    store_key,
    task_of,
    write_mark,
)

TASK = get_task("ninapro")


@dataclass(frozen=True)
class Reader:
    """As tasks that share a reader have one: the values differ, the code does not."""

    file: str

    def read(self, root: Path, seed: int) -> Any:
        raise AssertionError


def shared(file: str, root: Path, seed: int) -> Any:
    raise AssertionError


def test_keys_tell_apart_what_a_shared_reader_is_bound_to() -> None:
    readers = [Reader("a").read, Reader("b").read, partial(shared, "a"), partial(shared, "b")]
    keys = {store_key(replace(TASK, read=read), None) for read in readers}
    assert len(keys) == 4
    assert store_key(replace(TASK, read=Reader("a").read), None) in keys


@pytest.mark.parametrize(
    "changes", [{"version": 99}, {"ragged": frozenset({"x"})}, {"read": shared}, {"make": shared}]
)
def test_keys_change_with_what_decides_the_content(changes: dict[str, Any]) -> None:
    assert store_key(replace(TASK, **changes), None) != store_key(TASK, None)


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "from pare_tune.tasks import TASKS; from pare_tune.tasks.stores import sample_key, store_key\n"
        "for t in TASKS.values(): print(store_key(t, None), sample_key(t) if t.make else '')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [f"{store_key(t, None)} {sample_key(t) if t.make else ''}" for t in TASKS.values()]
    assert done.stdout.splitlines() == here


def test_a_changed_release_has_another_key(tmp_path: Path) -> None:
    (tmp_path / "ninaPro").mkdir()
    (tmp_path / "ninaPro" / "a.npy").write_bytes(b"1")
    before = store_key(TASK, tmp_path)
    (tmp_path / "beside.txt").write_bytes(b"not of the release")
    assert store_key(TASK, tmp_path) == before
    (tmp_path / "ninaPro" / "a.npy").write_bytes(b"12")
    assert store_key(TASK, tmp_path) != before
    assert [path.name for path in release_files(TASK, tmp_path)] == ["a.npy"]


@pytest.mark.parametrize("provenance", ["sample", "solved"])
def test_data_that_were_made_here_are_never_taken_for_the_release(
    tmp_path: Path, provenance: Provenance
) -> None:
    assert provenance_of(TASK, tmp_path) == "real"
    write_mark(tmp_path, "real")
    assert provenance_of(TASK, tmp_path) == "real"
    write_mark(tmp_path, provenance)
    assert provenance_of(TASK, tmp_path) == provenance
    for odd in (b"\xff\xfe", b"", b"unheard of"):
        (tmp_path / MARK).write_bytes(odd)
        assert provenance_of(TASK, tmp_path) == "real"
    assert provenance_of(TASK, None) == TASK.embedded_provenance


def test_folders_are_known_by_their_names(tmp_path: Path) -> None:
    for task in TASKS.values():
        assert task_of(PREPARED, store_key(task, None)) == task.name
        assert task_of(PREPARED, store_key(task, tmp_path)) == task.name
        if task.make is not None:
            assert task_of(SAMPLES, sample_key(task)) == task.name
            assert task_of(SAMPLES, sample_key(task, full=True)) == task.name
    for name in ("psicov", "psicov-sample", "psicov-sample-xyz", "notes-real", "-real-0123456789ab"):
        assert task_of(PREPARED, name) is None


def test_stores_of_other_code_are_told_from_those_that_may_be_opened_again(tmp_path: Path) -> None:
    other = replace(TASK, version=99)
    assert opened_by_this_code(TASK, PREPARED, store_key(TASK, None))
    assert opened_by_this_code(TASK, PREPARED, store_key(TASK, tmp_path))
    assert opened_by_this_code(TASK, SAMPLES, sample_key(TASK))
    assert opened_by_this_code(TASK, SAMPLES, sample_key(TASK, full=True))
    assert not opened_by_this_code(TASK, PREPARED, store_key(other, None))
    assert not opened_by_this_code(TASK, PREPARED, store_key(other, tmp_path))
    assert not opened_by_this_code(TASK, SAMPLES, sample_key(other))


def test_keys_follow_the_modules_that_a_reader_is_built_on() -> None:
    from pare_tune.tasks import stores

    stores._sources.cache_clear()
    sources = stores._sources(get_task("pde-shallow-water").make.__module__)  # type: ignore[union-attr]
    readers = stores._sources("pare_tune.tasks.pde_navier_stokes_1d")
    assert "pare_tune.tasks.solvers.shallow_water" in sources
    assert {"pare_tune.tasks.pdebench", "pare_tune.tasks.solvers.compressible_1d"} <= set(readers)
    assert not {"pare_tune.tasks.base", "pare_tune.tasks.metrics"} & set(readers), (
        "scores do not change stores"
    )


def test_without_a_home_folder_the_cache_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("PARE_TUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageError, match="no home folder .* PARE_TUNE_CACHE=FOLDER"):
        default_cache()
    monkeypatch.setenv("PARE_TUNE_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
