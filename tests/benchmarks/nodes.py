"""Nodes that are lost, with real processes: two Ray nodes on this machine that share no run folder.

    sudo python tests/benchmarks/nodes.py [--port 7411]

The second node runs in a mount namespace of its own, where the folder of the runs is an empty disk (`unshare -m`, which
wants root). Trials train nothing but keep checkpoints as training does; every search has 6 trials of 8 epochs, two at a
time. Lost is what was trained again; no finished trial may be lost, none counted twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pare_tune.data.remote import join_url
from pare_tune.tune.run import snapshot

TUNE = Path(__file__).parents[1] / "tune"
TRIALS, EPOCHS, PAUSE_S = 6, 8, 1.0
DRIVER = """
import sys
from functools import partial
from pathlib import Path
import fakes
from pare_tune.tune.run import SessionOptions, resume, search
folder, runs, run = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
options = SessionOptions(runner=partial(fakes.train, pause_s={pause}), dashboard=False, notify=print)
if run:
    resume(run[0], options=options)
else:
    config = fakes.run_config(folder, budget="{trials}", epochs={epochs}, pruning=False, confirm=0, max_concurrent=2)
    search(config.model_copy(update={{"runs": runs if "://" in runs else Path(runs)}}), options)
"""


class Nodes:
    """A head, and a second node that can be killed and started again."""

    def __init__(self, folder: Path, port: int, head_cpus: int) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.environment = {
            **os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(TUNE), *sys.path]),
        }  # fmt: skip
        self.started: list[subprocess.Popen[bytes]] = []
        ray = f"exec ray start --num-cpus={head_cpus} --head --port={port} --node-ip-address=127.0.0.1"
        self._start(f"{ray} --temp-dir={folder}/ray --include-dashboard=false --disable-usage-stats --block")
        time.sleep(10)
        self.second = self.start_second()

    def start_second(self) -> subprocess.Popen[bytes]:
        (self.folder / "tmp").mkdir(exist_ok=True)
        ray = f"ray start --address={self.address} --num-cpus=2 --node-ip-address=127.0.0.2 --block"
        hidden = f"mount -t tmpfs none {self.runs} && TMPDIR={self.folder}/tmp exec {ray}"
        return self._start(f"exec unshare -m bash -c '{hidden}'")

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"node-{len(self.started)}.txt").open("wb")
        self.started.append(
            subprocess.Popen(
                ["bash", "-c", command], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        )
        return self.started[-1]

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """As a machine is lost: all of its processes at once."""
        root = psutil.Process(node.pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()

    def drive(self, runs: str, *run: str) -> subprocess.Popen[bytes]:
        script = DRIVER.format(pause=PAUSE_S, trials=TRIALS, epochs=EPOCHS)
        environment = {**self.environment, "RAY_ADDRESS": self.address}
        log = (self.folder / "driver.txt").open("ab")
        words = [sys.executable, "-c", script, str(self.folder), runs, *run]
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    def close(self) -> None:
        for node in self.started:
            if node.poll() is None:
                self.kill(node)


@contextmanager
def nodes(port: int, head_cpus: int) -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="nodes-"))
    made = Nodes(folder, port, head_cpus)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(run: Callable[[], Path], epochs: int, driver: subprocess.Popen[bytes], log: Path) -> None:
    """Until so many epochs are in the record."""
    while True:
        assert driver.poll() is None, log.read_text()
        time.sleep(0.5)
        try:
            if sum(t.epoch for t in snapshot(run()).trials) >= epochs:
                return
        except Exception:  # it is being made
            continue


def told(title: str, run: Path | str, trained: Callable[[int], int], seconds: float) -> None:
    trials = snapshot(run).trials
    complete = sum(
        t.state == "complete" and [r["epoch"] for r in t.curve] == list(range(1, EPOCHS + 1)) for t in trials
    )
    again = sum(max(0, trained(t.number) - EPOCHS) for t in trials)
    retries = sum(t.retries for t in trials)
    print(
        f"| {title} | {complete} of {TRIALS} | {len(trials)} | {retries} | {again} | {seconds:.0f} |",
        flush=True,
    )


def lines_in(folder: Path) -> Callable[[int], int]:
    """Epochs that were really trained, as far as they arrived."""
    return lambda number: len((folder / "trials" / f"{number:04d}" / "trained.txt").read_text().split())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=7411)
    options = parser.parse_args()
    print("| what is lost | complete | trials | restarts | epochs trained again | seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    for title, head_cpus, back in (("a node with trials", 1, False), ("all nodes; one comes back", 0, True)):
        with nodes(options.port, head_cpus) as cluster:
            began = time.monotonic()
            driver = cluster.drive(str(cluster.runs))
            run = lambda runs=cluster.runs: next(iter(runs.glob("*/run.yaml")), Path()).parent  # noqa: E731
            wait_for(run, 10, driver, cluster.folder / "driver.txt")
            cluster.kill(cluster.second)
            if back:
                time.sleep(5)
                cluster.start_second()
            assert driver.wait(600) == 0, (cluster.folder / "driver.txt").read_text()
            told(title, run(), lines_in(run()), time.monotonic() - began)
    with nodes(options.port, 1) as cluster:
        store = cluster.folder / "store"
        began = time.monotonic()
        driver = cluster.drive(store.as_uri())
        run = lambda: next(iter(store.glob("*/run.yaml")), Path()).parent  # noqa: E731
        wait_for(run, 10, driver, cluster.folder / "driver.txt")
        driver.kill()
        driver.wait()
        shutil.rmtree(os.environ["PARE_TUNE_CACHE"])  # the driver's disk
        resumed = cluster.drive(store.as_uri(), join_url(store.as_uri(), run().name))
        assert resumed.wait(600) == 0, (cluster.folder / "driver.txt").read_text()
        told("the driver and its disk", run(), lines_in(run()), time.monotonic() - began)


if __name__ == "__main__":
    os.environ["PARE_TUNE_CACHE"] = tempfile.mkdtemp(prefix="nodes-cache-")
    main()
