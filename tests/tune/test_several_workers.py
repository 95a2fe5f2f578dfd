"""Trials with several workers each: Ray Train inside Ray Tune."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import WorkerGroupError

from pare_tune.config import RunConfig
from pare_tune.tune import several
from pare_tune.tune.cluster import connect, free_lost_groups
from pare_tune.tune.run import SessionOptions, search


@pytest.mark.usefixtures("ray_cluster")
def test_trials_with_two_workers_are_trained_stopped_and_leave_nothing_behind(
    make_config: Callable[..., RunConfig], fakes: ModuleType
) -> None:
    import ray

    result = search(make_config("2", epochs=4, workers_per_trial=2), SessionOptions(runner=fakes.train))
    first, second = result.snapshot.trials
    assert (first.state, first.epoch) == ("complete", 4)
    assert (second.state, second.epoch) == ("pruned", 2), (
        "Ray leaks the workers of a stopped trial unless told right"
    )

    deadline = time.monotonic() + 90
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources().get("CPU", 0) == 2
    names = [name.rpartition("-")[0] for name in train_runs() if name.startswith(result.path.name)]
    assert names == [f"{result.path.name}-trial-0000", f"{result.path.name}-trial-0001"]


@pytest.mark.usefixtures("ray_cluster")
def test_what_was_reserved_for_dead_actors_is_given_back() -> None:
    """As Ray Train leaves the groups of workers that fail to start."""
    import ray
    from ray.util.placement_group import placement_group, placement_group_table

    @ray.remote(num_cpus=0)
    class Maker:
        def make(self) -> str:
            group = placement_group([{"CPU": 0.5}])
            assert group.wait(30)
            return str(group.id.hex())

    dead, alive = Maker.remote(), Maker.remote()
    lost, kept = ray.get([dead.make.remote(), alive.make.remote()])
    ray.kill(dead)

    def state(group: str) -> str:
        return str(placement_group_table()[group]["state"])

    deadline = time.monotonic() + 60
    while state(lost) != "REMOVED" and time.monotonic() < deadline:
        free_lost_groups()
        time.sleep(0.2)
    assert state(lost) == "REMOVED"
    assert state(kept) == "CREATED"
    ray.kill(alive)
    while state(kept) != "REMOVED" and time.monotonic() < deadline:
        free_lost_groups()
        time.sleep(0.2)
    assert state(kept) == "REMOVED"


NODE = WorkerHealthCheckFailedError("failed", RayActorError(error_msg="it died because its node has died"))
PROCESS = WorkerHealthCheckFailedError("failed", RayActorError(error_msg="the worker process has died"))
PEER = UserExceptionWithTraceback(RuntimeError(), "gloo/transport/tcp/pair.cc:538] Connection closed by peer")
OWN = UserExceptionWithTraceback(ZeroDivisionError(), "ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("failures", "living", "lost"),
    [
        ([PEER, NODE], {"a", "b"}, "node"),
        ([PEER, PROCESS], {"a", "b"}, "process"),
        ([PEER, PROCESS], {"a"}, "node"),
        ([PEER], {"a", "b"}, "process"),
        ([PEER], {"a", "c"}, "node"),
        ([OWN, PEER], {"a"}, None),
        ([], {"a"}, None),
    ],
)
def test_what_a_worker_was_lost_with_is_told_from_its_own_failure(
    failures: list[Exception], living: set[str], lost: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "_living_nodes", lambda: living)
    monkeypatch.setattr(several, "_DETECTED_S", 0.0)
    error = WorkerGroupError("failed", dict(enumerate(failures)))
    assert several.what_was_lost(error, {"a", "b"}) == lost


def train_runs() -> list[str]:
    """Names of the Ray Train runs that the dashboard knows, oldest first."""
    with connect() as cluster:
        request = urllib.request.Request(f"{cluster.dashboard_url}/api/train/v2/runs/v1")
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file():
        request.add_header("Authorization", f"Bearer {token.read_text().strip()}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        runs = json.load(answer)["train_runs"]
    return [run["name"] for run in sorted(runs, key=lambda run: run["start_time_ns"])]
