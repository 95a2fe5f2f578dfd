"""What kills a search, with Ray as people run it: a log of what was there before and after, and a verdict a case.

    python tests/benchmarks/kills.py --kills 20
    python tests/benchmarks/kills.py --only head disk

Each session is a process with a Ray cluster of its own; trials train nothing but save checkpoints as training does.
driver: kill -9 at random moments. trial: kill -9 of a process that runs a trial. head: kill -9 of Ray's head (the
gcs_server). disk: a tmpfs of 48 MiB (root needed) filled by another program. restart: what a rebooted machine leaves,
with a torn journal. Every search ends as the undisturbed one of the same seed does (one worker), with no finished
trial lost, none counted twice, and at most one epoch repeated a kill; the process fails otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).resolve().parents[1] / "tune"
sys.path.insert(0, str(TESTS))
EPOCHS, TRIALS, PAUSE_S = 6, 60, 0.25
ENDED = ("complete", "pruned", "failed")


def session(folder: Path, pause_s: float) -> None:
    """In a process of its own: begin the search in `folder`, or go on with it."""
    import fakes
    from ray import cloudpickle

    from pare_tune.errors import PareTuneError
    from pare_tune.tune import run

    cloudpickle.register_pickle_by_value(fakes)
    runner = partial(fakes.train, pause_s=pause_s)
    begun = sorted(p.parent for p in folder.glob("runs/*/run.yaml"))
    try:
        if begun:
            run.resume(begun[0], options=run.SessionOptions(runner=runner, dashboard=False))
        else:
            config = fakes.run_config(
                folder, budget=str(TRIALS), epochs=EPOCHS, max_concurrent=1, startup_trials=4, confirm=0
            )
            run.search(config, run.SessionOptions(runner=runner, dashboard=False))
    except PareTuneError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)


class Session:
    """A session that can be killed."""

    def __init__(self, folder: Path, pause_s: float = PAUSE_S) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._out = (folder / "output.txt").open("a")
        environment = {
            **os.environ,
            "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        }
        environment.pop("RAY_ADDRESS", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--session", str(folder), "--pause", str(pause_s)],
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def wait_for(self, reached: Callable[[dict[int, Any]], bool]) -> None:
        """Until the record says so."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if self.process.poll() is not None or reached(recorded(self.folder)):
                return
            time.sleep(0.1)
        raise SystemExit(f"nothing happened for 300 s; see {self.folder / 'output.txt'}")

    def child(self, name: str) -> psutil.Process:
        """The first process below this one whose command line has `name` in it."""
        for found in psutil.Process(self.process.pid).children(recursive=True):
            if name in " ".join(found.cmdline()):
                return found
        raise SystemExit(f"no process {name!r}")

    def end(self, timeout_s: float | None = None) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(timeout_s)
        self._out.close()
        return code


def recorded(folder: Path) -> dict[int, Any]:
    """Number → (state, epochs, best score)."""
    from pare_tune.errors import PareTuneError
    from pare_tune.tune.run import snapshot

    for run in folder.glob("runs/*/run.yaml"):
        try:
            trials = snapshot(run.parent).trials
        except PareTuneError:
            return {}
        return {t.number: (t.state, t.epoch, t.best_score) for t in trials}
    return {}


def repeated(folder: Path) -> int:
    """Epochs that were trained more than once."""
    counts = (Counter(p.read_text().split()) for p in folder.glob("runs/*/trials/*/trained.txt"))
    return sum(n - 1 for epochs in counts for n in epochs.values())


