"""What kills a search: nothing that was finished is lost, nothing is counted twice, one epoch at most is repeated.

tests/benchmarks/kills.py does the same with Ray clusters of their own, where each kill takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pare_tune.config import Budget, RunConfig, TrialConfig
from pare_tune.data.files import is_owned
from pare_tune.errors import RunBusy, StorageError
from pare_tune.tasks import get_task
from pare_tune.train.loop import Context, FitResult
from pare_tune.tune.bridge import Desk
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.journal import repair
from pare_tune.tune.run import SearchInterrupted, SessionOptions, resume, search, snapshot
from pare_tune.tune.snapshot import Snapshot, TaskFacts
from pare_tune.tune.space import open_space
from pare_tune.tune.study import Study

HERE = Path(__file__).parent
MakeConfig = Callable[..., RunConfig]
WithoutRay = Callable[[], AbstractContextManager[None]]


def essence(state: Snapshot) -> list[Any]:
    """Everything of a search but times."""
    return [
        (t.number, t.state, t.params, t.best_score, t.repeats, [(r["epoch"], r["score"]) for r in t.curve])
        for t in state.trials
    ]


def repeated_epochs(run: Path) -> int:
    """Epochs that were trained more than once, over all trials."""
    lines = (p.read_text().split() for p in run.glob("trials/*/trained.txt"))
    return sum(n - 1 for epochs in lines for n in Counter(epochs).values())


@pytest.mark.parametrize(
    ("kills", "options"),
    [(20, []), (5, ["--torn"]), (5, ["--folds"])],
    ids=["", "and a journal torn each time", "over folds"],
)
def test_twenty_kills_at_random_moments_change_nothing(
    tmp_path: Path, kills: int, options: list[str]
) -> None:
    arguments = [str(tmp_path), str(kills), "7", *options]
    done = subprocess.run(
        [sys.executable, str(HERE / "lone.py"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout)
    killed, whole = (sorted((tmp_path / name / "runs").glob("*"))[-1] for name in ("killed", "whole"))
    state = snapshot(killed)
    assert state.finished
    assert essence(state) == essence(snapshot(whole)), "as if nothing had happened"
    assert state.best is not None
    best = [RunFolder(run).best for run in (killed, whole)]
    for name in ("model.safetensors", "config.yaml"):
        assert (best[0] / name).read_bytes() == (best[1] / name).read_bytes()
    assert (best[0] / "metrics.json").read_text() == (best[1] / "metrics.json").read_text()
    final = {t.number: [t.number, t.state, t.epoch, t.best_score] for t in state.trials}
    for moment in log:
        for number, trial_state, *rest in moment["trials"]:
            if trial_state in ("complete", "pruned", "failed"):
                assert final[number] == [number, trial_state, *rest], "what was finished stayed so"
    assert repeated_epochs(killed) <= len(log), "one epoch a kill at most"


def suicidal(train: Any, config: TrialConfig, context: Context) -> FitResult:
    """Trial 1 loses its process in epoch 3, once."""
    assert context.folder is not None
    once = context.folder / "died.txt"
    if context.folder.name == "0001":
        report = context.report

        def tell(epoch: Any) -> None:
            report(epoch)
            if epoch.epoch == 3 and not once.is_file():
                time.sleep(0.3)  # the report is on its way
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        context = Context(report=tell, folder=context.folder, device=context.device)
    return train(config, context)


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_trial_process_repeats_one_epoch_at_most(
    make_config: MakeConfig, fakes: ModuleType, without_ray: WithoutRay
) -> None:
    config = make_config("5", epochs=5, max_concurrent=1, pruning=False, confirm=0)
    result = search(config, SessionOptions(runner=partial(suicidal, fakes.train)))
    trials = result.snapshot.trials
    assert [(t.number, t.state, t.epoch) for t in trials] == [(n, "complete", 5) for n in range(5)]
    assert [t.retries for t in trials] == [0, 1, 0, 0, 0]
    assert repeated_epochs(result.path) <= 1
    with without_ray():
        undisturbed = search(config, SessionOptions(runner=fakes.train))
    assert essence(result.snapshot) == essence(undisturbed.snapshot)


@pytest.mark.parametrize(
    ("losses", "restarts"),
    [
        (["process", "process"], 1),
        (["process", "epoch", "process", "process"], 2),
        (["node"] * 6, 5),
        (["node", "process", "node", "process"], 3),
        ([*["node"] * 5, "epoch", "node"], 6),
        (["told process", "told process"], 1),
        (["told node"] * 6, 5),
    ],
)
def test_what_is_lost_is_asked_for_again_as_long_as_that_may_help(
    losses: list[Any], restarts: int, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Also where nothing else is left to ask for; the last loss fails the trial where it is one too many. Of several
    workers it is one that is lost, and a living process that tells of it."""
    config = make_config("1", epochs=4, pruning=False, confirm=0)
    space = open_space(config, get_task("wdbc"))
    facts = TaskFacts(task="wdbc", direction="min")
    study = Study(tmp_path / "study.journal", space, config.search, epochs=4, facts=facts)
    folder = RunFolder(tmp_path)
    desk = Desk(study, folder, config.search.budget, ended=lambda number: None, tick=lambda: None)
    for turn, lost in enumerate(["begin", *losses]):
        if lost == "epoch":
            desk.study.record(0, {"epoch": 1, "score": 1.0, "best_score": 1.0, "seconds": 0.5, "k": 3})
            continue
        if lost != "begin":
            assert desk.next("other") == "later"
            how, _, what = lost.rpartition(" ")
            if how:
                assert desk.result("trial", {"cause": "lost", "kind": what, "message": ""})
            desk.finish("trial", lost=None if how else what)
        asked = desk.next("trial")
        assert (asked is None) == (turn == len(losses) and restarts < len(losses) - losses.count("epoch"))
    [trial] = study.views()
    assert trial.retries == restarts
    assert trial.state == ("waiting" if asked else "failed")
    if isinstance(asked, dict):
        assert asked["attempt"] == restarts
        desk.start("trial")
        assert study.views()[0].state == "running"


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "interrupted by SIGTERM"),
        (signal.SIGHUP, "interrupted by SIGHUP"),
    ],
)
def test_a_signal_saves_everything_and_says_how_to_go_on(
    number: int, why: str, make_config: MakeConfig, fakes: ModuleType, without_ray: WithoutRay
) -> None:
    def observe(seen: Snapshot) -> None:
        if len(seen.trials) > 1:
            os.kill(os.getpid(), number)

    config = make_config("6", epochs=4, confirm=0)
    with without_ray():
        with pytest.raises(SearchInterrupted, match=f"^{why}; go on with: pare-tune resume ") as caught:
            search(config, SessionOptions(runner=partial(fakes.train, pause_s=0.1), observe=observe))
        assert not snapshot(caught.value.run).finished
        after = resume(caught.value.run, options=SessionOptions(runner=fakes.train))
    assert after.snapshot.finished
    assert len(after.trials) == 6


