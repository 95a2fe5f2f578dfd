from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from pare_tune.config import TrialConfig
from pare_tune.errors import DataError, StudyFailed, TrialFailed, UnknownName
from simulate import record as recorder
from simulate.record import Recording, is_recorded, read_record, record

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "record_curves.py"


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with processes that do not watch for their parent's end."""
    spec = importlib.util.spec_from_file_location("record_curves", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_end_with_parent", lambda: None)
    monkeypatch.setattr(module, "_import_everything", lambda: None)
    return module


def epoch(number: int, score: float = 0.5) -> dict[str, Any]:
    return {"epoch": number, "score": score, "cpu_seconds": 0.1}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrialConfig]:
    """Training of one epoch that takes no time; the configurations that were asked for."""
    configs: list[TrialConfig] = []

    def train(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
        configs.append(config)
        curve.append(epoch(1))

    monkeypatch.setattr(recorder, "train", train)
    return configs


def run(job: ModuleType, folder: Path, tasks: tuple[str, ...] = ("wdbc", "ecg"), count: int = 3) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        job.work(tasks, count, folder, multiprocessing.Value("q", 0))
    finally:
        signal.signal(signal.SIGINT, handler)


def test_configuration_n_is_always_the_same() -> None:
    forwards = [Recording.open("wdbc").settings(n) for n in range(5)]
    recording = Recording.open("wdbc")
    assert [recording.settings(n) for n in reversed(range(5))] == forwards[::-1]
    assert len({json.dumps(s) for s in forwards}) == 5
    assert Recording.open("ecg").settings(1) != forwards[1]


def test_configuration_0_is_the_default() -> None:
    recording = Recording.open("wdbc")
    assert recording.settings(0) == recording.space.base_settings()
    assert recording.space.config(recording.settings(0)) == recording.space.base


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'wdbc'"):
        Recording.open("wdbd")


def test_failures_are_recorded_with_their_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def train(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
        curve.append(epoch(1))
        raise TrialFailed("diverged: loss became nan in epoch 2", cause="diverged")

    monkeypatch.setattr(recorder, "train", train)
    recording = Recording.open("wdbc")
    record(recording, 2, tmp_path)
    found = read_record(recording.path(tmp_path, 2))
    assert found is not None
    assert (found["cause"], len(found["curve"])) == ("diverged", 1)
    assert is_recorded(recording.path(tmp_path, 2))


def test_a_crash_is_recorded_but_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def train(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
        raise TrialFailed("ZeroDivisionError: division by zero", cause="crashed")

    monkeypatch.setattr(recorder, "train", train)
    recording = Recording.open("wdbc")
    record(recording, 2, tmp_path)
    assert recording.path(tmp_path, 2).is_file()
    assert not is_recorded(recording.path(tmp_path, 2))


def test_missing_data_end_the_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def train(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
        raise DataError("x.npy is missing")

    monkeypatch.setattr(recorder, "train", train)
    with pytest.raises(DataError, match="missing"):
        record(Recording.open("wdbc"), 2, tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_tasks_take_turns(job: ModuleType, trained: list[TrialConfig], tmp_path: Path) -> None:
    run(job, tmp_path)
    assert [c.task for c in trained] == ["wdbc", "ecg"] * 3


def test_an_interrupted_recording_goes_on_where_it_was(
    job: ModuleType, monkeypatch: pytest.MonkeyPatch, trained: list[TrialConfig], tmp_path: Path
) -> None:
    finish = recorder.train

    def stop_at_the_fourth(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
        if len(trained) == 3:
            raise KeyboardInterrupt
        finish(config, curve)

    monkeypatch.setattr(recorder, "train", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run(job, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.json")}
    assert len(before) == 3
    assert len(list(tmp_path.rglob("*.*"))) == 3, "nothing half-written"

    monkeypatch.setattr(recorder, "train", finish)
    run(job, tmp_path)
    assert [c.task for c in trained] == ["wdbc", "ecg"] * 3, "each was trained once"
    assert all(p.read_bytes() == text for p, text in before.items())
    recording = Recording.open("ecg")
    assert read_record(recording.path(tmp_path, 2))["settings"] == recording.settings(2)  # type: ignore[index]


def test_crashes_in_a_row_end_the_recording(
    job: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
        raise TrialFailed("ImportError: no timm", cause="crashed")

    monkeypatch.setattr(recorder, "train", train)
    with pytest.raises(
        StudyFailed, match="3 configurations in a row crashed, the last one with: ImportError"
    ):
        run(job, tmp_path)


def test_a_real_training_is_recorded(tmp_path: Path) -> None:
    recording = Recording.open("balance-scale")
    short = recording.space.base.with_values({"train.epochs": 1})
    recording = replace(recording, space=replace(recording.space, base=short))
    record(recording, 0, tmp_path)
    found = read_record(recording.path(tmp_path, 0))
    assert found is not None
    assert found["cause"] is None
    [told] = found["curve"]
    assert told.keys() == {"epoch", "score", "cpu_seconds"}
    assert 0.0 < told["score"] < 0.5, "better than chance"
    assert told["cpu_seconds"] > 0.0


IDLE = """
import multiprocessing, pathlib, os, sys, time
import record_curves

def idle(file):
    record_curves._end_with_parent()
    pathlib.Path(file).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=idle, args=sys.argv[1:], daemon=True)
    process.start()
    process.join()
"""


def test_a_killed_recorder_takes_its_processes_along(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(IDLE)
    told = tmp_path / "pid"
    paths = os.pathsep.join([str(SCRIPT.parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "idle.py"), str(told)],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: told.exists() and told.read_text() != "")
    worker = psutil.Process(int(told.read_text()))
    process.kill()
    process.wait()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def wait_until(reached: Callable[[], bool], *, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_packing_a_folder_that_is_not_there_is_refused(job: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder of records at .*missing; .* --out"):
        job._pack(tmp_path / "missing", tmp_path / "tables", ())
