from __future__ import annotations

import errno
import importlib.util
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from pare_tune.data.cache import fingerprint, prepared
from pare_tune.errors import StorageError

# A maker that says that it began, takes its time, and leaves one line of `made` for every time that it ran.
SLOW_MAKER = """
import sys, time
from pathlib import Path
from pare_tune.data.cache import prepared

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])

def make(partial):
    with (folder.parent / "made").open("a") as log:
        log.write("made\\n")
    (partial / "half").write_text("half")
    (folder.parent / "began").touch()
    time.sleep(seconds)
    (partial / "whole").write_text("whole")

print(prepared(folder, "thing", make) / "whole")
"""

# A task that stops in the middle of its validation split for as long as `hold` exists, training already written.
SLOW_TASK = """
import sys, time
from pathlib import Path
import numpy as np
from pare_tune.tasks import Modality, Task, get_task
from pare_tune.tasks.base import Point
from pare_tune.tasks.load import load_task
from pare_tune.tasks.metrics import METRICS

def read(root, seed):
    here = root.parent
    with (here / "reads").open("a") as log:
        log.write("read\\n")

    def records(split):
        for i in range(40):
            if split == "val" and i == 20:
                (here / "began").touch()
                deadline = time.monotonic() + 60
                while (here / "hold").exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
            yield {"x": np.full((1, 8, 8), i, np.float32), "y": np.int64(i % 2)}

    return {split: records(split) for split in ("train", "val", "test")}

TASK = Task(
    name="slow", title="", modality=Modality.GRID_2D, input_shape=(1, 8, 8), output=Point(2), loss="cross_entropy",
    metric=METRICS["error_rate"], paper=get_task("ninapro").paper, embedded_provenance="sample",
    homepage="https://example.org", read=read,
)

if __name__ == "__main__":
    load_task(TASK, data=Path(sys.argv[1]), cache=Path(sys.argv[2]))
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_MAKER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".partial")]


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    makers = [start(folder, 0.3) for _ in range(2)]
    answers = [maker.communicate(timeout=60)[0].strip() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0]
    assert answers == [str(folder / "thing" / "whole")] * 2
    assert (tmp_path / "made").read_text() == "made\n"


def test_a_killed_maker_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with start(folder, 60) as killed:
        wait_for(tmp_path / "began")
        killed.kill()
    assert leftovers(folder)  # the kill left no time to tidy up
    assert not (folder / "thing").exists()

    with start(folder, 0) as second:
        assert second.wait(timeout=60) == 0
    assert (folder / "thing" / "whole").read_text() == "whole"
    assert (tmp_path / "made").read_text() == "made\n" * 2
    assert leftovers(folder) == []


def test_a_process_that_waits_takes_over_from_one_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with start(folder, 60) as killed:
        wait_for(tmp_path / "began")
        with start(folder, 0) as waiting:
            time.sleep(0.3)  # time to reach the lock; should it be late, the outcome is the same
            assert waiting.poll() is None
            killed.kill()
            assert waiting.wait(timeout=60) == 0
    assert (folder / "thing" / "whole").read_text() == "whole"
    assert leftovers(folder) == []


@pytest.fixture
def slow_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The task beside an empty release, about to be prepared and held there."""
    path = tmp_path / "slow_task.py"
    path.write_text(SLOW_TASK)
    (tmp_path / "release").mkdir()
    (tmp_path / "hold").touch()
    spec = importlib.util.spec_from_file_location("slow_task", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "slow_task", module)  # a store's name depends on the source of its task
    spec.loader.exec_module(module)
    return module