@pytest.mark.parametrize("budget", ["8", "8ep"])
def test_a_trial_that_had_all_its_epochs_is_complete_whatever_is_left(
    budget: str,
    make_config: MakeConfig,
    fakes: ModuleType,
    without_ray: WithoutRay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def die(self: Desk, tune_id: str, *, lost: Any = None) -> None:
        if self.study.num_epochs >= 8:
            raise Killed
        finish(self, tune_id, lost=lost)

    finish = Desk.finish
    config = make_config(budget, epochs=4, confirm=0, pruning=False)
    with without_ray():
        undisturbed = search(config, SessionOptions(runner=fakes.train))
        with monkeypatch.context() as patch:
            patch.setattr(Desk, "finish", die)
            with pytest.raises(Killed):
                search(config, SessionOptions(runner=fakes.train))
        [run] = set(config.runs.iterdir()) - {undisturbed.path}
        after = resume(run, options=SessionOptions(runner=fakes.train))
    assert essence(after.snapshot) == essence(undisturbed.snapshot)
    assert after.snapshot.trials[1].state == "complete"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 48 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("at", "on_ray"), [((0, 2), False), ((2, 4), False), ((3, 1), True)])
def test_a_full_disk_ends_the_session_and_a_freed_one_goes_on(
    at: tuple[int, int],
    on_ray: bool,
    small_disk: Path,
    make_config: MakeConfig,
    fakes: ModuleType,
    without_ray: WithoutRay,
) -> None:
    config = make_config("6", epochs=4, max_concurrent=1, confirm=0, pruning=False)
    config = config.model_copy(update={"runs": small_disk / "runs"})
    with (
        nullcontext() if on_ray else without_ray(),
        pytest.raises((StorageError, OSError), match="No space left"),
    ):
        search(config, SessionOptions(runner=partial(fill_disk, fakes.train, small_disk, at)))
    [run] = (small_disk / "runs").iterdir()
    before = snapshot(run)
    assert before.count("failed") == 0, "a full disk is nobody's bad outcome"
    with without_ray():
        with pytest.raises(StorageError, match="MiB left"):
            resume(run, options=SessionOptions(runner=fakes.train))
        (small_disk / "filler").unlink()
        after = resume(run, options=SessionOptions(runner=fakes.train))
        undisturbed = search(config, SessionOptions(runner=fakes.train))
    assert essence(after.snapshot) == essence(undisturbed.snapshot)
    assert repeated_epochs(run) <= 1


