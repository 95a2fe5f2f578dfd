"""Where Ray is and where it may write, looked at before it starts: its own errors come late and name no remedy."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pare_tune.errors import ClusterError

_PROBE_S: Final = 4.0
_SOCKET: Final = "ray/session_2026-11-28_06-49-42_123456_1234567/sockets/plasma_store.1"
"""The longest of the paths that Ray opens sockets at, in its temporary folder; the last number is a process's."""
_SOCKET_BYTES: Final = 103 if sys.platform == "darwin" else 107
_SHORT_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm")


def check_reachable(address: str) -> None:
    """Raise ClusterError unless a Ray cluster answers at `address`, a value of RAY_ADDRESS, within seconds.

    Ray (2.60) itself goes on trying for a quarter of an hour, and prints a line a second.
    """
    where = f"the Ray cluster at {address} (RAY_ADDRESS)"
    advice = "start it (`ray start --head`), mend RAY_ADDRESS, or unset it to start a local cluster"
    if address.startswith(("http://", "https://")):
        raise ClusterError(
            f"RAY_ADDRESS is {address}, where jobs are submitted to; the cluster itself is at HOST:6379 as a rule, or "
            f"at ray://HOST:10001: mend RAY_ADDRESS, or unset it to start a local cluster"
        )
    try:
        host, port = _host_and_port(address)
        with socket.create_connection((host, port), timeout=_PROBE_S):
            pass
    except (OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ClusterError(f"cannot reach {where}: {reason}; {advice}") from error
    if os.environ.get("RAY_USE_TLS", "0") in ("0", "") and not _answers_as_ray(host, port):
        raise ClusterError(f"what answers at {address} (RAY_ADDRESS) is no Ray cluster; {advice}")


@contextmanager
def writable_places() -> Iterator[None]:
    """Let a local cluster that starts meanwhile take folders that work, where those it would take do not.

    A home that is missing or cannot be written holds no token, so that one is made for this process and those it
    starts.

    Raises:
        ClusterError: no folder can be written whose path is short enough.
    """
    if (
        not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"} & set(os.environ)
        and not _holds_token()
    ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    own = os.environ.get("RAY_TMPDIR") or (sys.platform != "darwin" and os.environ.get("TMPDIR")) or "/tmp"
    if _fits(own):
        yield
        return
    short = next((place for place in _SHORT_PLACES if _fits(place)), None)
    if short is None:
        raise ClusterError(
            f"Ray cannot keep its sockets and logs in {own}: the path must be writable and at most "
            f"{_SOCKET_BYTES - len(_SOCKET) - 1} bytes long; set RAY_TMPDIR to such a folder"
        )
    # The processes that Ray starts open sockets in TMPDIR as well.
    names = ("RAY_TMPDIR", "TMPDIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, short))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _holds_token() -> bool:
    """Whether Ray can read its token in the home folder, or write a new one there."""
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "auth_token").exists():
            with tempfile.TemporaryFile(dir=folder):
                pass
    except (OSError, RuntimeError):  # the latter where there is no home at all
        return False
    return True


def _fits(place: str) -> bool:
    if len(os.fsencode(os.path.join(place, _SOCKET))) > _SOCKET_BYTES:
        return False
    with suppress(OSError):
        # World-writable as Ray itself makes it: others on this machine use it as well.
        folder = os.path.join(place, "ray")
        os.makedirs(folder, exist_ok=True)
        with suppress(OSError):
            os.chmod(folder, 0o777)
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False


def _host_and_port(address: str) -> tuple[str, int]:
    if address == "auto":
        # What Ray goes by: processes of a cluster on this machine, or the file that `ray start` left.
        from ray._private.services import canonicalize_bootstrap_address

        address = str(canonicalize_bootstrap_address("auto"))
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("it is HOST:PORT, ray://HOST:PORT, auto or local")
    return host.strip("[]"), int(port)


def _answers_as_ray(host: str, port: int) -> bool:
    import grpc  # of ray[default]; only who joins a cluster waits for it

    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(target) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")(b"", timeout=_PROBE_S)
        except grpc.RpcError as error:
            # A refusal (of a missing token, or of this call) is a gRPC server's answer as well; a web server's, told
            # as UNIMPLEMENTED, is not.
            silent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return error.code() not in silent and "http2 header" not in (error.details() or "")
    return True
