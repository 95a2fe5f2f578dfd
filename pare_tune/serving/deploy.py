"""Ray Serve: replicas of a model that answer what comes within a latency budget together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pare_tune.errors import ClusterError
from pare_tune.steps import step
from pare_tune.tasks.own.predict import Piece
from pare_tune.train.outputs import Predictions
from pare_tune.train.predict import Predictor
from pare_tune.tune.cluster import Cluster, connect

_NAME: Final = "pare-tune"
_BATCH: Final = 64
"""Samples that are predicted together."""
_ONGOING: Final = 256
"""Requests that a replica has at a time; more wait at the proxy."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How a model is served."""

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    replicas: int = 1
    latency_ms: float = 10.0
    """How long a request waits for others to be predicted with."""
    max_bytes: int = 10 * 10**6
    coverage: float | None = None


@contextmanager
def serving(asked: Serving) -> Iterator[str]:
    """Serve a model until the block ends; gives where Ray's metrics are, empty where it exports none.

    Raises:
        DataError: no model there, or it cannot give the coverage.
        ClusterError: too few CPUs, the port is taken, or the cluster serves something already.
    """
    open_predictor(asked)  # mistakes show before Ray
    with connect(workers=asked.replicas, name="pare-tune serve") as cluster:
        import ray
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        if serve.status().proxies:
            raise ClusterError(
                "this cluster serves models already, with Ray Serve, which has one address for all: end that "
                "(serve shutdown), or serve on a Ray of its own (without RAY_ADDRESS)"
            )
        try:
            with step("starting the server"):
                _start(asked, cluster)
            node = ray.nodes()[0]
            yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        finally:
            serve.shutdown()


def _start(asked: Serving, cluster: Cluster) -> None:
    from ray import serve

    try:
        # Ray's own access log goes to its files.
        serve.start(http_options={"host": asked.host, "port": asked.port})
        threads = int(cluster.cpus_for(asked.replicas))
        serve.run(_deployment(asked, threads, cluster.gpus_for(None)), name=_NAME, route_prefix="/")
    except (RuntimeError, OSError, ValueError) as error:
        raise ClusterError(
            f"cannot serve at {asked.host}:{asked.port}: {error}; is the port taken? Give another --port"
        ) from error


def open_predictor(asked: Serving) -> Predictor:
    """The model, which gives probabilities where it can."""
    predictor = Predictor(asked.model, coverage=asked.coverage, batch_size=_BATCH)
    predictor.probabilities = predictor.has_probabilities
    return predictor


def _deployment(asked: Serving, threads: int, gpus: float) -> Any:
    from ray import serve

    def build() -> Any:
        # On the replica: the model is loaded here, and the server is ready when this returns.
        import torch

        from pare_tune.serving.app import Limits, make_app
        from pare_tune.train.describe import Description

        torch.set_num_threads(threads)
        predictor = open_predictor(asked)

        @serve.batch(
            max_batch_size=_BATCH,
            batch_wait_timeout_s=asked.latency_ms / 1000,
            batch_size_fn=lambda pieces: sum(min(len(piece.x), _BATCH) for piece in pieces),
        )
        async def answer(pieces: list[Piece]) -> list[Predictions]:
            return await asyncio.to_thread(predictor.predict_each, pieces)

        limits = Limits(max_bytes=asked.max_bytes, token=asked.token)
        return make_app(
            predictor.open, answer, Description.of(predictor.config.task, predictor.shape), limits
        )

    options: dict[str, Any] = {"num_cpus": threads, "num_gpus": gpus}
    deployment = serve.deployment(
        num_replicas=asked.replicas, max_ongoing_requests=_ONGOING, ray_actor_options=options
    )
    return deployment(serve.ingress(build)()).bind()