def fill_disk(
    train: Any, disk: Path, at: tuple[int, int], config: TrialConfig, context: Context
) -> FitResult:
    """Another program takes all that is left when trial `at[0]` is in epoch `at[1]`."""
    assert context.folder is not None
    report = context.report

    def tell(epoch: Any) -> None:
        if (int(context.folder.name), epoch.epoch) == at:  # type: ignore[union-attr]
            with (disk / "filler").open("wb", buffering=0) as filler:
                try:
                    for size in (2**20, 2**12, 1):
                        while True:
                            filler.write(b"x" * size)
                            if filler.tell() > 2**30:
                                raise AssertionError("this disk is not small")
                except OSError:
                    pass
        report(epoch)

    return train(config, Context(report=tell, folder=context.folder, device=context.device))


def test_a_journal_line_that_did_not_fit_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pare_tune.tune import journal as journal_module

    journal = tmp_path / "study.journal"
    journal.write_bytes(b'{"op_code":0}\n')
    backend = journal_module._Journal(journal)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        backend.append_logs([{"op_code": 6, "trial_id": 1}])
    monkeypatch.undo()
    backend.append_logs([{"op_code": 6, "trial_id": 2}])
    assert list(backend.read_logs(1)) == [{"op_code": 6, "trial_id": 2}]
    repair(journal)
    assert [log.get("trial_id") for log in journal_module._Journal(journal).read_logs(0)] == [None, 2]


def test_a_restarted_machine_finds_what_the_old_one_left(
    make_config: MakeConfig, fakes: ModuleType, without_ray: WithoutRay
) -> None:
    config = make_config("6", epochs=4, max_concurrent=1, confirm=0)
    short = config.model_copy(
        update={"search": config.search.model_copy(update={"budget": Budget(amount=3)})}
    )
    with without_ray():
        begun = search(short, SessionOptions(runner=fakes.train))
        undisturbed = search(config, SessionOptions(runner=fakes.train))
    folder = RunFolder(begun.path)
    # The owner's number belongs to another process now (this one), and it began before this boot.
    stale = {"pid": os.getpid(), "host": os.uname().nodename, "started": 1.0}
    (folder.path / ".owner.json").write_text(json.dumps(stale))
    (folder.path / ".lock").touch()
    (folder.trial(2) / ".lock").touch()
    (folder.trial(2) / ".last.pt.4711.partial").write_bytes(bytes(100))
    (folder.ray / "tune" / "experiment_state-gone.json").parent.mkdir(parents=True)
    (folder.ray / "tune" / "experiment_state-gone.json").write_text("{")
    with folder.journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert not is_owned(folder.path)
    assert not snapshot(folder.path).is_running
    assert not snapshot(folder.path).count("running")
    with without_ray():
        result = resume(folder.path, Budget(amount=6), options=SessionOptions(runner=fakes.train))
    assert essence(result.snapshot) == essence(undisturbed.snapshot)
    assert not list(folder.trials.glob("*/.*.partial"))
    with folder.owned(), pytest.raises(RunBusy, match=f"process {os.getpid()}"):
        resume(folder.path, options=SessionOptions(runner=fakes.train))


@pytest.mark.usefixtures("ray_cluster")
def test_trials_that_end_leave_the_checkpoints_of_running_ones(
    make_config: MakeConfig, fakes: ModuleType
) -> None:
    config = make_config("4", epochs=3, max_concurrent=2, pruning=False, confirm=0)
    result = search(config, SessionOptions(runner=partial(waiting_zero, fakes.train)))
    assert [t.state for t in result.snapshot.trials] == ["complete"] * 4
    assert (RunFolder(result.path).trial(0) / "checked.txt").read_text() == "True True"


def waiting_zero(train: Any, config: TrialConfig, context: Context) -> FitResult:
    """Trial 0 waits in its second epoch until trials 1 and 2 have ended, and looks after what it has saved."""
    assert context.folder is not None
    folder = context.folder
    if folder.name != "0000":
        return train(config, context)
    report = context.report

    def tell(epoch: Any) -> None:
        if epoch.epoch == 2:
            third = folder.parent / "0003"
            for _ in range(600):
                if third.is_dir():
                    break
                time.sleep(0.05)
            kept = [(folder / name).is_file() for name in ("last.pt", "best.safetensors")]
            (folder / "checked.txt").write_text(f"{kept[0]} {kept[1]}")
        report(epoch)

    return train(config, Context(report=tell, folder=folder, device=context.device))
