from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from pare_tune.compare.peers.base import Array, Fitted, Peer, Problem, Settings
from pare_tune.compare.peers.search import JOURNAL, Found, search_peer
from pare_tune.errors import StorageError, TrialFailed

ProblemOf = Callable[..., Problem]


def shifted(fit: Callable[[Problem, Settings, int], Fitted] | None = None, **more: Any) -> Peer:
    """Knows the answer but for one setting, a shift whose best value is 0."""

    def suggest(trial: optuna.trial.BaseTrial, problem: Problem) -> dict[str, Any]:
        return {"shift": trial.suggest_float("shift", -5, 5)}

    def default(problem: Problem, settings: Settings, seed: int) -> Fitted:
        return Fitted(lambda x: (2 * x[:, 0] + 10 + settings.get("shift", 4.0)).astype(np.float32), epochs=2)

    choices = {"suggest": suggest, **more}
    return Peer(name="shifted", module="numpy", suits=lambda task: None, fit=fit or default, **choices)


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    study = optuna.load_study(study_name="peer", storage=optuna.storages.JournalStorage(backend))
    return study.get_trials(deepcopy=False)


def essence(folder: Path) -> list[Any]:
    return [(t.number, t.state, t.params, t.value) for t in trials(folder)]


def run(problem: Problem, folder: Path, budget: int, peer: Peer | None = None) -> Found:
    folder.mkdir(exist_ok=True)
    return search_peer(peer or shifted(), problem, folder, budget=budget, startup_trials=5, seed=1)


def test_the_defaults_come_first_and_the_best_by_validation_wins(
    problem_of: ProblemOf, tmp_path: Path
) -> None:
    problem = problem_of("toy-line")
    found = run(problem, tmp_path / "a", 14)
    record = trials(tmp_path / "a")
    assert record[0].params == {}
    assert found.trials == 14
    assert found.epochs == 28
    assert found.validation == min(t.value for t in record)
    assert abs(found.settings["shift"]) == min(abs(t.params["shift"]) for t in record[1:])
    assert found.validation < record[0].value
    np.testing.assert_allclose(
        found.fitted.predict(problem.val.x), problem.val.y + found.settings["shift"], rtol=1e-5
    )
    run(problem, tmp_path / "b", 14)
    assert essence(tmp_path / "a") == essence(tmp_path / "b"), "the same seed searches alike"


def test_a_budget_of_one_is_the_default_alone(problem_of: ProblemOf, tmp_path: Path) -> None:
    found = run(problem_of("toy-line"), tmp_path, 1)
    assert (found.trials, dict(found.settings)) == (1, {})


def test_a_peer_without_choices_runs_once(problem_of: ProblemOf, tmp_path: Path) -> None:
    plain = shifted()
    peer = Peer(name="plain", module="numpy", suits=plain.suits, fit=plain.fit)
    assert run(problem_of("toy-line"), tmp_path, 9, peer).trials == 1


def test_an_interrupted_search_ends_as_an_undisturbed_one(problem_of: ProblemOf, tmp_path: Path) -> None:
    problem, fitted = problem_of("toy-line"), 0

    class Killed(BaseException):
        pass

    def dying(problem: Problem, settings: Settings, seed: int) -> Fitted:
        nonlocal fitted
        fitted += 1
        if fitted == 6:
            raise Killed
        return shifted().fit(problem, settings, seed)

    with pytest.raises(Killed):
        run(problem, tmp_path / "killed", 14, shifted(dying))
    assert [t.state.name for t in trials(tmp_path / "killed")][-1] == "RUNNING"
    with (tmp_path / "killed" / JOURNAL).open("a") as file:
        file.write('{"op_code": 8, "torn')
    found = run(problem, tmp_path / "killed", 14)
    whole = run(problem, tmp_path / "whole", 14)
    assert essence(tmp_path / "killed") == essence(tmp_path / "whole")
    assert (found.validation, found.settings, found.epochs) == (
        whole.validation,
        whole.settings,
        whole.epochs,
    )


def test_a_search_that_had_ended_fits_its_best_once_more(problem_of: ProblemOf, tmp_path: Path) -> None:
    problem, seen = problem_of("toy-line"), []
    first = run(problem, tmp_path, 5)

    def counted(problem: Problem, settings: Settings, seed: int) -> Fitted:
        seen.append(dict(settings))
        return shifted().fit(problem, settings, seed)

    again = run(problem, tmp_path, 5, shifted(counted))
    assert seen == [dict(first.settings)]
    assert again.validation == first.validation
    assert again.epochs == 12


