"""The journal file of a study, and everything that touches Optuna's private parts: a test holds that nothing else does.

Optuna 5 has no public way to reopen a trial that a killed process left running, to read one trial without a copy, to
tell whether a study has changed, to open a large journal quickly, or to add observations of one's own to TPE's
densities.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import (
    _get_infeasible_trial_score,
    _get_pruned_trial_score,
    default_gamma,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._storage import JournalStorageReplayResult
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from pare_tune.errors import StudyFailed
from pare_tune.tasks.base import Direction

NAME = "pare-tune"
_COUNTS = frozenset({0, 2, 6, 7})
"""Operations of Optuna's journal that wait for the disk: new studies, their attributes, states and scores."""


def study_direction(direction: Direction) -> Literal["minimize", "maximize"]:
    """As Optuna calls it."""
    return "minimize" if direction == "min" else "maximize"


def load_study(journal: Path) -> optuna.Study:
    """Open a journal for reading, also while a search writes it.

    Raises:
        StudyFailed: there is no study in it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not journal.is_file():
        raise StudyFailed(f"{journal} does not exist: the run ended before its first trial; start it again")
    try:
        return optuna.load_study(study_name=NAME, storage=open_storage(journal))
    except KeyError:
        raise StudyFailed(
            f"{journal} holds no study: the run ended before its first trial; start it again"
        ) from None


def trial_of(study: optuna.Study, number: int) -> FrozenTrial:
    """One trial, not copied. Alone in its journal, a study has trials whose ids are their numbers."""
    return study._storage.get_trial(number)


def changes(study: optuna.Study) -> int:
    """How often a study has changed."""
    storage: Any = study._storage
    return int(storage._replay_result.log_number_read)


def reopened(study: optuna.Study, number: int) -> Trial:
    """A running trial of a dead session, to go on with."""
    return Trial(study, number)


def repair(journal: Path) -> None:
    """Cut a torn end off the journal: what a killed writer or a lost power supply left there.

    Raises:
        StudyFailed: a line before the end is damaged, which no crash of ours does.
    """
    if not journal.is_file():
        return
    lines = journal.read_bytes().splitlines(keepends=True)
    good = len(lines)
    while good and not _is_whole(lines[good - 1]):
        good -= 1
    # Those before are parsed when they are replayed, and a torn line has no end; reading them twice would cost as much.
    damaged = next((i for i in range(good) if not (lines[i][:1] == b"{" and lines[i].endswith(b"}\n"))), None)
    if damaged is not None:
        raise _damaged(journal, damaged)
    if good < len(lines):
        with journal.open("r+b") as file:
            file.truncate(sum(map(len, lines[:good])))


def _is_whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _damaged(journal: Path, index: int) -> StudyFailed:
    return StudyFailed(f"{journal}: line {index + 1} is damaged; restore the file from a copy")


def order_of(trial: FrozenTrial, study: optuna.Study) -> tuple[float, ...]:
    """What TPE sorts finished trials by, best first: complete ones by value, stopped ones by how far they got,
    infeasible ones last."""
    infeasible = _get_infeasible_trial_score(trial)
    if infeasible > 0:
        return (2.0, infeasible)
    if trial.state == TrialState.PRUNED:
        return (1.0, *_get_pruned_trial_score(trial, study))
    assert trial.value is not None
    return (0.0, trial.value if study.direction == StudyDirection.MINIMIZE else -trial.value)


def num_good(trials: int) -> int:
    """How many of so many finished trials TPE's density of good settings is made of."""
    return default_gamma(trials)


class Densities(TPESampler):
    """TPE's densities of one parameter, made of trials and of further observations, each with its weight."""

    def made_of(
        self,
        name: str,
        distribution: BaseDistribution,
        trials: list[FrozenTrial],
        further: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
    ) -> _ParzenEstimator:
        """The density.

        Args:
            further: (values, weights), values as Optuna keeps them inside; a trial has weight 1.
        """
        # Optuna's own way to these values is a third of the time of an ask while many trials run.
        having = [t.params for t in trials if name in t.params]
        own = np.array([distribution.to_internal_repr(params[name]) for params in having], dtype=float)
        parameters = self._parzen_estimator_parameters
        values = np.concatenate([own, *(v for v, _ in further)])
        weights = np.concatenate(
            [np.asarray(parameters.weights(len(own)), dtype=float), *(w for _, w in further)]
        )
        return _ParzenEstimator({name: values}, {name: distribution}, parameters, weights)

    def most_promising(self, good: _ParzenEstimator, bad: _ParzenEstimator, name: str, seed: int) -> float:
        """Of draws from `good`, the one where it exceeds `bad` most, as Optuna keeps it inside."""
        samples = good.sample(np.random.RandomState(seed), self._n_ei_candidates)
        return float(TPESampler._compare(samples, good.log_pdf(samples) - bad.log_pdf(samples))[name])


class _Journal(BaseJournalBackend):
    """Optuna's journal file, written by one process and flushed to the disk when something counts.

    Optuna locks the file for every line, with a lock file that outlives a killed process by 30 s; here the run folder's
    lock is held already. It also waits for the disk at every line: a trial's parameters are worth nothing without the
    settings that follow them, so only lines that count wait, and take the earlier ones along. And it reads every line
    back from the disk, where the only writer knows what it wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = JournalFileBackend(str(path))
        self._is_writer = False
        self._written: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Lines from a number on; a torn last one is left out.

        Raises:
            StudyFailed: a line before the end is damaged.
        """
        if self._is_writer:
            written, self._written = self._written, []
            yield from written
            return
        number = log_number_from
        try:
            for log in self._reader.read_logs(log_number_from):
                yield log
                number += 1
        except ValueError as error:
            raise _damaged(self._path, number) from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines at the end."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        text = "".join(line + "\n" for line in lines)
        before = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                if any(log["op_code"] in _COUNTS for log in logs):
                    os.fsync(file.fileno())
        except OSError:
            # A full disk takes part of a line; once there is room again, the next one must not follow that part.
            os.truncate(self._path, before)
            raise
        self._is_writer = True
        # As it would be read, so that a session and the one that resumes it see the same.
        self._written += [json.loads(line) for line in lines]


class _Replay(JournalStorageReplayResult):
    """Optuna's replay, without a copy of the trial for every line while nobody can hold one yet."""

    loading = False

    def _apply_set_trial_user_attr(self, log: dict[str, Any]) -> None:
        if self.loading and self._trial_exists_and_updatable(log["trial_id"], log):
            self._trials[log["trial_id"]].user_attrs.update(log["user_attr"])
        elif not self.loading:
            super()._apply_set_trial_user_attr(log)

    def _apply_set_trial_intermediate_value(self, log: dict[str, Any]) -> None:
        if self.loading and self._trial_exists_and_updatable(log["trial_id"], log):
            self._trials[log["trial_id"]].intermediate_values[log["step"]] = log["intermediate_value"]
        elif not self.loading:
            super()._apply_set_trial_intermediate_value(log)


class _Storage(JournalStorage):
    """A journal that is opened in a second or two also after a thousand trials."""

    def _sync_with_backend(self) -> None:
        if isinstance(self._replay_result, _Replay):
            super()._sync_with_backend()
            return
        self._replay_result = replay = _Replay(self._worker_id_prefix)
        replay.loading = True
        super()._sync_with_backend()
        replay.loading = False


def open_storage(journal: Path) -> JournalStorage:
    """The storage of a journal that has one writer at a time."""
    return _Storage(_Journal(journal))
