"""What happened between two snapshots, as plain lines for a pipe and as JSON objects for scripts.

Both say the same events in the same order: `search_started`; for every trial that ends `trial_finished`,
`trial_pruned` or `trial_failed`, by number; `new_best` right after the trial that is it; `search_ended`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pare_tune.data.files import plain_json
from pare_tune.report import words
from pare_tune.tune.snapshot import Snapshot, TrialState, TrialView

_ENDED: Mapping[TrialState, str] = {
    "complete": "trial_finished",
    "pruned": "trial_pruned",
    "failed": "trial_failed",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    name: str
    fields: Mapping[str, Any]
    """Plain values for JSON, numbers that are not finite among them."""
    line: str
    """The same for people."""


def started(before: Snapshot | None, s: Snapshot) -> Event:
    """The first event of a session; a resumed search says what it had already."""
    had = sum(t.state in _ENDED for t in before.trials) if before is not None else 0
    fields = {
        **about(s),
        "run": str(s.run),
        "preset": s.preset,
        "backbone": s.backbone,
        "budget": s.budget,
        "trials_before": had,
    }
    resumed = f", {words.plural(had, 'trial')} done before" if had else ""
    line = f"search of {s.budget}{resumed}: {words.metric_line(s)}; {s.preset} preset, {s.backbone}; {s.run}"
    return Event("search_started", fields, line)


def between(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    """Events of the trials that ended between two snapshots of one search; None is the empty search."""
    ended = {t.number for t in before.trials if t.state in _ENDED} if before is not None else set()
    best = before.best if before is not None else None
    for trial in sorted(now.trials, key=lambda t: t.number):
        if trial.state not in _ENDED or trial.number in ended:
            continue
        yield _trial_ended(now, trial)
        if trial.state != "complete" or trial.best_score is None or trial.repeats is not None:
            continue
        if best is None or best.best_score is None or now.better(trial.best_score, best.best_score):
            best = trial
            yield _new_best(now, trial)


def ended(s: Snapshot) -> Event:
    """The last event of a session, of a finished search or an interrupted one."""
    fields = {
        **about(s),
        "run": str(s.run),
        "finished": s.finished,
        "best_trial": None if s.best is None else s.best.number,
        "best_score": None if s.best is None else s.best.best_score,
        "trials": {state: s.count(state) for state in words.STATES},
        "elapsed_s": s.elapsed_s,
    }
    counts = ", ".join(f"{s.count(state)} {words.STATES[state]}" for state in _ENDED)
    how = "finished" if s.finished else "interrupted"
    line = f"search {how} after {words.duration(s.elapsed_s)}: {counts}. {words.verdict(s)}"
    return Event("search_ended", fields, line)


def about(s: Snapshot) -> dict[str, Any]:
    """What every number is about; part of each JSON object."""
    return {
        "task": s.task,
        "provenance": s.provenance,
        "metric": s.metric,
        "unit": s.unit,
        "direction": s.direction,
    }


def snapshot_json(s: Snapshot) -> dict[str, Any]:
    """A whole snapshot for `--json`: finite numbers, None where there is none."""
    tree: dict[str, Any] = plain_json(
        {
            **about(s),
            "run": str(s.run),
            "preset": s.preset,
            "backbone": s.backbone,
            "budget": s.budget,
            "spent": s.spent,
            "elapsed_s": s.elapsed_s,
            "remaining_s": s.remaining_s,
            "finished": s.finished,
            "running": s.is_running,
            "dashboard_url": s.dashboard_url,
            "best_trial": None if s.best is None else s.best.number,
            "verdict": words.verdict(s),
            "trials": [{**_trial_fields(t), "curve": t.curve} for t in s.trials],
        }
    )
    return tree


def _trial_ended(s: Snapshot, trial: TrialView) -> Event:
    fields = {
        **about(s),
        **_trial_fields(trial),
        "spent": s.spent,
        "remaining_s": s.remaining_s,
    }
    shown = words.score(trial.best_score, s.unit)
    match trial.state:
        case "complete":
            what = f"finished: {shown} (epoch {trial.best_epoch} of {trial.length}, {words.duration(trial.seconds)})"
        case "pruned":
            what = f"stopped early after epoch {trial.epoch} of {trial.epochs}: {shown}"
        case _:
            what = (
                f"failed after epoch {trial.epoch} of {trial.epochs}: {trial.message or words.cause(trial)}"
            )
    return Event(_ENDED[trial.state], fields, f"trial {trial.number} {what}")


def _new_best(s: Snapshot, trial: TrialView) -> Event:
    default = s.default
    finished = default is not None and default.state == "complete"
    fields = {
        **about(s),
        "trial": trial.number,
        "score": trial.best_score,
        "default_score": default.best_score if default is not None and finished else None,
        "params": trial.params,
    }
    note = ", the default" if trial.number == 0 else ""
    if default is not None and finished and trial.number != 0:
        note = f" (the default: {words.score(default.best_score, s.unit)})"
    return Event(
        "new_best", fields, f"new best: {words.score(trial.best_score, s.unit)}, trial {trial.number}{note}"
    )


def _trial_fields(trial: TrialView) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state,
        "score": trial.best_score,
        "best_epoch": trial.best_epoch,
        "epoch": trial.epoch,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "params": trial.params,
        "cause": trial.cause,
        "message": trial.message,
        "retries": trial.retries,
        "repeats": trial.repeats,
    }
