"""What is written is whole, what fails leaves the old, and one process owns a folder."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import Timeout

from pare_tune.data.files import (
    PARTIAL,
    is_owned,
    locked,
    owned,
    remove_leftovers,
    replacing,
    replacing_folder,
    write_json,
    write_text,
)
from pare_tune.errors import RunBusy, StorageError


def test_a_file_is_replaced_as_a_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError(28, "No space left on device"), StorageError),
        (RuntimeError("stream"), StorageError),
        (ValueError("x"), ValueError),
    ],
)
def test_a_block_that_raises_leaves_the_old_file(
    tmp_path: Path, raised: Exception, told: type[Exception]
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(told), replacing(path, also=(RuntimeError,)) as partial:  # noqa: PT012
        partial.write_text("half")
        raise raised
    assert path.read_text() == "old"
    assert list(tmp_path.glob(PARTIAL)) == []


def test_a_folder_is_replaced_with_all_it_held(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    with replacing_folder(folder) as staged:
        (staged / "a").write_text("1")
    with pytest.raises(ValueError, match="no"), replacing_folder(folder) as staged:
        raise ValueError("no")
    assert (folder / "a").read_text() == "1"
    with replacing_folder(folder) as staged:
        (staged / "b").write_text("2")
    assert [p.name for p in folder.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_many_writers_of_one_file_leave_one_of_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    texts = [str(i) * 5000 for i in range(8)]
    threads = [threading.Thread(target=lambda t=t: [write_text(path, t) for _ in range(20)]) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [float("nan"), 1.5], "b": float("inf")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, 1.5], "b": None}


_HOLD = """
import sys, time
from pathlib import Path
from pare_tune.data.files import owned
with owned(Path(sys.argv[1]), otherwise="wait"):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_owns_a_folder_until_the_first_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            assert is_owned(tmp_path)
            with (
                pytest.raises(RunBusy, match=rf"in use by process {holder.pid} on .*; give another --out"),
                owned(tmp_path, otherwise="give another --out"),
            ):
                pass
        finally:
            holder.kill()
    assert not is_owned(tmp_path)
    with owned(tmp_path, otherwise="-", wait_s=10.0):
        assert is_owned(tmp_path)
    assert not is_owned(tmp_path)


def test_errors_of_files_that_lie_elsewhere_are_not_blamed_on_what_is_written(tmp_path: Path) -> None:
    for writer in (replacing, replacing_folder):
        with pytest.raises(PermissionError), writer(tmp_path / "cache" / "a"):
            raise PermissionError(13, "Permission denied", str(tmp_path / "data" / "train.bin"))
        with (
            pytest.raises(StorageError, match="or give another"),
            writer(tmp_path / "a", otherwise="give another"),
        ):
            raise PermissionError(13, "Permission denied", str(tmp_path / "a"))


def test_only_what_writers_of_one_file_left_is_removed(tmp_path: Path) -> None:
    kept = [tmp_path / f".a.b.{'0' * 12}.partial", tmp_path / "a"]
    for folder in (*kept, tmp_path / f".a.{'0' * 12}.partial"):
        folder.mkdir()
    remove_leftovers(tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_lock_is_held_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".a.lock"
    with locked(path):
        with pytest.raises(Timeout):
            locked(path, wait_s=0)
        with locked(path.with_name(".b.lock"), wait_s=0):
            pass
    with locked(path, wait_s=0):
        pass
