"""Does a ranking of proxy sources before training agree with what training with each of them reaches?

    python tests/benchmarks/proxy_ranking.py [--tasks ninapro ecg …] [--seeds 1] [--done FILE.jsonl]

Trained: best validation score of PaRe under the embedded preset with that source, mean over seeds. Ranked:
`rank-sources` on 400 samples, by OTDD, and by the transfer score and its two parts. Kendall's τ is between each of
these orders and the trained one: 1 where they agree, −1 where they are reversed; with two sources it is one or the
other. With --done, trainings are kept in a file, and an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
from scipy.stats import kendalltau

from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from pare_tune.train.loop import Context
from pare_tune.train.proxy import RankedSource, rank_sources
from pare_tune.train.trial import run_trial
from pare_tune.tune.available import available_sources

TASKS = ("ninapro", "ecg", "wdbc", "tic-tac-toe", "advection")
ORDERS: dict[str, Callable[[RankedSource], float]] = {
    "OTDD": lambda row: row.otdd,
    "transfer": lambda row: -row.transfer,
    "target": lambda row: -row.target_gain,
    "source labels": lambda row: -row.source_gain,
}
"""What a ranking may go by; smaller is better."""

Trained = dict[tuple[str, str, int], float]
"""(task, source, seed) → score."""


def sources_of(task: str) -> list[str]:
    return available_sources(default_trial(get_task(task), preset="embedded"))


def train(task: str, source: str, seed: int) -> float:
    config = default_trial(get_task(task), preset="embedded", seed=seed).with_values({"source.name": source})
    return run_trial(config, Context(report=lambda report: None)).best_score


def train_all(names: list[str], seeds: int, done: Path | None) -> Trained:
    found: Trained = {}
    if done is not None and done.is_file():
        for line in done.read_text().splitlines():
            cell = json.loads(line)
            found[cell["task"], cell["source"], cell["seed"]] = cell["score"]
    missing = [
        (n, s, i) for n in names for s in sources_of(n) for i in range(seeds) if (n, s, i) not in found
    ]
    for name, source, seed in missing:
        started = time.process_time()
        found[name, source, seed] = score = train(name, source, seed)
        spent = round(time.process_time() - started, 1)
        if done is not None:
            cell = {"task": name, "source": source, "seed": seed, "score": score, "cpu_s": spent}
            with done.open("a") as file:
                file.write(json.dumps(cell) + "\n")
        print(f"trained {name} with {source}, seed {seed}: {score:.4g} ({spent} s)", flush=True)
    return found


def compare(rows: list[RankedSource], goal: dict[str, float]) -> dict[str, tuple[float, int]]:
    """For every order: Kendall's τ with `goal` (smaller is better), and the pairs that it has the right way round."""
    result: dict[str, tuple[float, int]] = {}
    for kind, value_of in ORDERS.items():
        found = {row.name: value_of(row) for row in rows}
        tau = kendalltau([found[s] for s in goal], list(goal.values())).statistic
        agree = sum((found[a] - found[b]) * (goal[a] - goal[b]) > 0 for a, b in combinations(goal, 2))
        result[kind] = (float(tau), agree)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--inner", choices=("gaussian", "exact"), default="gaussian")
    parser.add_argument("--done", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)

    trained = train_all(options.tasks, options.seeds, options.done)
    lines, pairs = [], 0
    agreeing = dict.fromkeys(ORDERS, 0)
    print(
        f"\n| task (metric) | source | trained | {' | '.join(ORDERS)} |\n|---|---|{'---:|' * (1 + len(ORDERS))}"
    )
    for name in options.tasks:
        task, sources = get_task(name), sources_of(name)
        started = time.process_time()
        config = default_trial(task, preset="embedded")
        rows = rank_sources(config, sources, inner=options.inner, samples=options.samples)
        spent = time.process_time() - started
        means = {s: statistics.mean(trained[name, s, i] for i in range(options.seeds)) for s in sources}
        for row in rows:
            print(
                f"| {name} ({task.metric.name}) | {row.name} | {means[row.name]:.4g} | {row.otdd:.3f} | "
                f"{row.transfer:.4f} | {row.target_gain:.4f} | {row.source_gain:.4f} |",
                flush=True,
            )
        sign = 1.0 if task.metric.direction == "min" else -1.0
        found = compare(rows, {s: sign * means[s] for s in sources})
        lines.append(f"| {name} | {' | '.join(f'{tau:.2f}' for tau, _ in found.values())} | {spent:.1f} |")
        pairs += len(sources) * (len(sources) - 1) // 2
        for kind, (_, agree) in found.items():
            agreeing[kind] += agree
    print(f"\n| Kendall's τ with the trained order | {' | '.join(ORDERS)} | CPU s to rank |")
    print(f"|---|{'---:|' * (1 + len(ORDERS))}")
    print("\n".join(lines))
    print(f"| pairs in the same order, of {pairs} | {' | '.join(map(str, agreeing.values()))} | |")


if __name__ == "__main__":
    main()
