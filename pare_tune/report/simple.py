"""What simple models get on the samples that trials were judged by, and whether the search beats them."""

from __future__ import annotations

from collections.abc import Sequence

from pare_tune.report import words
from pare_tune.shell import command
from pare_tune.tasks.base import best_of, loss_sign
from pare_tune.train.simple.scores import SimpleScore
from pare_tune.tune.paired import is_more
from pare_tune.tune.snapshot import Snapshot, TrialView


def not_beaten(s: Snapshot) -> str | None:
    """The first line of a result that a simple model is as good as, with the command that uses both; None where the
    search beats them all beyond doubt, and where nothing is known."""
    best, scored = s.best, _scored(s)
    if best is None or not scored:
        return None
    reached = _reached(s, best)
    leader = next(m for m in scored if m.score == best_of(map(_score, scored), s.direction))
    score, seconds = _shown(s, leader), words.duration(leader.seconds)
    told = f"{leader.title} {score}, fitted in {seconds}; the search {words.judged(s, best)}"
    use = f"To use both: {command('train', s.run, '--ensemble', '--peers')}"
    if not s.better(reached, _score(leader)):
        return f"A simple model is as good or better: {told}. {use}"
    if _is_beaten(s, best, leader):
        return None
    return f"A simple model is not clearly worse: {told}, a difference that these samples do not tell from luck. {use}"


def told(s: Snapshot) -> str | None:
    """`constant 37.2 %, linear model 4.2 % (0.2 s)`; None where nothing was measured."""
    rows = [row for row in s.simple if row.score is not None or row.skipped]
    if not rows:
        return None
    return ", ".join(
        f"{row.title} left out ({row.skipped})"
        if row.score is None
        else f"{row.title} {_shown(s, row)} ({row.seconds:.1f} s)"
        for row in rows
    )


def table(s: Snapshot) -> list[tuple[str, str, str]]:
    """(model, score, seconds) of each, and of the search's best trial first."""
    if told(s) is None:
        return []
    rows = [
        (
            row.title,
            words.score(row.score, s.unit) if row.skipped is None else row.skipped,
            f"{row.seconds:.1f} s",
        )
        for row in s.simple
    ]
    if s.best is not None:
        first = f"trial {s.best.number} of the search"
        rows = [(first, words.judged(s, s.best), words.duration(s.best.seconds)), *rows]
    return rows


def _scored(s: Snapshot) -> Sequence[SimpleScore]:
    return [row for row in s.simple if row.score is not None]


def _score(row: SimpleScore) -> float:
    assert row.score is not None
    return row.score


def _shown(s: Snapshot, row: SimpleScore) -> str:
    return words.score(row.score, s.unit)


def _reached(s: Snapshot, best: TrialView) -> float:
    """The mean over fresh seeds, which the trial was not chosen by, or else its score."""
    again = s.confirmed(best.number)
    assert best.best_score is not None
    return best.best_score if again is None else again.mean


def _is_beaten(s: Snapshot, best: TrialView, row: SimpleScore) -> bool:
    """Beyond doubt, block by block of held-out samples; where no blocks are known, the scores decide."""
    if not row.influences or len(row.influences) != len(best.influences):
        return True
    sign = loss_sign(s.direction)
    return is_more([sign * v for v in row.influences], [sign * v for v in best.influences])
