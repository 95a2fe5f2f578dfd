"""Scalars of every trial for TensorBoard: one event file a trial, and one for the search.

tensorboard/trial-0007/   losses, validation score, k, λ, learning rate, gate, speed, memory; at the trial's end its
                          settings and, of the best trials and trial 0, pictures of the patches
tensorboard/search/       the best score so far over the trials
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pare_tune.report import words
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


class TensorBoardWriter:
    """Writes what is new in each snapshot.

    The first time that a writer meets a trial it writes it from its first epoch, in place of what an earlier session
    left: an event file that a killed process held open may lack its last points. Trials that an earlier session
    closed are left alone; `written.json` knows them.
    """

    def __init__(self, run: Path) -> None:
        """Write under `run`/tensorboard; nothing is touched before the first update."""
        self._run, self._folder = run, run / "tensorboard"
        self._state = self._folder / "written.json"
        self._closed: dict[str, list[Any]] | None = None
        self._trials: dict[int, _TrialFile] = {}
        self._search: SummaryWriter | None = None
        self._search_points = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, snapshot: Snapshot) -> None:
        """Add the epochs and ends of trials that are not written yet."""
        if self._closed is None:
            self._closed = _read_state(self._state)
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
            partial = self._state.with_suffix(".partial")
            partial.write_text(json.dumps(self._closed), encoding="utf-8")
            partial.replace(self._state)

    def close(self) -> None:
        """Close all files; trials that still run are written anew by the next session."""
        for file in self._trials.values():
            file.close()
        self._trials.clear()
        if self._search is not None:
            self._search.close()
            self._search = None

    def _update_trial(self, snapshot: Snapshot, trial: TrialView) -> None:
        file = self._trials.get(trial.number)
        if file is None or file.retries != trial.retries or file.epochs > trial.epoch:
            # A retry (half the micro-batch after running out of memory) may have another curve.
            if file is not None:
                file.close()
            folder = self._folder / f"trial-{trial.number:04d}"
            file = self._trials[trial.number] = _TrialFile(folder, trial.retries)
        file.add(trial.curve, snapshot.metric)
        if trial.state in _ENDED:
            file.add_pictures(self._run / "trials" / f"{trial.number:04d}")
            file.end(trial, snapshot.metric)
            del self._trials[trial.number]

    def _update_search(self, snapshot: Snapshot) -> None:
        points = incumbents(snapshot)
        if self._search is None:
            if not snapshot.trials:
                return
            self._search = _fresh_writer(self._folder / "search")
            self._search.add_text("about", _about(snapshot))
            self._search_points = 0
        for step, best in points[self._search_points :]:
            self._search.add_scalar(f"best/{snapshot.metric}", best, step)
        self._search_points = len(points)
        self._search.flush()


def incumbents(snapshot: Snapshot) -> list[tuple[int, float]]:
    """(trial number, best score over the trials up to it), as far as all trials before have ended.

    In order of number, not of ending, so that a resumed search gives the same line.
    """
    points: list[tuple[int, float]] = []
    best: float | None = None
    for trial in sorted(snapshot.searched, key=lambda t: t.number):
        if trial.state not in _ENDED:
            break
        found = trial.best_score if trial.state == "complete" else None
        if found is not None and math.isfinite(found) and (best is None or snapshot.better(found, best)):
            best = found
        if best is not None:
            points.append((trial.number, best))
    return points


class _TrialFile:
    """The event file of one trial."""

    def __init__(self, folder: Path, retries: int) -> None:
        self._writer = _fresh_writer(folder)
        self.retries = retries
        self.epochs = 0

    def add(self, curve: tuple[Mapping[str, Any], ...], metric: str) -> None:
        """Write the epochs that are not written; values that are not finite leave a gap."""
        for report in curve[self.epochs :]:
            for name, tag in {**_TAGS, "score": f"validation/{metric}"}.items():
                value = report.get(name)
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(tag, value, report["epoch"])
        if len(curve) > self.epochs:
            self._writer.flush()
        self.epochs = len(curve)

    def add_pictures(self, trial_folder: Path) -> None:
        """Draw the recorded patches; trials that were not kept have none any more."""
        from pare_tune.report.patches import draw
        from pare_tune.train.patches import read_patches

        for record in read_patches(trial_folder):
            self._writer.add_image("patches/target, source", draw(record), record.epoch, dataformats="HWC")

    def end(self, trial: TrialView, metric: str) -> None:
        """Write the settings for the HParams tab, and close."""
        from torch.utils.tensorboard.summary import hparams

        name = f"best/{metric}"
        known = trial.best_score is not None and math.isfinite(trial.best_score) and trial.state != "failed"
        params = {
            k: v if isinstance(v, bool | int | float | str) else words.setting(v)
            for k, v in trial.params.items()
        }
        # The experiment summary is left out: TensorBoard would take the first trial's for the whole search, and a
        # setting that only other trials have (conditional ones) would not be shown. Without it, it collects them.
        _, start, end = hparams({**params, "state": trial.state}, {name: trial.best_score} if known else {})
        events: Any = self._writer.file_writer  # torch declares it None
        events.add_summary(start)
        if known:
            self._writer.add_scalar(name, trial.best_score, trial.best_epoch)
        events.add_summary(end)
        self.close()

    def close(self) -> None:
        self._writer.close()


def _fresh_writer(folder: Path) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder))


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