def prepare_elsewhere(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process that is in the middle of preparing the task."""
    command = [sys.executable, tmp_path / "slow_task.py", tmp_path / "release", tmp_path / "cache"]
    process = subprocess.Popen(command)
    wait_for(tmp_path / "began")
    return process


def test_a_task_whose_preparation_was_killed_is_prepared_again_and_whole(
    tmp_path: Path, slow_task: ModuleType
) -> None:
    cache = tmp_path / "cache"
    with prepare_elsewhere(tmp_path) as killed:
        assert list(cache.rglob("train.arrow"))  # one split whole, the next half written
        killed.kill()
    assert list(cache.glob("prepared/[!.]*")) == []

    (tmp_path / "hold").unlink()
    data = slow_task.load_task(slow_task.TASK, data=tmp_path / "release", cache=cache)
    assert [len(data.train), len(data.val)] == [40, 40]
    assert [int(data.val.item(i)["x"][0, 0, 0]) for i in range(40)] == list(range(40))
    assert (tmp_path / "reads").read_text() == "read\n" * 2
    assert list(cache.rglob("*.partial")) == []


def test_a_task_that_two_processes_want_is_prepared_once(
    tmp_path: Path, slow_task: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with prepare_elsewhere(tmp_path) as first, caplog.at_level(logging.INFO, logger="pare_tune.data.cache"):
        threading.Timer(0.3, (tmp_path / "hold").unlink).start()
        data = slow_task.load_task(slow_task.TASK, data=tmp_path / "release", cache=tmp_path / "cache")
        assert first.wait(timeout=60) == 0
    assert "another process is preparing slow-given-" in caplog.text
    assert [len(data.train), len(data.val)] == [40, 40]
    assert (tmp_path / "reads").read_text() == "read\n"


def test_threads_make_it_once_and_say_that_they_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = []

    def make(partial: Path) -> None:
        made.append(partial)
        time.sleep(0.2)

    with caplog.at_level(logging.INFO, logger="pare_tune.data.cache"):
        threads = [threading.Thread(target=prepared, args=(tmp_path, "thing", make)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 1
    assert "another process is preparing thing" in caplog.text


def test_a_finished_folder_is_not_made_again(tmp_path: Path) -> None:
    prepared(tmp_path, "thing", lambda partial: None)
    assert prepared(tmp_path, "thing", lambda partial: pytest.fail("made again")) == tmp_path / "thing"


@pytest.mark.parametrize(("outer", "inner"), [("thing", "thing.b"), ("thing.b", "thing"), ("a[b]", "ab")])
def test_keys_do_not_share_partial_folders(tmp_path: Path, outer: str, inner: str) -> None:
    def make(partial: Path) -> None:
        (partial / "a").touch()
        prepared(tmp_path, inner, lambda other: (other / "b").touch())

    assert [path.name for path in prepared(tmp_path, outer, make).iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / inner).iterdir()] == ["b"]


def test_a_failing_maker_leaves_nothing_and_its_error_passes(tmp_path: Path) -> None:
    def make(partial: Path) -> None:
        (partial / "half").touch()
        raise FileNotFoundError(errno.ENOENT, "no such file", "/the/users/data")

    with pytest.raises(FileNotFoundError):
        prepared(tmp_path, "thing", make)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "thing").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def make(partial: Path) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(StorageError, match=r"No space left.*free some space or set PARE_TUNE_CACHE=FOLDER"):
        prepared(tmp_path, "thing", make)
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "cache", tmp_path / "file"):
        with pytest.raises(StorageError, match=r"cannot write .*file.* PARE_TUNE_CACHE=FOLDER"):
            prepared(folder, "thing", lambda partial: None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"cannot write .* PARE_TUNE_CACHE=FOLDER"):
        prepared(tmp_path, "thing", lambda partial: None)


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_args: object, **_keywords: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    with pytest.raises(StorageError, match=r"without file locks; set PARE_TUNE_CACHE=FOLDER"):
        prepared(tmp_path, "thing", lambda partial: None)


def test_unreadable_data_are_not_blamed_on_the_cache(tmp_path: Path) -> None:
    def make(partial: Path) -> None:
        raise PermissionError(errno.EACCES, "permission denied", str(tmp_path.parent / "data" / "train.bin"))

    with pytest.raises(PermissionError):
        prepared(tmp_path / "cache", "thing", make)


def test_a_fingerprint_depends_on_every_part_and_not_on_their_order() -> None:
    assert fingerprint(size=64, seed=0) == fingerprint(seed=0, size=64)
    assert (
        len({fingerprint(size=64, seed=0), fingerprint(size=65, seed=0), fingerprint(size=64, seed=1)}) == 3
    )
    assert fingerprint(root=Path("/a")) != fingerprint(root=Path("/b"))
