"""Nodes that are lost, with real processes: Ray nodes on this machine that share no run folder.

    sudo -E python tests/benchmarks/nodes.py [--only worker twice] [--keep]

Every node but the first runs in a mount namespace of its own, where the folder of the runs is an empty disk (`unshare
-m`, which wants root). Trials train nothing but keep checkpoints as training does; every search has 6 trials of 8
epochs of a second. The head has no CPUs, so that every trial runs out of the driver's sight. A ledger that all nodes
see counts what was really trained: no finished trial may be lost, none counted twice, and a lost process may cost one
epoch. Rows with a store use S3, of `moto_server` on the PATH (pip install 'moto[server,s3]<5.1': what later ones answer
to the end of an upload in parts, Arrow 26 takes for an error).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from pare_tune.data.remote import UrlStore, join_url
from pare_tune.tune.run import snapshot

TESTS = Path(__file__).resolve().parents[1] / "tune"
sys.path.insert(0, str(TESTS))
TRIALS, EPOCHS, PAUSE_S = 6, 8, 1.0
PAYLOAD = b"x" * 2**20
"""Weights of every epoch, beside the checkpoint."""


def train(ledger: Path, config: Any, context: Any) -> Any:
    """As `fakes.train`; every epoch that is really trained is a line of the ledger."""
    import fakes

    last = context.folder / "last.pt"
    kept = len(json.loads(last.read_text())) if last.is_file() else 0

    def report(epoch: Any) -> None:
        if context.world_size > 1:  # as a step does: the others hear at once of one that is gone
            torch.distributed.all_reduce(torch.zeros(1))
        if epoch.epoch > kept and context.is_main:
            (context.folder / "held_out.safetensors").write_bytes(PAYLOAD)
            with (ledger / context.folder.name).open("a") as file:
                file.write(f"{epoch.epoch}\n")
        context.report(epoch)

    return fakes.train(config, replace(context, report=report), pause_s=PAUSE_S)


def session(folder: Path, runs: str, run: str | None) -> None:
    """In a process of its own: search, or go on. WORKERS of the environment is their number in a trial."""
    import fakes
    from ray import cloudpickle

    from pare_tune.errors import PareTuneError
    from pare_tune.tune.run import SessionOptions, resume, search

    cloudpickle.register_pickle_by_value(fakes)
    cloudpickle.register_pickle_by_value(sys.modules[train.__module__])
    runner = partial(train, folder / "ledger")
    options = SessionOptions(runner=runner, dashboard=False, notify=partial(print, flush=True))
    try:
        if run is not None:
            resume(run if "://" in run else Path(run), options=options)
        else:
            workers = int(os.environ.get("WORKERS", "1"))
            at_once = {"max_concurrent": 2 // workers, "workers_per_trial": workers}
            config = fakes.run_config(
                folder, budget=str(TRIALS), epochs=EPOCHS, pruning=False, confirm=0, **at_once
            )
            search(config.model_copy(update={"runs": runs if "://" in runs else Path(runs)}), options)
    except PareTuneError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)


class Nodes:
    """A head without CPUs and nodes of two, which can be killed, stopped and joined by others."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._dashboard = str("WORKERS" in environment).lower()
        self.folder, self.runs, self.ledger = folder, folder / "runs", folder / "ledger"
        for path in (self.runs, self.ledger, folder / "tmp"):
            path.mkdir()
        self.port = _free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {
            **os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path), "PARE_TUNE_CACHE": str(folder / "cache"), **environment,
        }  # fmt: skip
        self.started: list[subprocess.Popen[bytes]] = []
        self.drivers: list[subprocess.Popen[bytes]] = []
        self.head = self.start_head()

    def start_head(self) -> subprocess.Popen[bytes]:
        """Where the driver is."""
        ray = f"ray start --head --num-cpus=0 --port={self.port} --node-ip-address=127.0.0.1 --block {_agent_ports()}"
        head = self._start(
            f"exec {ray} --temp-dir={self.folder}/ray{len(self.started)} --include-dashboard={self._dashboard}"
        )
        return self._up(head)

    def start(self, cpus: int = 2) -> subprocess.Popen[bytes]:
        """One more node, out of sight of the runs."""
        ip = f"127.0.0.{len(self.started) + 1}"
        ray = f"ray start --address={self.address} --num-cpus={cpus} --node-ip-address={ip} --block {_agent_ports()}"
        hidden = f"mount -t tmpfs none {self.runs} && TMPDIR={self.folder}/tmp exec {ray}"
        node = self._start(f"exec unshare -m bash -c '{hidden}'")
        return self._up(node)

    def _up(self, node: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        log = self.folder / f"node-{self.started.index(node)}.txt"
        deadline = time.monotonic() + 300
        while "Ray runtime started" not in log.read_text():
            if node.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"a node did not start: {log.read_text()}")
            time.sleep(0.2)
        return node

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"node-{len(self.started)}.txt").open("wb")
        node = subprocess.Popen(
            ["bash", "-c", command], env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        self.started.append(node)
        return node

    def signal(self, node: subprocess.Popen[bytes], number: int) -> None:
        """To all processes of a node at once, as a machine that is lost or stands still."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(node.pid)
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """A machine that is lost."""
        self.signal(node, signal.SIGKILL)
        node.wait()

    def drive(self, runs: str, run: str | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """A driver in a process of its own."""
        words = [sys.executable, __file__, "--session", str(self.folder), runs, *([run] if run else [])]
        log = (self.folder / "driver.txt").open("ab")
        about = {**self.environment, "RAY_ADDRESS": self.address, **environment}
        driver = subprocess.Popen(words, env=about, stdout=log, stderr=log)
        self.drivers.append(driver)
        return driver

    def trained(self) -> int:
        """Epochs so far, those trained again included."""
        return sum(len(path.read_text().split()) for path in self.ledger.iterdir())

    def until(self, epochs: int) -> None:
        """Wait for so many trained epochs."""
        deadline = time.monotonic() + 300
        while self.trained() < epochs:
            if self.drivers[-1].poll() is not None or time.monotonic() > deadline:
                raise SystemExit((self.folder / "driver.txt").read_text())
            time.sleep(0.1)

    def ended(self, driver: subprocess.Popen[bytes], timeout_s: float = 900.0) -> int:
        """The exit code."""
        try:
            return driver.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise SystemExit(
                f"the driver hangs; {self.folder}: {(self.folder / 'driver.txt').read_text()}"
            ) from None

    def close(self) -> None:
        """Nothing is left."""
        for driver in self.drivers:
            driver.kill()
        for node in self.started:
            if node.poll() is None:
                self.signal(node, signal.SIGCONT)
                self.kill(node)


def run_of(place: Path) -> Path:
    """The one run in a folder."""
    return next(path.parent for path in place.glob("*/run.yaml"))


def report(title: str, cluster: Nodes, run: Path | str, lost: int, began: float) -> None:
    """A row, of a search where `lost` processes with trials were killed; fails where something is lost or doubled."""
    trials = snapshot(run).trials
    whole = list(range(1, EPOCHS + 1))
    complete = sum(t.state == "complete" and [r["epoch"] for r in t.curve] == whole for t in trials)
    counts = [Counter(map(int, path.read_text().split())) for path in cluster.ledger.iterdir()]
    again = sum(n - 1 for epochs in counts for n in epochs.values())
    restarts = sum(t.retries for t in trials)
    print(
        f"| {title} | {complete} of {TRIALS} | {len(trials) - TRIALS} | {restarts} | {again} | "
        f"{time.monotonic() - began:.0f} |",
        flush=True,
    )
    assert complete == len(trials) == TRIALS, [(t.number, t.state, t.message) for t in trials]
    assert all(sorted(epochs) == whole for epochs in counts)
    assert again <= lost, "more than an epoch a lost process"


@contextmanager
def nodes(keep: bool, **environment: str) -> Iterator[Nodes]:
    """A cluster that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="nodes-"))
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = Nodes(folder, **environment)
        stack.callback(cluster.close)
        yield cluster


