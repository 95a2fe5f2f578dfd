"""The study: the one record of a search. Parameters, curves, states and causes of failure live in its journal.

Every change is one appended line, flushed to the disk, so a process killed at any moment leaves a valid prefix; at most
the line being written is torn, and `repair` cuts it off. The run folder's lock makes one process the only writer.

What is kept beside Optuna's own fields, all of it readable by any Optuna tool:

    trial user attrs   settings      dotted setting → value; written last when a trial is asked for
                       epoch 7       the `EpochReport` of epoch 7, and `elapsed`, seconds since the search began
                       started       when a place was found for it, by the driver's clock
                       attempt       how often it was taken up again
                       cause, message, stopped, retries, halved
                    repeats, seed, draw  of a trial that confirms another: its number, a fresh seed, other folds
    study user attrs   about         task, metric, unit, direction, ...
                       elapsed       seconds used by finished sessions; session: when the running one began
    constraint failed  1 for trials that diverged, collapsed, ran out of memory or crashed

A failed trial is told to Optuna as PRUNED and infeasible. TPE ignores FAIL trials altogether, and it ranks pruned
ones by how far they got, so a trial that diverged late would look better than one stopped early; an infeasible trial
is a bad example whatever it reached (Optuna's constrained TPE ranks it behind every feasible one).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from pare_tune.config import SearchConfig
from pare_tune.errors import StudyFailed
from pare_tune.tasks.base import loss_sign
from pare_tune.tune.journal import NAME, changes, open_storage, reopened, repair, study_direction, trial_of
from pare_tune.tune.prior import Ranked
from pare_tune.tune.pruner import RungPruner
from pare_tune.tune.sampler import RepeatableTPE
from pare_tune.tune.snapshot import TaskFacts, TrialView, choose
from pare_tune.tune.space import BoundSpace

_FAILED = "failed"
_REPEAT_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Ask:
    """A trial to run."""

    number: int
    settings: Mapping[str, Any]
    halved: bool
    """Whether memory ran out before, so that it runs with half the batch and twice the accumulation."""
    draw: int = 0
    """How its folds are drawn."""
    attempt: int = 0
    """How often it was asked for before."""


Decision = Literal["continue", "prune", "fail"]


class Study:
    """The journal of a search, open for writing. The caller holds the run folder's lock.

    Args:
        journal: the file; made if it does not exist.
        space: around trial 0.
        epochs: full length of a trial.
        facts: kept in a new study for readers that know no tasks.
        first: what the trials after trial 0 are, as the study records it.
        earlier: trials of earlier searches, which the sampler learns from.
    """

    def __init__(
        self,
        journal: Path,
        space: BoundSpace,
        search: SearchConfig,
        *,
        epochs: int,
        facts: TaskFacts,
        first: Sequence[Mapping[str, Any]] = (),
        earlier: Sequence[Ranked] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.epochs = space, epochs
        repair(journal)
        self._first = [dict(params) for params in first]
        self._study = optuna.create_study(
            storage=open_storage(journal),
            study_name=NAME,
            direction=study_direction(facts.direction),
            load_if_exists=True,
            sampler=RepeatableTPE(
                seed=search.seed,
                # With earlier searches to learn from, nothing need be tried at random.
                startup_trials=1 + len(self._first) if earlier else search.startup_trials,
                priors=space.priors(),
                earlier=earlier,
            ),
            pruner=RungPruner(
                epochs=epochs // search.num_folds,
                first_rung=search.first_rung,
                reduction=search.reduction,
            )
            if search.pruning
            else optuna.pruners.NopPruner(),
        )
        self._direction = facts.direction
        self._live: dict[int, Trial] = {}
        self._seen: dict[int, tuple[FrozenTrial, TrialView]] = {}
        self._views: tuple[int, tuple[TrialView, ...]] = -1, ()
        self._begin(facts)
        # Counted on, since each report would otherwise look at every trial there was.
        trials = self._trials()
        self._orphans = [t.number for t in trials if t.state == TrialState.RUNNING]
        self._num_trials = sum(t.state != TrialState.WAITING for t in trials)
        self._num_epochs = sum(len(t.intermediate_values) for t in trials)
        self.default_repeats = sum(t.user_attrs.get("repeats") == 0 for t in trials)
        """Trials so far that repeat trial 0."""

    @property
    def optuna(self) -> optuna.Study:
        """For reading."""
        return self._study

    def ask(self) -> Ask:
        """The next trial: what a dead process left running, trial 0, earlier searches' best points, the sampler's."""
        if self._orphans:
            trial = reopened(self._study, self._orphans.pop(0))
            trial.set_user_attr("attempt", int(trial.user_attrs.get("attempt", 0)) + 1)
        else:
            self._enqueue_first()
            trial = self._study.ask()
            self._num_trials += 1
        settings = trial.user_attrs.get("settings")
        if settings is None:
            # Also an orphan that died between two parameters: the sampler repeats what it drew.
            is_base = 0 in (trial.number, trial.user_attrs.get("repeats"))
            settings = self.space.suggest_base(trial) if is_base else self.space.suggest(trial)
            trial.set_user_attr("settings", settings)
        self._live[trial.number] = trial
        attrs = trial.user_attrs
        return Ask(
            trial.number,
            self.settings(trial.number),
            halved=bool(attrs.get("halved", False)),
            draw=int(attrs.get("draw", 0)),
            attempt=int(attrs.get("attempt", 0)),
        )

    def _enqueue_first(self) -> None:
        """Let the next trial be the earlier point of its turn: point i is trial i + 1."""
        number = self._num_trials
        if 1 <= number <= len(self._first) and not self._trials(TrialState.WAITING):
            self._study.enqueue_trial(self._first[number - 1])

    def ask_repeat(self, seeds: int) -> Ask | Literal["later"] | None:
        """A finished trial once more with a fresh seed, to confirm it: the best, trial 0 and the second best.

        "later" while trials run that may change the order; None when these are confirmed.
        """
        if any("repeats" not in self._frozen(number).user_attrs for number in self._live):
            return "later"
        trials = self.views()
        leaders = self._leaders(trials)
        default = [0] if trials[0].state == "complete" else []
        begun = {(t.user_attrs.get("repeats"), t.user_attrs.get("seed")) for t in self._trials()}
        for number in [*leaders[:1], *default, *leaders[1:2]]:
            for index in range(seeds):
                # Far from the seeds that people give to searches side by side, so that these share no training.
                seed = (self.space.base.seed + _REPEAT_SEED + index) % 2**31
                if (number, seed) not in begun:
                    attrs = {"repeats": number, "seed": seed, "draw": index + 1}
                    self._study.enqueue_trial(self._frozen(number).params, user_attrs=attrs)
                    self.default_repeats += number == 0
                    return self.ask()
        return None

    def start(self, number: int) -> None:
        """A place was found for the trial; until then it waits."""
        self._live[number].set_user_attr("started", time.time())

    def record(self, number: int, report: Mapping[str, Any]) -> Decision:
        """Note one epoch; repeated ones change nothing. What should become of the trial, in the pruner's eyes."""
        trial, epoch = self._live[number], int(report["epoch"])
        recorded = self._frozen(number).last_step or 0
        if epoch < recorded:
            return "continue"
        if epoch > recorded:
            if epoch != recorded + 1:
                raise StudyFailed(
                    f"trial {number} reported epoch {epoch} after {recorded}: a curve has no holes"
                )
            # Before the value that makes the epoch count, so that no epoch counts without its report.
            trial.set_user_attr(_epoch_key(epoch), {**report, "elapsed": round(self.elapsed, 3)})
            if not math.isfinite(report["best_score"]):
                return "fail"
            trial.report(float(report["best_score"]), epoch)
            self._num_epochs += 1
        # The newest epoch is decided again after a resume: the verdict may have died with the driver.
        return "prune" if epoch < self.epochs and trial.should_prune() else "continue"

    def complete(self, number: int) -> None:
        """All epochs are done; the trial's value is the score of the epoch that is kept."""
        trial = self._live.pop(number)
        reported = self._frozen(number).intermediate_values
        self._study.tell(trial, reported[max(reported)])

    def prune(self, number: int, why: str) -> None:
        """Stopped early; `why` is "rung" or "budget"."""
        trial = self._live.pop(number)
        trial.set_user_attr("stopped", why)
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, number: int, cause: str, message: str) -> None:
        """A bad outcome that the sampler learns from."""
        trial = self._live.pop(number)
        trial.set_user_attr("cause", cause)
        trial.set_user_attr("message", message)
        if _FAILED not in self._frozen(number).constraints:
            trial.set_constraint(_FAILED, 1.0)
        self._study.tell(trial, state=TrialState.PRUNED)

    def note_retry(self, number: int, *, halved: bool) -> None:
        """The trial starts again from its checkpoint."""
        trial = self._live[number]
        trial.set_user_attr("retries", int(trial.user_attrs.get("retries", 0)) + 1)
        if halved:
            trial.set_user_attr("halved", True)

    def requeue(self, number: int) -> None:
        """The trial has lost its process and is asked for again."""
        self._live[number].set_user_attr("started", None)
        self._orphans.append(number)

    def epochs_of(self, number: int) -> int:
        """Epochs recorded of one trial."""
        return len(self._frozen(number).intermediate_values)

    def settings(self, number: int) -> dict[str, Any]:
        """What the trial was asked to be; a repeated one's with its own seed."""
        attrs = self._frozen(number).user_attrs
        return {**attrs["settings"], **({"seed": attrs["seed"]} if "seed" in attrs else {})}

    def halved(self, number: int) -> bool:
        """Whether the trial ran with half the batch."""
        return bool(self._frozen(number).user_attrs.get("halved", False))

    @property
    def num_trials(self) -> int:
        """Trials of any state, the running ones included; trial 0 counts from the moment it is asked for."""
        return self._num_trials

    @property
    def num_epochs(self) -> int:
        """Epochs recorded, of all trials."""
        return self._num_epochs

    @property
    def has_orphans(self) -> bool:
        """Whether a dead process left trials running."""
        return bool(self._orphans)

    @property
    def live(self) -> tuple[int, ...]:
        """Trials running in this session."""
        return tuple(self._live)

    @property
    def best(self) -> int | None:
        """Number of the best complete trial, as `choose` has it."""
        return choose(self.views(), self._direction).number

    @property
    def candidates(self) -> set[int]:
        """Trials that may still become the best: trial 0, the best two, and what was repeated."""
        trials = self.views()
        return {0, *self._leaders(trials)[:2], *(t.repeats for t in trials if t.repeats is not None)}

    def _leaders(self, trials: Sequence[TrialView]) -> list[int]:
        """Complete trials of the search other than trial 0, best first."""
        complete = [t for t in trials if t.state == "complete" and t.repeats is None and t.number != 0]
        sign = loss_sign(self._direction)
        return [t.number for t in sorted(complete, key=lambda t: sign * (t.best_score or 0.0))]

    @property
    def elapsed(self) -> float:
        """Seconds of search, summed over sessions."""
        return self._elapsed_before + time.monotonic() - self._started

    def is_finished(self, number: int) -> bool:
        """Whether the trial has its final state."""
        return self._frozen(number).state.is_finished()

    def numbers(self) -> Iterator[int]:
        """All trials'."""
        return (t.number for t in self._trials())

    def views(self) -> tuple[TrialView, ...]:
        """All trials as people see them."""
        now = changes(self._study)
        if self._views[0] != now:
            self._views = now, tuple(self._view(number, trial) for number, trial in enumerate(self._trials()))
        return self._views[1]

    def close(self) -> None:
        """End the session: its time is spent."""
        self._study.set_user_attr("elapsed", self.elapsed)
        self._study.set_user_attr("session", None)

    def _begin(self, facts: TaskFacts) -> None:
        self._started = time.monotonic()
        self._elapsed_before = elapsed_before(self._study)
        if not self._study.get_trials(deepcopy=False):
            # The study may have been made by a session that died right after.
            self._study.set_user_attr("about", asdict(facts))
            self._study.enqueue_trial(self.space.base_params())
        else:
            # Put down by a session that died before it began them: orphans like those that ran.
            while self._trials(TrialState.WAITING):
                self._study.ask()
        self._study.set_user_attr("elapsed", self._elapsed_before)
        self._began = time.time()
        self._study.set_user_attr("session", self._began)

    def _view(self, number: int, trial: FrozenTrial) -> TrialView:
        before = self._seen.get(number)
        if before is not None and before[0] is trial:  # Optuna changes no trial, it puts another in its place
            return before[1]
        now = view(trial, self.epochs, began=self._began if number in self._live else None)
        self._seen[number] = trial, now
        return now

    def _frozen(self, number: int) -> FrozenTrial:
        return trial_of(self._study, number)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


