"""How long a person waits: help, the list of tasks, and from the command to the first training step.

    python tests/benchmarks/startup.py [--runs 5]

Each figure is the median over fresh processes. The first training step is the moment a trial's log is opened by its
worker, data prepared beforehand. Targets: help ≤ 0.5 s, tasks ≤ 1 s, first step ≤ 15 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODE = "from pare_tune.cli import main; main()"


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", CODE, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def first_step() -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = ["--task", "wdbc", "--budget", "1", "--runs", folder, "--set", "train.epochs=1"]
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not list(Path(folder).glob("*/trials/0000/log.txt")):
            time.sleep(0.05)
        waited = time.perf_counter() - started
        process.wait()
        return waited


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    seconds("data", "prepare", "wdbc")
    print("| what | median, s | slowest, s |\n|---|---:|---:|")
    for title, measure in {
        "`pare-tune --help`": lambda: seconds("--help"),
        "`pare-tune tasks`": lambda: seconds("tasks"),
        "command to first training step": first_step,
    }.items():
        found = [measure() for _ in range(runs)]
        print(f"| {title} | {statistics.median(found):.2f} | {max(found):.2f} |", flush=True)


if __name__ == "__main__":
    main()
