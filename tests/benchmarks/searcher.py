"""What the study costs the driver: a suggestion, a report, the end of a trial, and opening the journal again.

    python tests/benchmarks/searcher.py --trials 100 1000 --reports 50

Trials that train nothing are asked for, report their epochs, are decided upon and recorded in a journal on the disk, as
in a search with one worker; no Ray. The space is that of `--task`. Measured are the last 20 trials of each size, the
median and the worst call; those before them are random. "an end" is what follows a trial's last epoch: its state, the
best trial, the candidates. "a view" is what the live view asks for four times a second. All of it is CPU time, so that
other load counts little. Targets: a suggestion and a report together in 20 ms, the journal of 1,000 trials in 2 s.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import os
import pstats
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from optuna.samplers import RandomSampler

from pare_tune.config import RunConfig, SearchConfig, default_trial
from pare_tune.tasks import get_task
from pare_tune.tune.snapshot import TaskFacts
from pare_tune.tune.space import BoundSpace, open_space
from pare_tune.tune.study import Study
from pare_tune.tune.summary import make_snapshot

FACTS = TaskFacts(
    task="wdbc", metric="error", unit="%", direction="min", provenance="real", preset="embedded",
    backbone="micro-roberta",
)  # fmt: skip
LAST = 20


class Clock:
    """CPU seconds of each call, by what it does."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def __call__(self, what: str, call: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = call()
        self.seconds[what].append(time.process_time() - started)
        return result


def open_study(journal: Path, space: BoundSpace, reports: int) -> Study:
    """With the default settings of a search, but that every trial goes to its end: the longest journal there is."""
    return Study(journal, space, SearchConfig(pruning=False), epochs=reports, facts=FACTS)


def fill(study: Study, count: int) -> None:
    """Bring the study to `count` trials, quickly: random settings, and no waiting for the disk."""
    sampler, sync = study.optuna.sampler, os.fsync
    study.optuna.sampler, os.fsync = RandomSampler(seed=0), lambda fd: None  # type: ignore[assignment]
    run_trials(study, count, Clock())
    study.optuna.sampler, os.fsync = sampler, sync


def run_trials(study: Study, count: int, clock: Clock) -> None:
    """Until there are `count`, one at a time."""
    while study.num_trials < count:
        ask = clock("a suggestion", study.ask)
        end = partial(study.complete, ask.number)
        for epoch in range(1, study.epochs + 1):
            report = _report(ask.settings, epoch, study.epochs)
            verdict = clock("a report", partial(study.record, ask.number, report))
            clock("a budget check", lambda: (study.num_epochs, study.has_orphans, study.num_trials))
            if verdict == "prune":
                end = partial(study.prune, ask.number, "rung")
                break
        clock("an end", partial(_end, study, end))
        clock("a view", lambda: make_snapshot(Path(), FACTS, SearchConfig(), study.views(), elapsed=1.0))


def _end(study: Study, close: Callable[[], None]) -> None:
    close()
    _ = (study.best, study.candidates)


def _report(settings: Any, epoch: int, epochs: int) -> dict[str, Any]:
    score = (math.log10(settings.get("optimizer.lr", 1e-3)) + 3.3) ** 2 + 1 / epoch
    return {
        "epoch": epoch, "epochs": epochs, "score": score, "best_score": score, "train_loss": score / 3,
        "loss_target": score / 5, "loss_mixed_target": score / 7, "loss_mixed_source": score / 9, "k": 3, "lam": 1 / 3,
        "lr": 1e-3 / 3, "grad_norm": 1 / 3, "gate_target": 1 / 3, "gate_source": 2 / 3, "gate_entropy": 1 / 7,
        "seconds": 1 / 3, "samples_per_s": 1000 / 3, "memory_mb": 1000 / 7,
    }  # fmt: skip


def measure(trials: int, reports: int, space: BoundSpace, journal: Path) -> dict[str, Any]:
    """Milliseconds of each kind of call at the end of a search of `trials`, and seconds of opening it again."""
    study = open_study(journal, space, reports)
    fill(study, trials - LAST)
    clock = Clock()
    run_trials(study, trials, clock)
    started = time.process_time()
    open_study(journal, space, reports)
    replay = time.process_time() - started
    found: dict[str, Any] = {
        what: (1e3 * statistics.median(s), 1e3 * max(s)) for what, s in clock.seconds.items()
    }
    return {**found, "replay_s": replay, "journal_mb": journal.stat().st_size / 1e6}


def main() -> None:
    """One row a size; with --profile also where the time goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--reports", type=int, default=50)
    parser.add_argument("--task", default="psicov")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    task = get_task(options.task)
    config = RunConfig(trial=default_trial(task, preset="embedded"))
    config = config.model_copy(update={"trial": config.trial.with_values({"train.epochs": options.reports})})
    space = open_space(config, task)
    kinds = ("a suggestion", "a report", "a budget check", "an end", "a view")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, up to {options.reports} reports a trial")
    print(f"| trials | {' | '.join(f'{k}, ms' for k in kinds)} | journal, MB | replay, s |")
    print(f"|---|{'---|' * (len(kinds) + 2)}")
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as folder:
            profile = cProfile.Profile()
            if options.profile:
                profile.enable()
            found = measure(trials, options.reports, space, Path(folder) / "study.journal")
            profile.disable()
        cells = " | ".join(f"{found[k][0]:.2f} ({found[k][1]:.1f})" for k in kinds)
        print(f"| {trials} | {cells} | {found['journal_mb']:.1f} | {found['replay_s']:.2f} |", flush=True)
        if options.json:
            print(json.dumps(found))
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
