"""What the driver of a large search costs: up to a thousand trials at a time, ten thousand in one study.

    python tests/benchmarks/cluster.py --concurrent 100 300 1000 [--study 8000] [--epoch-s 20] [--profile]

The driver is all real: Ray, Ray Tune's loop with a pending call to every trial, the session with its journal, sampler,
snapshots, tables, log lines and TensorBoard files. Simulated are the nodes and the trials: in place of a placement
group and a process of its own each "actor" is an entry in one real one, which answers the same calls. So nothing is
measured of Ray's scheduler, of the start of processes, of the network, or of files from other nodes.

A trial has EPOCHS epochs of --epoch-s seconds on average unless the pruner stops it, and waits after every one until
the driver has taken its report, as Ray Tune's trials do. --study trials are in the journal before the search goes on;
--rounds times as many trials as run at a time are added.

Time is the CPU time of the driver's process, threads of Ray's included, plus what it has nothing to do in: the clock
jumps to the end of the next epoch, which is when the actor may answer. So other load counts little, waiting for the
disk not at all, and a search of hours takes as long as its driver works. Measured from the first full house until
nothing more is asked for: "busy" is the share of that time that a slot trains, and "cores" the share that the driver
works. Memory is the most that its process ever had. Suggestions are all that are made meanwhile. "opened in" is the CPU
time of looking at the study from another process.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import heapq
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
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from ray.air.execution._internal import RayActorManager
from ray.air.execution.resources import AcquiredResources, ResourceManager
from ray.tune.execution import tune_controller
from rich.console import Console

from pare_tune import api
from pare_tune.config import RunConfig, SearchConfig, TrialConfig, default_trial
from pare_tune.data.files import write_json, write_text
from pare_tune.report import LiveView
from pare_tune.tasks import get_task
from pare_tune.train.fingerprint import Fingerprint
from pare_tune.train.report import EpochReport
from pare_tune.tune import bridge
from pare_tune.tune import study as study_module
from pare_tune.tune.cluster import Cluster, connect
from pare_tune.tune.folder import RunFolder
from pare_tune.tune.run import SessionOptions
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import open_space
from pare_tune.tune.study import Study

EPOCHS = 16


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


class Clock:
    """CPU seconds of this process, and those that were skipped because there was nothing to do."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._skips: list[tuple[float, float]] = []

    def __call__(self) -> float:
        return time.process_time() + self._skipped

    def skip_to(self, moment: float) -> None:
        """Wait, without taking time."""
        now = self()
        if moment > now:
            self._skips.append((now, moment - now))
            self._skipped += moment - now

    def worked(self, since: float, until: float) -> float:
        """Share of the time that was not skipped."""
        return 1.0 - sum(seconds for at, seconds in self._skips if since <= at <= until) / (until - since)


class Host:
    """Many trials, each of which waits where it would train."""

    def __init__(self) -> None:
        self._trials: dict[int, Any] = {}
        self._over: dict[int, asyncio.Event] = {}

    async def start(self, slot: int, config: dict[str, Any] | None) -> bool:
        """A new trial on a slot; None where only the process is asked whether it is there."""
        if config is not None:
            self._trials[slot] = config, TrialConfig.model_validate_json(config["config"])
            self._over[slot] = asyncio.Event()
        return True

    async def train(self, slot: int, epoch: int, seconds: float) -> dict[str, Any]:
        """The report after `epoch`, as Ray Tune's trainable fills it up, once it is over."""
        await self._over[slot].wait()
        self._over[slot].clear()
        config, settings = self._trials[slot]
        about = await self.about(slot)
        if epoch > EPOCHS:
            return {**about, "done": True, "__duplicate__": True}
        report = report_of(settings, config["number"], epoch, seconds)
        return {**about, **report.to_dict(), "training_iteration": epoch, "time_this_iter_s": seconds}

    async def end_epoch(self, slot: int) -> None:
        """Let `train` answer."""
        self._over[slot].set()

    async def about(self, slot: int) -> dict[str, Any]:
        """What Ray Tune's trainable says of itself."""
        return {
            "trial_id": str(slot), "date": "2026-11-28_12-00-00", "timestamp": 1, "time_total_s": 1.0, "pid": 1,
            "hostname": "node", "node_ip": "10.0.0.1", "config": self._trials[slot][0], "time_since_restore": 1.0,
            "iterations_since_restore": 1, "done": False,
        }  # fmt: skip


class Actor:
    """What Ray Tune holds in place of the handle of a process."""

    def __init__(self, nodes: Nodes, slot: int, config: dict[str, Any]) -> None:
        self._nodes, self._slot, self._epoch = nodes, slot, 0
        self.__ray_ready__ = SimpleNamespace(remote=partial(self._start, config))
        self.reset = SimpleNamespace(remote=lambda config, **_: self._start(config))
        self.train = SimpleNamespace(remote=self._train)
        self.stop = SimpleNamespace(remote=partial(nodes.answered, "start", slot, None))
        # Asked for, and hardly ever read.
        self.get_auto_filled_metrics = SimpleNamespace(remote=lambda **_: nodes.host.about.remote(slot))

    def _start(self, config: dict[str, Any]) -> Any:
        self._epoch = 0
        own = {name: value for name, value in config.items() if not name.startswith("__")}
        return self._nodes.answered("start", self._slot, own)

    def _train(self) -> Any:
        self._epoch += 1
        return self._nodes.train(self._slot, self._epoch)


