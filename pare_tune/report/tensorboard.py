"""What TensorBoard shows: an event file for each trial, one for the search, one for the final training.

tensorboard/trial-0007/   losses, validation score, k, λ, learning rate, gate, speed, memory by epoch; what it took, its
                          settings for the HParams page and, of the best trials and trial 0, pictures of the patches
tensorboard/trial-0007/fold-1/  … the first of these by epoch of each fold, where trials are judged over folds
tensorboard/search/       the best score so far over the trials
tensorboard/final/        of `pare-tune train`: the same as of a trial, and the test score
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pare_tune.data.files import owned, write_json
from pare_tune.errors import RunBusy
from pare_tune.report import hparams, words
from pare_tune.tune.snapshot import Snapshot, TrialView

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_ENDED = frozenset({"complete", "pruned", "failed"})

_TAGS = {
    "train_loss": "loss/total",
    "loss_target": "loss/target",
    "loss_mixed_target": "loss/mixed_target",
    "loss_mixed_source": "loss/mixed_source",
    "k": "schedule/k",
    "lam": "schedule/lambda",
    "lr": "schedule/lr",
    "grad_norm": "train/grad_norm",
    "samples_per_s": "train/samples_per_s",
    "memory_mb": "train/memory_mb",
    "gate_entropy": "gate/entropy",
    "gate_target": "gate/target",
    "gate_source": "gate/source",
}
"""Field of an `EpochReport` → scalar; the score is `validation/<metric>`."""

_PICTURES = "patches/target and source"


class TensorBoardWriter:
    """Writes what is new in each snapshot of a search.

    The first time that a writer meets a trial it writes it from its first epoch, in place of what an earlier session
    left: an event file that a killed process held open may lack its last points. Trials that an earlier session
    closed are left alone; `written.json` knows them.

    One writer at a time: it owns the folder from its first update until it is closed. What another living one has
    open must not be replaced, since that one would go on writing into files that no folder names any more.
    """

    def __init__(self, run: Path) -> None:
        """Write under `run`/tensorboard; nothing is touched before the first update."""
        self._run, self._folder = run, run / "tensorboard"
        self._state = self._folder / "written.json"
        self._owns = ExitStack()
        self._closed: dict[str, list[Any]] | None = None
        self._trials: dict[int, _EventFile] = {}
        self._search: SummaryWriter | None = None
        self._search_points = 0
        self._columns: tuple[hparams.Column, ...] | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, snapshot: Snapshot) -> None:
        """Add the epochs and ends of trials that are not written yet; nothing while another writer has the folder.

        That one writes the same, and whoever comes after it what is missing then.
        """
        if self._closed is None:
            if not snapshot.trials:
                return
            try:
                self._owns.enter_context(owned(self._folder, otherwise="its owner keeps it up to date"))
            except RunBusy:
                return
            self._closed = _read_state(self._state)
            self._columns = hparams.columns_of(self._run)
            self._began = time.time() - snapshot.elapsed_s
        ended = []
        for trial in snapshot.trials:
            if self._closed.get(str(trial.number)) == _mark(trial):
                continue
            if trial.curve or trial.state in _ENDED:
                self._update_trial(snapshot, trial)
            if trial.state in _ENDED:
                ended.append(trial)
        self._update_search(snapshot)
        if ended:
            self._closed |= {str(t.number): _mark(t) for t in ended}
            write_json(self._state, self._closed)

    def close(self) -> None:
        """Close all files; trials that still run are written anew by the next session."""
        for file in self._trials.values():
            file.close()
        self._trials.clear()
        if self._search is not None:
            self._search.close()
            self._search = None
        self._closed = None
        self._owns.close()

    def _update_trial(self, snapshot: Snapshot, trial: TrialView) -> None:
        file = self._trials.get(trial.number)
        if file is None or file.retries != trial.retries or file.epochs > trial.epoch:
            # A retry (half the micro-batch after running out of memory) may have another curve.
            if file is not None:
                file.close()
            folder = self._folder / f"trial-{trial.number:04d}"
            file = self._trials[trial.number] = _EventFile(folder, retries=trial.retries)
        for report in trial.curve[file.epochs :]:
            file.add(report, snapshot.metric, self._when(report))
        is_ended = trial.state in _ENDED
        if is_ended or trial.number == 0 or _leads(snapshot, trial):
            # Of others the pictures may go with the trial, and an event file forgets nothing.
            file.add_pictures(self._run / "trials" / f"{trial.number:04d}")
        if is_ended:
            self._end(file, trial, snapshot.metric)
            del self._trials[trial.number]
        else:
            file.flush()

    def _end(self, file: _EventFile, trial: TrialView, metric: str) -> None:
        """Write what came of a trial, at its number as the step: all trials make one picture of the search."""
        start, end = hparams.session(self._columns, trial)
        when = self._when(trial.curve[-1]) if trial.curve else None
        for tag, value in hparams.results(trial, metric).items():
            file.writer.add_scalar(tag, value, trial.number, when)
        for summary in (start, end):
            file.add_summary(summary)
        file.close()

    def _update_search(self, snapshot: Snapshot) -> None:
        points = incumbents(snapshot)
        if self._search is None:
            self._search = _fresh_writer(self._folder / "search")
            self._search.add_text("about", _about(snapshot))
            if self._columns is not None:
                _file_writer(self._search).add_summary(hparams.experiment(self._columns, snapshot))
            self._search_points = 0
        for step, best in points[self._search_points :]:
            when = self._when(snapshot.trials[step].curve[-1]) if snapshot.trials[step].curve else None
            self._search.add_scalar(hparams.best_tag(snapshot.metric), best, step, when)
        self._search_points = len(points)
        self._search.flush()

    def _when(self, report: Mapping[str, Any]) -> float | None:
        """Time of an epoch's end: by the search's clock, which stands still between sessions."""
        elapsed = report.get("elapsed")
        return None if elapsed is None else self._began + float(elapsed)


class FinalWriter:
    """Writes the final training: beside the search where it was trained in a run folder, else inside its own."""

    def __init__(self, final: Path, metric: str) -> None:
        """Write what `run_final` leaves in `final`; nothing is touched before the first epoch."""
        self._final, self._metric = final, metric
        self._file: _EventFile | None = None
        self._now = 0.0

    @property
    def folder(self) -> Path:
        """What `tensorboard --logdir` takes."""
        run = self._final.parent
        return run / "tensorboard" if (run / "study.journal").is_file() else self._final / "tensorboard"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, report: Mapping[str, Any]) -> None:
        """The next epoch; a training that goes on tells all of them again."""
        if self._file is None:
            name = self._final.name
            self._file = _EventFile(self.folder / (name if name.startswith("final") else f"final-{name}"))
            self._now = time.time() - float(report["seconds"])
        self._now += float(report["seconds"])
        self._file.add(report, self._metric, self._now)
        self._file.add_pictures(self._final)
        self._file.flush()

    def end(self, metrics: Mapping[str, Any]) -> None:
        """The training is over; `metrics` is what metrics.json holds."""
        if self._file is None:
            return
        if metrics["test"] is not None:
            self._file.writer.add_scalar(f"test/{self._metric}", metrics["test"], metrics["epoch"], self._now)
        lines = "".join(f"| {name} | {words.setting(value)} |\n" for name, value in metrics.items())
        self._file.writer.add_text("about", f"| final training | |\n|---|---|\n{lines}")


def incumbents(snapshot: Snapshot) -> list[tuple[int, float]]:
    """(trial number, best score over the trials up to it), as far as all trials before have ended.

    In order of number, not of ending, so that a resumed search gives the same line.
    """
    points: list[tuple[int, float]] = []
    best: float | None = None
    for trial in sorted(snapshot.searched, key=lambda t: t.number):
        if trial.state not in _ENDED:
            break
        score = trial.best_score if trial.state == "complete" else None
        if score is not None and math.isfinite(score) and (best is None or snapshot.better(score, best)):
            best = score
        if best is not None:
            points.append((trial.number, best))
    return points


class _EventFile:
    """The event file of one training."""

    def __init__(self, folder: Path, *, retries: int = 0) -> None:
        self.writer = _fresh_writer(folder)
        self.retries = retries
        self.epochs = 0
        self._folder = folder
        self._folds: dict[int, SummaryWriter] = {}
        self._length = self._reached = 0
        self._drawn: set[int] = set()

    def add(self, report: Mapping[str, Any], metric: str, when: float | None) -> None:
        """Write an epoch; values that are not finite leave a gap."""
        self.epochs = int(report["epoch"])
        folds, fold = int(report.get("folds", 1)), int(report.get("fold", 0))
        self._length = int(report["epochs"]) // folds
        epoch = self.epochs - fold * self._length
        self._reached = max(self._reached, epoch)
        writer = self.writer if folds == 1 else self._of_fold(fold)
        for name, tag in {**_TAGS, "score": f"validation/{metric}"}.items():
            value = report.get(name)
            if value is not None and math.isfinite(value):
                writer.add_scalar(tag, value, epoch, when)

    def add_pictures(self, folder: Path) -> None:
        """Draw the patches that were recorded in `folder`; trials that were not kept have none any more."""
        from pare_tune.report.patches import captioned
        from pare_tune.train.patches import picture_epochs, read_patches

        due = {e for e in picture_epochs(self._length) if e <= self._reached} - self._drawn
        for record in read_patches(folder) if due else ():
            if record.epoch in due:
                self.writer.add_image(_PICTURES, captioned(record), record.epoch, dataformats="HWC")
                self._drawn.add(record.epoch)

    def add_summary(self, summary: Any) -> None:
        """A protobuf `Summary` that is no scalar."""
        _file_writer(self.writer).add_summary(summary)

    def flush(self) -> None:
        for writer in (self.writer, *self._folds.values()):
            writer.flush()

    def close(self) -> None:
        for writer in (self.writer, *self._folds.values()):
            writer.close()

    def _of_fold(self, fold: int) -> SummaryWriter:
        """A line of its own: one through all folds would be a sawtooth."""
        if fold not in self._folds:
            self._folds[fold] = _fresh_writer(self._folder / f"fold-{fold + 1}")
        return self._folds[fold]


def _leads(s: Snapshot, trial: TrialView) -> bool:
    """Whether a running trial is already better than every finished one."""
    best = s.best.best_score if s.best is not None else None
    score = trial.best_score
    return best is not None and score is not None and s.better(score, best)


def _file_writer(writer: SummaryWriter) -> Any:
    return writer.file_writer  # torch declares it None


def _fresh_writer(folder: Path) -> SummaryWriter:
    from pare_tune.report.eventfile import Writer

    shutil.rmtree(folder, ignore_errors=True)
    return Writer(str(folder))


def _mark(trial: TrialView) -> list[Any]:
    """What a closed file holds; a trial that went on later differs."""
    return [trial.state, trial.epoch]


def _read_state(path: Path) -> dict[str, list[Any]]:
    try:
        state: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # nothing written yet, or torn: everything is written anew
    return state if isinstance(state, dict) else {}


def _about(s: Snapshot) -> str:
    return (
        f"**{s.task}**, data: {s.provenance} ({words.PROVENANCE.get(s.provenance, '')}). "
        f"{words.metric_line(s)}. {s.preset} preset, {s.backbone}."
    )
