"""Where a training keeps its files: in the run folder, or on a disk of its own from which they travel."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pare_tune.data import remote
from pare_tune.errors import RunBusy, StorageError
from pare_tune.train.place import Home, workplace


@dataclass
class Shelf:
    """A store in memory."""

    files: dict[str, bytes] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    refusals: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    def publish(self, local: Path, name: str) -> None:
        assert self.gate.wait(30)
        if self.refusals:
            self.refusals -= 1
            raise StorageError("cannot write")
        self.files[name] = local.read_bytes()
        self.order.append(name)

    def fetch(self, name: str, local: Path) -> None:
        if name not in self.files:
            raise FileNotFoundError(name)
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(self.files[name])

    def stamps(self, under: str = "") -> dict[str, tuple[int, int]]:
        return {name: (len(data), 0) for name, data in self.files.items() if name.startswith(f"{under}/")}

    def delete(self, name: str) -> None:
        self.files.pop(name, None)


@dataclass(frozen=True, slots=True)
class Elsewhere(Home):
    shelf: Shelf = field(default_factory=Shelf)

    def store(self) -> Shelf:
        return self.shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    monkeypatch.setattr(remote, "_WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf()
    shelf.gate.set()
    return shelf


@pytest.fixture
def home(tmp_path: Path, shelf: Shelf) -> Elsewhere:
    return Elsewhere(tmp_path / "run", ".session-1", "node", None, shelf)


def test_a_folder_that_is_seen_is_worked_in_as_it_is(home: Elsewhere, shelf: Shelf) -> None:
    home.folder.mkdir()
    (home.folder / home.token).touch()
    with workplace(home, "trials/0003") as place:
        assert place.folder == home.folder / "trials" / "0003"
        (place.folder / "log.txt").write_text("x")
        place.publish()
    assert shelf.files == {}


def test_another_folder_of_the_same_name_is_not_it(home: Elsewhere) -> None:
    """Such as a copy of the run on the other machine."""
    home.folder.mkdir()
    with workplace(home, "trials/0003") as place:
        assert home.folder not in place.folder.parents


def test_files_travel_there_and_back(home: Elsewhere, shelf: Shelf, tmp_path: Path) -> None:
    shelf.files = {
        "trials/0003/last.pt": b"1",
        "trials/0003/patches/00001.npz": b"p",
        "trials/0004/last.pt": b"4",
    }
    with workplace(home, "trials/0003") as place:
        folder = place.folder
        assert folder.name == "0003"
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        assert names == ["last.pt", "patches/00001.npz"]
        (folder / "best.safetensors").write_bytes(b"best")
        (folder / ".last.pt.0123.partial").write_bytes(b"half")
        (folder / "patches" / "00001.npz").unlink()
        (folder / "last.pt").write_bytes(b"22")
        place.publish()
        place.publish()  # waits for the first
        assert shelf.order == ["trials/0003/best.safetensors", "trials/0003/last.pt"]
        (folder / "log.txt").write_text("end")
    assert shelf.files == {
        "trials/0003/best.safetensors": b"best",
        "trials/0003/last.pt": b"22",
        "trials/0003/log.txt": b"end",
        "trials/0004/last.pt": b"4",
    }
    assert not folder.exists()
    assert list(tmp_path.glob("pare-tune-scratch-*")) == []


def test_only_what_is_needed_is_fetched(home: Elsewhere, shelf: Shelf) -> None:
    shelf.files = {"trials/0003/last.pt": b"1", "trials/0003/best.safetensors": b"b"}
    with workplace(home, "trials/0003", only=("last.pt",)) as place:
        assert [p.name for p in place.folder.iterdir()] == ["last.pt"]
    assert shelf.order == []


def test_publishing_takes_no_time_of_the_training_until_an_epoch_is_behind(
    home: Elsewhere, shelf: Shelf
) -> None:
    shelf.gate.clear()
    with workplace(home, "trials/0003") as place:
        (place.folder / "last.pt").write_bytes(b"1")
        place.publish()  # returns although nothing can be sent
        assert shelf.files == {}
        shelf.gate.set()
    assert shelf.files == {"trials/0003/last.pt": b"1"}


def test_what_was_written_arrives_also_where_the_training_fails(home: Elsewhere, shelf: Shelf) -> None:
    def fail() -> None:
        with workplace(home, "trials/0003") as place:
            (place.folder / "log.txt").write_text("Traceback")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert shelf.files == {"trials/0003/log.txt": b"Traceback"}


def test_a_store_that_is_away_for_a_moment_is_tried_again(home: Elsewhere, shelf: Shelf) -> None:
    with workplace(home, "trials/0003") as place:
        (place.folder / "last.pt").write_bytes(b"1")
        shelf.refusals = 2
        place.publish()
    assert shelf.files == {"trials/0003/last.pt": b"1"}


def test_a_store_that_refuses_for_good_is_told(home: Elsewhere, shelf: Shelf, tmp_path: Path) -> None:
    def train() -> None:
        with workplace(home, "trials/0003") as place:
            (place.folder / "last.pt").write_bytes(b"1")
            shelf.refusals = 100

    with pytest.raises(StorageError):
        train()
    assert list(tmp_path.glob("pare-tune-scratch-*")) == []


def test_an_attempt_that_is_cut_off_stops_sending_once_a_newer_one_has_begun(
    home: Elsewhere, shelf: Shelf
) -> None:
    """Its node was taken for dead in a partition, but it still reaches the store."""

    def cut_off() -> None:
        with workplace(home, "trials/0003", attempt=0) as place:
            (place.folder / "last.pt").write_bytes(b"epoch 1")
            place.publish()
            place.publish()  # waits for the first
            with workplace(home, "trials/0003", attempt=1) as newer:
                assert (newer.folder / "last.pt").read_bytes() == b"epoch 1"
                (place.folder / "last.pt").write_bytes(b"stale epoch 2")
                place.publish()
                (newer.folder / "last.pt").write_bytes(b"epoch 2 of the newer one")
            (place.folder / "last.pt").unlink()
            place.publish()

    with pytest.raises(RunBusy, match="trials/0003 goes on elsewhere"):
        cut_off()
    assert shelf.files["trials/0003/last.pt"] == b"epoch 2 of the newer one"
    with workplace(home, "trials/0003", attempt=2) as third:
        assert (third.folder / "last.pt").read_bytes() == b"epoch 2 of the newer one"
