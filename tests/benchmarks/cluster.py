"""What the driver of a large search costs: up to a thousand trials at a time, ten thousand in one study.

    python tests/benchmarks/cluster.py --concurrent 100 300 1000 [--study 9000] [--epoch-s 20] [--profile]

The driver is all real: Ray, Ray Tune's loop and its calls to actors, the session with its journal, sampler, snapshots,
tables, log lines and TensorBoard files. Simulated are the nodes and the trials: in place of a placement group and a
process of its own each "actor" is an entry in one of HOSTS real ones, which answers the same calls and sleeps where
training would work. So nothing is measured of Ray's scheduler, of the start of processes, or of files from other nodes.

A trial has EPOCHS epochs of --epoch-s seconds on average unless the pruner stops it, and waits after every one until
the driver has taken its report, as Ray Tune's trials do. --study trials are in the journal before the search goes on;
--rounds times as many trials as run at a time are added. Measured from the first full house until nothing more is
asked for: "busy" is the share of that time that a slot trains. Cores are CPU time of the driver's process, threads of
Ray's included, and memory is the most that it ever had. Suggestions are all that are made in this time. "opened in" is
the CPU time of looking at the study from another process.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from optuna.samplers import RandomSampler
from ray.air.execution.resources import AcquiredResources, ResourceManager
from ray.tune.execution import tune_controller
from rich.console import Console

from pare_tune.api import resume_search
from pare_tune.config import RunConfig, SearchConfig, TrialConfig, default_trial
from pare_tune.data.files import write_text
from pare_tune.report import LiveView
from pare_tune.tasks import get_task
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.train.report import EpochReport
from pare_tune.tune.cluster import Cluster, connect
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import SessionOptions
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import open_space
from pare_tune.tune.study import Study

EPOCHS = 16
HOSTS = 2


def report_of(settings: TrialConfig, number: int, epoch: int, seconds: float) -> EpochReport:
    """Curves cross, so that no pruner knows at once."""
    luck = random.Random(number).gauss(0.0, 0.3)
    score = abs(settings.optimizer.lr - 1e-3) * 100 + (1 + luck) / epoch + 1 / 3
    return EpochReport(
        epoch=epoch, epochs=EPOCHS, score=score, best_score=score, train_loss=score / 3, loss_target=score / 5,
        loss_mixed_target=score / 7, loss_mixed_source=score / 9, k=3, lam=1 / 3, lr=1e-3 / 3, grad_norm=1 / 3,
        gate_target=1 / 3, gate_source=2 / 3, gate_entropy=1 / 7, seconds=seconds, samples_per_s=1e3 / 3,
        memory_mb=1e3 / 7, best_epoch=epoch,
    )  # fmt: skip


class Host:
    """Many trials, each of which sleeps where it would train."""

    def __init__(self, epoch_s: float) -> None:
        self._epoch_s = epoch_s
        self._trials: dict[int, list[Any]] = {}
        self._trained: list[tuple[int, float, float]] = []

    async def start(self, slot: int, config: dict[str, Any] | None) -> bool:
        """A new trial on a slot; None where only the process is asked whether it is there."""
        if config is not None:
            self._trials[slot] = [config, TrialConfig.model_validate_json(config["config"]), 0]
        return True

    async def train(self, slot: int) -> dict[str, Any]:
        """The next report, as Ray Tune's trainable fills it up."""
        config, settings, epoch = self._trials[slot]
        about = await self.about(slot)
        if epoch == EPOCHS:
            return {**about, "__duplicate__": True}
        began, number = time.time(), config["number"]
        await asyncio.sleep(self._epoch_s * random.Random(f"{number} {epoch}").uniform(0.5, 1.5))
        self._trials[slot][2] = epoch = epoch + 1
        self._trained.append((slot, began, time.time()))
        report = report_of(settings, number, epoch, time.time() - began)
        return {**about, **report.to_dict(), "training_iteration": epoch}

    async def about(self, slot: int) -> dict[str, Any]:
        """What Ray Tune's trainable says of itself."""
        config, _, epoch = self._trials[slot]
        return {
            "trial_id": str(slot), "date": "2026-11-28_12-00-00", "timestamp": 1, "time_this_iter_s": self._epoch_s,
            "time_total_s": 1.0, "pid": 1, "hostname": "node", "node_ip": "10.0.0.1", "config": config,
            "time_since_restore": 1.0, "iterations_since_restore": epoch, "done": epoch == EPOCHS,
        }  # fmt: skip

    async def trained(self) -> list[tuple[int, float, float]]:
        """(slot, begin, end) of every epoch."""
        return self._trained


