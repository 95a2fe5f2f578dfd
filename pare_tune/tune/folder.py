"""The run folder: what is in it, who owns it, and how files get there whole.

run.yaml space.yaml study.journal      the configuration, the space as searched, the record
fingerprint.yaml                       the samples of each split, backbone weights and versions that scores depend on
warm-start.yaml                        points of earlier searches that this one began with
trials.parquet curves.parquet          one row a trial, one row an epoch
best.yaml best/                        the best complete trial: its configuration, weights (of its last fold), metrics,
                                       environment
trials/0007/                           config.yaml, log.txt, held_out.safetensors, last.pt while it runs,
                                       best.safetensors if it is best
simple/                                what simple models get on the same splits, and said of held-out samples
report.html tensorboard/               drawn from the rest
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pare_tune.data.files import LOCK, OWNER, PARTIAL, owned, refused, replacing_folder, write_text
from pare_tune.data.remote import URL, UrlStore, join_url, url_of
from pare_tune.errors import ConfigError, StorageError
from pare_tune.train.checkpoint import BEST, FOLDS_DONE, LAST
from pare_tune.train.export import ModelFolder, link
from pare_tune.train.held_out import HELD_OUT
from pare_tune.train.patches import PATCHES
from pare_tune.tune.mirror import Mirror, copies_of

_FREE_BYTES = 32 * 2**20
"""Below this, nothing is begun: a journal that cannot grow ends a search in the middle of a line."""


class RunFolder:
    """Paths of one run. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        # Ray workers have working directories of their own.
        self.path = path.resolve()
        self.run_yaml = self.path / "run.yaml"
        self.space_yaml = self.path / "space.yaml"
        self.fingerprint_yaml = self.path / "fingerprint.yaml"
        self.warm_start_yaml = self.path / "warm-start.yaml"
        self.journal = self.path / "study.journal"
        self.trials_parquet = self.path / "trials.parquet"
        self.curves_parquet = self.path / "curves.parquet"
        self.best_yaml = self.path / "best.yaml"
        self.best = self.path / "best"
        self.trials = self.path / "trials"
        self.tensorboard = self.path / "tensorboard"
        self.ray = self.path / ".ray"
        self.mirror: Mirror | None = None

    @classmethod
    def create(cls, runs: Path | str, task: str) -> RunFolder:
        """A new, empty folder runs/<task>-<date>-<time>; where `runs` is a URL, the copy of one on this disk.

        Raises:
            StorageError: it cannot be made, or the disk is nearly full.
        """
        url = runs if isinstance(runs, str) else None
        runs = check_runs(runs)
        stem = f"{task}-{datetime.now():%Y%m%d-%H%M%S}"
        for attempt in range(1000):
            folder = cls(runs / (stem if attempt == 0 else f"{stem}-{attempt + 1}"))
            try:
                folder.path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise refused(folder.path, error) from error
            folder.trials.mkdir()
            if url is not None:
                write_text(folder.path / URL, join_url(url, folder.path.name))
            return folder
        raise StorageError(f"cannot find a free name for a run in {runs}")

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of a run that was begun. Raises ConfigError if `path` is none."""
        folder = cls(path)
        if not folder.run_yaml.is_file() or not folder.space_yaml.is_file():
            raise ConfigError(f"{path} is not a run folder: it has no run.yaml and space.yaml")
        return folder

    def trial(self, number: int) -> Path:
        """The folder of one trial."""
        return self.trials / f"{number:04d}"

    def owned(self) -> AbstractContextManager[None]:
        """Be the only process that writes here. Raises RunBusy while another one is, StorageError on a full disk."""
        check_writable(self.path)
        return owned(self.path, otherwise="wait for it or stop it first")

    @contextmanager
    def mirrored(self, refused: Callable[[str], None]) -> Iterator[None]:
        """Keep the store that this folder is a copy of like it, and be its only driver; nothing for other folders.

        Raises:
            RunBusy: another driver has the run.
            StorageError: the store cannot be read or written, in the end included.
        """
        url = url_of(self.path)
        if url is None:
            yield
            return
        mirror = Mirror(self.path, url, refused)
        mirror.open()
        self.mirror = mirror
        try:
            yield
        finally:
            mirror.close()

    def bring(self, number: int) -> None:
        """Have what a trial left here, but for its weights, if it was left in a store."""
        if self.mirror is not None:
            self.mirror.fetch_trial(f"{self.trials.name}/{number:04d}")

    def keep_weights(
        self, finished: Iterable[int], keep: AbstractSet[int], complete: AbstractSet[int]
    ) -> None:
        """Delete the checkpoints of finished trials; of those not in `keep` also best weights and recorded patches, of
        those not `complete` also outputs of held-out samples."""
        unwanted: dict[str, tuple[str, ...]] = {}
        for number in finished:
            trial = self.trial(number)
            for unneeded in (
                trial / LAST,
                trial / LOCK,
                trial / OWNER,
                *trial.glob(PARTIAL),
                *trial.glob(FOLDS_DONE),
            ):
                unneeded.unlink(missing_ok=True)
            if number not in keep:
                (trial / BEST).unlink(missing_ok=True)
                shutil.rmtree(trial / PATCHES, ignore_errors=True)
            if number not in complete:
                (trial / HELD_OUT).unlink(missing_ok=True)
            weights = () if number in keep else (BEST, f"{PATCHES}/*")
            outputs = () if number in complete else (HELD_OUT,)
            unwanted[f"{self.trials.name}/{trial.name}"] = (LAST, FOLDS_DONE, *weights, *outputs)
        if self.mirror is not None and unwanted:
            self.mirror.drop(unwanted)

    def publish_best(self, number: int, config: str, metrics: dict[str, object]) -> None:
        """Make trial `number` the run's best: replace `best/` and `best.yaml`, whose text is `config`.

        A process killed in between leaves the old ones, none, or `best.yaml` behind `best/`; `best_metrics` tells, and
        the next session repeats it.

        Raises:
            StorageError: the disk is full, or the trial's weights are gone and `best/` would lose its own.
        """
        weights = self.trial(number) / BEST
        if self.mirror is not None and not weights.is_file():
            self.mirror.fetch(f"trials/{number:04d}/{BEST}")
        if not weights.is_file() and ModelFolder(self.best).weights.is_file():
            raise StorageError(
                f"trial {number} is the best, but its weights {weights} are missing; put them back, or delete "
                f"{self.best} to go on without them"
            )
        held_out = self.trial(number) / HELD_OUT
        with replacing_folder(self.best) as staged:
            if held_out.is_file():
                link(held_out, staged / HELD_OUT)
            ModelFolder(staged).write(
                weights if weights.is_file() else None, config, {"trial": number, **metrics}
            )
        write_text(self.best_yaml, config)

    def best_number(self) -> int | None:
        """The trial that `best/` and `best.yaml` hold; None when there is none whole."""
        try:
            return int(self.best_metrics()["trial"])
        except (ValueError, KeyError, TypeError):
            return None

    def best_metrics(self) -> dict[str, Any]:
        """The trial's number and what was published of it; empty when `best/` and `best.yaml` are not whole."""
        best = ModelFolder(self.best)
        try:
            return best.metrics() if self.best_yaml.read_text("utf-8") == best.config_text() else {}
        except (OSError, ValueError):
            return {}


def check_runs(runs: Path | str) -> Path:
    """Where new runs are made on this disk, also those that live below a URL.

    Raises:
        ConfigError, StorageError: nothing can be written there.
    """
    if isinstance(runs, str):
        UrlStore(runs).check_writable()
        runs = copies_of(runs)
    check_writable(runs)
    return runs


def check_writable(folder: Path) -> None:
    """Raise StorageError, before anything is begun, if `folder` cannot be made or written or has no space left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise refused(folder, error) from error
    if free < _FREE_BYTES:
        raise StorageError(
            f"{folder} has {free / 2**20:.0f} MiB left, a run needs at least {_FREE_BYTES / 2**20:.0f} MiB; "
            f"free some space or choose another folder with --runs"
        )
