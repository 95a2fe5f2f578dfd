from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pare_tune.config import SearchConfig
from pare_tune.errors import ClusterError
from pare_tune.tune.cluster import Cluster, connect

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_as_many_trials_run_as_fit() -> None:
    cluster = Cluster("http://127.0.0.1:8265", local=False)
    assert cluster.capacity(SearchConfig()) == 2
    assert cluster.capacity(SearchConfig(max_concurrent=1)) == 1
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
