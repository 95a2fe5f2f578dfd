"""What is written is whole, what fails leaves the old, and one process owns a folder."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pare_tune.data.files import (
    PARTIAL,
    is_owned,
    owned,
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
    [(OSError(28, "No space left on device"), StorageError), (RuntimeError("stream"), StorageError), (ValueError("x"), ValueError)],
)  # fmt: skip
def test_a_block_that_raises_leaves_the_old_file(
    tmp_path: Path, raised: Exception, told: type[Exception]
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(told), replacing(path, also=(RuntimeError,)) as partial:
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