class Case:
    """One search that is killed, and what was seen."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.folder, self.kills = name, root / name, 0
        self._finished: dict[int, Any] = {}

    def note(self, what: str) -> None:
        """A line of the log; checks that nothing finished was lost since the last one."""
        now = recorded(self.folder)
        for number, state in self._finished.items():
            assert now.get(number) == state, f"trial {number} was {state} and is {now.get(number)}"
        self._finished = {n: s for n, s in now.items() if s[0] in ENDED}
        rows = ", ".join(f"{n}:{s[0]}/{s[1]}" for n, s in now.items() if s[0] not in ENDED)
        self.kills += 1
        print(f"  {self.name}: {what}; {len(self._finished)} finished, running {rows or 'none'}", flush=True)

    def finish(self, whole: dict[int, Any]) -> None:
        """Go on undisturbed and compare."""
        code = Session(self.folder, 0.0).end()
        assert code == 0, (self.folder / "output.txt").read_text()
        self.note("went on to its end")
        final, again = recorded(self.folder), repeated(self.folder)
        assert final == whole, f"{self.name}: {final} instead of {whole}"
        assert again <= self.kills
        print(
            f"| {self.name} | {self.kills - 1} | {len(final)} of {len(whole)} | 0 | {again} | "
            f"{min(s[2] for s in final.values() if s[0] == 'complete'):.6f} | equal |",
            flush=True,
        )


def kill_driver(case: Case, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        running = Session(case.folder)
        before = recorded(case.folder)
        # From the moment that anything can happen: start-up of Ray takes a time of its own.
        wait_s = rng.uniform(0.0, 2.0)
        if rng.random() < 0.8:
            running.wait_for(lambda now, before=before: sum(s[1] for s in now.values()) > sum(s[1] for s in before.values()))  # fmt: skip  # noqa: E501
        time.sleep(wait_s)
        if running.process.poll() is not None:
            running.end()
            return
        running.process.send_signal(signal.SIGKILL)
        running.end()
        case.note(f"kill -9 of the driver, {wait_s:.2f} s on")


def kill_trial(case: Case) -> None:
    running = Session(case.folder)
    running.wait_for(lambda now: 1 in now and now[1][1] >= 2)
    running.child("ray::ImplicitFunc").kill()
    time.sleep(1.0)
    case.note("kill -9 of a trial's process")
    assert running.end() == 0


def kill_head(case: Case) -> None:
    running = Session(case.folder)
    running.wait_for(lambda now: 1 in now and now[1][1] >= 2)
    running.child("gcs_server").kill()
    started = time.monotonic()
    try:
        code = running.end(120)
        how = f"the driver ended with code {code} after {time.monotonic() - started:.0f} s"
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.end()
        how = "the driver hung for 120 s and was killed"
    case.note(f"kill -9 of Ray's head: {how}")


def fill_disk(case: Case) -> None:
    case.folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(case.folder)])
    if mounted.returncode != 0:
        raise SystemExit("the disk case needs the right to mount")
    running = Session(case.folder)
    running.wait_for(lambda now: 1 in now and now[1][1] >= 2)
    filler = case.folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            for size in (2**20, 2**12, 1):
                while True:
                    file.write(b"x" * size)
        except OSError:
            pass
    assert running.end() == 2, "a StorageError"
    filler.unlink()
    case.note("the disk was full; ended with a StorageError, then freed")


def restart(case: Case) -> None:
    running = Session(case.folder)
    running.wait_for(lambda now: 1 in now and now[1][1] >= 2)
    running.process.kill()
    running.end()
    [run] = case.folder.glob("runs/*")
    stale = {"pid": os.getpid(), "host": os.uname().nodename, "started": 1.0}
    (run / ".owner.json").write_text(json.dumps(stale))
    with (run / "study.journal").open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"')
    case.note("the machine restarted: another process has the owner's number, and the journal's end is torn")


CASES: dict[str, Callable[..., None]] = {
    "driver": kill_driver,
    "trial": kill_trial,
    "head": kill_head,
    "disk": fill_disk,
    "restart": restart,
}


def main() -> None:
    """A table; the log of each case above its row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--session", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pause", type=float, default=PAUSE_S, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.session is not None:
        session(options.session, options.pause)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assert Session(root / "whole", 0.0).end() == 0, (root / "whole" / "output.txt").read_text()
        whole = recorded(root / "whole")
        print("| what | kills | trials | lost or doubled | epochs repeated | best | study |")
        print("|---|---|---|---|---|---|---|")
        for name in options.only:
            case = Case(name, root)
            try:
                if name == "driver":
                    kill_driver(case, options.kills, options.seed)
                else:
                    CASES[name](case)
                case.finish(whole)
            finally:
                if name == "disk":
                    subprocess.run(["umount", "-l", str(case.folder)], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
