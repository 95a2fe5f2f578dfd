"""The Ray Train side: what each worker of a `TorchTrainer` runs. The only module here that imports ray.train.

Checkpoints are files of a folder (`place`), not Ray checkpoints: the same files serve trials with one worker, with
several, and the final training, whether or not the workers' nodes share a disk.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from pare_tune.config import TrialConfig
from pare_tune.data.files import write_json
from pare_tune.errors import PareTuneError, StudyFailed, TrialFailed
from pare_tune.tasks.folds import Folds
from pare_tune.tasks.own.survey import looked_at_once
from pare_tune.train.checkpoint import FOLDS_DONE, LAST
from pare_tune.train.final import run_final
from pare_tune.train.held_out import HELD_OUT
from pare_tune.train.loop import Context, EpochReport
from pare_tune.train.members import Member
from pare_tune.train.place import Home, Place, workplace
from pare_tune.train.trial import run_trial

FAILURE = "failure.json"
_SEARCHED = "searched.safetensors"
"""Beside a final model in the making: held-out predictions of the search."""


@looked_at_once()
def train_loop_per_worker(settings: dict[str, Any]) -> None:
    """One trial on several workers; reports an `EpochReport` dict an epoch.

    Args:
        settings: {"trial": TrialConfig dict, "home": Home, "name": str, "cache": str | None, "folds": dict | None,
            "attempt": int}.

    A `TrialFailed` leaves {"cause", "message"} in the trial's failure.json before it travels on, because Ray hands its
    caller an error of its own.
    """
    cache = settings.get("cache")
    with worker_place(settings) as place:
        tell_start()
        try:
            run_trial(
                _trial(settings),
                worker_context(place, settings),
                cache=None if cache is None else Path(cache),
            )
        except TrialFailed as error:
            write_json(place.folder / FAILURE, {"cause": error.cause, "message": str(error)})
            raise


@looked_at_once()
def final_loop_per_worker(settings: dict[str, Any]) -> None:
    """The final training on one worker or several.

    Args:
        settings: {"trial", "home", "name", "cache", "with_val": bool, "epoch", "members"}.
    """
    cache = settings.get("cache")
    with worker_place(settings) as place:
        run_final(
            _trial(settings),
            worker_context(place, settings),
            with_val=bool(settings["with_val"]),
            epoch=settings["epoch"],
            members=[Member.from_dict(member) for member in settings["members"]],
            searched=place.folder / _SEARCHED,
            cache=None if cache is None else Path(cache),
        )


def tell_start() -> None:
    """Let the driver know that all workers of the trial have their places."""
    ray.train.report({"epoch": 0, "best_score": math.nan, "started": True})


def worker_place(settings: Mapping[str, Any]) -> AbstractContextManager[Place]:
    """Where this worker keeps its files: the first one all of them, the others what they must begin with."""
    only = (
        None if ray.train.get_context().get_world_rank() == 0 else (LAST, f"*/{LAST}", FOLDS_DONE, HELD_OUT)
    )
    return workplace(settings["home"], settings["name"], only=only, attempt=settings.get("attempt"))


def launch_final(
    config: TrialConfig,
    home: Home,
    *,
    with_val: bool,
    epoch: int | None = None,
    members: Sequence[Member] = (),
    num_workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float = 0.0,
    searched: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Run the final training on a connected Ray cluster and wait for it.

    Raises:
        PareTuneError: whatever a worker raised, if it was ours.
        StudyFailed: anything else ended it.
    """
    scratch = home.folder / ".ray"
    trainer = torch_trainer(
        final_loop_per_worker,
        config,
        home,
        "",
        cache,
        num_workers=num_workers,
        resources={"CPU": cpus_per_worker, "GPU": gpus_per_worker},
        run_config=ray.train.RunConfig(name=f"{config.task}-final-{os.getpid()}", storage_path=str(scratch)),
        with_val=with_val,
        epoch=epoch,
        members=[member.to_dict() for member in members],
    )
    if searched is not None and searched.is_file():
        shutil.copyfile(searched, home.folder / _SEARCHED)  # the run may be out of the workers' sight
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise _ours(error) from error
    finally:
        (home.folder / _SEARCHED).unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)


def torch_trainer(
    loop: Callable[[dict[str, Any]], None],
    config: TrialConfig,
    home: Home,
    name: str,
    cache: Path | None,
    *,
    num_workers: int,
    resources: Mapping[str, float],
    run_config: ray.train.RunConfig,
    **settings: Any,
) -> TorchTrainer:
    """Workers of `resources` each that run `loop` with {"trial", "home", "name", "cache"} and `settings`."""
    about = {"home": home, "name": name, "cache": None if cache is None else str(cache)}
    return TorchTrainer(
        loop,
        train_loop_config={"trial": config.to_dict(), **about, **settings},
        scaling_config=ray.train.ScalingConfig(
            num_workers=num_workers,
            use_gpu=resources["GPU"] > 0,
            resources_per_worker={name: count for name, count in resources.items() if count},
        ),
        run_config=run_config,
    )


def _ours(error: Exception) -> PareTuneError:
    """The first error of ours that a worker raised; Ray wraps them in its own."""
    failures: Iterable[BaseException] = getattr(error, "worker_failures", {}).values()
    for failure in failures:
        inner: BaseException | None = failure
        while inner is not None:
            if isinstance(inner, PareTuneError):
                return inner
            inner = inner.__cause__
    return StudyFailed(f"the final training failed: {error}")


def worker_context(place: Place, settings: Mapping[str, Any]) -> Context:
    """The `Context` of this Ray Train worker, with the "folds" of `settings`."""
    train = ray.train.get_context()
    resources = ray.get_runtime_context().get_assigned_resources()
    torch.set_num_threads(max(1, int(resources.get("CPU", 1))))

    def report(epoch: EpochReport) -> None:
        place.publish()
        ray.train.report(epoch.to_dict())

    return Context(
        report=report,
        folder=place.folder,
        folds=None if settings.get("folds") is None else Folds(**settings["folds"]),
        device=ray.train.torch.get_device(),
        rank=train.get_world_rank(),
        world_size=train.get_world_size(),
    )


def _trial(settings: dict[str, Any]) -> TrialConfig:
    return TrialConfig.model_validate(settings["trial"])
