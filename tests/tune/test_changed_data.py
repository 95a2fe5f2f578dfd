"""A search does not go on, and what it found is not trained in full, on other data without a word."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

from pare_tune import api
from pare_tune.config import Budget, default_trial, own_of
from pare_tune.errors import ConfigError, RunBusy
from pare_tune.tasks.own.task import own_task
from pare_tune.train import fingerprint
from pare_tune.train.export import ModelFolder
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import SessionOptions, resume, search

ROWS = [f"{i % 7},{i * i % 11},{'ab'[i % 2]}" for i in range(60)]


def write(table: Path, rows: list[str]) -> None:
    table.write_text("x,y,label\n" + "\n".join(rows) + "\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Searched:
    """A finished search of 60 rows."""

    def __init__(self, folder: Path, fakes: ModuleType) -> None:
        self.table, self.runner = folder / "rows.csv", fakes.train
        write(self.table, ROWS)
        own = own_of(None, data=self.table, target="label", kind="point")
        assert own is not None
        trial = default_trial(own_task(own), preset="embedded", own=own).with_values({"train.epochs": 2})
        base = fakes.run_config(folder, budget="3")
        self.run = search(base.model_copy(update={"trial": trial}), SessionOptions(runner=self.runner)).path
        self.folder = RunFolder(self.run)
        self.notes: list[str] = []

    def resume(self, budget: int, *, accept: bool = False) -> int:
        """Trials afterwards."""
        done = resume(
            self.run,
            Budget(amount=budget),
            accept_changed_data=accept,
            options=SessionOptions(runner=self.runner, notify=self.notes.append),
        )
        return len(done.trials)


@pytest.fixture
def searched(
    tmp_path: Path, fakes: ModuleType, without_ray: Callable[[], AbstractContextManager[None]]
) -> object:
    with without_ray():
        yield Searched(tmp_path, fakes)


def test_a_search_refuses_other_data_until_they_are_accepted(searched: Searched) -> None:
    write(searched.table, ROWS[:30])
    before = contents(searched.run)
    with pytest.raises(
        ConfigError, match=r"(?s)samples: 60 → 30.*rows\.csv.*--accept-changed-data"
    ) as refused:
        searched.resume(4)
    assert refused.value.exit_code == 2
    assert contents(searched.run) == before

    assert searched.resume(4, accept=True) == 4
    assert any("accepted: samples: 60 → 30" in note for note in searched.notes)
    searched.notes.clear()
    assert searched.resume(5) == 5
    assert not searched.notes

    write(searched.table, ROWS)
    with pytest.raises(ConfigError, match="samples: 30 → 60"):
        searched.resume(6)


def test_a_search_warns_of_other_versions(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "package_versions", lambda: {"torch": "9.0"})
    assert searched.resume(4) == 4
    assert any(f"versions changed since {searched.run} was made" in note for note in searched.notes)
    assert any("→ 9.0" in note for note in searched.notes)


def test_a_search_of_before_goes_on_with_a_note_and_is_compared_from_then_on(searched: Searched) -> None:
    searched.folder.fingerprint_yaml.unlink()
    write(searched.table, ROWS[:40])
    assert searched.resume(4) == 4
    assert any("does not say what data it was made on" in note for note in searched.notes)
    write(searched.table, ROWS)
    with pytest.raises(ConfigError, match="samples: 40 → 60"):
        searched.resume(5)


@pytest.mark.parametrize("where", ["best.yaml", "best/config.yaml", "elsewhere.yaml"])
def test_training_refuses_other_data_from_wherever_the_configuration_is_read(
    searched: Searched, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.yaml").write_bytes(searched.folder.best_yaml.read_bytes())
    config = tmp_path / where if where == "elsewhere.yaml" else searched.run / where
    write(searched.table, ["9,9,a", "8,8,b", "7,7,a", "6,6,b", "5,5,a", *ROWS])
    out = tmp_path / "final"
    with pytest.raises(
        ConfigError, match=r"(?s)samples: 60 → 65.*settings were chosen by scores on the old data"
    ):
        api.train(config, out=out)
    assert not out.exists()

    # Past the comparison, to the next thing that can be wrong: no cluster is needed for that.
    monkeypatch.setattr(ModelFolder, "is_complete", True)
    notes: list[str] = []
    with pytest.raises(RunBusy):
        api.train(config, out=out, accept_changed_data=True, notify=notes.append)
    assert any("accepted" in note for note in notes)


def test_a_configuration_of_one_s_own_was_found_on_no_data(
    searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelFolder, "is_complete", True)
    text = searched.folder.best_yaml.read_text().split("fingerprint:")[0]
    for path, noted in ((tmp_path / "mine.yaml", 0), (searched.folder.best_yaml, 1)):
        path.write_text(text)
        notes: list[str] = []
        with pytest.raises(RunBusy):
            api.train(path, out=tmp_path / "final", notify=notes.append)
        assert len(notes) == noted, notes
