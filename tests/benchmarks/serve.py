"""Requests a second and their times at a served model, against calling the model in a loop.

    python tests/benchmarks/serve.py runs/psicov-…/final --seconds 10

Every request holds one sample, as .npy; each client waits for its answer before it sends the next. "loop" is
`Predictor.predict`, one sample after the other in this process, so without HTTP and without other requests.
"""

from __future__ import annotations

import argparse
import http.client
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from pare_tune.serving.app import NPY
from pare_tune.serving.deploy import Serving, open_predictor, serving


def times_of(call: Callable[[], object], seconds: float) -> list[float]:
    """How long each call takes, for so long."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        call()
        times.append(time.perf_counter() - started)
    return times


def client(port: int, token: str, body: bytes, seconds: float) -> list[float]:
    """One connection that is kept open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": NPY, "Accept": NPY, "Authorization": f"Bearer {token}"}

    def ask() -> None:
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content

    try:
        return times_of(ask, seconds)
    finally:
        connection.close()


def row(what: str, times: list[float], seconds: float) -> str:
    p50, p99 = 1000 * np.percentile(times, [50, 99])
    return f"| {what} | {len(times) / seconds:.0f} | {p50:.1f} | {p99:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a final/ folder whose model takes arrays")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--latency-ms", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--running", metavar="TOKEN", help="of a server that listens at --port already")
    args = parser.parse_args()
    asked = Serving(
        model=args.model.absolute(), port=args.port, token=args.running or "token",
        replicas=args.replicas, latency_ms=args.latency_ms,
    )  # fmt: skip
    predictor = open_predictor(asked)
    raw = predictor.shape.raw
    shape = predictor.shape.input_shape if raw is None else tuple(raw["inputs"]["shape"])
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    stream = io.BytesIO()
    np.save(stream, x)

    def one() -> object:
        samples = predictor.open(x)
        return predictor.predict(samples.piece(range(1)))

    print("| one sample a request | requests a second | p50, ms | p99, ms |\n|---|---:|---:|---:|")
    print(row("loop", times_of(one, args.seconds), args.seconds), flush=True)
    with (
        serving(asked) if args.running is None else nullcontext(),
        ThreadPoolExecutor(max(args.clients)) as pool,
    ):
        for count in args.clients:
            asking = [
                pool.submit(client, args.port, asked.token or "", stream.getvalue(), args.seconds)
                for _ in range(count)
            ]
            times = [t for each in asking for t in each.result()]
            print(row(f"served, {count} clients", times, args.seconds), flush=True)


if __name__ == "__main__":
    main()
