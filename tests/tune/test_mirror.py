"""Runs that live in a store: they outlive their driver's disk, and have one driver at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from pare_tune.config import Budget, RunConfig
from pare_tune.data import remote
from pare_tune.data.remote import UrlStore, join_url
from pare_tune.errors import ConfigError, RunBusy, StorageError
from pare_tune.shell import command
from pare_tune.tune import lease as lease_module
from pare_tune.tune import mirror as mirror_module
from pare_tune.tune.lease import Lease, is_driven
from pare_tune.tune.mirror import local, sent_back
from pare_tune.tune.run import SessionOptions, resume, search, snapshot


@pytest.fixture
def machines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_ray: Callable[[], AbstractContextManager[None]],
) -> Iterator[Callable[[str], None]]:
    """`machines("b")` goes to another machine: one with a cache of its own. It begins on "a"."""
    monkeypatch.setattr(remote, "_WAITS_S", (0.0,))

    def go(name: str) -> None:
        monkeypatch.setattr(mirror_module, "default_cache", lambda: tmp_path / f"cache-{name}")

    go("a")
    with without_ray():
        yield go


@pytest.fixture
def config(make_config: Callable[..., RunConfig], tmp_path: Path) -> RunConfig:
    return make_config("4", confirm=0).model_copy(update={"runs": f"file://{tmp_path}/store"})


def test_a_run_goes_on_on_another_machine(
    machines: Callable[[str], None], config: RunConfig, fakes: ModuleType, tmp_path: Path
) -> None:
    options = SessionOptions(runner=fakes.train)
    first = search(config, options)
    url = join_url(str(config.runs), first.path.name)
    assert first.path.is_relative_to(tmp_path / "cache-a")
    assert command("resume", first.path) == f"pare-tune resume {url}"
    shutil.rmtree(tmp_path / "cache-a")

    machines("b")
    assert [t.state for t in snapshot(url).trials] == [t.state for t in first.snapshot.trials]
    assert not snapshot(url).is_running
    more = resume(url, Budget(amount=7), options=options)
    assert len(more.snapshot.trials) == 7
    assert more.snapshot.trials[:4] == first.snapshot.trials

    machines("c")
    with sent_back(local(url)):
        (local(url) / "report.html").write_text("drawn")
    assert UrlStore(url).read("report.html") == b"drawn"
    assert "budget: 7 trials" in (local(url) / "run.yaml").read_text()
    best = local(f"{url}/best")
    assert (best / "model.safetensors").read_bytes() == b"weights 4"
    left = sorted(p.name for p in (tmp_path / "store" / first.path.name).glob(".*"))
    assert left in ([], [".drivers"])
    assert not UrlStore(url).all_stamps(".drivers")


def test_a_second_driver_is_refused_until_the_first_one_is_dead(
    machines: Callable[[str], None],
    config: RunConfig,
    fakes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = search(config, SessionOptions(runner=fakes.train))
    url = join_url(str(config.runs), result.path.name)
    lost = Lease(UrlStore(url))  # of a machine that never says goodbye
    lost.take()
    machines("b")
    assert is_driven(UrlStore(url))
    assert snapshot(url).is_running
    with pytest.raises(
        RunBusy, match=rf"is in use by process {os.getpid()} on .*; wait for it or stop it first"
    ):
        resume(url, Budget(amount=5), options=SessionOptions(runner=fakes.train))
    assert len(UrlStore(url).all_stamps(".drivers")) == 1
    monkeypatch.setattr(lease_module, "LEASE_S", 0.0)
    monkeypatch.setattr(lease_module, "RENEW_S", 0.0)
    more = resume(url, Budget(amount=5), options=SessionOptions(runner=fakes.train))
    assert len(more.snapshot.trials) == 5
    monkeypatch.setattr(lease_module, "LEASE_S", 90.0)
    Lease(UrlStore(url)).take()
    with pytest.raises(RunBusy):
        lost.renew()  # it was only away: the run is another's now


def test_a_store_that_refuses_for_a_moment_costs_nothing(
    machines: Callable[[str], None], config: RunConfig, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    original = UrlStore.publish
    monkeypatch.setattr(mirror_module, "_EVERY_S", 0.01)

    def publish(self: UrlStore, here: Path, name: str) -> None:
        if name.startswith("trials/") and not told:
            raise StorageError("cannot write: read-only")
        original(self, here, name)

    monkeypatch.setattr(UrlStore, "publish", publish)
    runner = partial(fakes.train, pause_s=0.02)
    result = search(config, SessionOptions(runner=runner, notify=told.append))
    refusals = [line for line in told if "read-only" in line]
    assert len(refusals) == 1
    assert "The search goes on in" in refusals[0]
    url = join_url(str(config.runs), result.path.name)
    assert UrlStore(url).read("study.journal") == (result.path / "study.journal").read_bytes()


def test_a_store_that_becomes_read_only_is_told_at_the_end_and_nothing_is_lost(
    machines: Callable[[str], None], config: RunConfig, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: UrlStore, here: Path, name: str) -> None:
        raise StorageError("cannot write: read-only")

    seen: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(UrlStore, "publish", refuse)
        with pytest.raises(StorageError, match=r"read-only; all of the run is in .*, resume from there"):
            search(config, SessionOptions(runner=fakes.train, observe=lambda s: seen.append(s.run)))
    again = resume(seen[0], Budget(amount=5), options=SessionOptions(runner=fakes.train))
    assert len(again.snapshot.trials) == 5
    url = join_url(str(config.runs), again.path.name)
    assert UrlStore(url).read("study.journal") == (again.path / "study.journal").read_bytes()


def test_a_journal_that_was_not_sent_is_not_overwritten(
    machines: Callable[[str], None], config: RunConfig, fakes: ModuleType
) -> None:
    """The machine that drove the run is back, with lines that the store never got."""
    result = search(config, SessionOptions(runner=fakes.train))
    url, journal = join_url(str(config.runs), result.path.name), result.path / "study.journal"
    whole = journal.read_bytes()
    UrlStore(url).write("study.journal", whole[: len(whole) // 2])
    assert (local(url) / "study.journal").read_bytes() == whole
    UrlStore(url).write("study.journal", whole + b"{}\n")
    assert (local(url) / "study.journal").read_bytes() == whole + b"{}\n"


@pytest.mark.parametrize("place", ["file:///nowhere/at/all", "file:///nowhere/at/all/best.yaml"])
def test_where_no_run_is(machines: Callable[[str], None], place: str) -> None:
    with pytest.raises(ConfigError, match="is in no run"):
        snapshot(place)


def test_nothing_begins_where_nothing_can_be_written(
    machines: Callable[[str], None], config: RunConfig, fakes: ModuleType, tmp_path: Path
) -> None:
    bad = config.model_copy(update={"runs": "nowhere://runs"})
    with pytest.raises(ConfigError, match="nothing here serves nowhere://"):
        search(bad, SessionOptions(runner=fakes.train))
    assert not (tmp_path / "cache-a" / "runs").exists()
