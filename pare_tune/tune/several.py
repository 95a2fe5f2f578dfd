"""A trial with several workers: Ray Train inside Ray Tune, and what it means when one of them is lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pare_tune.config import TrialConfig
from pare_tune.errors import PareTuneError, TrialFailed
from pare_tune.tasks.folds import Folds
from pare_tune.train.place import Place
from pare_tune.tune.folder import RunFolder

if TYPE_CHECKING:
    from pare_tune.tune.trial import Job, TrialRunner

FAILURE = "failure.json"
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "remote process exited")
"""What gloo and NCCL tell the workers that are left."""
_DETECTED_S = 60.0
"""Ray needs 15 to 30 s to take a node for dead."""


class WorkerLost(Exception):
    """One of several workers died, by no fault of the trial's that is known; it can go on from its last epoch."""

    def __init__(self, message: str, what: Literal["process", "node"]) -> None:
        super().__init__(message)
        self.what = what


def run_on_several(job: Job, config: TrialConfig, place: Place, folds: Folds | None, attempt: int) -> None:
    """Drive a `TorchTrainer`; its workers' epochs travel to Ray Tune through Ray's own callback."""
    import ray.train
    from ray.train.v2.api.exceptions import TrainingFailedError
    from ray.tune.integration.ray_train import TuneReportCallback

    from pare_tune.train.worker import torch_trainer
    from pare_tune.tune.cluster import free_lost_groups

    # Epochs wait for this poll of Ray's (2 s by default); with tracking the dashboard lists the trial. Ray reads both
    # where the trainer is made, which is here, also on a cluster that the caller had joined without them.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    (place.folder / FAILURE).unlink(missing_ok=True)
    free_lost_groups()  # of trials before this one, which waits for its workers' CPUs
    trainer = torch_trainer(
        _loop(job.runner),
        config,
        job.home,
        place.name,
        job.cache,
        num_workers=job.num_workers,
        resources={"CPU": job.cpus_per_worker, "GPU": job.gpus_per_worker},
        # The epochs are ours to resume (last.pt), so Ray Train must not find an older run of its own: a fresh name.
        run_config=ray.train.RunConfig(
            name=f"{job.home.folder.name}-trial-{place.folder.name}-{time.time_ns()}",
            storage_path=str(RunFolder(job.home.folder).ray),
            callbacks=[TuneReportCallback()],
        ),
        folds=None if folds is None else asdict(folds),
        attempt=attempt,
    )
    nodes = _living_nodes()
    try:
        trainer.fit()
    except TrainingFailedError as error:
        place.fetch(FAILURE)
        if (failure := _told_failure(error, place.folder)) is not None:
            raise failure from error
        if (what := what_was_lost(error, nodes)) is not None:
            raise WorkerLost(one_line(error), what) from error
        raise TrialFailed(one_line(error), cause="crashed") from error


def what_was_lost(error: Exception, nodes: AbstractSet[str]) -> Literal["process", "node"] | None:
    """What one of several workers was lost with; None where they failed by themselves.

    Args:
        nodes: that lived when the workers started.
    """
    from ray.exceptions import RayActorError

    failures = getattr(error, "worker_failures", {}).values()
    # Of the one that died Ray tells, or the others do, whose connection to it ends.
    dead = [f for f in failures if isinstance(getattr(f, "health_check_failure", None), RayActorError)]
    if not dead and not (failures and all(any(word in str(f) for word in _PEER_GONE) for f in failures)):
        return None
    if any("its node has died" in str(f) for f in dead):
        return "node"
    deadline = time.monotonic() + (0.0 if dead else _DETECTED_S)
    while nodes <= _living_nodes() and time.monotonic() < deadline:
        time.sleep(1.0)
    return "process" if nodes <= _living_nodes() else "node"


def _living_nodes() -> AbstractSet[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _loop(runner: TrialRunner | None) -> Callable[[dict[str, Any]], None]:
    from pare_tune.train.worker import tell_start, train_loop_per_worker, worker_context, worker_place

    if runner is None:
        return train_loop_per_worker

    def loop(settings: dict[str, Any]) -> None:
        with worker_place(settings) as place:
            tell_start()
            runner(TrialConfig.model_validate(settings["trial"]), worker_context(place, settings))

    return loop


def _told_failure(error: Exception, folder: Path) -> PareTuneError | None:
    """The error of ours that ended a worker: as Ray hands it on, or as the worker left it in the trial's folder."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, PareTuneError):
            return cause
    try:
        failure = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return TrialFailed(str(failure["message"]), cause=str(failure["cause"]))
    except (OSError, ValueError, KeyError):
        return None


def one_line(error: BaseException) -> str:
    """The end of its message, after its kind."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else ''}".strip(": ")