def test_failed_trials_cost_a_trial_and_nothing_more(
    problem_of: ProblemOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fragile(problem: Problem, settings: Settings, seed: int) -> Fitted:
        shift = settings.get("shift", 4.0)
        if shift < -3.5:
            raise ZeroDivisionError("too low")
        if shift < 1:
            return Fitted(lambda x: np.full((len(x), 40), np.nan, np.float32))
        return shifted().fit(problem, settings, seed)

    found = run(problem_of("toy-line"), tmp_path, 12, shifted(fragile))
    record = trials(tmp_path)
    messages = {t.user_attrs.get("message") for t in record if t.state.name == "FAIL"}
    assert messages == {"ZeroDivisionError: too low", "the validation score is nan"}
    assert found.trials == 12
    assert found.settings.get("shift", 4.0) >= 1
    assert "too low" in capsys.readouterr().err


def test_a_peer_that_never_works_says_why(
    problem_of: ProblemOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(problem: Problem, settings: Settings, seed: int) -> Fitted:
        raise ZeroDivisionError("always")

    with pytest.raises(TrialFailed, match="ZeroDivisionError: always"):
        run(problem_of("toy-line"), tmp_path, 2, shifted(broken))


def test_a_full_disk_ends_the_search(problem_of: ProblemOf, tmp_path: Path) -> None:
    def full(problem: Problem, settings: Settings, seed: int) -> Fitted:
        raise StorageError("no space left")

    with pytest.raises(StorageError):
        run(problem_of("toy-line"), tmp_path, 2, shifted(full))


def test_outputs_of_a_wrong_length_are_a_failure(problem_of: ProblemOf, tmp_path: Path) -> None:
    def short(problem: Problem, settings: Settings, seed: int) -> Fitted:
        def predict(x: Array) -> Array:
            return np.zeros((3, 40), np.float32)

        return Fitted(predict)

    with pytest.raises(TrialFailed, match="for 24 samples"):
        run(problem_of("toy-line"), tmp_path, 1, shifted(short))


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
import optuna
from pare_tune.compare.peers.search import _Search

class Slow(_Search):
    def _one(self, trial):
        trial.suggest_float("shift", -5, 5)
        print("begun", trial.number, flush=True)
        time.sleep(0 if trial.number < 3 else 60)
        trial.set_user_attr("seconds", 0.0)
        trial.set_user_attr("settings", dict(trial.params))
        self._study.tell(trial, float(abs(trial.params["shift"])))

class Metric:
    direction = "min"

class Any:
    has_choices = True
    def __getattr__(self, name):
        return Metric() if name == "metric" else self

Slow(Any(), Any(), Path(sys.argv[1]), 5, 1).run(9)
"""


def test_after_kill_9_at_most_the_running_trial_is_repeated(problem_of: ProblemOf, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "begun 3":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    before = trials(tmp_path)
    assert [t.state.name for t in before] == ["COMPLETE"] * 3 + ["RUNNING"]
    started = time.monotonic()
    found = run(problem_of("toy-line"), tmp_path, 6)
    assert time.monotonic() - started < 10, "nobody waits for the dead one's lock"
    after = trials(tmp_path)
    assert found.trials == len(after) == 6
    assert after[3].params == before[3].params
    assert [(t.params, t.value) for t in after[:3]] == [(t.params, t.value) for t in before[:3]]


def test_the_direction_of_the_metric_counts(problem_of: ProblemOf, tmp_path: Path) -> None:
    problem = problem_of("toy-line")
    metric = replace(
        problem.data.task.metric, direction="max", score=lambda p, b: -float((p - b["y"]).abs().mean())
    )
    upward = replace(problem, data=replace(problem.data, task=replace(problem.data.task, metric=metric)))
    found = run(upward, tmp_path, 8)
    assert found.validation == max(t.value for t in trials(tmp_path))


def test_as_many_trials_are_random_as_in_our_own_search(problem_of: ProblemOf, tmp_path: Path) -> None:
    problem, seed = problem_of("toy-line"), 1
    run(problem, tmp_path, 7)
    drawn = [t.params["shift"] for t in trials(tmp_path)[1:]]
    seeds = [int(np.random.SeedSequence([seed, n]).generate_state(1)[0]) for n in range(1, 7)]
    chance = []
    for one in seeds:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=one, n_startup_trials=99))
        chance.append(study.ask().suggest_float("shift", -5, 5))
    assert [a == b for a, b in zip(drawn, chance, strict=True)] == [True] * 4 + [False] * 2
