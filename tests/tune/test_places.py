from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pare_tune.errors import ClusterError
from pare_tune.tune import places
from pare_tune.tune.places import check_reachable, writable_places


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of something that is no cluster, and says so to whoever connects."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with closing(connection):
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_told_before_ray_tries(scheme: str) -> None:
    address = f"{scheme}127.0.0.1:{closed_port()}"
    with pytest.raises(ClusterError, match=f"cannot reach the Ray cluster at {address}.*refused.*unset it"):
        check_reachable(address)


def test_the_file_of_a_cluster_that_ended_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ray._private.services.canonicalize_bootstrap_address", lambda _: f"127.0.0.1:{closed_port()}"
    )
    with pytest.raises(ClusterError, match="cannot reach the Ray cluster at auto.*refused"):
        check_reachable("auto")


def test_something_else_that_answers_is_no_cluster(web_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_PROBE_S", 1.0)
    with pytest.raises(ClusterError, match="is no Ray cluster"):
        check_reachable(f"127.0.0.1:{web_server}")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:8265", "where jobs are submitted to"),
        ("cluster", "it is HOST:PORT"),
        ("cluster:head", "it is HOST:PORT"),
    ],
)
def test_an_address_of_another_kind_is_refused(address: str, told: str) -> None:
    with pytest.raises(ClusterError, match=told):
        check_reachable(address)


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("place", ["x" * 90, "/proc/nowhere"])
def test_a_folder_that_holds_no_sockets_is_left_for_a_short_one(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    before = str(tmp_path / place)
    monkeypatch.setenv(name, before)
    with writable_places():
        assert os.environ["RAY_TMPDIR"] == os.environ["TMPDIR"]
        assert len(os.environ["TMPDIR"]) < 30
    assert os.environ[name] == before
    assert ("RAY_TMPDIR" in os.environ) == (name == "RAY_TMPDIR")


def test_without_any_short_folder_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    monkeypatch.setattr(places, "_SHORT_PLACES", ("/proc/short",))
    with pytest.raises(ClusterError, match="at most .* bytes long; set RAY_TMPDIR"), writable_places():
        pass


@pytest.mark.parametrize("home", ["/proc/home", None])
def test_a_home_that_holds_no_token_is_done_without(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    else:
        monkeypatch.setenv("HOME", home)
    with writable_places():
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