def worker(cluster: Nodes) -> None:
    """A node is lost with its trials; another one has room for them."""
    second, _ = cluster.start(), cluster.start()
    began, driver = time.monotonic(), cluster.drive(str(cluster.runs))
    cluster.until(5)
    cluster.kill(second)
    assert cluster.ended(driver) == 0
    report("a node with trials", cluster, run_of(cluster.runs), 2, began)


def several(cluster: Nodes) -> None:
    """One of the two nodes that a trial with two workers runs on is lost, and then one of the next two."""
    lost = [cluster.start(cpus=1), cluster.start(cpus=1)]
    began, driver = time.monotonic(), cluster.drive(str(cluster.runs))
    for epochs, node in zip((5, 19), lost, strict=True):
        cluster.until(epochs)
        cluster.kill(node)
        cluster.start(cpus=1)
    assert cluster.ended(driver) == 0
    report("a node of a trial with two workers, twice", cluster, run_of(cluster.runs), 2, began)


def twice(cluster: Nodes) -> None:
    """Each trial loses its node before it has made another epoch, and again later."""
    node = cluster.start()
    began, driver = time.monotonic(), cluster.drive(str(cluster.runs))
    for epochs in (5, 0, 9):
        cluster.until(epochs or cluster.trained())
        cluster.kill(node)
        node = cluster.start()
        if not epochs:
            time.sleep(1.0)
    assert cluster.ended(driver) == 0
    report("three nodes, one after the other, with the same trials", cluster, run_of(cluster.runs), 6, began)


