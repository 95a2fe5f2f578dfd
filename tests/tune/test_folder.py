from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pare_tune.data.files import is_owned, write_text
from pare_tune.errors import ConfigError, RunBusy, StorageError
from pare_tune.train.export import environment
from pare_tune.tune import folder as folder_module
from pare_tune.tune.folder import RunFolder, check_writable


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "psicov")


def test_runs_begun_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    names = {RunFolder.create(tmp_path, "psicov").path.name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("psicov-") for name in names)


def test_one_process_owns_a_folder_and_says_which(folder: RunFolder) -> None:
    assert not is_owned(folder.path)
    with folder.owned():
        assert is_owned(folder.path)
        with pytest.raises(RunBusy, match=f"process {os.getpid()} on "), RunFolder(folder.path).owned():
            pass
        assert is_owned(folder.path), "being refused changes nothing"
    assert not is_owned(folder.path)
    with folder.owned():
        pass


def test_what_a_dead_process_left_does_not_lock(folder: RunFolder) -> None:
    with folder.owned():
        mine = json.loads((folder.path / ".owner.json").read_text())
    dead = {**mine, "started": mine["started"] - 100.0}  # a process of the same number, long ago
    (folder.path / ".owner.json").write_text(json.dumps(dead))
    assert not is_owned(folder.path)
    with folder.owned():
        assert is_owned(folder.path)


def test_the_best_is_replaced_whole(folder: RunFolder) -> None:
    assert folder.best_number() is None
    for number in (3, 5):
        folder.trial(number).mkdir(parents=True)
        (folder.trial(number) / "best.safetensors").write_bytes(f"weights {number}".encode())
        (folder.trial(number) / "held_out.safetensors").write_bytes(f"outputs {number}".encode())
        folder.publish_best(number, f"task: {number}\n", {"score": 1.5})
        assert folder.best_metrics() == {"trial": number, "score": 1.5}
        assert folder.best_number() == number
        assert (folder.best / "model.safetensors").read_bytes() == f"weights {number}".encode()
        assert (folder.best / "held_out.safetensors").read_bytes() == f"outputs {number}".encode()
        assert (
            folder.best_yaml.read_text() == (folder.best / "config.yaml").read_text() == f"task: {number}\n"
        )
    assert sorted(p.name for p in folder.path.iterdir()) == ["best", "best.yaml", "trials"]
    folder.keep_weights(iter((3, 5)), {5}, {3, 5})
    assert [p.parent.name for p in folder.trials.glob("*/best.safetensors")] == ["0005"]
    folder.keep_weights(iter((3, 5)), {5}, {5})
    assert [p.parent.name for p in folder.trials.glob("*/held_out.safetensors")] == ["0005"], "complete ones"

    (folder.best / "metrics.json").write_text("{")
    assert folder.best_number() is None, "damaged: the next session makes it anew"


def test_a_best_yaml_that_was_left_behind_is_told(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise StorageError(f"cannot write {path}")

    folder.publish_best(3, "task: 3\n", {})
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_text", full)
        with pytest.raises(StorageError, match=r"best\.yaml"):
            folder.publish_best(5, "task: 5\n", {})
    assert folder.best_number() is None, "the next session makes it anew"
    folder.publish_best(5, "task: 5\n", {})
    assert folder.best_number() == 5


def test_a_best_with_weights_is_never_replaced_by_one_without(folder: RunFolder) -> None:
    folder.trial(3).mkdir(parents=True)
    (folder.trial(3) / "best.safetensors").write_bytes(b"weights")
    folder.publish_best(3, "task: 3\n", {})
    with pytest.raises(
        StorageError, match=r"trial 5 is the best, but its weights .* are missing; put them back"
    ):
        folder.publish_best(5, "task: 5\n", {})
    assert folder.best_number() == 3
    assert (folder.best / "model.safetensors").read_bytes() == b"weights"


def test_a_folder_that_cannot_be_written_is_told_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        check_writable(tmp_path / "file" / "runs")
    monkeypatch.setattr(folder_module, "_FREE_BYTES", 2**60)
    with pytest.raises(StorageError, match="MiB left"):
        RunFolder.create(tmp_path / "runs", "psicov")
    assert not list((tmp_path / "runs").iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "run.yaml", "old")

    def full(self: Path, *args: object, **kwargs: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        write_text(tmp_path / "run.yaml", "new")
    assert (tmp_path / "run.yaml").read_bytes() == b"old"


def test_only_run_folders_are_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run\.yaml"):
        RunFolder.existing(tmp_path)


def test_the_environment_names_what_results_depend_on() -> None:
    lines = environment().splitlines()
    assert {"python", "torch", "ray", "optuna"} <= {line.split()[0] for line in lines}
