"""The Ray cluster to run on: the one of RAY_ADDRESS, one the caller already joined, or a local one of our own."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.job_config import JobConfig
from ray.util.placement_group import PlacementGroup, remove_placement_group

from pare_tune.config import SearchConfig
from pare_tune.errors import ClusterError
from pare_tune.signals import HANG_UP, handlers_kept, on_ending_signals
from pare_tune.steps import step
from pare_tune.tune.places import check_reachable, writable_places

# Read by Ray in this process and in those it starts. A value that the user set wins.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: not one line of Ray's on the terminal
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files a trial: the study is the record
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # our own also takes SIGTERM
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # told by the study
    "TUNE_WARN_THRESHOLD_S": "60",
    # A stopped trial has so long to leave its process (2 s by default). When it does not, Ray ends the next trial
    # without telling the searcher (2.60, `_on_trial_reset`), which then waits for that trial for ever.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # Tune's own snapshots are never read
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # several workers: the dashboard lists the trial
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # several workers: reports wait for this poll (2 s by default)
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a deprecation; CPU trials on a GPU machine see no GPU
}
# A trial that is only a driver of several workers takes no CPU; Ray wants at least one resource (a byte of memory).
DRIVER = {"CPU": 0, "memory": 1}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connected cluster."""

    dashboard_url: str | None
    local: bool
    """Whether this process started it."""

    @property
    def cpus(self) -> int:
        """CPUs of all nodes."""
        return int(ray.cluster_resources().get("CPU", 0))

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return int(ray.cluster_resources().get("GPU", 0))

    @property
    def node(self) -> str:
        """Ray's name of the node that this process is on."""
        return str(ray.get_runtime_context().get_node_id())

    def capacity(self, search: SearchConfig) -> int:
        """How many trials run at a time: those that fit, at most `search.max_concurrent`.

        In a cluster that was joined, `max_concurrent` may be more than fits now: what waits makes an autoscaler add
        nodes, and takes the place of nodes that come back.

        Raises:
            ClusterError: not even one does, or several workers are asked for without a dashboard.
        """
        if search.workers_per_trial > 1 and not self.dashboard_url:
            raise ClusterError(
                "trials with several workers need Ray's dashboard, which frees their resources when a trial is "
                "stopped early; install it with: pip install 'ray[default]', then start the cluster again"
            )
        gpus = self.gpus_for(search.gpus_per_worker)
        slots = self.require(search.workers_per_trial, search.cpus_per_worker, gpus)
        fits = slots // search.workers_per_trial
        asked = search.max_concurrent or fits
        return min(fits, asked) if self.local else asked

    def gpus_for(self, asked: float | None) -> float:
        """GPUs of a worker: what was asked for, else one where there are any."""
        return asked if asked is not None else float(self.gpus > 0)

    def cpus_for(self, workers: int) -> float:
        """The most CPUs that each of so many workers can have, at least 1; no worker spans two nodes."""
        nodes = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
        shares = sorted({cpus // parts for cpus in nodes for parts in range(1, workers + 1)}, reverse=True)
        fitting = (s for s in shares if s and sum(cpus // s for cpus in nodes) >= workers)
        return float(next(fitting, 1))

    def require(self, workers: int, cpus_per_worker: float, gpus_per_worker: float) -> int:
        """How many such workers fit, node by node since none spans two. Raises ClusterError below `workers`."""
        slots = 0
        for node in ray.nodes():
            have = node["Resources"] if node["Alive"] else {}
            fits = have.get("CPU", 0.0) / cpus_per_worker
            if gpus_per_worker:
                fits = min(fits, have.get("GPU", 0.0) / gpus_per_worker)
            slots += math.floor(fits + 1e-9)
        if slots < workers:
            gpus = f" and {gpus_per_worker:g} GPUs" if gpus_per_worker else ""
            raise ClusterError(
                f"{workers} workers with {cpus_per_worker:g} CPUs{gpus} each do not fit: the cluster has room for "
                f"{slots} (in all {self.cpus} CPUs, {self.gpus} GPUs); ask for fewer or smaller workers, or add nodes"
            )
        return slots


@contextmanager
def connect(
    *,
    workers: int = 1,
    gpus_per_worker: float | None = None,
    several: bool = False,
    dashboard: bool = True,
    name: str = "pare-tune",
) -> Iterator[Cluster]:
    """Join the cluster of RAY_ADDRESS, or start a local one; what was joined or started here is left here.

    A cluster that the caller has already joined (`ray.init`) is used as it is.

    Args:
        workers: how many must fit at least, with a CPU each.
        gpus_per_worker: what each of them needs; None asks for nothing.
        several: Ray Train will run several workers together.
        dashboard: start one with a local cluster, reachable from this machine only.
        name: what the dashboard calls the job; a job that was submitted keeps its own.

    Raises:
        ClusterError: it cannot be reached or started, or is too small.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    _quiet()
    with _mute():
        yield from _connected(workers, gpus_per_worker, several, dashboard, name)


def _connected(
    workers: int, gpus_per_worker: float | None, several: bool, dashboard: bool, name: str
) -> Iterator[Cluster]:
    if ray.is_initialized():
        _protect_token()
        cluster = Cluster(_dashboard_url(), local=False)
        cluster.require(workers, 1.0, gpus_per_worker or 0.0)
        yield cluster
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    local = address == "local"
    try:
        with step("starting Ray" if local else f"joining the Ray cluster at {address}"):
            if not local:
                check_reachable(address)
            context = _init(address, several=several, dashboard=dashboard, name=name)
    except ClusterError:
        raise
    except Exception as error:  # Ray raises plain ones too, as for a node that was not up within 30 s
        where = "start a local Ray cluster" if local else f"join the Ray cluster at {address} (RAY_ADDRESS)"
        raise ClusterError(f"cannot {where}: {error}") from error
    _protect_token()
    try:
        url = str(context.dashboard_url or "")
        cluster = Cluster(f"http://{url}" if url else None, local=local)
        cluster.require(workers, 1.0, gpus_per_worker or 0.0)
        with on_ending_signals():
            yield cluster
    finally:
        with warnings.catch_warnings():
            # Pipes of the processes Ray ends here are closed by the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            ray.shutdown()


def _init(address: str, *, several: bool, dashboard: bool, name: str) -> Any:
    environment: dict[str, Any] = {}
    options: dict[str, Any] = {
        "runtime_env": environment,
        "address": address,
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "job_config": JobConfig(metadata={"job_name": name}),
    }
    if address == "local":
        options |= {"include_dashboard": dashboard and _has_dashboard(), "dashboard_host": "127.0.0.1"}
    else:
        environment["env_vars"] = _ENVIRONMENT
    if several:
        environment["worker_process_setup_hook"] = know_own_cluster
    with (
        warnings.catch_warnings(),
        _loopback() if address == "local" else nullcontext(),
        writable_places() if address == "local" else nullcontext(),
        _hang_up_ignored(),
    ):
        warnings.simplefilter("ignore")
        context = ray.init(**options)
    _quiet()
    return context


@contextmanager
def _hang_up_ignored() -> Iterator[None]:
    """Let Ray's processes ignore that the terminal is gone, so that they live until everything is saved.

    Ray's own handler of SIGTERM, which prints a stack, goes as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handlers_kept():
        if HANG_UP is not None:
            signal.signal(HANG_UP, signal.SIG_IGN)  # which processes that are started inherit
        yield


def know_own_cluster() -> None:
    """Runs first in every worker process: where several clusters run on a machine, Ray Train's clean-up after a stopped
    trial asks the cluster of this variable, and without it fails or asks another one (2.60), so that the trial's CPUs
    are never free again.
    """
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def free_lost_groups() -> None:
    """Give back what is reserved for actors of this job that are dead.

    Ray Train (2.60) forgets the placement group of workers that fail to start, for instance where their network is set
    up wrongly: its cleaner hears of a group only once its workers have started, and Ray itself keeps one until the
    whole job ends. The next trial would wait for these CPUs for ever.
    """
    try:
        # No public call tells who made a group.
        from ray._private.state import state
        from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Group

        groups = [
            Group.FromString(data) for data in state._connect_and_get_accessor().get_placement_group_table()
        ]
    except (ImportError, AttributeError):
        return
    job = ray.get_runtime_context().get_job_id()
    for group in groups:
        by_actor = group.creator_actor_id not in (b"", ray.ActorID.nil().binary())
        is_lost = by_actor and group.creator_actor_dead and group.creator_job_id.hex() == job
        if is_lost and group.state != Group.REMOVED:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _protect_token() -> None:
    # Ray makes it readable by everybody (0644 under the usual umask).
    with suppress(OSError, RuntimeError):  # there may be no home
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


def _has_dashboard() -> bool:
    # Ray raises when asked for a dashboard whose packages are missing.
    return all(
        importlib.util.find_spec(name) is not None for name in ("aiohttp", "aiohttp_cors", "opencensus")
    )


def _dashboard_url() -> str | None:
    from ray._private.worker import global_worker

    node = global_worker.node
    url = "" if node is None else str(node.address_info.get("webui_url") or "")
    return f"http://{url}" if url else None


@contextmanager
def _loopback() -> Iterator[None]:
    """Let a cluster that starts meanwhile listen on 127.0.0.1 alone, as Ray does by default on macOS and Windows.

    On Linux it listens on every interface, and its metrics port asks for no token; Ray has no setting for it (2.60).
    Ray's own variable for clusters of several machines, where it is set, wins.
    """
    from ray._private import ray_constants

    own = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in os.environ
    with nullcontext() if own else _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


@contextmanager
def _mute() -> Iterator[None]:
    """Keep Ray from printing to our standard output that a worker died: the study tells that, in its own words.

    Ray has no setting for it (2.60: `listen_error_messages` prints whatever `log_to_driver` says).
    """
    from ray._private import worker

    with _replaced(worker, "print_to_stdstream", lambda data, ignore_prefix: None):
        yield


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Something of Ray's that is no interface: a later version may lack it, which is left as it is."""
    before = getattr(module, name, None)
    if before is None:
        yield
        return
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _quiet() -> None:
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
