"""An ensemble of a search's trials, chosen by what each said of the samples that were held out from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pare_tune.config import TrialConfig, load_trial
from pare_tune.errors import ConfigError, DataError
from pare_tune.tasks.base import Task
from pare_tune.train.ensemble import Selection, select
from pare_tune.train.held_out import HELD_OUT, HeldOut
from pare_tune.train.members import Member
from pare_tune.train.simple.measure import simple_file
from pare_tune.train.simple.scores import read_simple
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.snapshot import Snapshot

MOST_MEMBERS = 5
"""Each is trained, kept and asked."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What was chosen."""

    members: tuple[Member, ...]
    names: tuple[str, ...]
    """Of the members, for people."""
    selection: Selection
    held_out: HeldOut
    """What the members together said of held-out samples."""
    candidates: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    member: Member
    held_out: HeldOut


def choose_members(state: Snapshot, task: Task, config: TrialConfig, *, peers: bool) -> Ensemble:
    """The best average of at most five of a run's complete trials, and of simple models if `peers`.

    Args:
        config: of trial 0, whose data and canvas simple models take.

    Raises:
        ConfigError: no two models of the run have held-out predictions of the same samples.
    """
    candidates = _candidates(state, config, peers=peers)
    if len(candidates) < 2:
        raise ConfigError(
            f"an ensemble needs two models with held-out predictions, {state.run} has {len(candidates)} (searches of "
            f"earlier versions kept none, and those of large maps are too large to keep); leave out --ensemble"
        )
    first = candidates[0].held_out
    outputs_M = [candidate.held_out.predictions[0] for candidate in candidates]
    selection = select(outputs_M, first.predictions[1], first.index_N, task, most=MOST_MEMBERS)
    chosen = sorted(
        (m for m, w in enumerate(selection.weights_M) if w > 0), key=lambda m: -selection.weights_M[m]
    )
    return Ensemble(
        tuple(replace(candidates[m].member, weight=selection.weights_M[m]) for m in chosen),
        tuple(candidates[m].name for m in chosen),
        selection,
        HeldOut(first.index_N, selection.outputs.numpy(), first.targets, 0, first.others),
        len(candidates),
    )


def _candidates(state: Snapshot, config: TrialConfig, *, peers: bool) -> list[_Candidate]:
    folder = RunFolder(state.run)
    candidates: list[_Candidate] = []
    for trial in state.searched:
        kept = _read(folder.trial(trial.number) / HELD_OUT) if trial.state == "complete" else None
        if kept is None:
            continue
        settings = load_trial(folder.trial(trial.number) / "config.yaml")
        member = Member(config=settings, weight=1.0, epoch=kept.epoch)
        candidates.append(_Candidate(f"trial {trial.number}", member, kept))
    for row in read_simple(state.run) if peers else ():
        kept = _read(simple_file(state.run, row.kind))
        if kept is not None and row.score is not None and row.kind != "constant":
            candidates.append(_Candidate(row.title, Member(config=config, weight=1.0, simple=row.kind), kept))
    return _alike(candidates)


def _alike(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Those that predicted the same samples in the same form, as the first did."""
    if not candidates:
        return []
    like = candidates[0]
    return [
        candidate
        for candidate in candidates
        if np.array_equal(candidate.held_out.index_N, like.held_out.index_N)
        and candidate.held_out.outputs.shape == like.held_out.outputs.shape
        and candidate.member.config.input.canvas == like.member.config.input.canvas
    ]


def _read(path: Path) -> HeldOut | None:
    """In the order of the samples."""
    try:
        kept = HeldOut.read(path)
    except DataError:
        return None
    order_N = np.argsort(kept.index_N, kind="stable")
    others = {name: values[order_N] for name, values in kept.others.items()}
    return HeldOut(kept.index_N[order_N], kept.outputs[order_N], kept.targets[order_N], kept.epoch, others)
