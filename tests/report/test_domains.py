from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from pare_tune.report.domains import MIN_TRIALS, domains, importances


def test_without_a_journal_domains_are_what_was_tried(tmp_path: Path, make_search, make_trial) -> None:
    values = [
        {"lr": 1e-4, "k": 0.2, "n": 16, "kind": "fc", "flag": True, "clip": None},
        {"lr": 1e-2, "k": 0.9, "n": 64, "kind": "mlp", "flag": True, "clip": 1.0},
    ]
    s = make_search(trials=tuple(make_trial(i, params=p) for i, p in enumerate(values)))
    found = domains(tmp_path, s)
    assert found == {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "k": FloatDistribution(0.2, 0.9),
        "n": IntDistribution(16, 64),
        "kind": CategoricalDistribution(("fc", "mlp")),
        "flag": CategoricalDistribution((True,)),
        "clip": CategoricalDistribution((None, 1.0)),
    }
    assert [name for name, domain in found.items() if domain.single()] == ["flag"]


def test_the_journal_knows_scales_and_bounds(tmp_path: Path, make_search, make_trial) -> None:
    journal = tmp_path / "study.journal"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.logging.get_logger("optuna.study"), "disabled", True)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))), study_name="pare-tune"
        )
    distributions = {
        "n": IntDistribution(16, 256, log=True),
        "k": FloatDistribution(0.05, 0.9),
        "kind": CategoricalDistribution(["fc", "mlp", "mlp_dropout"]),
    }
    study.enqueue_trial({"n": 64, "k": 0.5, "kind": "fc"})
    study.ask(distributions)
    before = journal.read_bytes()
    s = make_search(trials=(make_trial(0, params={"n": 64, "k": 0.957, "kind": "fc"}),))
    assert domains(tmp_path, s) == {
        "n": IntDistribution(16, 256, log=True),
        "k": FloatDistribution(0.05, 0.957),  # trial 0 lies outside the space
        "kind": CategoricalDistribution(("fc", "mlp", "mlp_dropout")),
    }
    assert journal.read_bytes() == before


def test_what_moves_the_score_is_found(tmp_path: Path, make_search, caplog: pytest.LogCaptureFixture) -> None:
    s = make_search(120, running=0, budget=120)
    with caplog.at_level(logging.INFO):
        found = importances(s, domains(tmp_path, s))
    assert found is not None
    assert set(list(found)[:2]) == {"optimizer.lr", "k.start"}
    assert sum(found.values()) == pytest.approx(1.0)
    assert not caplog.records


def test_few_trials_have_no_importances(tmp_path: Path, make_search, make_trial) -> None:
    few = make_search(trials=tuple(make_trial(n) for n in range(MIN_TRIALS - 1)))
    same = make_search(trials=tuple(make_trial(n, params={"k": 0.5}) for n in range(MIN_TRIALS)))
    for s in (few, same, make_search(trials=())):
        assert importances(s, domains(tmp_path, s)) is None
