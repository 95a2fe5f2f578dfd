"""Memory and speed of `pare-tune predict` on files much larger than what it holds at a time.

    python tests/benchmarks/predict.py

Two small models are trained for an epoch, one of long series, one of a table whose other columns it does not read. Each
file is predicted in a process of its own, whose peak of resident memory is what the system says of it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

STEPS = 32768
READ, UNREAD = 4, 400
BLOCK = 250


def write(path: Path, count: int) -> None:
    """`count` series or rows of noise and their classes, block by block."""
    rng = np.random.default_rng(0)
    if path.suffix in (".csv", ".parquet"):
        names = [f"c{i}" for i in range(READ + UNREAD)]
        frame = pd.DataFrame(rng.normal(size=(count, len(names))).round(6), columns=names)
        frame["label"] = np.where(frame.c0 + frame.c1 > 0, "high", "low")
        frame["id"] = [f"sample {i}" for i in range(count)]
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(
            path, row_group_size=2000
        )
        return
    array: Any = np.lib.format.open_memmap(path.with_suffix(".npy"), "w+", "f4", (count, STEPS))
    for start in range(0, count, BLOCK):
        array[start : start + BLOCK] = rng.normal(size=array[start : start + BLOCK].shape)
    if path.suffix == ".npz":
        np.savez(path, x=array)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = array


def train(folder: Path, inputs: str, **more: Any) -> Path:
    """A model of a small file of that kind."""
    import torch

    from pare_tune.config import default_trial
    from pare_tune.tasks.own.spec import OwnData
    from pare_tune.tasks.own.task import own_task
    from pare_tune.train.final import run_final
    from pare_tune.train.loop import Context
    from pare_tune.yaml import validate

    torch.set_num_threads(1)
    tree = {"name": "large", "kind": "point", "input": inputs, **more}
    own = validate(OwnData, tree, where="task").under(folder)
    config = default_trial(own_task(own, folder / "cache"), preset="embedded", own=own, method="finetune")
    config = config.with_values({"train.epochs": 1, "input.max_tokens": 8})
    model = folder / f"final-{Path(inputs).stem}"
    context = Context(report=lambda epoch: None, folder=model)
    run_final(config, context, with_val=False, cache=folder / "cache")
    return model


def predict(model: Path, inputs: Path, out: Path) -> None:
    """In this process; prints seconds and the peak in MB."""
    from pare_tune import api

    started = time.perf_counter()
    api.predict_file(model, inputs, out, probabilities=True, batch_size=256)
    # Not `getrusage`, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    print(f"{time.perf_counter() - started:.1f} {peak:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--one", type=Path, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        predict(*given.one)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "series.npy", 60)
        np.save(folder / "labels.npy", np.arange(60) % 2)
        write(folder / "table.csv", 200)
        columns = [f"c{i}" for i in range(READ)]
        series = train(folder, "series.npy", target="labels.npy")
        table = train(
            folder, "table.csv", target="label", input={"file": "table.csv", "id": "id", "columns": columns}
        )
        print(
            "| inputs → outputs | samples | inputs MB | peak MB | samples/s |\n|---|---:|---:|---:|---:|",
            flush=True,
        )
        cases = [(series, suffix, ".npy", given.series) for suffix in (".npy", ".npz", ".h5")]
        cases += [(table, ".csv", ".csv", given.rows), (table, ".parquet", ".parquet", given.rows)]
        for model, suffix, out, counts in cases:
            for count in counts:
                inputs = folder / f"inputs{suffix}"
                write(inputs, count)
                words = [sys.executable, __file__, "--one", *map(str, (model, inputs, folder / f"out{out}"))]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                seconds, peak = map(float, done.stdout.split())
                size = inputs.stat().st_size / 1e6
                print(
                    f"| {suffix} → {out} | {count:,} | {size:,.0f} | {peak:,.0f} | {count / seconds:,.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