class Actor:
    """What Ray Tune holds in place of the handle of a process."""

    def __init__(self, host: Any, slot: int, config: dict[str, Any]) -> None:
        start = partial(host.start.remote, slot)
        self.__ray_ready__ = SimpleNamespace(remote=partial(start, config))
        self.train = SimpleNamespace(remote=partial(host.train.remote, slot))
        self.reset = SimpleNamespace(remote=lambda config, **_: start(_told(config)))
        self.get_auto_filled_metrics = SimpleNamespace(
            remote=lambda **_: host.about.remote(slot)  # asked for and hardly ever read
        )
        self.stop = SimpleNamespace(remote=partial(start, None))


def _told(config: dict[str, Any]) -> dict[str, Any]:
    """The assignment, without what Ray Tune puts beside it."""
    return {name: value for name, value in config.items() if not name.startswith("__")}


class Nodes(ResourceManager):
    """So many slots, all there from the start."""

    def __init__(self, slots: int, epoch_s: float) -> None:
        self._free, self._count = slots, 0
        host = ray.remote(num_cpus=0, max_concurrency=10_000)(Host)
        self.hosts = [host.remote(epoch_s) for _ in range(HOSTS)]

    def request_resources(self, resource_request: Any) -> None:
        """Nothing to wait for."""

    def cancel_resource_request(self, resource_request: Any) -> None:
        """Nothing was reserved."""

    def has_resources_ready(self, resource_request: Any) -> bool:
        return self._free > 0

    def acquire_resources(self, resource_request: Any) -> AcquiredResources:
        self._free -= 1
        self._count += 1
        return Slot(resource_request, partial(self.actor, self._count))

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        self._free += 1

    def clear(self) -> None:
        """The search is over."""

    def actor(self, slot: int, config: dict[str, Any], **_: Any) -> Actor:
        """In place of `remote_class.remote(…)`."""
        return Actor(self.hosts[slot % HOSTS], slot, _told(config))


@dataclass
class Slot(AcquiredResources):
    """One of the slots."""

    start: Callable[..., Actor]

    def annotate_remote_entities(self, entities: list[Any]) -> list[Any]:
        return [SimpleNamespace(remote=self.start)]


def begin(folder: Path, trials: int, concurrent: int, filled: int) -> RunFolder:
    """A run with `filled` finished trials, their settings drawn at random."""
    base = default_trial(get_task("wdbc"), preset="embedded").with_values({"train.epochs": EPOCHS})
    search = SearchConfig(budget=str(filled + trials), max_concurrent=concurrent)
    config = RunConfig(trial=base, search=search, runs=folder)
    task = get_task(base.task)
    space = open_space(config, task)
    run = RunFolder.create(folder, base.task)
    write_text(run.space_yaml, space.to_yaml())
    write_text(run.fingerprint_yaml, Fingerprint.of(base, task).to_yaml())
    write_text(run.run_yaml, config.to_yaml())
    if filled:
        facts = TaskFacts(task="wdbc", metric="error", unit="%", direction="min", backbone=base.backbone)
        study = Study(run.journal, space, search, epochs=EPOCHS, facts=facts)
        fill(study, filled)
        study.close()
    return run


def fill(study: Study, trials: int) -> None:
    """Without waiting for the disk."""
    study.optuna.sampler, sync, os.fsync = RandomSampler(seed=0), os.fsync, lambda fd: None  # type: ignore[assignment]
    for _ in range(trials):
        ask = study.ask()
        settings = study.space.config(ask.settings)
        for epoch in range(1, EPOCHS + 1):
            report = report_of(settings, ask.number, epoch, 20.0)
            if study.record(ask.number, report.to_dict()) == "prune":
                study.prune(ask.number, "rung")
                break
        else:
            study.complete(ask.number)
    os.fsync = sync


