"""Files in a store that a URL names, and what of a folder a store has not got yet."""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pare_tune.data import remote
from pare_tune.data.remote import (
    Outbox,
    UrlStore,
    is_url,
    join_url,
    parent_url,
    patiently,
    url_of,
    without_secrets,
)
from pare_tune.errors import ConfigError, PareTuneError, StorageError


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """s3://runs of an S3 server on this machine, where one is installed (pip install 'moto[server,s3]')."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    names = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**names, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    request = urllib.request.Request(f"{url}/runs", method="PUT")
                    urllib.request.urlopen(request, timeout=5).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield "s3://runs"
        finally:
            server.kill()
            server.wait()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> UrlStore:
    if request.param == "s3":
        return UrlStore(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    return UrlStore({"file": f"file://{tmp_path}/store", "memory": f"memory://{tmp_path}"}[request.param])


def test_a_store_keeps_files(store: UrlStore, tmp_path: Path) -> None:
    store.check_writable()
    assert store.stamps() == {}
    here, back = tmp_path / "here.bin", tmp_path / "new" / "back.bin"
    for content in (b"first", os.urandom(100_000), b""):
        here.write_bytes(content)
        store.publish(here, "trials/0007/last.pt")
        store.fetch("trials/0007/last.pt", back)
        assert back.read_bytes() == content == store.read("trials/0007/last.pt")
        size, changed = store.stamps("trials/0007")["trials/0007/last.pt"]
        assert (size, changed) == (len(content), back.stat().st_mtime_ns), (
            "so that equal files are told by stamps"
        )
    store.write(".drivers/a.json", b"{}")
    assert list(store.stamps()) == ["trials/0007/last.pt"], "hidden files are not the run's"
    assert list(store.all_stamps(".drivers")) == [".drivers/a.json"]
    assert store.holds("trials/0007/last.pt")
    assert not store.holds("trials/0007")
    again = pickle.loads(pickle.dumps(store))
    again.delete("trials/0007/last.pt")
    again.delete("trials/0007/last.pt")
    assert store.stamps() == {}
    for act in (lambda: store.read("none"), lambda: store.fetch("none", back)):
        with pytest.raises(FileNotFoundError):
            act()


def test_what_is_half_written_is_not_there(tmp_path: Path) -> None:
    store = UrlStore(f"file://{tmp_path}/store")
    store.write("a.txt", b"old")

    def fail() -> None:
        with store._replaced("a.txt") as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.read("a.txt") == b"old"
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("foo://a/b", ConfigError, "nothing here serves foo://"),
        ("abfs://container/runs", ConfigError, "valid account name"),
        ("file://host/runs", ConfigError, "cannot be opened"),
        ("file:///proc/nowhere/runs", StorageError, "cannot write file:///proc/nowhere/runs: "),
    ],
)
def test_bad_urls_are_told(url: str, kind: type[PareTuneError], message: str) -> None:
    with pytest.raises(kind, match=message) as told:
        UrlStore(url).check_writable()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (None, None, "there is no such bucket; make it"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "no connection; look at the network"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_told(
    bucket: str, monkeypatch: pytest.MonkeyPatch, name: str | None, value: str | None, message: str
) -> None:
    if name is not None:
        assert value is not None
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=message):
        UrlStore("s3://nothing/runs").check_writable()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "INVALID_ACCESS_KEY_ID during CreateMultipartUpload",
            "the credentials are wrong; look at AWS_ACCESS_KEY_ID",
        ),
        ("ACCESS_DENIED during PutObject", "access is denied; look at the credentials and what they allow"),
        ("SOMETHING_NEW", "AWS Error SOMETHING_NEW; look at its permissions"),
    ],
)
def test_what_a_store_answers_is_told_in_words(code: str, message: str) -> None:
    store = UrlStore("s3://runs/a?region=x")

    def refused() -> None:
        with store._told("write"):
            raise OSError(f"AWS Error {code}\nmore")

    with pytest.raises(StorageError) as told:
        refused()
    assert str(told.value) == f"cannot write s3://runs/a: {message}" or message in str(told.value)


def test_urls(tmp_path: Path) -> None:
    assert [is_url(p) for p in ("s3://b/r", "file:///r", "runs", "/runs", "C:/runs", Path("s3://b"))] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    assert join_url("s3://b/r?region=x", "a") == "s3://b/r/a?region=x"
    assert parent_url("s3://b/r/a?region=x") == ("s3://b/r?region=x", "a")
    assert without_secrets("s3://key:secret@b/r?token=1") == "s3://b/r"
    assert without_secrets("abfs://container@account/r") == "abfs://container@account/r"
    (tmp_path / ".url").write_text("s3://b/run")
    assert url_of(tmp_path / "best" / "model") == "s3://b/run/best/model"
    assert url_of(tmp_path) == "s3://b/run"
    assert url_of(tmp_path.parent) is None


def test_only_what_changed_is_sent(tmp_path: Path) -> None:
    store, folder = UrlStore(f"file://{tmp_path}/store"), tmp_path / "run"
    folder.mkdir()
    (folder / "a.txt").write_text("1")
    (folder / ".lock").touch()
    outbox = Outbox(store, folder, "trials/0001/")
    outbox.send()
    assert list(store.stamps()) == ["trials/0001/a.txt"]
    store.write("trials/0001/a.txt", b"theirs")
    outbox.send()
    assert store.read("trials/0001/a.txt") == b"theirs", "nothing changed here"
    (folder / "a.txt").write_text("22")
    outbox.send()
    assert store.read("trials/0001/a.txt") == b"22"
    (folder / "a.txt").unlink()
    outbox.send()
    assert store.stamps() == {}


def test_what_is_refused_is_tried_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WAITS_S", (0.0, 0.0))
    tries: list[int] = []

    def act() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise StorageError("away")

    patiently(act)
    assert len(tries) == 3

    def never() -> None:
        raise StorageError("full")

    with pytest.raises(StorageError, match="full"):
        patiently(never)
