"""Between the study and Ray Tune: the study decides, Ray Tune runs.

`Desk` holds the state of one session; `StudySearcher`, `StudyScheduler`, `StudyStopper` and `StudyCallback` are the
thin faces of it that Ray Tune calls, all from the driver's main thread.

Ray's own OptunaSearch is not used: it tells Optuna that a stopped trial is COMPLETE with its early score, loses trials
whose metric is NaN as RUNNING for ever, and cannot extend a search that has ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

import pare_tune.errors
from pare_tune.config import Budget, TrialConfig
from pare_tune.data.files import write_text
from pare_tune.errors import ConfigError, PareTuneError, StorageError, StudyFailed
from pare_tune.train.loop import EpochReport
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.forecast import affordable_seeds, cost, repeats_due
from pare_tune.tune.study import Ask, Study
from pare_tune.tune.trial import LOG, halve

METRIC = "best_score"
_FIELDS = tuple(f.name for f in fields(EpochReport))
_HOPELESS = 3
"""So many trials that fail alike before any epoch mean that something else is wrong than their settings."""
_MOST_RESTARTS = {"process": 1, "node": 5}
"""What was lost → how often a trial starts again without a new epoch; a trial may well be what takes a node down."""
_FEW_WAITING = 16
"""So many trials may wait for nodes, or as many as run: for an autoscaler to double the cluster, and no more, since
what is asked for long before it runs knows nothing of what others tell until then."""
_ADVICE = {
    "crashed": "Mend that, then resume",
    "out_of_memory": "Not even half a batch fits: start again with --set train.batch_size=… or input.image_size=…",
    "diverged": "Look at the data (`pare-tune data check`) and at trial 0's learning rate (--set optimizer.lr=…)",
    "invalid": "The space allows settings that do not go together; mend it and start again with --space",
}
"""Cause of failure → what to do when all trials have it."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    kind: Literal["complete", "pruned", "failed"]
    why: str = ""
    message: str = ""


