"""Memory and speed of `pare-tune predict` on files much larger than what it holds at a time.

    python tests/benchmarks/predict.py --rows 20000 200000

A small model of 30 columns is trained for an epoch; each kind of file is predicted in a process of its own, whose peak
of resident memory is what the system says of it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = 30


def write(path: Path, rows: int) -> None:
    """`rows` rows of noise and a class, block by block."""
    rng = np.random.default_rng(0)
    if path.suffix == ".npy":
        array = np.lib.format.open_memmap(path, "w+", "f8", (rows, COLUMNS))
        for start in range(0, rows, 10_000):
            array[start : start + 10_000] = rng.normal(size=array[start : start + 10_000].shape)
        return
    if path.suffix == ".npz":
        np.savez(path, x=rng.normal(size=(rows, COLUMNS)))
        return
    frame = pd.DataFrame(rng.normal(size=(rows, COLUMNS)).round(6), columns=[f"c{i}" for i in range(COLUMNS)])
    frame["label"] = np.where(frame.c0 + frame.c1 > 0, "high", "low")
    frame["id"] = [f"sample {i}" for i in range(rows)]
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(
        path, row_group_size=20_000
    )


def train(folder: Path) -> Path:
    """A model of a small table of that kind."""
    import torch

    from pare_tune.config import default_trial
    from pare_tune.tasks.own.spec import OwnData
    from pare_tune.tasks.own.task import own_task
    from pare_tune.train.final import run_final
    from pare_tune.train.loop import Context
    from pare_tune.yaml import validate

    torch.set_num_threads(1)
    write(folder / "train.csv", 400)
    tree = {"name": "large", "kind": "point", "target": "label", "input": {"file": "train.csv", "id": "id"}}
    own = validate(OwnData, tree, where="task").under(folder)
    config = default_trial(own_task(own, folder / "cache"), preset="embedded", own=own, method="finetune")
    config = config.with_values({"train.epochs": 1})
    context = Context(report=lambda epoch: None, folder=folder / "final")
    run_final(config, context, with_val=False, cache=folder / "cache")
    return folder / "final"


def predict(model: Path, inputs: Path, out: Path) -> None:
    """In this process; prints seconds and the peak in MB."""
    from pare_tune import api

    started = time.perf_counter()
    api.predict_file(model, inputs, out, probabilities=True, batch_size=256)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.perf_counter() - started:.1f} {peak:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--one", type=Path, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        predict(*given.one)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(folder)
        print("| inputs → outputs | rows | inputs MB | peak MB | rows/s |\n|---|---:|---:|---:|---:|")
        for suffix, out in ((".npy", ".npy"), (".npz", ".npy"), (".csv", ".csv"), (".parquet", ".parquet")):
            for rows in given.rows:
                inputs = folder / f"inputs{suffix}"
                write(inputs, rows)
                words = [sys.executable, __file__, "--one", *map(str, (model, inputs, folder / f"out{out}"))]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                seconds, peak = map(float, done.stdout.split())
                size = inputs.stat().st_size / 1e6
                print(
                    f"| {suffix} → {out} | {rows:,} | {size:.0f} | {peak:.0f} | {rows / seconds:,.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
