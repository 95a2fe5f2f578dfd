from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest

from pare_tune.config import RunConfig
from pare_tune.errors import StudyFailed
from pare_tune.tune.journal import load_study, repair
from pare_tune.tune.snapshot import TaskFacts, TrialView
from pare_tune.tune.space import Space
from pare_tune.tune.study import Study

EPOCHS = 4
FACTS = TaskFacts(task="wdbc", direction="min")

Open = Callable[..., Study]


@pytest.fixture
def open_study(make_config: Callable[..., RunConfig]) -> Open:
    def open_one(journal: Path, **search: Any) -> Study:
        config = make_config(epochs=EPOCHS, **{"startup_trials": 3, **search})
        assert config.search.space is not None
        space = Space.load(config.search.space).bind(config.trial)
        return Study(journal, space, config.search, epochs=EPOCHS, facts=FACTS)

    return open_one


def report(epoch: int, score: float) -> dict[str, Any]:
    return {"epoch": epoch, "score": score, "best_score": score, "seconds": 0.5, "k": 3}


def run_to(
    study: Study,
    fakes: ModuleType,
    num_trials: int,
    outcome: Callable[[Any], str | None] | None = None,
    score: Callable[[Any], float] | None = None,
) -> None:
    """What the driver does, with trials that end at once."""
    score = score or fakes.error_of
    while study.has_orphans or study.num_trials < num_trials:
        ask = study.ask()
        config = study.space.config(ask.settings)
        cause = outcome(config) if outcome is not None else None
        if cause is not None:
            study.fail(ask.number, cause, "told so")
            continue
        for epoch in range(1, EPOCHS + 1):
            if study.record(ask.number, report(epoch, score(config) + 1 / epoch)) == "prune":
                study.prune(ask.number, "rung")
                break
        else:
            study.complete(ask.number)


def essence(study: Study) -> list[Any]:
    """Everything but times."""
    return [
        (t.number, t.state, t.params, t.best_score, t.best_epoch, [(r["epoch"], r["score"]) for r in t.curve])
        for t in study.views()
    ]