class Desk:
    """One session of a search.

    Args:
        study: the record, which says what to run.
        folder: receives each trial's config.yaml.
        budget: over all sessions.
        ended: called with the number of each trial that got its final state.
        tick: called between Ray's events, about every 0.1 s.
        room: called before a trial is asked for; raises StorageError where there is no room for one.
        confirm: fresh seeds of the confirmation at the end of the budget.
        concurrency: trials at a time.
        workers: of each trial.
    """

    def __init__(
        self,
        study: Study,
        folder: RunFolder,
        budget: Budget,
        *,
        ended: Callable[[int], None],
        tick: Callable[[], None],
        room: Callable[[], None] | None = None,
        confirm: int = 0,
        concurrency: int = 1,
        workers: int = 1,
    ) -> None:
        self.study, self.folder, self.budget = study, folder, budget
        self.confirm, self.concurrency, self._workers = confirm, concurrency, workers
        self.tick = tick
        self.error: BaseException | None = None
        self.interrupted = False
        self._ended, self._room = ended, room
        self._numbers: dict[str, int] = {}
        self._placed: set[str] = set()
        self._most_placed = 1
        self._outcomes: dict[int, _Outcome] = {}
        self._lost: dict[int, Literal["process", "node"]] = {}
        self._early: dict[str, set[int]] = {}
        self._restarts: Counter[tuple[int, int, str]] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray Tune pickles what it calls for a restore that never happens; the open study must stay here.
        return (type(None), ())

    @property
    def stopping(self) -> bool:
        """Whether the session ends at once; what runs stays running in the study, to be resumed."""
        return self.interrupted or self.error is not None

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Ray Tune logs and swallows some exceptions of its adapters; the first one is kept for the search to raise."""
        try:
            yield
        except BaseException as error:
            if self.error is None:
                self.error = error
                if isinstance(error, OSError):
                    self.error = StorageError(
                        f"cannot write {self.folder.path}: {error}; free some space, then resume"
                    )
                    self.error.__cause__ = error
            raise

    def next(self, tune_id: str) -> dict[str, Any] | Literal["later"] | None:
        """What to run next; "later" while that depends on trials that run, None when there is nothing more."""
        while not self.stopping:
            if self._is_exhausted() and self.study.has_orphans:
                number = self.study.ask().number
                is_whole = self.study.epochs_of(number) >= self.study.epochs
                self._close(number, _Outcome("complete") if is_whole else _Outcome("pruned", "budget"))
                continue
            if not self.study.has_orphans and self._left() <= 0:
                # One of those that run may lose its process, and must be asked for again.
                return "later" if self._numbers else None
            if len(self._numbers) - len(self._placed) >= max(_FEW_WAITING, len(self._placed)):
                return "later"
            if self._room is not None:
                self._room()
            ask = self._ask()
            if ask == "later":
                return "later"
            if self.study.epochs_of(ask.number) >= self.study.epochs:
                # The driver died between the last epoch and the verdict.
                self._close(ask.number, _Outcome("complete"))
                continue
            try:
                config = self.study.space.config(ask.settings)
            except ConfigError as error:
                # Each value is valid, their combination is not; a space of one's own can say such things.
                self._close(ask.number, _Outcome("failed", "invalid", str(error)))
                continue
            write_text(self._trial_folder(ask.number) / "config.yaml", config.to_yaml())
            self._numbers[tune_id] = ask.number
            assignment = {
                "number": ask.number,
                "attempt": ask.attempt,
                "halved": ask.halved,
                "draw": ask.draw,
            }
            return {**assignment, "config": config.model_dump_json()}
        return None

    def start(self, tune_id: str) -> None:
        """The trial has a place to run at."""
        self._placed.add(tune_id)
        self._most_placed = max(self._most_placed, len(self._placed))
        self.study.start(self._numbers[tune_id])

    def result(self, tune_id: str, result: Mapping[str, Any]) -> bool:
        """Take in a report; whether the trial must stop."""
        number = self._numbers[tune_id]
        if "started" in result:
            self.start(tune_id)
            return False
        if "cause" in result:
            if result["cause"] == "lost":  # one of its workers, not the process that tells of it
                self._lost[number] = result["kind"]
                return True
            if result["cause"] == "fatal":
                self.error = _rebuilt(result["kind"], result["message"])
            self._outcomes[number] = _Outcome("failed", result["cause"], result["message"])
            return True
        if result.get("halved"):
            self.study.note_retry(number, halved=True)
            return False
        epoch = int(result["epoch"])
        match self.study.record(number, {name: result[name] for name in _FIELDS}):
            case "fail":
                message = f"diverged: the validation score became {result['score']} in epoch {epoch}"
                self._outcomes[number] = _Outcome("failed", "diverged", message)
            case "prune":
                self._outcomes[number] = _Outcome("pruned", "rung")
            case "continue" if epoch >= self.study.epochs:
                self._outcomes[number] = _Outcome("complete")
                return False
            case "continue" if self._is_exhausted():
                self._outcomes[number] = _Outcome("pruned", "budget")
            case _:
                return False
        return True

    def finish(self, tune_id: str, *, lost: Literal["process", "node"] | None = None) -> None:
        """The trial has left its worker, or was lost with it; enter its final state, unless it starts again or the
        session is being given up."""
        self._placed.discard(tune_id)
        number = self._numbers.pop(tune_id, None)
        if number is None:
            return
        outcome, lost = self._outcomes.pop(number, None), self._lost.pop(number, lost)
        if self.error is not None or (self.interrupted and (outcome is None or lost)):
            return
        if outcome is None and lost is not None and self._may_restart(number, lost):
            self.study.note_retry(number, halved=False)
            self.study.requeue(number)
            return
        if outcome is None:
            where = f"see trials/{number:04d}/{LOG}"
            ran = f"after epoch {self.study.epochs_of(number)} of {self.study.epochs}"
            how = "it returned" if lost is None else f"its {lost} died"
            outcome = _Outcome("failed", "crashed", f"crashed: {how} {ran}; {where}")
        self._close(number, outcome)

    def _may_restart(self, number: int, lost: Literal["process", "node"]) -> bool:
        """Whether a trial goes on from its checkpoint: what it did between two losses tells whether that helps."""
        here = number, self.study.epochs_of(number), lost
        self._restarts[here] += 1
        return self._restarts[here] <= _MOST_RESTARTS[lost]

    def config_of(self, number: int) -> TrialConfig:
        """The configuration that a trial really ran with."""
        config = self.study.space.config(self.study.settings(number))
        return (halve(config, self._workers) or config) if self.study.halved(number) else config

    def _close(self, number: int, outcome: _Outcome) -> None:
        match outcome.kind:
            case "complete":
                self.study.complete(number)
            case "pruned":
                self.study.prune(number, outcome.why)
            case "failed":
                self.study.fail(number, outcome.why, outcome.message)
                self._give_up_if_hopeless(number, outcome)
        self._ended(number)

    def _give_up_if_hopeless(self, number: int, outcome: _Outcome) -> None:
        """Three trials that failed alike before anything was learned: it is not their settings."""
        if self.study.num_epochs:
            return
        alike = self._early.setdefault(outcome.why, set())
        alike.add(number)
        # What depends on settings (memory, divergence) is no verdict while trial 0 may still do better.
        if len(alike) >= _HOPELESS and (outcome.why == "crashed" or 0 not in self.study.live):
            advice = _ADVICE.get(outcome.why, "")
            self.error = StudyFailed(
                f"the first {len(alike)} trials failed alike ({outcome.why}) before their first epoch, the last one "
                f"with: {outcome.message}; see {self._trial_folder(number) / LOG}. {advice}"
            )

    def _ask(self) -> Ask | Literal["later"]:
        seeds = 0 if self.study.has_orphans else self.seeds
        if seeds and self.study.num_trials and self._left() <= self._need(seeds):
            again = self.study.ask_repeat(seeds)
            if again is not None:
                return again
        return self.study.ask()

    @property
    def seeds(self) -> int:
        """Fresh seeds of the confirmation, as many as a quarter of the budget pays for."""
        return affordable_seeds(self.budget, self.confirm, self._cost)

    def _need(self, seeds: int) -> float:
        """What confirming trial 0 and two others still takes of the budget, at most."""
        return self._cost(repeats_due(self.study.default_repeats, seeds))

    def _cost(self, trials: int) -> float:
        """What so many whole trials take, in the budget's unit."""
        at_once = min(self.concurrency, self._most_placed)  # there may be no nodes for all that may run
        timed = self.study.views() if self.budget.unit == "seconds" else ()
        return cost(self.budget, trials, epochs=self.study.epochs, concurrency=at_once, trials=timed)

    def _left(self) -> float:
        """What is left of the budget; nothing new begins at 0."""
        study = self.study
        spent = self.budget.measured(trials=study.num_trials, epochs=study.num_epochs, seconds=study.elapsed)
        return self.budget.amount - spent

    def _is_exhausted(self) -> bool:
        """Whether running trials must stop, too."""
        return self.budget.unit != "trials" and self._left() <= 0

    def _trial_folder(self, number: int) -> Any:
        path = self.folder.trial(number)
        path.mkdir(parents=True, exist_ok=True)
        return path