class Nodes(ResourceManager):
    """So many slots, all there from the start, and what is on them."""

    def __init__(self, slots: int, epoch_s: float, clock: Clock) -> None:
        self._free, self._count, self._epoch_s, self.clock = slots, 0, epoch_s, clock
        self._rng = random.Random(0)
        self.host = ray.remote(num_cpus=0, max_concurrency=10_000)(Host).remote()
        self.due: list[tuple[float, int]] = []
        self.on_its_way = 0
        self.epochs: list[tuple[int, float, float]] = []
        """(slot, begin, end) of each."""

    def request_resources(self, resource_request: Any) -> None:
        """Nothing to wait for."""

    def cancel_resource_request(self, resource_request: Any) -> None:
        """Nothing was reserved."""

    def has_resources_ready(self, resource_request: Any) -> bool:
        return self._free > 0

    def acquire_resources(self, resource_request: Any) -> AcquiredResources:
        self._free -= 1
        self._count += 1
        return Slot(resource_request, partial(self._actor, self._count))

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        self._free += 1

    def clear(self) -> None:
        """The search is over."""

    def _actor(self, slot: int, config: dict[str, Any], **_: Any) -> Actor:
        """In place of `remote_class.remote(…)`."""
        return Actor(self, slot, config)

    def answered(self, method: str, *arguments: Any) -> Any:
        """A call that is answered at once."""
        self.on_its_way += 1
        return getattr(self.host, method).remote(*arguments)

    def train(self, slot: int, epoch: int) -> Any:
        """A call that is answered after an epoch."""
        began = self.clock()
        seconds = self._epoch_s * self._rng.uniform(0.5, 1.5) if epoch <= EPOCHS else 0.0
        self.epochs.append((slot, began, began + seconds))
        heapq.heappush(self.due, (began + seconds, slot))
        return self.host.train.remote(slot, epoch, seconds)


class Manager(RayActorManager):
    """Ray Tune's, whose waiting takes no time."""

    def __init__(self, resource_manager: Nodes) -> None:
        super().__init__(resource_manager)
        self._nodes, self._clock = resource_manager, resource_manager.clock

    def next(self, timeout: float | None = None) -> bool:
        """The next answer within so many seconds of the clock."""
        nodes, until = self._nodes, self._clock() + (timeout or 0.0)
        self._try_start_actors()
        if not nodes.on_its_way and nodes.due and nodes.due[0][0] <= until:
            end, slot = heapq.heappop(nodes.due)
            self._clock.skip_to(end)
            nodes.host.end_epoch.remote(slot)
            nodes.on_its_way += 1
        if nodes.on_its_way and super().next(timeout=30.0):
            nodes.on_its_way -= 1
            return True
        nodes.on_its_way = 0  # what nobody waits for any more
        self._clock.skip_to(until)
        return bool(super().next(timeout=0.0))


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
        written = {str(t.number): [t.state, t.epoch] for t in study.views()}
        write_json(run.tensorboard / "written.json", written)  # TensorBoard has them already
    return run


def fill(study: Study, trials: int) -> None:
    """Half of them stopped at the first rung, a quarter at the second; without waiting for the disk."""
    study.optuna.sampler, study.optuna.pruner = RandomSampler(seed=0), NopPruner()
    sync, os.fsync = os.fsync, lambda fd: None  # type: ignore[assignment]
    for _ in range(trials):
        ask = study.ask()
        settings = study.space.config(ask.settings)
        length = EPOCHS if ask.number % 4 == 0 else 12 if ask.number % 2 == 0 else 6
        for epoch in range(1, length + 1):
            study.record(ask.number, report_of(settings, ask.number, epoch, 20.0).to_dict())
        if length == EPOCHS:
            study.complete(ask.number)
        else:
            study.prune(ask.number, "rung")
    os.fsync = sync


def measure(concurrent: int, rounds: float, filled: int, epoch_s: float, folder: Path) -> str:
    """One row."""
    trials = round(rounds * concurrent)
    run = begin(folder, trials, concurrent, filled)
    clock = Clock()
    asked: list[tuple[float, float]] = []
    original = Study.ask

    def ask(self: Study) -> Any:
        began = clock()
        result = original(self)
        asked.append((began, clock() - began))
        return result

    Study.ask, Cluster.capacity = ask, lambda self, search: concurrent  # type: ignore[method-assign, assignment]
    for module in (api, bridge, study_module):
        module.time = SimpleNamespace(monotonic=clock, time=time.time)  # type: ignore[attr-defined]
    with connect(dashboard=False):
        nodes = Nodes(concurrent, epoch_s, clock)
        tune_controller.PlacementGroupResourceManager = lambda: nodes
        tune_controller.RayActorManager = Manager
        with Path(os.devnull).open("w") as nowhere, LiveView(Console(file=nowhere), mode="plain") as view:
            result = api.resume_search(run.path, options=SessionOptions(observe=view.update, dashboard=False))
    Study.ask = original  # type: ignore[method-assign]
    ended = sum(t.state in ("complete", "pruned") for t in result.snapshot.trials)
    assert ended == filled + trials, f"{ended} of {filled + trials} trials ended"

    (since, _), (until, _) = asked[concurrent], asked[-7]  # the last six confirm, when nothing else runs
    span = until - since
    busy = sum(max(0.0, min(end, until) - max(began, since)) for _, began, end in nodes.epochs)
    reports = sum(since <= end <= until for _, _, end in nodes.epochs)
    waits = _waits(nodes.epochs, since, until)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    journal = run.journal.stat().st_size / 1e6
    late = [1e3 * seconds for at, seconds in asked if since <= at <= until]
    return (
        f"| {concurrent:,} | {filled:,} + {trials:,} | {reports / span:.0f} | {clock.worked(since, until):.2f} | "
        f"{memory:.2f} | {busy / span / concurrent:.1%} | {1e3 * statistics.median(waits):.0f} "
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