def test_an_interrupted_search_equals_an_undisturbed_one_wherever_it_was_cut(
    open_study: Open, fakes: ModuleType, tmp_path: Path
) -> None:
    study = open_study(tmp_path / "whole")
    run_to(study, fakes, 8)
    expected = essence(study)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    assert len({t.params["optimizer.lr"] for t in study.views()}) == 8
    assert {t.state for t in study.views()} == {"complete", "pruned"}

    for cut in range(0, len(lines), 5):
        journal = tmp_path / f"cut{cut}"
        torn = lines[cut][: len(lines[cut]) // 2]
        journal.write_bytes(b"".join(lines[:cut]) + torn)
        again = open_study(journal)
        run_to(again, fakes, 8)
        assert essence(again) == expected, f"killed while writing line {cut + 1}: {lines[cut]!r}"


def confirm(study: Study, fakes: ModuleType) -> None:
    """What the driver does at the end of the budget."""
    while (ask := study.ask() if study.has_orphans else study.ask_repeat(2)) is not None:
        assert not isinstance(ask, str)
        score = fakes.error_of(study.space.config(ask.settings)) + ask.settings.get("seed", 0) % 7
        for epoch in range(1, EPOCHS + 1):
            study.record(ask.number, report(epoch, score + 1 / epoch))
        study.complete(ask.number)


def test_a_confirmation_goes_on_wherever_it_was_cut(
    open_study: Open, fakes: ModuleType, tmp_path: Path
) -> None:
    study = open_study(tmp_path / "whole")
    run_to(study, fakes, 8)
    searched = len((tmp_path / "whole").read_bytes().splitlines())
    confirm(study, fakes)
    expected = essence(study)
    assert [t.repeats for t in study.views()[8:]].count(0) == 2
    assert len(expected) == 14, "the best two and the default, twice each"
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for cut in range(searched, searched + (len(lines) - searched) // 3):
        journal = tmp_path / f"cut{cut}"
        journal.write_bytes(b"".join(lines[:cut]))
        again = open_study(journal)
        confirm(again, fakes)
        assert essence(again) == expected, f"killed after line {cut}: {lines[cut - 1]!r}"
        assert again.best == study.best


def test_another_seed_asks_for_other_trials(open_study: Open, fakes: ModuleType, tmp_path: Path) -> None:
    one, other = open_study(tmp_path / "1", seed=1), open_study(tmp_path / "2", seed=2)
    run_to(one, fakes, 3)
    run_to(other, fakes, 3)
    assert essence(one)[0] == essence(other)[0], "trial 0 is the paper's whatever the seed"
    assert essence(one)[1][2] != essence(other)[1][2]


def test_repeated_epochs_are_recorded_once(open_study: Open, tmp_path: Path) -> None:
    study = open_study(tmp_path / "j")
    number = study.ask().number
    for epoch in (1, 2, 1, 2, 3):
        study.record(number, report(epoch, 1.0 / epoch))
    [view] = study.views()
    assert [r["epoch"] for r in view.curve] == [1, 2, 3]
    assert study.num_epochs == 3
    with pytest.raises(StudyFailed, match="no holes"):
        study.record(number, report(5, 0.1))


def test_a_verdict_that_died_with_the_driver_is_given_again(
    open_study: Open, fakes: ModuleType, tmp_path: Path
) -> None:
    study = open_study(tmp_path / "j")
    run_to(study, fakes, 3)
    bad = study.ask().number
    decisions = [study.record(bad, report(epoch, 99.0)) for epoch in (1, 2)]
    assert decisions == ["continue", "prune"]
    again = open_study(tmp_path / "j")
    assert again.ask().number == bad
    assert [again.record(bad, report(epoch, 99.0)) for epoch in (1, 2)] == ["continue", "prune"]


def test_the_sampler_moves_away_from_where_trials_fail(
    open_study: Open, fakes: ModuleType, tmp_path: Path
) -> None:
    # All scores are alike, so that only the failures can tell the sampler anything; by chance half of them fail.
    def diverges(config: Any) -> str | None:
        return "diverged" if config.optimizer.lr > 1e-3 else None

    study = open_study(tmp_path / "j", startup_trials=10, pruning=False)
    run_to(study, fakes, 50, diverges, score=lambda config: 0.0)
    late = [t for t in study.views() if t.number >= 20]
    failed = [t for t in late if t.state == "failed"]
    assert len(failed) <= len(late) // 5
    assert all(t.cause == "diverged" and t.message == "told so" for t in failed)


def test_a_failure_that_got_far_is_no_good_example(
    open_study: Open, fakes: ModuleType, tmp_path: Path
) -> None:
    study = open_study(tmp_path / "j")
    run_to(study, fakes, 1)
    number = study.ask().number
    study.record(number, report(1, 1e-9))
    study.fail(number, "diverged", "late")
    assert study.best == 0
    frozen = load_study(tmp_path / "j").trials[number]
    assert frozen.state == optuna.trial.TrialState.PRUNED
    assert frozen.constraints == {"failed": 1.0}


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_failure(open_study: Open, tmp_path: Path, score: float) -> None:
    study = open_study(tmp_path / "j")
    number = study.ask().number
    assert study.record(number, report(1, score)) == "fail"
    study.fail(number, "diverged", "no number")
    [view] = open_study(tmp_path / "j").views()
    assert (view.state, view.cause, view.best_score) == ("failed", "diverged", None)


def test_time_is_summed_over_sessions_and_survives_a_kill(open_study: Open, tmp_path: Path) -> None:
    study = open_study(tmp_path / "j")
    study._elapsed_before = 100.0
    number = study.ask().number
    study.record(number, report(1, 1.0))
    assert 100.0 <= open_study(tmp_path / "j").elapsed < 101.0, "killed: up to its last epoch"
    study._elapsed_before = 200.0
    study.close()
    assert 200.0 <= open_study(tmp_path / "j").elapsed < 201.0


def test_the_journal_can_be_read_while_it_is_written(
    open_study: Open, fakes: ModuleType, tmp_path: Path
) -> None:
    study = open_study(tmp_path / "j")
    run_to(study, fakes, 2)
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"op_code": 8, "worker_id"')
    assert len(load_study(tmp_path / "j").trials) == 2


def test_repair_cuts_off_a_torn_end_and_nothing_else(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    whole = b'{"op_code": 0}\n{"op_code": 4}\n'
    for tail in (b"", b"{", b'{"op_code": 4}', b"\0\0\0\0", b'{"op\n', b"\n\0\0"):
        journal.write_bytes(whole + tail)
        repair(journal)
        assert journal.read_bytes() == whole, tail
    journal.write_bytes(b'{"op_code"\n' + whole)
    with pytest.raises(StudyFailed, match="line 1 is damaged"):
        repair(journal)


def test_no_study_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StudyFailed, match="start it again"):
        load_study(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(StudyFailed, match="start it again"):
        load_study(tmp_path / "empty")


def test_every_trial_has_one_line_a_change(open_study: Open, fakes: ModuleType, tmp_path: Path) -> None:
    study = open_study(tmp_path / "j")
    run_to(study, fakes, 5)
    lines = (tmp_path / "j").read_text().splitlines()
    views: tuple[TrialView, ...] = study.views()
    assert len(lines) < 20 * len(views) + 10, "the journal grows with what happens, not with its square"
    assert all(isinstance(json.loads(line), Mapping) for line in lines)
