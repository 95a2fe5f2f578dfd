"""Data at scale: memory while a large release is prepared, memory of a second reader, and loading against training.

    python tests/benchmarks/data.py memory [--gb 2] [--scratch FOLDER]
    python tests/benchmarks/data.py speed [--tasks ecg psicov …] [--seconds 2] [--threads 1]

`memory` writes made-up releases of the given size into FOLDER, one after the other, and removes them again. The peak
is the kernel's high-water mark of the preparing process (Linux only), reset once everything is imported. Then two
processes open one store of 2 GB, touch every record and stay: what a second trial on a node adds. Targets: 1 GB of peak
whatever the size (also --gb 20), 150 MB for the second process.

`speed` prepares each task's own data, then in turn loads training items (store, item, batch) and takes embedded
training steps with half of the patches mixed; the ratio is the median over turns. Target: above 1, so that one process
loads and trains without waiting for data.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pare_tune.train.opened import OpenedTrial

GB, MB = 1e9, 1e6
PEAK_TARGET_MB, SECOND_TARGET_MB = 1000, 150
STORE_GB = 2
ROUNDS = 3


def write_arrays(root: Path, size: float) -> None:
    """A release of 1D advection, PDEBench's 201 times of 1024 points, of `size` bytes."""
    import h5py
    import numpy as np

    block = np.random.default_rng(0).standard_normal((32, 201, 1024), dtype=np.float32)
    blocks = max(1, round(size / block.nbytes))
    with h5py.File(root / "1D_Advection_Sols_beta0.4.hdf5", "w") as file:
        tensor = file.create_dataset("tensor", (blocks * len(block), *block.shape[1:]), "f4")
        for start in range(0, len(tensor), len(block)):
            tensor[start : start + len(block)] = block
        file["x-coordinate"] = np.linspace(0, 1, 1024, dtype=np.float32)
        file["t-coordinate"] = np.linspace(0, 2, 201, dtype=np.float32)


def write_groups(root: Path, size: float) -> None:
    """A release of 2D shallow water, PDEBench's 101 times of 128×128 points, of `size` bytes."""
    import h5py
    import numpy as np

    block = np.random.default_rng(0).uniform(1, 2, (101, 128, 128, 1)).astype(np.float32)
    with h5py.File(root / "2D_rdb_NA_NA.h5", "w") as file:
        for index in range(max(20, round(size / block.nbytes))):
            group = file.create_group(f"{index:04d}")
            group["data"] = block
            group["grid/x"] = group["grid/y"] = np.linspace(-2.5, 2.5, 128, dtype=np.float32)
            group["grid/t"] = np.linspace(0, 1, 101, dtype=np.float32)


RELEASES: dict[str, tuple[str, Callable[[Path, float], None]]] = {
    "arrays over all samples": ("advection", write_arrays),
    "a group for every sample": ("pde-shallow-water", write_groups),
}


def prepare(pipe: Connection, name: str, root: Path, cache: Path) -> None:
    """In a process of its own: prepare, and send (MB before, peak MB, seconds)."""
    from pare_tune.tasks import get_task
    from pare_tune.tasks.load import open_test

    task = get_task(name)
    import h5py  # noqa: F401  # a library's own memory is none of the data's

    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins again, here
    before, started = status_mb("VmRSS"), time.perf_counter()
    open_test(task, data=root, cache=cache)
    pipe.send((before, status_mb("VmHWM"), time.perf_counter() - started))


def write_large_store(path: Path, size: float) -> None:
    """A store of `size` bytes, of records as large as those of 2D PDEs."""
    import numpy as np

    from pare_tune.data.store import write_store

    x = np.random.default_rng(0).standard_normal((1, 128, 128), dtype=np.float32)
    write_store(path, ({"x": x + i, "y": x[0] - i} for i in range(round(size / (2 * x.nbytes)))))


