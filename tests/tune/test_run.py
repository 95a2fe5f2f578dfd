"""Whole searches on Ray, with runners that train nothing."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pare_tune.config import Budget, RunConfig, load_run, load_trial
from pare_tune.errors import ClusterError, ConfigError, DataError, RunBusy, StorageError, StudyFailed
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.tune import run as run_module
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import SearchInterrupted, SessionOptions, resume, search, snapshot
from pare_tune.tune.snapshot import Snapshot

pytestmark = pytest.mark.usefixtures("ray_cluster")

MakeConfig = Callable[..., RunConfig]


def test_a_search_leaves_a_folder_that_says_everything_and_can_be_extended(
    make_config: MakeConfig, fakes: ModuleType, tmp_path: Path
) -> None:
    seen: list[Snapshot] = []
    config = make_config("7", max_concurrent=1)
    result = search(config, SessionOptions(runner=fakes.train, observe=seen.append))

    folder = RunFolder(result.path)
    table = result.trials
    assert list(table["number"]) == list(range(7))
    assert set(table["state"]) <= {"complete", "pruned"}
    assert load_trial(folder.trial(0) / "config.yaml") == config.trial, "trial 0 is the configuration itself"
    assert table["optimizer.lr"][0] == config.trial.optimizer.lr
    complete = table[table["state"] == "complete"]
    assert result.best_score == complete["best_score"].min()
    assert result.default_score == pytest.approx(fakes.error_of(config.trial) + 1 / 4)
    assert folder.best_yaml.read_text() == result.best_config.to_yaml() + folder.fingerprint_yaml.read_text()
    assert fakes.error_of(result.best_config) + 1 / 4 == pytest.approx(result.best_score)
    assert json.loads((folder.best / "metrics.json").read_text())["trial"] == result.best.number
    assert (folder.best / "model.safetensors").read_bytes() == b"weights 4"
    assert "torch" in (folder.best / "environment.txt").read_text()
    assert load_run(folder.run_yaml).trial == config.trial
    kept = {int(p.parent.name) for p in folder.trials.glob("*/best.safetensors")}
    others = complete[complete["number"] > 0].sort_values("best_score")["number"]
    assert kept == {0, *others[:2]}, "a larger budget may confirm these"
    assert not list(folder.trials.glob("*/last.pt"))
    assert not folder.ray.exists()
    assert folder.trials_parquet.is_file()
    assert folder.curves_parquet.is_file()
    assert seen[-1].finished
    assert seen[-1].spent == 1.0
    assert snapshot(result.path).trials == seen[-1].trials, "the journal alone tells the same"

    more = resume(result.path, Budget(amount=9), options=SessionOptions(runner=fakes.train))
    assert list(more.trials["number"]) == list(range(9))
    assert more.snapshot.trials[:7] == result.snapshot.trials, "what was finished stays as it was"
    assert load_run(folder.run_yaml).search.budget == Budget(amount=9)
    assert len(more.curves) == sum(t.epoch for t in more.snapshot.trials)

    exported = more.export(tmp_path / "best")
    assert load_trial(exported / "config.yaml") == more.best_config
    with pytest.raises(StorageError, match="exists already"):
        more.export(tmp_path / "best")


def test_failed_trials_have_a_cause_and_the_search_goes_on(
    make_config: MakeConfig, fakes: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    config = make_config("9", epochs=2, max_concurrent=1, pruning=False)
    result = search(config, SessionOptions(runner=fakes.misbehave))

    trials = result.snapshot.trials
    assert [(t.state, t.cause) for t in trials] == [
        ("complete", None),
        ("failed", "diverged"),
        ("failed", "out_of_memory"),
        ("failed", "crashed"),
        ("failed", "crashed"),
        ("failed", "diverged"),
        ("complete", None),
        ("failed", "crashed"),
        ("complete", None),
    ]
    assert [t.retries for t in trials] == [0, 0, 1, 0, 1, 0, 1, 0, 0]
    assert "division by zero" in str(trials[3].message)
    assert "its process died" in str(trials[4].message)
    assert "it returned after epoch 1 of 2" in str(trials[7].message)
    log = (RunFolder(result.path).trial(3) / "log.txt").read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: division by zero" in log
    assert capfd.readouterr() == ("", ""), "not a line of Ray's on the terminal"


def test_a_trial_that_ran_out_of_memory_is_best_with_the_batch_it_really_had(
    make_config: MakeConfig, fakes: ModuleType
) -> None:
    result = search(
        make_config("1", epochs=2), SessionOptions(runner=partial(_needs_small_batches, fakes.train))
    )
    assert result.snapshot.trials[0].retries == 1
    train = result.best_config.train
    assert (train.batch_size, train.accumulation) == (4, 2)


def _needs_small_batches(train: Any, config: Any, context: Any) -> Any:
    from pare_tune.errors import TrialFailed

    if config.train.batch_size > 4:
        raise TrialFailed("out of memory", cause="out_of_memory")
    return train(config, context)


def test_a_search_without_hope_stops_after_three_trials(make_config: MakeConfig, fakes: ModuleType) -> None:
    with pytest.raises(StudyFailed, match=r"3 trials failed alike \(crashed\).*No module named 'timm'"):
        search(make_config("50", max_concurrent=1), SessionOptions(runner=fakes.always_crash))


@pytest.mark.parametrize("cause", ["out_of_memory", "diverged"])
def test_three_trials_that_fail_alike_at_the_start_stop_the_search_whatever_the_cause(
    cause: str, make_config: MakeConfig, fakes: ModuleType, without_ray: Callable[[], Any], tmp_path: Path
) -> None:
    with (
        without_ray(),
        pytest.raises(StudyFailed, match=rf"3 trials failed alike \({cause}\).* told so.*--set"),
    ):
        search(make_config("50"), SessionOptions(runner=partial(fakes.always_fail, cause, 0)))
    [run] = (tmp_path / "runs").iterdir()
    assert [t.cause for t in snapshot(run).trials] == [cause] * 3


def test_trials_that_fail_while_others_learn_stop_nothing(
    make_config: MakeConfig, fakes: ModuleType, without_ray: Callable[[], Any]
) -> None:
    with without_ray():
        result = search(make_config("6"), SessionOptions(runner=partial(fakes.always_fail, "diverged", 1)))
    assert [t.state for t in result.snapshot.trials] == ["complete", *["failed"] * 5]


def test_missing_data_end_the_search_with_their_own_error(
    make_config: MakeConfig, fakes: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"x_train\.npy is missing") as caught:
        search(make_config("50", max_concurrent=1), SessionOptions(runner=fakes.lose_data))
    assert caught.value.exit_code == 2
    [run] = (tmp_path / "runs").iterdir()
    result = resume(run, Budget(amount=2), options=SessionOptions(runner=fakes.train))
    assert len(result.trials) == 2, "with the data back, trial 0 and the rest run"


def test_budgets_in_epochs_and_seconds_end_running_trials(make_config: MakeConfig, fakes: ModuleType) -> None:
    result = search(make_config("7ep", max_concurrent=1, pruning=False), SessionOptions(runner=fakes.train))
    assert [(t.state, t.epoch) for t in result.snapshot.trials] == [("complete", 4), ("pruned", 3)]

    slow = partial(fakes.train, pause_s=0.3)
    result = search(make_config("1s", epochs=1000, max_concurrent=1), SessionOptions(runner=slow))
    [trial] = result.snapshot.trials
    assert trial.state == "pruned"
    assert result.snapshot.elapsed_s >= 1.0
    with pytest.raises(StudyFailed, match="--budget"):
        _ = result.best_score


def test_impossible_wishes_are_refused_before_anything_is_written(
    make_config: MakeConfig, fakes: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(ClusterError, match="3 workers with 1 CPUs each do not fit"):
        search(make_config("2", workers_per_trial=3), SessionOptions(runner=fakes.train))
    assert not list((tmp_path / "runs").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        search(
            make_config("2").model_copy(update={"runs": tmp_path / "file"}),
            SessionOptions(runner=fakes.train),
        )
    with pytest.raises(ConfigError, match="not a run folder"):
        resume(tmp_path)


def test_kill_9_loses_nothing_but_the_epoch_in_hand(
    driver: Callable[..., Any], fakes: ModuleType, tmp_path: Path
) -> None:
    killed = driver("0.4")
    killed.wait_until(
        lambda s: s.count("running") == 2 and all(t.epoch >= 1 for t in s.trials if t.number < 2)
    )
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    before = snapshot(killed.run)
    assert before.count("waiting") >= 1
    assert not before.finished

    result = resume(killed.run, options=SessionOptions(runner=partial(fakes.train, pause_s=0.05)))
    trials = result.snapshot.trials
    assert [t.number for t in trials] == list(range(6)), "none lost, none counted twice"
    for old, new in zip(before.trials, trials, strict=False):
        assert new.params == old.params
        assert new.curve[: old.epoch] == old.curve
        trained = (RunFolder(killed.run).trial(old.number) / "trained.txt").read_text().split()
        assert len(trained) - len(set(trained)) <= 1, "at most the epoch in hand was trained twice"
    assert all(t.state in ("complete", "pruned") for t in trials)
    assert result.snapshot.elapsed_s > before.elapsed_s


def test_what_an_interrupt_says_to_type_can_be_typed() -> None:
    said = str(SearchInterrupted(Path("/my runs/$x")))
    assert shlex.split(said.split("go on with: ")[1]) == ["pare-tune", "resume", "/my runs/$x"]


def test_ctrl_c_saves_everything_and_a_second_process_is_refused_until_then(
    driver: Callable[..., Any], fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    # Joins the tests' cluster, as on a machine where `ray start` was called.
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    running = driver("0.4")
    running.wait_until(lambda s: any(t.epoch for t in s.trials))
    with pytest.raises(RunBusy, match=f"process {running.process.pid} on"):
        resume(running.run, options=SessionOptions(runner=fakes.train))
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=60) == 130, running.output
    assert running.output.strip() == f"interrupted; go on with: pare-tune resume {running.run}", (
        "and not a line of Ray's"
    )

    before = snapshot(running.run)
    assert before.count("running") == 0
    assert before.count("waiting") >= 1
    result = resume(running.run, options=SessionOptions(runner=fakes.train))
    assert result.snapshot.finished
    assert len(result.trials) == 6


def test_settings_that_do_not_go_together_are_a_failed_trial(
    make_config: MakeConfig, fakes: ModuleType, tmp_path: Path
) -> None:
    config = make_config("6", epochs=1, max_concurrent=1)
    (tmp_path / "space.yaml").write_text("k.start:\n  float: [0.4, 0.6]\nk.end:\n  float: [0.0, 0.9]\n")
    config = config.model_copy(update={"trial": config.trial.with_values({"k.start": 0.95})})
    result = search(config, SessionOptions(runner=fakes.train))
    failed = result.trials[result.trials["state"] == "failed"]
    assert set(failed["cause"]) == {"invalid"}
    assert (failed["k.end"] > failed["k.start"]).all()
    assert "0 <= end <= start <= 1" in failed["message"].iloc[0]
    assert (result.trials["state"] == "complete").sum() + len(failed) == 6


def test_data_folders_are_absolute_for_the_workers(
    make_config: MakeConfig, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no such release, which the fingerprint would be the first to tell.
    nothing = Fingerprint(splits={}, files={}, backbone={}, packages={})
    monkeypatch.setattr(run_module, "Fingerprint", SimpleNamespace(of=lambda *_: nothing))
    config = make_config("1", epochs=1)
    config = config.model_copy(update={"trial": config.trial.with_values({"data": "some/release"})})
    result = search(config, SessionOptions(runner=fakes.train))
    assert result.best_config.data == Path.cwd() / "some" / "release"
    assert result.snapshot.provenance == "real"
