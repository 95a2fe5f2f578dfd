"""A driver without Ray, to be killed often: everything of a search but the engine, which here is a loop.

Sessions are children of one warm process, so that twenty of them cost seconds. As a script:

    lone.py FOLDER KILLS SEED [--torn] [--folds]

FOLDER/killed has so many kill -9 at random moments, then goes to its end; FOLDER/whole is the same search, undisturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import fakes
import torch

from pare_tune.config import TrialConfig
from pare_tune.errors import PareTuneError, TrialFailed
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.train.loop import Context, EpochReport
from pare_tune.tune import run
from pare_tune.tune import session as session_module
from pare_tune.tune.session import Session
from pare_tune.tune.trial import Job

BUDGET, EPOCHS = 30, 6
_PAUSE_S, _LONGEST_S = 0.05, 0.3
"""Of an epoch, and of a session: twenty sessions are shorter than the epochs of the search, on any machine."""


class _Stopped(Exception):
    """The desk has heard enough of this trial."""


class LoneSession(Session):
    """Runs one trial after the other in this process."""

    def _fit(self, job: Job) -> None:
        for index in range(10_000):
            assignment = self._desk.next(f"t{index}")
            if assignment is None:
                return
            assert isinstance(assignment, dict)
            self._run_one(job, f"t{index}", assignment)
            self._tick()

    def _run_one(self, job: Job, tune_id: str, assignment: dict[str, Any]) -> None:
        def report(epoch: EpochReport) -> None:
            if self._desk.result(tune_id, epoch.to_dict()):
                raise _Stopped

        config = TrialConfig.model_validate_json(assignment["config"])
        folder = job.home.folder / "trials" / f"{assignment['number']:04d}"
        self._desk.start(tune_id)
        try:
            assert job.runner is not None
            folds = job.folds_of(assignment)
            job.runner(config, Context(report=report, folder=folder, device=torch.device("cpu"), folds=folds))
        except _Stopped:
            pass
        except TrialFailed as error:
            self._desk.result(tune_id, {"cause": error.cause, "message": str(error)})
        self._desk.finish(tune_id)


@contextmanager
def _no_cluster(*_: object, **__: object) -> Iterator[Any]:
    yield SimpleNamespace(
        capacity=lambda search: 1, gpus_for=lambda asked: 0.0, dashboard_url=None, local=True, node=""
    )


STAND_INS: list[tuple[ModuleType, str, Any]] = [
    (run, "Session", LoneSession),
    (run, "connect", _no_cluster),
    (session_module, "SearchMetrics", lambda *_: SimpleNamespace(update=lambda snapshot: None)),
]
"""What takes Ray out of a search: module, name, value."""


def session(folder: Path, pause_s: float, seed: int) -> None:
    """Begin a search in `folder`, or go on with the one that is there."""
    runner = partial(fakes.train, pause_s=pause_s)
    begun = [r for r in sorted((folder / "runs").glob("*")) if (r / "run.yaml").is_file()]
    if begun:
        run.resume(begun[0], options=run.SessionOptions(runner=runner))
    else:
        judged = {"validation": "folds", "folds": 3} if "--folds" in sys.argv else {}
        config = fakes.run_config(
            folder, budget=str(BUDGET), epochs=EPOCHS, seed=seed, startup_trials=5, confirm=1, **judged
        )
        run.search(config, run.SessionOptions(runner=runner))


def kill_often(folder: Path, kills: int, seed: int, *, torn: bool) -> list[dict[str, Any]]:
    """Kill `kills` sessions; what was in the record at each of their ends."""
    rng = random.Random(seed)
    log: list[dict[str, Any]] = []
    while len(log) < kills:
        child = os.fork()
        if child == 0:
            session(folder, _PAUSE_S, seed)
            os._exit(0)
        wait_s = rng.uniform(0.0, _LONGEST_S)
        time.sleep(wait_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the search ended after {len(log)} kills: give it more to do"
        log.append({"after_s": round(wait_s, 3), **_recorded(folder)})
        if torn:
            _tear(folder, rng)
    return log


def _tear(folder: Path, rng: random.Random) -> None:
    """As a lost power supply leaves it: half a line, or zeros."""
    for journal in (folder / "runs").glob("*/study.journal"):
        with journal.open("ab") as file:
            file.write(rng.choice([b'{"op_code": 8, "worker_id"', b"\0" * 37, b"{", b""]))


def _recorded(folder: Path) -> dict[str, Any]:
    trials: list[Any] = []
    for path in (folder / "runs").glob("*"):
        try:
            trials = [[t.number, t.state, t.epoch, t.best_score] for t in run.snapshot(path).trials]
        except PareTuneError:
            continue  # killed before its first trial
    return {"trials": trials}


def main() -> None:
    """The log of the kills as JSON, once both searches have come to their ends."""
    killed, whole = Path(sys.argv[1]) / "killed", Path(sys.argv[1]) / "whole"
    kills, seed = int(sys.argv[2]), int(sys.argv[3])
    for folder in (killed, whole):
        folder.mkdir(parents=True)
    nothing = Fingerprint(splits={}, files={}, backbone={}, packages={})
    # To look at data and weights takes longer than these sessions live.
    for module, name, value in [*STAND_INS, (run, "Fingerprint", SimpleNamespace(of=lambda *_: nothing))]:
        setattr(module, name, value)
    log = kill_often(killed, kills, seed, torn="--torn" in sys.argv)
    for folder in (killed, whole):
        session(folder, 0.0, seed)
    print(json.dumps(log))


if __name__ == "__main__":
    main()