def all_gone(cluster: Nodes) -> None:
    """No node is left for half a minute; then two join."""
    lost = [cluster.start(), cluster.start()]
    began, driver = time.monotonic(), cluster.drive(str(cluster.runs))
    cluster.until(5)
    for node in lost:
        cluster.kill(node)
    time.sleep(30.0)
    cluster.start()
    cluster.start()
    assert cluster.ended(driver) == 0
    report("all nodes for 30 s", cluster, run_of(cluster.runs), 2, began)


def head(cluster: Nodes) -> None:
    """The head is lost; Ray ends the driver a minute later, and the search goes on in a new cluster."""
    cluster.start()
    began, driver = time.monotonic(), cluster.drive(str(cluster.runs))
    cluster.until(5)
    cluster.kill(cluster.head)
    assert cluster.ended(driver) != 0
    for node in cluster.started[1:]:
        cluster.kill(node)
    cluster.start_head()
    cluster.start()
    resumed = cluster.drive(str(cluster.runs), str(run_of(cluster.runs)))
    assert cluster.ended(resumed) == 0
    report("the head, then `resume` in a new cluster", cluster, run_of(cluster.runs), 2, began)


def driver(cluster: Nodes, store: str) -> None:
    """The driver's machine is lost with its disk; another one goes on from the store at once."""
    cluster.start()
    began, lost = time.monotonic(), cluster.drive(store)
    cluster.until(5)
    time.sleep(5.0)
    lost.kill()
    shutil.rmtree(cluster.folder / "cache")
    url = join_url(store, _names(store)[0])
    refused = 0
    while (
        code := cluster.ended(cluster.drive(store, url, PARE_TUNE_CACHE=str(cluster.folder / "other")))
    ) == 2:
        refused += 1  # the claim of the dead one has not ended
        time.sleep(10.0)
    assert code == 0
    assert refused
    os.environ["PARE_TUNE_CACHE"] = str(cluster.folder / "third")
    report("the driver's machine; `resume s3://…` on another one", cluster, url, 2, began)


def slow(cluster: Nodes, store: str) -> None:
    """Every request waits for two seconds."""
    cluster.start()
    began, running = time.monotonic(), cluster.drive(store)
    assert cluster.ended(running) == 0
    report("nothing; S3 that answers after 2 s", cluster, join_url(store, _names(store)[0]), 0, began)


def full(cluster: Nodes) -> None:
    """The disk behind the store takes nothing for 20 s."""
    disk = cluster.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(disk)], check=True)
    try:
        cluster.start()
        store = f"file://{disk}/store"
        began, running = time.monotonic(), cluster.drive(store)
        cluster.until(5)
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(PAYLOAD)
        time.sleep(20.0)
        (disk / "filler").unlink()
        assert cluster.ended(running) == 0
        assert "cannot write" in (cluster.folder / "driver.txt").read_text()
        report("room in the store for 20 s", cluster, run_of(disk / "store"), 0, began)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def partition(cluster: Nodes, seconds: float = 60.0) -> None:
    """All processes of a node stand still, as seen from outside: nothing comes from it, nothing is answered."""
    second, _ = cluster.start(), cluster.start()
    began, running = time.monotonic(), cluster.drive(str(cluster.runs))
    cluster.until(5)
    cluster.signal(second, signal.SIGSTOP)
    time.sleep(seconds)
    cluster.signal(second, signal.SIGCONT)
    assert cluster.ended(running) == 0
    report(f"the network of a node for {seconds:g} s", cluster, run_of(cluster.runs), 2, began)


def preempted(cluster: Nodes) -> None:
    """SIGTERM to a node's raylet, as a cloud's notice ends in."""
    second, _ = cluster.start(), cluster.start()
    began, running = time.monotonic(), cluster.drive(str(cluster.runs))
    cluster.until(5)
    [raylet] = (p for p in psutil.Process(second.pid).children(recursive=True) if p.name() == "raylet")
    raylet.terminate()
    assert cluster.ended(running) == 0
    report("a preempted node (SIGTERM)", cluster, run_of(cluster.runs), 2, began)