class StudySearcher(Searcher):
    """Asks the study what to run, and tells it how that ended."""

    def __init__(self, desk: Desk, mode: Literal["min", "max"]) -> None:
        super().__init__(metric=METRIC, mode=mode)
        self._desk = desk

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Ray Tune's question for a trial."""
        with self._desk.guard():
            assignment = self._desk.next(trial_id)
        if assignment == "later":
            return None
        return Searcher.FINISHED if assignment is None else assignment

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended or was stopped; the scheduler has told of one that lost its process."""
        with self._desk.guard():
            self._desk.finish(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the record."""


class StudyScheduler(FIFOScheduler):
    """Stops a trial when the study's pruner says so."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray Tune's question after each report."""
        with self._desk.guard():
            stop = self._desk.result(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial lost its process, perhaps with its node: what Ray Tune calls before it tells the searcher."""
        with self._desk.guard():
            self._desk.finish(trial.trial_id, lost="node" if _lost_its_node(trial) else "process")


def _lost_its_node(trial: Any) -> bool:
    """Ray tells a lost node from a lost process in words alone (2.60), in a file that a full disk does not take."""
    path = trial.error_file
    try:
        return path is not None and "its node has died" in Path(path).read_text(encoding="utf-8")
    except OSError:
        return False


class StudyStopper(Stopper):
    """Ends the session after an interrupt or an error."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials are the scheduler's."""
        return False

    def stop_all(self) -> bool:
        """Ray Tune's question at every step."""
        return self._desk.stopping


class StudyCallback(Callback):
    """Tells the desk of trials that start, and lets the view draw.

    Args:
        starts: whether a trial trains once its process has started; one of several workers tells that itself.
    """

    def __init__(self, desk: Desk, *, starts: bool) -> None:
        self._desk, self._starts = desk, starts

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process is there."""
        if self._starts:
            with self._desk.guard():
                self._desk.start(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Between Ray's events."""
        with self._desk.guard():
            self._desk.tick()


class Throttle:
    """Lets something be done at most every `interval_s` seconds, and so seldom that it takes `share` of the time: what
    looks at all trials takes longer the more there are, and those that report wait meanwhile.
    """

    def __init__(self, interval_s: float, share: float) -> None:
        self._interval_s, self._share = interval_s, share
        self._due = float("-inf")

    def __call__(self, act: Callable[[], None]) -> None:
        """Do it if it is time again."""
        began = time.monotonic()
        if began >= self._due:
            act()
            ended = time.monotonic()
            self._due = max(began + self._interval_s, ended + (ended - began) / self._share)


def _rebuilt(kind: str, message: str) -> PareTuneError:
    """An error of ours that a worker met, to be raised again here with its class and exit code."""
    error_class = getattr(pare_tune.errors, kind, StudyFailed)
    error: PareTuneError = error_class.__new__(error_class)
    Exception.__init__(error, message)
    return error
