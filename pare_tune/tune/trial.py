"""What runs on a Ray worker: one trial, directly or as the driver of several Ray Train workers.

The process serves many trials (`reuse_actors`), so whatever happens in one is caught here, reported as a result and
written to the trial's log; only a killed process is an error to Ray.
"""

from __future__ import annotations

import errno
import gc
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pare_tune.config import TrialConfig
from pare_tune.data.files import owned
from pare_tune.errors import PareTuneError, RunBusy, StorageError, TrialFailed
from pare_tune.tasks.folds import Folds
from pare_tune.tasks.own.survey import looked_at_once
from pare_tune.train.place import Home, Place, workplace
from pare_tune.tune.several import WorkerLost, one_line, run_on_several

if TYPE_CHECKING:
    from pare_tune.train.loop import Context, EpochReport, FitResult

TrialRunner = Callable[[TrialConfig, "Context"], "FitResult"]

EVENT: Mapping[str, Any] = {"epoch": 0, "best_score": float("nan")}
"""A report that is no epoch: Ray Tune wants the metric in all of them."""
LOG = "log.txt"
_TAKEOVER_S = 60.0
"""How long a trial waits for another process that still trains it."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all trials of a search share; travels to the workers once."""

    home: Home
    """The run folder, on this disk or on another one."""
    runner: TrialRunner | None
    """None trains for real."""
    cache: Path | None
    num_workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    folds: int = 1
    """That a trial is judged over; 1 is the validation split."""

    def folds_of(self, assignment: Mapping[str, Any]) -> Folds | None:
        """Those of one trial."""
        return None if self.folds == 1 else Folds(self.folds, assignment["draw"])


def trial_name(number: int) -> str:
    """Where a trial's files are, below the run folder."""
    return f"trials/{number:04d}"


@looked_at_once()
def run_on_worker(job: Job, assignment: Mapping[str, Any]) -> None:
    """Run one trial and report every epoch to Ray Tune; a failure is one more report, with `cause` and `message`.

    Args:
        assignment: {"number": int, "attempt": int, "config": JSON of the TrialConfig, "halved": bool, "draw": int, of
            folds}.
    """
    from ray import tune

    # Of several workers this is only the driver, which writes the log; checkpoints are theirs.
    only = (LOG,) if job.num_workers > 1 else None
    try:
        name, attempt = trial_name(assignment["number"]), assignment["attempt"]
        with workplace(job.home, name, only=only, attempt=attempt) as place:

            def report(told: dict[str, Any]) -> None:
                place.publish()
                tune.report(told)

            failure = _attempt(job, assignment, place, report)
    except (OSError, PareTuneError) as error:
        # On a full disk the log, too, takes nothing more.
        failure = _told(error)
        if failure["cause"] != "fatal":
            raise
    if failure is not None:
        tune.report({**EVENT, **failure})


def _attempt(
    job: Job, assignment: Mapping[str, Any], place: Place, report: Callable[[dict[str, Any]], None]
) -> dict[str, str] | None:
    """Run one trial, with a log; how it failed, None if it did not."""
    config = TrialConfig.model_validate_json(assignment["config"])
    with _log(place.folder / LOG):
        try:
            # After a driver was killed its workers live on for a moment, and must not write checkpoints under these.
            with owned(place.folder, otherwise="the search goes on without this trial", wait_s=_TAKEOVER_S):
                run = partial(_run, job, assignment, place, report)
                _run_with_retry(
                    run, config, job.num_workers, halved=bool(assignment["halved"]), report=report
                )
            return None
        except Exception as error:
            failure = _told(error)
            traceback.print_exc()
            return failure
        finally:
            _free_memory()


def _told(error: Exception) -> dict[str, str]:
    """A failure as the driver is told of it; "fatal" ends the search, for no other trial would fare better."""
    match error:
        case WorkerLost():
            return {"cause": "lost", "kind": error.what, "message": str(error)}
        case TrialFailed():
            return {"cause": error.cause, "message": str(error)}
        case RunBusy():
            return {"cause": "crashed", "message": str(error)}
        case PareTuneError():
            return {"cause": "fatal", "kind": type(error).__name__, "message": str(error)}
        case OSError() if error.errno in _NO_ROOM:
            where = error.filename or "to the run folder"
            message = f"cannot write {where}: {error.strerror}; free some space, then resume"
            return {"cause": "fatal", "kind": StorageError.__name__, "message": message}
        case _:
            return {"cause": "crashed", "message": one_line(error)}


def halve(config: TrialConfig, workers: int = 1) -> TrialConfig | None:
    """Half of what a worker takes in a forward pass and more of them: the same optimiser step in half the memory. None
    where a worker takes one sample."""
    taken, _ = config.train.per_worker(workers)
    if taken < 2:
        return None
    # With several workers, a pass may be smaller already than `batch_size` allows.
    while config.train.per_worker(workers)[0] >= taken:
        size, passes = config.train.batch_size // 2, config.train.accumulation * 2
        config = config.with_values({"train.batch_size": size, "train.accumulation": passes})
    return config


def _run_with_retry(
    run: Callable[[TrialConfig], None],
    config: TrialConfig,
    workers: int,
    *,
    halved: bool,
    report: Callable[[dict[str, Any]], None],
) -> None:
    smaller = halve(config, workers)
    if halved and smaller is not None:
        run(smaller)
        return
    try:
        run(config)
        return
    except TrialFailed as error:
        if error.cause != "out_of_memory" or smaller is None:
            raise
        traceback.print_exc()
    # Outside of the handler, whose traceback holds the model that did not fit.
    _free_memory()
    report({**EVENT, "halved": True})
    print(
        f"out of memory: once more with batch size {smaller.train.batch_size}, accumulation doubled",
        flush=True,
    )
    run(smaller)


def _run(
    job: Job,
    assignment: Mapping[str, Any],
    place: Place,
    report: Callable[[dict[str, Any]], None],
    config: TrialConfig,
) -> None:
    folds = job.folds_of(assignment)
    if job.num_workers > 1:
        run_on_several(job, config, place, folds, assignment["attempt"])
    else:
        _run_here(job, config, place.folder, folds, report)


def _run_here(
    job: Job,
    config: TrialConfig,
    folder: Path,
    folds: Folds | None,
    report: Callable[[dict[str, Any]], None],
) -> None:
    import torch

    from pare_tune.train.build import pick_device
    from pare_tune.train.loop import Context

    torch.set_num_threads(max(1, int(job.cpus_per_worker)))

    def tell(epoch: EpochReport) -> None:
        report(epoch.to_dict())

    runner = job.runner or partial(_train, cache=job.cache)
    runner(config, Context(report=tell, folder=folder, device=pick_device(), folds=folds))


def _train(config: TrialConfig, context: Context, *, cache: Path | None) -> FitResult:
    from pare_tune.train.trial import run_trial

    return run_trial(config, context, cache=cache)


@contextmanager
def _log(path: Path) -> Iterator[None]:
    """Everything printed goes to the trial's log, appended: a resumed trial goes on in the same file."""
    with path.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()} on {socket.gethostname()}")
        yield


_frozen = False


def _free_memory() -> None:
    """Between trials: what the last one built must not stand in the way of the next one."""
    import torch

    global _frozen
    gc.collect()
    if not _frozen:
        # What is left after the first trial are imported modules, 0.1 s of garbage collection every time.
        gc.freeze()
        _frozen = True
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