def touch(pipe: Connection, path: Path) -> None:
    """In a process of its own: when told to, read every byte of the store, say how many, and keep it open."""
    from pare_tune.data.store import Store

    pipe.send(0)
    pipe.recv()
    store, touched = Store(path), 0
    for index in range(len(store)):
        for array in store[index].values():
            array.max()
            touched += array.nbytes
    pipe.send(touched)
    pipe.recv()


def status_mb(field: str) -> float:
    """A memory figure of this process, in MB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / MB


def shared_mb(pid: int | None) -> tuple[float, float]:
    """(PSS, USS) of a process in MB: with shared pages divided among those who map them, and without them."""
    rollup = dict(re.findall(r"(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text()))
    uss = int(rollup["Private_Clean"]) + int(rollup["Private_Dirty"])
    return int(rollup["Pss"]) * 1024 / MB, uss * 1024 / MB


@contextmanager
def process(target: Callable[..., None], *arguments: object) -> Iterator[tuple[int | None, Connection]]:
    """A fresh process that runs `target(pipe, *arguments)`: (its id, our end of the pipe)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=target, args=(theirs, *arguments))
    child.start()
    theirs.close()  # so that a child that died is the end of the file, not a wait for ever
    try:
        yield child.pid, ours
    finally:
        ours.close()
        child.join(timeout=60)


