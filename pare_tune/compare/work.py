"""What a cell does: our search, our final training, or a peer. Nothing here knows how cells are spread over a
cluster.

All of it can be killed at any moment and called again: a search resumes from its journal, a training from its last
epoch, and a score of the test split that is on the disk is not computed twice.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pare_tune.compare.cell import ASKED, RESULT, CellResult, load_result
from pare_tune.compare.peers import PEERS
from pare_tune.compare.peers.base import Examples, Problem
from pare_tune.compare.peers.search import JOURNAL, score_outputs, search_peer
from pare_tune.compare.plan import Cell
from pare_tune.config import TrialConfig, load_trial, task_of
from pare_tune.data.files import write_text
from pare_tune.errors import ConfigError, DataError, PareTuneError, StorageError, StudyFailed, TrialFailed
from pare_tune.tasks.load import open_test
from pare_tune.train.build import open_data, pick_device
from pare_tune.train.export import ModelFolder
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import SessionOptions, resume, search, snapshot
from pare_tune.tune.snapshot import Snapshot
from pare_tune.yaml import dotted

FINAL = "final"


def begin(cell: Cell) -> None:
    """Note what is asked for. Raises StorageError."""
    write_text(cell.folder / ASKED, cell.asked)


def search_for(cell: Cell, *, cache: Path | None = None) -> None:
    """Run the search that a cell of ours builds on, to its end; several cells may share it.

    Raises:
        SearchInterrupted, StudyFailed, StorageError, ClusterError: as `tune.run.search`.
    """
    runs = Path(cell.config.runs)
    run = _run_in(runs)
    if run is None:
        shutil.rmtree(runs, ignore_errors=True)  # killed before it was a run
        search(cell.config, SessionOptions(cache=cache))
    elif not _is_searched(run):
        resume(run, options=SessionOptions(cache=cache))


def is_searched(cell: Cell) -> bool:
    """Whether the search that a cell needs has ended."""
    run = _run_in(Path(cell.config.runs))
    return run is not None and _is_searched(run)


def finish(cell: Cell, cache: Path | None = None) -> CellResult:
    """Do all of a cell that comes after its search, and write its result; one that is there is returned.

    A failure is a result, too. Raises only what would end every other cell alike: StorageError, DataError.
    """
    done = load_result(cell.folder)
    if done is not None:
        return done
    begin(cell)
    if cell.unfit is not None:
        return save(CellResult(**_key(cell), state="unfit", cause=cell.unfit), cell)
    try:
        result = (_peer if cell.is_peer else _ours)(cell, cache)
    except (StorageError, DataError):
        raise
    except PareTuneError as error:
        result = failure(cell, str(error))
    except Exception as error:
        traceback.print_exc()
        result = failure(cell, f"{type(error).__name__}: {error}")
    return save(result, cell)


def forget(cell: Cell) -> None:
    """Let a failed cell run again; of what it did only a search that found something is kept."""
    for name in (RESULT, JOURNAL):
        (cell.folder / name).unlink(missing_ok=True)
    shutil.rmtree(cell.folder / FINAL, ignore_errors=True)
    run = _run_in(Path(cell.config.runs))
    if run is not None and ((record := _record(run)) is None or record.best is None):
        shutil.rmtree(cell.config.runs, ignore_errors=True)


def failure(cell: Cell, cause: str) -> CellResult:
    """A cell without a score."""
    return CellResult(**_key(cell), state="failed", cause=" ".join(cause.split())[:500])


def save(result: CellResult, cell: Cell) -> CellResult:
    """Make the result the cell's."""
    result.save(cell.folder)
    return result


