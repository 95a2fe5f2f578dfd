from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest

from pare_tune.config import SearchConfig
from pare_tune.tune.pruner import RungPruner, rungs


@pytest.mark.parametrize(
    ("epochs", "first_rung", "reduction", "expected"),
    [
        (60, 0.3, 3, (18, 54)),
        (9, 0.3, 3, (3,)),
        (10, 0.3, 3, (3, 9)),
        (100, 0.1, 3, (10, 30, 90)),
        (1, 0.3, 3, ()),
        (4, 1.0, 3, ()),
    ],
)
def test_rungs_grow_by_the_reduction_and_stop_before_the_end(
    epochs: int, first_rung: float, reduction: int, expected: tuple[int, ...]
) -> None:
    assert rungs(epochs, first_rung, reduction) == expected


def test_the_readme_says_after_which_epochs_trials_stop() -> None:
    """The shipped rungs, which tests/benchmarks/RESULTS.md measured as 0.34 of the epochs and one of two."""
    search = SearchConfig()
    assert (search.first_rung, search.reduction) == (0.34, 2)
    text = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    [said] = re.findall(r"A trial stops after 34 % of its epochs.*?\((.*?)\)", text)
    table = {
        int(end): (int(first), int(second))
        for first, second, end in re.findall(r"(\d+) and (\d+) of (\d+)", said)
    }
    assert {epochs: rungs(epochs, search.first_rung, search.reduction) for epochs in (9, 18, 60)} == table


def verdicts(scores: list[float], direction: str = "minimize", epochs: int = 9) -> list[bool]:
    """Whether each trial, one after the other, is stopped at the first rung."""
    study = optuna.create_study(
        direction=direction, pruner=RungPruner(epochs=epochs, first_rung=0.3, reduction=3)
    )
    found = []
    for score in scores:
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(score, epoch)
        found.append(trial.should_prune())
    return found


def test_one_in_three_goes_on_and_the_best_so_far_always() -> None:
    assert verdicts([5, 4, 6, 3, 7, 3.5, 3.2, 9]) == [False, False, True, False, True, False, False, True]
    assert verdicts([5, 6, 4], "maximize") == [False, False, True]


def test_trial_0_is_never_stopped_and_nobody_between_rungs() -> None:
    study = optuna.create_study(pruner=RungPruner(epochs=9, first_rung=0.3, reduction=3))
    first, second = study.ask(), study.ask()
    for trial, score in ((second, 1.0), (first, 2.0)):
        for epoch in (1, 2, 3):
            trial.report(score, epoch)
    assert not first.should_prune()
    second.report(9.0, 4)
    assert not second.should_prune()


def test_asking_again_gives_the_same_verdict() -> None:
    study = optuna.create_study(pruner=RungPruner(epochs=9, first_rung=0.3, reduction=3))
    for score in (1.0, 2.0):
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(score, epoch)
        answers = {trial.should_prune() for _ in range(3)}
        assert answers == {score == 2.0}


def ended_fold(study: optuna.Study, influences: list[float], *, complete: bool) -> bool:
    """A trial at the end of its first fold, of 3 epochs; whether it is stopped there."""
    trial = study.ask()
    for epoch in (1, 2, 3):
        trial.set_user_attr(f"epoch {epoch}", {"influences": influences if epoch == 3 else []})
        trial.report(sum(influences) / len(influences), epoch)
    stopped = trial.should_prune()
    if complete:
        study.tell(trial, sum(influences) / len(influences))
    return stopped


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_after_a_fold_a_trial_stops_where_its_samples_say_that_it_cannot_win(direction: str) -> None:
    study = optuna.create_study(direction=direction, pruner=RungPruner(epochs=3, first_rung=1.0, reduction=2))
    sign = 1 if direction == "minimize" else -1
    best = [sign * value for value in (20.0, 30.0, 10.0, 20.0)]
    assert not ended_fold(study, [sign * 90.0] * 4, complete=True), "trial 0 never stops"
    assert not ended_fold(study, best, complete=True)
    worse, near = (
        [b + sign * d for b, d in zip(best, by, strict=True)] for by in ([9, 11, 10, 10], [9, -9, 3, -2])
    )
    assert ended_fold(study, worse, complete=False)
    assert not ended_fold(study, near, complete=False), "may still be the best"
    assert not ended_fold(study, [sign * 90.0] * 5, complete=False), "other blocks do not compare"
