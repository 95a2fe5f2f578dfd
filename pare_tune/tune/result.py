"""What a search found, read from its run folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pare_tune.config import TrialConfig, load_trial
from pare_tune.errors import StorageError, StudyFailed
from pare_tune.shell import command
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.snapshot import Snapshot, TrialView
from pare_tune.tune.summary import curves_table, trials_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a search."""

    path: Path
    """The run folder."""
    snapshot: Snapshot
    """Every trial with its curve."""

    @property
    def best(self) -> TrialView:
        """The best complete trial. Raises StudyFailed if none is."""
        best = self.snapshot.best
        if best is None:
            causes = ", ".join(sorted({t.cause for t in self.snapshot.trials if t.cause}))
            failed = f" ({causes})" if causes else ""
            raise StudyFailed(
                f"no trial of {self.path} is complete{failed}; give it more: "
                f"{command('resume', self.path, '--budget', 'N')}"
            )
        return best

    @property
    def best_config(self) -> TrialConfig:
        """What `pare-tune train` takes; `best.yaml` holds the same."""
        _ = self.best
        return load_trial(RunFolder(self.path).best_yaml)

    @property
    def best_score(self) -> float:
        """Validation score of the best trial, in the task's metric."""
        score = self.best.best_score
        assert score is not None
        return score

    @property
    def default_score(self) -> float | None:
        """Validation score of trial 0, the paper's configuration; None if it is not complete."""
        default = self.snapshot.default
        return default.best_score if default is not None and default.state == "complete" else None

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial: state, scores, cause of failure, and its settings by dotted name."""
        frame: pd.DataFrame = trials_table(self.snapshot.trials).to_pandas()
        return frame

    @property
    def curves(self) -> pd.DataFrame:
        """One row an epoch."""
        frame: pd.DataFrame = curves_table(self.snapshot.trials).to_pandas()
        return frame

    def export(self, path: Path | str) -> Path:
        """Copy the best trial (weights, configuration, metrics, environment) to a new folder.

        Raises:
            StudyFailed: no trial is complete.
            StorageError: the folder exists already or cannot be written.
        """
        _ = self.best
        target = Path(path)
        try:
            shutil.copytree(RunFolder(self.path).best, target)
        except FileExistsError:
            raise StorageError(f"{target} exists already; choose another folder") from None
        except OSError as error:
            raise StorageError(f"cannot write {target}: {error}") from error
        return target
