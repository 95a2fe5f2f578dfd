"""Every error a user can cause or meet: what rule broke, on which value, and what to do next.

The command line prints a `PareTuneError` as one message without a traceback and exits with its `exit_code`.
`TrialFailed` ends one trial and the search goes on; every other kind ends the command.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 100
"""Names that a message holds at most: every task and source, and of timm's 400 models enough to see their kind."""


class PareTuneError(Exception):
    """Something a user can act on. `exit_code` 2: the input was wrong and nothing was written."""

    exit_code = 2


class UnknownName(PareTuneError):
    """A task, source, backbone, metric or method that does not exist; names the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        super().__init__(
            f"no {kind} named {name!r}.{did_you_mean(name, names)} Known: {', '.join(names[:_LISTED])}{more}."
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the nearest names, after a blank; empty where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


class DataError(PareTuneError):
    """A file of a data set is missing, truncated, of the wrong shape or type, or holds NaN."""


class UnsafePickle(DataError):
    """A pickle asks for a class or function that plain arrays do not need."""


class ConfigError(PareTuneError):
    """A YAML file, option or search space that does not say something valid (file and line are given)."""


class BackboneUnavailable(PareTuneError):
    """Pretrained weights that are not on this machine and could not be downloaded."""


class StorageError(PareTuneError):
    """A folder that cannot be written, or a disk that is full."""


class RunBusy(PareTuneError):
    """Another living process owns the run folder."""


class ClusterError(PareTuneError):
    """The Ray cluster cannot give what the run asks for (CPUs, GPUs, dashboard)."""


class TrialFailed(PareTuneError):
    """One trial cannot go on: it diverged, learned nothing, ran out of memory, or crashed. The study continues.

    `cause` is one of "diverged", "collapsed", "out_of_memory", "crashed"; the study keeps it beside the trial.
    """

    exit_code = 1

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not survive pickling between Ray processes by themselves.
        return (_rebuild_trial_failed, (str(self), self.cause))


def _rebuild_trial_failed(message: str, cause: str) -> TrialFailed:
    return TrialFailed(message, cause=cause)


class StudyFailed(PareTuneError):
    """The whole run cannot go on although its input was well formed."""

    exit_code = 1