def winner(cluster: Nodes) -> None:
    """A search of the real thing, all of it on the second node; its winner is exported, trained once more and used."""
    cluster.start()
    began = time.monotonic()
    log = (cluster.folder / "driver.txt").open("ab")

    def pare_tune(*words: str) -> None:
        program = [sys.executable, "-c", "from pare_tune.cli import main; main()", *words]
        about = {**cluster.environment, "RAY_ADDRESS": cluster.address}
        done = subprocess.run(program, env=about, stdout=log, stderr=log)
        assert done.returncode == 0, (cluster.folder / "driver.txt").read_text()

    few = ["--set", "train.epochs=2", "--set", "search.confirm=0"]
    pare_tune("--task", "balance-scale", "--budget", "2", *few, "--runs", str(cluster.runs))
    run = run_of(cluster.runs)
    best = snapshot(run).best
    assert best is not None
    where = (run / "trials" / f"{best.number:04d}" / "log.txt").read_text().splitlines()[0]
    pare_tune("train", str(run / "best.yaml"))
    samples = cluster.folder / "samples.npy"
    np.save(samples, np.ones((3, 4), np.float32))
    pare_tune("predict", str(run / "final"), str(samples), "-o", str(cluster.folder / "said.npy"))
    said = np.load(cluster.folder / "said.npy")
    assert (run / "best" / "model.safetensors").is_file()
    assert len(said) == 3
    print(
        f"| nothing: winner of the second node, {where} | 2 of 2 | 0 | 0 | 0 | {time.monotonic() - began:.0f} |"
    )


def _names(store: str) -> list[str]:
    return sorted({name.partition("/")[0] for name in UrlStore(store).stamps() if name.endswith("/run.yaml")})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _agent_ports() -> str:
    """Ports that Ray's agents find themselves are waited for 15 s, which is too short on a machine that is at work."""
    names = ("dashboard-agent-grpc", "dashboard-agent-listen", "runtime-env-agent", "metrics-export")
    return " ".join(f"--{name}-port={_free_port()}" for name in names)


@contextmanager
def s3(delay_s: float = 0.0) -> Iterator[tuple[str, dict[str, str]]]:
    """An S3 store on this machine, and the variables to reach it; each request waits for `delay_s` first."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        ["moto_server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    about = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        while True:
            with suppress(OSError):
                urllib.request.urlopen(urllib.request.Request(f"{url}/runs", method="PUT"), timeout=5).close()
                break
            time.sleep(0.2)
        about["AWS_ENDPOINT_URL"] = url if not delay_s else f"http://127.0.0.1:{_slowed(port, delay_s)}"
        os.environ.update(about)
        yield "s3://runs", about
    finally:
        server.kill()
        server.wait()


def _slowed(port: int, delay_s: float) -> int:
    """A port that leads to another one, where everything that is said waits."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket, wait_s: float) -> None:
        with suppress(OSError):
            while data := source.recv(2**20):
                time.sleep(wait_s)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pump, args=(near, far, 0.0), daemon=True).start()
            threading.Thread(target=pump, args=(far, near, delay_s), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


CASES: dict[str, tuple[Callable[..., None], float | None]] = {
    "worker": (worker, None),
    "several": (several, None),
    "twice": (twice, None),
    "all": (all_gone, None),
    "head": (head, None),
    "driver": (driver, 0.0),
    "slow": (slow, 2.0),
    "full": (full, None),
    "partition": (partition, None),
    "preempted": (preempted, None),
    "winner": (winner, None),
}
"""Name → what happens, and how slowly its store answers, if it has one."""


def main() -> None:
    """A table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--keep", action="store_true", help="leave the folders of the runs and of Ray")
    parser.add_argument("--session", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.session:
        folder, runs, *run = options.session
        session(Path(folder), runs, run[0] if run else None)
        return
    print("| what is lost | complete | doubled | restarts | epochs trained again | seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in options.only:
        act, delay_s = CASES[name]
        with ExitStack() as stack:
            arguments: list[Any] = []
            environment: dict[str, str] = {"WORKERS": "2"} if name == "several" else {}
            if delay_s is not None:
                store, environment = stack.enter_context(s3(delay_s))
                arguments.append(store)
            act(stack.enter_context(nodes(options.keep, **environment)), *arguments)


if __name__ == "__main__":
    main()
