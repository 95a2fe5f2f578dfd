"""README's `pare-tune serve`, typed in a process of its own, and the request that its help shows."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pare_tune

pytest.importorskip("uvicorn", reason="pip install 'pare-tune[serve]'")

README = Path(__file__).parents[2] / "README.md"
SERIES = np.random.default_rng(0).normal(size=(8, 2, 32)).astype(np.float32)


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, fields), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def test_the_command_serves_until_ctrl_c(
    untrained: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = untrained(SERIES)
    (line,) = re.findall(r"^ +pare-tune (serve [^#]+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    words = [str(folder) if word.startswith("runs/") else word for word in shlex.split(line)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    command = [sys.executable, "-c", "from pare_tune.cli import main; main()", *words, "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as server:
        try:
            assert server.stdout is not None
            said = []
            for text in server.stdout:
                said.append(text)
                if "Ctrl-C ends it" in text:
                    break
            (token,) = re.findall(r"token: (\S+)", "".join(said)) or [pytest.fail("".join(said))]
            url = f"http://127.0.0.1:{port}"
            body = io.BytesIO()
            np.save(body, SERIES)
            kind = {"Content_Type": "application/x-npy", "Accept": "application/x-npy"}
            status, answer = ask(f"{url}/predict", body.getvalue(), Authorization=f"Bearer {token}", **kind)
            assert status == 200, answer
            served = np.load(io.BytesIO(answer))
            expected = pare_tune.predict(folder, SERIES, probabilities=True)
            np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-6)
            assert ask(f"{url}/predict", body.getvalue(), **kind)[0] == 401
            assert ask(f"{url}/ready")[0] == 200
            assert b"openapi" in ask(f"{url}/docs")[1]
            server.send_signal(signal.SIGINT)
            rest = server.stdout.read()
            assert server.wait(60) in (0, 130), rest
            assert "Traceback" not in rest
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