def measure_memory(size_gb: float, scratch: Path | None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pare-tune-data-", dir=scratch))
    try:
        measure_preparing(size_gb, folder)
        print()
        measure_sharing(folder)
    finally:
        shutil.rmtree(folder)


def measure_preparing(size_gb: float, folder: Path) -> None:
    """Print the first table."""
    print(
        f"| release | size, GB | store, GB | seconds | before, MB | peak, MB | growth, MB (≤ {PEAK_TARGET_MB}) |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for title, (name, write) in RELEASES.items():
        root, cache = folder / name, folder / f"{name}-cache"
        root.mkdir()
        write(root, size_gb * GB)
        size = sum(path.stat().st_size for path in root.iterdir()) / GB
        with process(prepare, name, root, cache) as (_, pipe):
            before, peak, seconds = pipe.recv()
        stored = sum(path.stat().st_size for path in cache.glob("prepared/*/*.arrow")) / GB
        shutil.rmtree(root)
        print(
            f"| {title} ({name}) | {size:.2f} | {stored:.2f} | {seconds:.0f} | {before:.0f} | {peak:.0f} "
            f"| {judged(peak - before, PEAK_TARGET_MB)} |",
            flush=True,
        )


def measure_sharing(folder: Path) -> None:
    """Print the second table."""
    path = folder / "train.arrow"
    write_large_store(path, STORE_GB * GB)
    print(f"| readers of a store of {STORE_GB} GB | touched, GB | PSS, MB | USS, MB |\n|---|---:|---:|---:|")
    with process(touch, path) as (first, pipe), process(touch, path) as (second, other):
        for ready in (pipe, other):
            ready.recv()
        pipe.send("go")
        read = pipe.recv() / GB
        alone_pss, alone_uss = shared_mb(first)
        print(f"| first, alone | {read:.2f} | {alone_pss:.0f} | {alone_uss:.0f} |")
        idle_pss, idle_uss = shared_mb(second)
        print(f"| second, before it opens the store | 0 | {idle_pss:.0f} | {idle_uss:.0f} |")
        other.send("go")
        read_too = other.recv() / GB
        (pss, uss), (other_pss, other_uss) = shared_mb(first), shared_mb(second)
        print(f"| first, beside the second | {read:.2f} | {pss:.0f} | {uss:.0f} |")
        print(f"| second, beside the first | {read_too:.2f} | {other_pss:.0f} | {other_uss:.0f} |")
        added = judged(pss + other_pss - alone_pss, SECOND_TARGET_MB)
        print(f"| added by the second, its interpreter included (≤ {SECOND_TARGET_MB}) | | {added} | |")
        for done in (pipe, other):
            done.send("end")


def judged(found: float, target: float) -> str:
    return f"{found:.0f}" if found <= target else f"{found:.0f} MISSED"


def measure_speed(names: list[str], seconds: float, threads: int) -> None:
    import torch

    from pare_tune.config import default_trial
    from pare_tune.tasks import TASKS
    from pare_tune.train.opened import open_trial

    torch.set_num_threads(threads)
    print(f"torch {torch.__version__}, {threads} threads, load of the machine {os.getloadavg()[0]:.1f}\n")
    print("| task | batch | loading, items/s | training, items/s | loading over training |")
    print("|---|---:|---:|---:|---:|")
    slow: list[str] = []
    for name in names or list(TASKS):
        if TASKS[name].make is None:
            print(f"| {name} | | needs a release | | |", flush=True)
            continue
        opened = open_trial(default_trial(TASKS[name], preset="embedded"))
        load, train = loader_of(opened), trainer_of(opened)
        turns = [(rate(load, seconds / ROUNDS), rate(train, seconds / ROUNDS)) for _ in range(ROUNDS)]
        ratio = statistics.median(a / b for a, b in turns)
        loading, training = (statistics.median(column) for column in zip(*turns, strict=True))
        batch = opened.config.train.batch_size
        print(f"| {name} | {batch} | {loading:,.0f} | {training:,.0f} | {ratio:.1f} |", flush=True)
        if ratio <= 1:
            slow.append(name)
    print(f"\nslower to load than to train on: {', '.join(slow) or 'none'}")


def loader_of(opened: OpenedTrial) -> Callable[[], int]:
    """Loads one batch of training items, another one at each call; the number of items."""
    import numpy as np

    from pare_tune.train.batches import stack

    train, size = opened.data.train, opened.config.train.batch_size
    order = np.random.default_rng(0).permutation(len(train))
    calls = 0

    def load() -> int:
        nonlocal calls
        rows = [int(order[(calls * size + i) % len(order)]) for i in range(size)]
        stack([train.item(row, np.random.default_rng((0, calls, row))) for row in rows])
        calls += 1
        return size

    return load


def trainer_of(opened: OpenedTrial) -> Callable[[], int]:
    """Takes one optimiser step on a batch that was loaded before; the number of target items."""
    from pare_tune.method import pare_loss, source_loss
    from pare_tune.train.batches import StepBatches, plan_epoch
    from pare_tune.train.optim import make_optimizer

    config, data, source = opened.config, opened.data, opened.source
    assert source is not None  # the default method mixes
    plan = plan_epoch(len(data.train), len(source.dataset), config.train.batch_size, seed=0, epoch=0)
    batch = next(StepBatches(data.train, source.dataset, seed=0).epoch(plan[:1], 0))
    target, source_batch = dict(batch.target), batch.source
    assert source_batch is not None
    x, model = target.pop("x"), opened.build().train()
    optimizer = make_optimizer(model, config.optimizer)

    def train() -> int:
        optimizer.zero_grad(set_to_none=True)
        out = model(x, source_batch["x"], source_kind=source.kind, k=opened.num_tokens // 2)
        loss_t, loss_mt = data.loss(out.target, target), data.loss(out.mixed_target, target)
        loss_ms = source_loss(out.mixed_source, source_batch["y"])
        loss, _ = pare_loss(loss_t, loss_mt, loss_ms, lam=0.5)
        loss.backward()
        optimizer.step()
        return len(x)

    return train


def rate(act: Callable[[], int], seconds: float) -> float:
    """Items a second, after one call to warm up."""
    act()
    items, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        items += act()
    return items / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    memory = commands.add_parser("memory")
    memory.add_argument("--gb", type=float, default=2.0)
    memory.add_argument("--scratch", type=Path)
    speed = commands.add_parser("speed")
    speed.add_argument("--tasks", nargs="+", default=[])
    speed.add_argument("--seconds", type=float, default=2.0)
    speed.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.command == "speed":
        measure_speed(options.tasks, options.seconds, options.threads)
    elif sys.platform == "linux":
        measure_memory(options.gb, options.scratch)
    else:
        parser.error("memory is read from /proc, which only Linux has")


if __name__ == "__main__":
    main()
