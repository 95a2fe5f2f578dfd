from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from pare_tune.errors import StorageError
from pare_tune.inspect.clean import Stale, find_stale, remove
from pare_tune.sources import SOURCES
from pare_tune.sources.stored import code_of
from pare_tune.tasks import get_task
from pare_tune.tasks.stores import sample_key, store_key

TASK = get_task("ninapro")
OLD = replace(TASK, version=99)
DIGITS = SOURCES["digits"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Stores of this code, of other code, of nobody known, and a half-made one; each of 7 bytes."""
    keep = [
        f"prepared/{store_key(TASK, None)}",
        f"prepared/{store_key(TASK, tmp_path)}",
        f"samples/{sample_key(TASK)}",
        f"sources/digits-{code_of(DIGITS)}-0123456789abcdef",
        "prepared/machines-real-0123456789ab-0123456789ab",
        "sources/squares-0123456789abcdef-0123456789abcdef",
        "prepared/notes",
        "weights/anything-0123456789ab",
    ]
    go = [
        f"prepared/{store_key(OLD, None)}",
        f"prepared/{store_key(OLD, tmp_path)}",
        f"samples/{sample_key(OLD)}",
        "sources/digits-0123456789abcdef",
        "sources/digits-0123456789abcdef-0123456789abcdef",
        f"prepared/.{store_key(TASK, None)}.partial",
        f"prepared/.{store_key(TASK, None)}.0123456789ab.partial",
    ]
    for name in (*keep, *go):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        (folder / "train.arrow").write_bytes(b"content")
        if not folder.name.startswith("."):
            (folder.parent / f".{folder.name}.lock").touch()
    (tmp_path / "expected").write_text("\n".join(sorted(go)))
    return tmp_path / "cache"


def names(found: list[Stale], cache: Path) -> list[str]:
    return sorted(str(stale.path.relative_to(cache)) for stale in found)


def expected(cache: Path) -> list[str]:
    return (cache.parent / "expected").read_text().splitlines()


def test_only_known_folders_that_nothing_opens_are_stale(cache: Path) -> None:
    found = find_stale(cache)
    assert names(found, cache) == expected(cache)
    assert {stale.num_bytes for stale in found} == {7}
    assert sorted({stale.why for stale in found}) == ["other code", "unfinished"]


def test_what_is_stale_is_removed_with_its_lock_and_nothing_else(cache: Path) -> None:
    before = {path for path in cache.rglob("*") if path.is_dir()}
    found = find_stale(cache)
    assert all(remove(stale) for stale in found)
    assert find_stale(cache) == []
    assert before - {path for path in cache.rglob("*") if path.is_dir()} == {stale.path for stale in found}
    left = {path.name for path in cache.rglob(".*.lock")}
    gone = {f".{stale.path.name}.lock" for stale in found}
    assert not left & gone
    assert f".{sample_key(TASK)}.lock" in left


@pytest.mark.parametrize("suffix", [".partial", ".0123456789ab.partial"])
def test_what_another_process_is_making_stays(cache: Path, suffix: str) -> None:
    name = f".{store_key(TASK, None)}{suffix}"
    with FileLock(cache / "prepared" / f".{store_key(TASK, None)}.lock"):
        assert f"prepared/{name}" not in names(find_stale(cache), cache)
        begun = Stale(cache / "prepared" / name, 7, "unfinished")
        assert not remove(begun)
        assert begun.path.is_dir()
    assert f"prepared/{name}" in names(find_stale(cache), cache)


def test_there_may_be_no_cache(tmp_path: Path) -> None:
    assert find_stale(tmp_path / "absent") == []


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", cache / "sources" / "digits-00000000000000aa")
    assert names(find_stale(cache), cache) == expected(cache)


def test_what_cannot_be_removed_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = find_stale(cache)[0]

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pare_tune.data.files.shutil.rmtree", refuse)
    with pytest.raises(StorageError, match=r"cannot remove .* \(Permission denied\)"):
        remove(stale)
