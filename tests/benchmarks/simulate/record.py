"""Recording learning curves: random configurations of the wide space, each trained whole and written to one file.

Configuration n of a task is the same whenever and wherever it is drawn, so recordings can be interrupted, go on in any
order, and be made on several machines. Configuration 0 is trial 0, the default under the embedded preset.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from pare_tune import __version__
from pare_tune.config import TrialConfig, default_trial
from pare_tune.data.files import plain_json, write_text
from pare_tune.errors import ConfigError, PareTuneError, TrialFailed
from pare_tune.tasks import get_task
from pare_tune.tune.available import sources_at_hand
from pare_tune.tune.space import BoundSpace, Space


@dataclass(frozen=True, slots=True)
class Recording:
    """What is to be recorded of one task."""

    task: str
    space: BoundSpace

    @classmethod
    def open(cls, task: str) -> Recording:
        """The wide space of `task` around the embedded preset. Raises UnknownName where there is no such task."""
        value = get_task(task)
        base = default_trial(value, preset="embedded")
        space = Space.recorded(value).bind(base, usable=partial(sources_at_hand, base=base))
        return cls(value.name, space)

    def settings(self, number: int) -> dict[str, Any]:
        """Settings of configuration `number`, by dotted name: trial 0's, then uniform draws from the space."""
        if number == 0:
            return self.space.base_settings()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        digest = hashlib.sha256(f"{self.task}:{number}".encode()).digest()
        sampler = optuna.samplers.RandomSampler(seed=int.from_bytes(digest[:4], "big"))
        return self.space.suggest(optuna.create_study(sampler=sampler).ask())

    def path(self, folder: Path, number: int) -> Path:
        """FOLDER/TASK/0007.json."""
        return folder / self.task / f"{number:04d}.json"


def is_recorded(path: Path) -> bool:
    """Whether a configuration needs no more training. One that crashed is tried again: the reason may be gone."""
    record = read_record(path)
    return record is not None and record["cause"] != "crashed"


def read_record(path: Path) -> dict[str, Any] | None:
    """A record as written by `record`; None if there is none."""
    try:
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return written


def record(recording: Recording, number: int, folder: Path) -> dict[str, Any]:
    """Train one configuration and write what it was like; returns what was written.

    A trial that diverges, runs out of memory or crashes is a record too, with its cause and the epochs before.

    Raises:
        StorageError: the record cannot be written.
        PareTuneError: the task cannot be trained at all, its data are missing.
    """
    settings = recording.settings(number)
    curve: list[dict[str, Any]] = []
    cause = message = None
    try:
        train(recording.space.config(settings), curve)
    except ConfigError as error:
        cause, message = "invalid", str(error)
    except TrialFailed as error:
        cause, message = error.cause, str(error)
    written = {
        "task": recording.task,
        "number": number,
        "version": __version__,
        "base": recording.space.base.to_dict(),
        "settings": settings,
        "cause": cause,
        "message": message,
        "curve": curve,
    }
    write_text(recording.path(folder, number), json.dumps(plain_json(written)) + "\n")
    return written


def train(config: TrialConfig, curve: list[dict[str, Any]]) -> None:
    """Train `config` in this process, appending every epoch to `curve`.

    Of an epoch there are its score on VALIDATION and the processor time of the one training thread: wall time says
    little of a machine that may do other work.

    Raises:
        TrialFailed: it diverged, ran out of memory, or raised anything that is no error of ours.
    """
    from pare_tune.train.evaluation import Context
    from pare_tune.train.loop import fit
    from pare_tune.train.opened import open_trial
    from pare_tune.train.report import EpochReport

    opened = open_trial(config)
    try:
        model = opened.build()
        clock = time.process_time()

        def note(report: EpochReport) -> None:
            nonlocal clock
            if not math.isfinite(report.score):
                raise TrialFailed(
                    f"diverged: the validation score became {report.score} in epoch {report.epoch}",
                    cause="diverged",
                )
            now = time.process_time()
            curve.append({"epoch": report.epoch, "score": report.score, "cpu_seconds": round(now - clock, 4)})
            clock = now

        context = Context(report=note)
        fit(opened, model, context)
    except PareTuneError:
        raise
    except Exception as error:
        raise TrialFailed(f"{type(error).__name__}: {error}", cause="crashed") from error
