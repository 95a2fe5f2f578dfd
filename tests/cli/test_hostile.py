"""Every command, in environments that nobody chooses: it ends with a code of ours and a message, never a traceback."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pare_tune.cli import main

QUICK = "--budget 1 --set train.epochs=1 --set search.confirm=0 --set search.portfolio=false"
COMMANDS = {
    "help": "--help",
    "help of a command": "compare --help",
    "tasks": "tasks",
    "sources": "sources",
    "data status": "data status psicov",
    "data check": "data check task.yaml",
    "status": "status RUN",
    "report": "report RUN",
    "predict": "predict RUN/best inputs.npy",
    "plan": "--task wdbc --dry-run",
    "plan of own data": "--task task.yaml --dry-run",
    "json": "tasks --json",
    "mistake": "--task wdbk",
    "usage": "--budget",
}
ACCEPTED = {0, 1, 2, 130}


@pytest.fixture(scope="module")
def searched(in_this_process: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a search of one trial, `-my runs [x]/wdbc-…`, and what it told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("hostile"))
        patch.setenv("COLUMNS", "60")
        code, told, error = called(f"--task wdbc {QUICK} --runs '-my runs [x]'")
        assert code == 0, error
        return next(Path("-my runs [x]").absolute().iterdir()), told.decode()


@pytest.fixture
def run(searched: tuple[Path, str]) -> Path:
    return searched[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(0)
    np.save("inputs.npy", rng.normal(size=(60, 1, 30)).astype(np.float32))
    np.save("labels.npy", np.arange(60) % 2)
    task = "name: mine\ntitle: Größe → µ\nkind: point\ninput: inputs.npy\ntarget: labels.npy\n"
    Path("task.yaml").write_text(task, encoding="utf-8")
    return tmp_path


def called(words: str, out: io.TextIOWrapper | None = None) -> tuple[int, bytes, str]:
    """What `main` does with a command: its code, and what it wrote."""
    files = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pare-tune", *shlex.split(words)])
        patch.setattr(sys, "stdout", out or files[0])
        patch.setattr(sys, "stderr", files[1])
        with pytest.raises(SystemExit) as ended:
            main()
    if out is not None:
        out.close()
    for file in files:
        file.flush()
    written, told = (file.buffer.getvalue() for file in files)  # type: ignore[attr-defined]
    return int(ended.value.code or 0), written, told.decode()


def check(words: str, out: io.TextIOWrapper | None = None) -> tuple[int, bytes, str]:
    code, written, error = called(words, out)
    assert code in ACCEPTED, words
    for sign in ("Traceback", "did not expect"):
        assert sign not in error + written.decode(errors="replace"), error
    assert (code == 0) or error, f"{words} ended with {code} and said nothing"
    return code, written, error


@contextmanager
def encoded(encoding: str) -> Iterator[Callable[[], io.TextIOWrapper]]:
    yield lambda: io.TextIOWrapper(io.FileIO("out.txt", "w"), encoding=encoding)


@contextmanager
def unread() -> Iterator[Callable[[], io.TextIOWrapper]]:
    def make() -> io.TextIOWrapper:
        read, write = os.pipe()
        os.close(read)
        return io.TextIOWrapper(io.BufferedWriter(io.FileIO(write, "w")), encoding="utf-8")

    yield make


@contextmanager
def private() -> Iterator[Callable[[], None]]:
    before = os.umask(0o077)
    try:
        yield lambda: None
    finally:
        os.umask(before)


@contextmanager
def with_variables(**variables: str) -> Iterator[Callable[[], None]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield lambda: None


ENVIRONMENTS = {
    "ascii": lambda: encoded("ascii"),
    "latin-1": lambda: encoded("latin-1"),
    "a reader that left": unread,
    "umask 077": private,
    "40 columns": lambda: with_variables(COLUMNS="40"),
    "a home that cannot be": lambda: with_variables(HOME="/proc/home", XDG_CACHE_HOME="/proc/cache"),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_command_ends_in_order(environment: str, run: Path, here: Path) -> None:
    with ENVIRONMENTS[environment]() as stream:  # type: ignore[attr-defined]
        for name, words in COMMANDS.items():
            code, _, error = check(words.replace("RUN", shlex.quote(str(run))), stream())
            assert code == (2 if name in ("mistake", "usage") else 0), error


def test_a_cache_that_cannot_be_written_is_one_message_with_the_remedy(here: Path) -> None:
    with with_variables(PARE_TUNE_CACHE="/proc/cache"):
        for words in ("data check task.yaml", "data prepare wdbc", "--task task.yaml --dry-run"):
            code, _, error = check(words)
            assert code == 2, words
            assert "PARE_TUNE_CACHE" in error
            assert len(error.splitlines()) == 1


def test_without_any_home_a_command_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    code, _, error = check("tasks wdbc")
    assert code == 0
    assert "there is no home folder" in error
    shutil.rmtree(os.environ["HOME"])


def test_a_run_that_cannot_be_written_is_still_shown(run: Path, here: Path) -> None:
    """Of root, too, a folder in the place of a file is respected."""
    copy = here / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "tensorboard")
    (copy / "tensorboard").write_text("in the way")
    (copy / "report.html").unlink()
    (copy / "report.html").mkdir()
    assert check(f"status {copy}")[0] == 0
    assert check(f"predict {copy}/best inputs.npy")[0] == 0
    code, _, error = check(f"report {copy}")
    assert code == 2
    assert "cannot write" in error
    code, _, error = check(f"resume {copy}")
    assert code in (0, 2)


def test_a_search_nobody_watches_comes_to_its_end(run: Path, here: Path) -> None:
    with unread() as stream:
        code, _, error = check(f"--task wdbc {QUICK}", stream())
    assert code == 0, error
    assert "nobody reads standard output any more; the search goes on: pare-tune status runs/wdbc-" in error
    assert (next(Path("runs").iterdir()) / "report.html").is_file()


def test_the_next_command_can_be_typed_as_it_is_told(
    searched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = searched
    monkeypatch.chdir(run.parents[1])
    told = told.replace("\\\n", "")  # as a shell joins it
    words = shlex.split(told.partition("Next:")[2].strip().splitlines()[0])
    assert words == ["pare-tune", "train", f"./-my runs [x]/{run.name}/best.yaml"]
    code, _, error = check(f"data check {shlex.quote(words[2])}")
    assert (code, "best.yaml:" in error) == (2, True), "it was read"
    assert shlex.split(told.partition("report: ")[2].splitlines()[0]) == [
        f"./-my runs [x]/{run.name}/report.html"
    ]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            RuntimeError("no idea"),
            1,
            "an error that pare-tune did not expect: RuntimeError: no idea; its traceback",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("interrupted by SIGTERM"), 130, "interrupted by SIGTERM"),
        (MemoryError(), 1, "MemoryError"),
    ],
)
def test_an_unexpected_end_is_one_line_and_a_file(
    error: BaseException, code: int, told: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("pare_tune.inspect.listing.task_rows", fail)
    monkeypatch.setattr("tempfile.tempdir", str(here))
    ended, _, line = called("tasks")
    assert ended == code
    assert told in line
    assert len(line.splitlines()) == 1
    for trace in here.glob("pare-tune-*.txt"):
        assert str(trace) in line
        assert "in fail" in trace.read_text()
    assert len(list(here.glob("pare-tune-*.txt"))) == (code == 1)


def test_a_signal_interrupts_whatever_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pare_tune.inspect.listing.task_rows", lambda *_: os.kill(os.getpid(), signal.SIGHUP))
    assert called("tasks")[::2] == (130, "interrupted by SIGHUP\n")


def test_streams_that_are_closed_and_a_long_temporary_folder(tmp_path: Path) -> None:
    """As a shell starts it: `<&- >&- 2>&-`, and `| head -2`."""
    code = f"{shlex.quote(sys.executable)} -c 'from pare_tune.cli import main; main()'"
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "ascii"}
    script = (
        f"{code} tasks <&- >&- 2>&-; echo $? >&3; {code} tasks 2>&3 | head -2; echo ${{PIPESTATUS[0]}} >&3"
    )
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {script}"],
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.stdout.split(b"\n")[0] == b"0"
    assert done.stdout.rstrip().endswith(b"\n0")
    assert b"Traceback" not in done.stdout + done.stderr
