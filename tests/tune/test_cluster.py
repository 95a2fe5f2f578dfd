from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pare_tune.config import SearchConfig
from pare_tune.errors import ClusterError
from pare_tune.tune.cluster import Cluster, _init, connect

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_as_many_trials_run_as_fit() -> None:
    cluster = Cluster("http://127.0.0.1:8265", local=False)
    assert cluster.capacity(SearchConfig()) == 2
    assert cluster.capacity(SearchConfig(max_concurrent=1)) == 1
    assert cluster.capacity(SearchConfig(max_concurrent=9)) == 9, "an autoscaler adds nodes for what waits"
    assert Cluster(None, local=True).capacity(SearchConfig(max_concurrent=9)) == 2
    assert cluster.capacity(SearchConfig(cpus_per_worker=0.5)) == 4
    assert cluster.capacity(SearchConfig(cpus_per_worker=0.5, workers_per_trial=3)) == 1
    with pytest.raises(ClusterError, match="1 workers with 1 CPUs and 1 GPUs each do not fit"):
        cluster.capacity(SearchConfig(gpus_per_worker=1))


def test_several_workers_need_the_dashboard() -> None:
    with pytest.raises(ClusterError, match=r"pip install 'ray\[default\]'"):
        Cluster(None, local=True).capacity(SearchConfig(workers_per_trial=2))


def test_a_cluster_that_is_joined_already_is_used_and_left_running() -> None:
    import ray

    with connect() as cluster:
        assert not cluster.local
        assert cluster.dashboard_url is not None
        assert cluster.dashboard_url.startswith("http://127.0.0.1:")
        assert cluster.cpus == 2
    assert ray.is_initialized()
    with pytest.raises(ClusterError, match="5 workers"), connect(workers=5):
        pass


def test_the_token_is_for_its_owner_only() -> None:
    token = Path.home() / ".ray" / "auth_token"
    if not token.exists():
        pytest.skip("this Ray uses no token")
    token.chmod(0o644)
    with connect():
        assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_a_local_cluster_listens_on_loopback_only_and_a_job_has_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private import ray_constants

    started: list[tuple[dict[str, Any], bool]] = []
    monkeypatch.setattr("ray.init", lambda **o: started.append((o, ray_constants.ENABLE_RAY_CLUSTER)))
    before = ray_constants.ENABLE_RAY_CLUSTER
    _init("local", several=False, dashboard=True, name="pare-tune wdbc")
    _init("10.0.0.1:6379", several=False, dashboard=True, name="pare-tune wdbc")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    _init("local", several=False, dashboard=True, name="pare-tune wdbc")
    # Ray binds its ports to 127.0.0.1 where it takes no other machines in.
    assert [flag for _, flag in started] == [False, before, before]
    assert before == ray_constants.ENABLE_RAY_CLUSTER
    assert started[0][0]["dashboard_host"] == "127.0.0.1"
    assert "dashboard_host" not in started[1][0]
    assert all(o["job_config"].metadata == {"job_name": "pare-tune wdbc"} for o, _ in started)


ELSEWHERE = """
import os
import signal
import sys
import time

import ray

from pare_tune.tune.cluster import connect

try:
    with connect(several=True, dashboard=False):

        @ray.remote
        def own() -> tuple[str | None, str]:
            return os.environ.get("RAY_ADDRESS"), ray.get_runtime_context().gcs_address

        known, own_cluster = ray.get(own.remote())
        print("own" if known == own_cluster != sys.argv[1] else f"{known} {own_cluster} {sys.argv[1]}")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_second_cluster_beside_this_one() -> None:
    """Its workers know it: without that Ray Train cleans up in the other one, and a stopped trial of several workers
    keeps its CPUs. And SIGTERM ends what it does as Ctrl-C would."""
    import ray

    other = ray.get_runtime_context().gcs_address
    ended = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, other], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.split() == ["own", "interrupted"]
    assert "SIGTERM" not in ended.stderr, "Ray's handler prints a stack"