def _ours(cell: Cell, cache: Path | None) -> CellResult:
    config, trials, epochs, seconds = cell.config.trial, 1, 0, 0.0
    if cell.needs_search:
        record = snapshot(_searched(cell))
        config, (trials, epochs, seconds) = _chosen(cell, record), _spent(record)
    final = ModelFolder(cell.folder / FINAL)
    if not final.is_complete:
        run_final(
            config,
            Context(report=lambda epoch: None, folder=final.path, device=pick_device()),
            with_val=False,
            cache=cache,
        )
    metrics, used = final.metrics(), final.config()
    stood_in = used.method != cell.config.trial.method
    return _done(
        cell,
        test=metrics["test"],
        validation=metrics["validation"],
        test_samples=metrics["test_samples"],
        trials=trials,
        epochs=epochs + metrics["epochs"],
        seconds=seconds + metrics["seconds"],
        note=f"{used.method} stood in: a sample is one token" if stood_in else None,
        settings=_changes(cell.config.trial, used),
    )


def _peer(cell: Cell, cache: Path | None) -> CellResult:
    import torch

    torch.set_num_threads(1)  # as a trial of ours has
    peer, trial = PEERS[cell.method], cell.config.trial
    data = open_data(trial, cache)
    problem = Problem(
        data=data,
        train=Examples(data.train),
        val=Examples(data.val),
        epochs=trial.train.epochs,
        batch_size=trial.train.group,
        device=pick_device(),
    )
    searched = search_peer(
        peer,
        problem,
        cell.folder,
        budget=cell.trials,
        startup_trials=cell.config.search.startup_trials,  # as many as our own search
        seed=cell.seed,
    )
    test = Examples(open_test(task_of(trial, cache), data=trial.data, canvas=trial.input.canvas, cache=cache))
    return _done(
        cell,
        test=score_outputs(problem, test, searched.fitted.predict(test.x)),
        validation=searched.validation,
        test_samples=len(test),
        trials=searched.trials,
        epochs=searched.epochs,
        seconds=searched.seconds,
        settings=searched.settings,
    )


def _spent(search: Snapshot) -> tuple[int, int, float]:
    """Trials, epochs and seconds that a search took."""
    trials = search.trials
    return len(trials), sum(t.epoch for t in trials), sum(t.seconds for t in trials)


def _done(cell: Cell, *, test: float | None, **values: Any) -> CellResult:
    if test is None or test != test:
        raise TrialFailed(
            "the outputs on the test split are not finite, or the metric is not defined on it: there is no score",
            cause="diverged",
        )
    state: Literal["done"] = "done"
    return CellResult(**_key(cell), state=state, test=test, **values)


def _key(cell: Cell) -> dict[str, Any]:
    return {"task": cell.task, "method": cell.method, "seed": cell.seed}


def _searched(cell: Cell) -> Path:
    run = _run_in(Path(cell.config.runs))
    if run is None:
        raise ConfigError(f"the search in {cell.config.runs} is missing")
    return run


def _run_in(runs: Path) -> Path | None:
    """The run folder that a search of a cell lives in."""
    candidates: Iterable[Path] = sorted(runs.glob("*")) if runs.is_dir() else ()
    for path in candidates:
        folder = RunFolder(path)
        if folder.run_yaml.is_file() and folder.space_yaml.is_file():
            return folder.path
    return None


def _is_searched(run: Path) -> bool:
    """Whether the search has ended and left its best; killed between the two, it must be resumed."""
    record = _record(run)
    if record is None or not record.finished:
        return False
    return record.best is None or RunFolder(run).best_number() == record.best.number


def _record(run: Path) -> Snapshot | None:
    """What the search recorded; None where it was killed before its first trial."""
    try:
        return snapshot(run) if RunFolder(run).journal.is_file() else None
    except StudyFailed:
        return None


def _chosen(cell: Cell, record: Snapshot) -> TrialConfig:
    if record.best is None:
        causes = ", ".join(sorted({t.cause or t.state for t in record.trials}))
        raise TrialFailed(f"no trial of the search is complete ({causes})", cause="crashed")
    return load_trial(RunFolder(record.run).best_yaml)


def _changes(default: TrialConfig, used: TrialConfig) -> dict[str, Any]:
    """Dotted settings of `used` that differ from the default."""
    before, after = dotted(default.to_dict()), dotted(used.to_dict())
    return {key: value for key, value in after.items() if before.get(key) != value}
