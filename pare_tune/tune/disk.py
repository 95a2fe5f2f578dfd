"""`--max-disk`: a run folder that stays below a size, without losing what it is for.

What is least wanted goes first: leftovers of killed writers and recorded patches of trials that ended, then their
TensorBoard files (the journal has the same numbers), then their weights, then what they said of held-out samples, then
their logs; within each the worst trials first and trial 0 last. `best/`, the journal, the tables, the weights and
held-out outputs of trials that may still become the best and whatever a running trial has are never touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from pare_tune.config import show_size
from pare_tune.data.files import PARTIAL
from pare_tune.errors import StorageError
from pare_tune.shell import command
from pare_tune.train.checkpoint import BEST
from pare_tune.train.held_out import HELD_OUT
from pare_tune.train.patches import PATCHES
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.trial import LOG

_GROWTH = 1.1
"""What is asked for, over what is needed now: the journal and the tables grow on."""

_CANDIDATES = 3
"""Trials that keep their weights until one of them is chosen, where fresh seeds decide: trial 0 and the best two."""


def usage(path: Path) -> int:
    """Bytes on the disk below `path`; a file of two names counts once. What vanishes meanwhile is nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for name in _below(path):
        try:
            stat = os.lstat(name)
        except OSError:
            continue
        if (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            total += stat.st_blocks * 512 if hasattr(stat, "st_blocks") else stat.st_size
    return total


class DiskCap:
    """Keeps one run folder below `cap` bytes.

    What a trial takes is learned from those that run and end: the most that any of them was seen to hold.
    """

    def __init__(self, folder: RunFolder, cap: int) -> None:
        self._folder, self._cap = folder, cap
        self._trial = self._to_come = 0

    def note(self, number: int) -> None:
        """Learn from a trial what a trial takes: at its end, while it still has its checkpoint."""
        self._trial = max(self._trial, usage(self._folder.trial(number)))

    def require(self, *state: Any) -> None:
        """Make room for one more trial; `state` as `hold` takes it.

        Raises:
            StorageError: there is none; says how much is needed at least.
        """
        lacking = self.hold(*state, new=1)
        if lacking:
            raise StorageError(self.problem(lacking))

    def problem(self, lacking: int) -> str:
        """What to tell when so many bytes are lacking."""
        needed = _rounded_up(round((self._cap + lacking + self._to_come) * _GROWTH))
        return (
            f"--max-disk {show_size(self._cap)} cannot be held: with nothing left to drop, {self._folder.path} needs "
            f"{needed}, of which a running trial takes {_rounded_up(self._trial)}; go on with: "
            f"{command('resume', self._folder.path, '--max-disk', needed)}"
        )

    def hold(
        self,
        ended: Sequence[int],
        best: int | None,
        keep: AbstractSet[int],
        running: AbstractSet[int],
        *,
        new: int = 0,
    ) -> int:
        """Make room below the cap, also for what the running trials will still need.

        Args:
            ended: trials with a final state, the least wanted first.
            keep: trials whose weights stay.
            new: trials that are about to begin.

        Returns:
            Bytes that are lacking although nothing more can go; 0 if the cap holds.
        """
        held = {number: usage(self._folder.trial(number)) for number in running}
        self._trial = max([self._trial, *held.values()])
        self._to_come = max(0, _CANDIDATES - len(keep)) * self._trial
        reserve = new * self._trial + sum(self._trial - size for size in held.values())
        over = usage(self._folder.path) + reserve - self._cap
        if over > 0:
            for path in self._unwanted(ended, best, keep):
                over -= _remove(path)
                if over <= 0:
                    break
        return max(0, over)

    def _unwanted(self, ended: Sequence[int], best: int | None, keep: AbstractSet[int]) -> Iterator[Path]:
        """What can go, the least wanted first."""
        worst_first = [n for n in ended if n not in (0, best)]
        if 0 in ended and best != 0:
            worst_first.append(0)
        folders = [self._folder.trial(n) for n in worst_first]
        for folder in folders:
            yield from folder.glob(PARTIAL)
            yield folder / PATCHES
        for number in worst_first:
            yield self._folder.tensorboard / f"trial-{number:04d}"
        for name in (BEST, HELD_OUT):
            yield from (self._folder.trial(n) / name for n in worst_first if n not in keep)
        yield from (folder / LOG for folder in folders)


def _remove(path: Path) -> int:
    """Bytes that went."""
    size = usage(path)
    if not size:
        return 0
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        linked = path.stat().st_nlink > 1
        path.unlink(missing_ok=True)
        if linked:
            return 0  # `best/` has it under another name
    return size - usage(path)


def _below(path: Path) -> Iterator[str]:
    if path.is_file():
        yield str(path)
    for folder, folders, files in os.walk(path):
        yield from (os.path.join(folder, name) for name in (*folders, *files))


def _rounded_up(size: int) -> str:
    """To two figures of megabytes, upwards, so that what is asked for is enough."""
    step = 10 ** max(5, len(str(size)) - 2)
    return show_size(-(-size // step) * step)