def measure(concurrent: int, rounds: float, filled: int, epoch_s: float, folder: Path) -> str:
    """One row."""
    trials = round(rounds * concurrent)
    run = begin(folder, trials, concurrent, filled)
    asked: list[tuple[float, float, float]] = []
    original = Study.ask

    def ask(self: Study) -> Any:
        started, cpu = time.time(), time.process_time()
        result = original(self)
        asked.append((started, time.process_time() - cpu, cpu))
        return result

    Study.ask, Cluster.capacity = ask, lambda self, search: concurrent  # type: ignore[method-assign, assignment]
    with connect(dashboard=False):
        nodes = Nodes(concurrent, epoch_s)
        tune_controller.PlacementGroupResourceManager = lambda: nodes
        with Path(os.devnull).open("w") as nowhere, LiveView(Console(file=nowhere), mode="plain") as view:
            result = resume_search(run.path, options=SessionOptions(observe=view.update, dashboard=False))
        epochs = [e for host in nodes.hosts for e in ray.get(host.trained.remote())]
    Study.ask = original  # type: ignore[method-assign]
    ended = sum(t.state in ("complete", "pruned") for t in result.snapshot.trials)
    assert ended == filled + trials, f"{ended} of {filled + trials} trials ended"

    since, until = asked[concurrent][0], asked[-7][0]  # the last six confirm, when nothing else runs
    cores = (asked[-7][2] - asked[concurrent][2]) / (until - since)
    busy = sum(max(0.0, min(e, until) - max(b, since)) for _, b, e in epochs)
    ends = [e for _, _, e in epochs if since <= e <= until]
    waits = _waits(epochs, since, until)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    journal = run.journal.stat().st_size / 1e6
    late = [1e3 * s for at, s, _ in asked if since <= at <= until]
    rate = len(ends) / (until - since)
    return (
        f"| {concurrent:,} | {filled:,} + {trials:,} | {rate:.0f} | {cores:.2f} | {memory:.2f} | "
        f"{busy / (until - since) / concurrent:.1%} | {1e3 * statistics.median(waits):.0f} "
        f"({1e3 * waits[int(0.99 * len(waits))]:.0f}) | {statistics.median(late):.0f} ({max(late):.0f}) | "
        f"{journal:.0f} | {opened(run.path):.1f} |"
    )


def _waits(epochs: list[tuple[int, float, float]], since: float, until: float) -> list[float]:
    """Seconds from each report until its slot trained again, shortest first."""
    by_slot: dict[int, list[tuple[float, float]]] = {}
    for slot, began, ended in epochs:
        by_slot.setdefault(slot, []).append((began, ended))
    return sorted(
        after - end
        for spans in by_slot.values()
        for (_, end), (after, _) in zip(sorted(spans), sorted(spans)[1:], strict=False)
        if since <= end <= until
    )


def opened(run: Path) -> float:
    """CPU seconds of opening the study, without the imports."""
    code = (
        "import sys, time; from pare_tune.tune.run import snapshot; at = time.process_time(); "
        "snapshot(sys.argv[1]); print(time.process_time() - at)"
    )
    return float(
        subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, check=True).stdout
    )


def main() -> None:
    """A table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concurrent", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--rounds", type=float, default=3.0, help="trials more than run at a time")
    parser.add_argument("--study", type=int, default=0, help="trials that there are already")
    parser.add_argument("--epoch-s", type=float, default=20.0)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {EPOCHS} epochs of {options.epoch_s:g} s at most"
    )
    columns = (
        "at a time", "trials", "reports a second", "cores", "memory, GB", "busy", "a trial waits, ms, median (99 %)",
        "a suggestion, ms, median (worst)", "journal, MB", "opened in, s",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}", flush=True)
    for concurrent in options.concurrent:
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        with tempfile.TemporaryDirectory() as folder:
            row = measure(concurrent, options.rounds, options.study, options.epoch_s, Path(folder))
        profile.disable()
        print(row, flush=True)
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