def elapsed_before(study: optuna.Study) -> float:
    """Seconds used by sessions that ended, or up to the last epoch of one that was killed."""
    seen = [float(study.user_attrs.get("elapsed") or 0.0)]
    for trial in study.get_trials(deepcopy=False):
        if trial.last_step is not None:
            seen.append(float(trial.user_attrs[_epoch_key(trial.last_step)]["elapsed"]))
    return max(seen)


def view(trial: FrozenTrial, epochs: int, *, began: float | None) -> TrialView:
    """An Optuna trial as people see it.

    Args:
        began: when the session that has it began; None where it ended. Tells running from waiting.
    """
    curve: list[Mapping[str, Any]] = []
    while (report := trial.user_attrs.get(_epoch_key(len(curve) + 1))) is not None:
        curve.append(report)
    best = next((r for r in reversed(curve) if math.isfinite(r["best_score"])), None)
    return TrialView(
        number=trial.number,
        state=_state(trial, began),
        params=trial.user_attrs.get("settings", {}),
        curve=tuple(curve),
        epochs=epochs,
        best_score=None if best is None else float(best["best_score"]),
        best_epoch=0 if best is None else _best_epoch(curve, best),
        seconds=sum(float(r["seconds"]) for r in curve),
        stopped=trial.user_attrs.get("stopped"),
        cause=trial.user_attrs.get("cause"),
        message=trial.user_attrs.get("message"),
        retries=int(trial.user_attrs.get("retries", 0)),
        repeats=trial.user_attrs.get("repeats"),
    )


def _state(
    trial: FrozenTrial, began: float | None
) -> Literal["waiting", "running", "complete", "pruned", "failed"]:
    match trial.state:
        case TrialState.COMPLETE:
            return "complete"
        case TrialState.PRUNED if "cause" not in trial.user_attrs:
            return "pruned"
        case TrialState.RUNNING if began is not None and (trial.user_attrs.get("started") or 0.0) >= began:
            return "running"
        case TrialState.RUNNING | TrialState.WAITING:
            return "waiting"
        case _:
            return "failed"


def _best_epoch(curve: list[Mapping[str, Any]], best: Mapping[str, Any]) -> int:
    """The epoch that is kept; of journals of earlier versions, the one that first reached its score."""
    first = next(i for i, r in enumerate(curve, start=1) if r["best_score"] == best["best_score"])
    return int(best.get("best_epoch") or first)


def _epoch_key(epoch: int) -> str:
    return f"epoch {epoch}"
