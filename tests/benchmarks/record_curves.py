"""Record learning curves of random configurations, and pack them into tables for the simulator and for new searches.

    python tests/benchmarks/record_curves.py [TASK ...] [--configurations 120] [--jobs 2] [--out curves]
    python tests/benchmarks/record_curves.py --pack [--tables pare_tune/recorded/tables]

Expect 5 to 60 seconds a configuration on one core of a 2026 server processor, about 10 hours of one core for all; it
runs at the lowest priority. Stop it at any time: every finished configuration is a file, FOLDER/TASK/NNNN.json, and the
same command goes on where it was. Tasks take turns, so that a recording that is cut short has tables of equal length.

Each process imports what it needs when it starts, so the code may be edited while it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from itertools import product
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

# Before torch, whose thread pools read it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import pare_tune
import pare_tune.recorded
from pare_tune.errors import DataError, PareTuneError, StudyFailed
from simulate.record import Recording, is_recorded, record

TASKS = (
    "wdbc", "balance-scale", "tic-tac-toe", "advection", "pde-burgers", "darcy", "ecg", "ninapro", "psicov",
)  # fmt: skip
"""The first three are real, the next three solved, the others samples: every modality."""

_ABOVE = ("api", "cli", "figures", "report", "tune")
"""What no training needs."""
_HOPELESS = 3
"""So many crashes in a row are no property of the configurations."""


def main() -> None:
    options = _parse()
    if options.pack:
        _pack(options.out, options.tables, options.tasks)
        return
    os.nice(19)
    names = tuple(options.tasks or TASKS)
    _recordings(names)  # mistakes show before a process starts
    context = multiprocessing.get_context("spawn")
    turn = context.Value("q", 0)
    arguments = (names, options.configurations, options.out, turn)
    workers = [context.Process(target=work, args=arguments, daemon=True) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("a process ended before its work was done, see above; the same command goes on from there")


def work(names: Sequence[str], configurations: int, folder: Path, turn: Synchronized[int]) -> None:
    """Record what is not recorded yet, one configuration at a time, until all are."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's end is this one's
    torch.set_num_threads(1)
    _end_with_parent()
    _import_everything()
    todo = list(product(range(configurations), _recordings(names)))
    crashes = 0
    while (item := _take(turn)) < len(todo):
        number, recording = todo[item]
        if is_recorded(recording.path(folder, number)):
            continue
        started = time.monotonic()
        written = record(recording, number, folder)
        took = time.monotonic() - started
        outcome = written["message"] or f"last score {written['curve'][-1]['score']:.5g}"
        print(
            f"{time.strftime('%H:%M:%S')} {recording.task} {number:04d} in {took:.1f} s: {outcome}",
            flush=True,
        )
        crashes = crashes + 1 if written["cause"] == "crashed" else 0
        if crashes >= _HOPELESS:
            raise StudyFailed(f"{crashes} configurations in a row crashed, the last one with: {outcome}")
        gc.collect()


def _recordings(names: Sequence[str]) -> list[Recording]:
    return [Recording.open(name) for name in names]


def _take(turn: Synchronized[int]) -> int:
    with turn.get_lock():
        turn.value += 1
        return turn.value - 1


def _import_everything() -> None:
    """What trials would import on first use, hours from now, when the files may be others."""
    root = Path(pare_tune.__file__).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        # The Ray Train worker brings Ray, which nothing here uses.
        if parts[0] not in _ABOVE and parts != ("train", "worker"):
            # A module that is just being edited is missed only if a trial needs it, which then says so.
            with contextlib.suppress(Exception):
                importlib.import_module(".".join(("pare_tune", *parts)).removesuffix(".__init__"))


def _end_with_parent() -> None:
    """A killed parent cannot end its processes, so these look for themselves."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _pack(folder: Path, tables: Path, tasks: Sequence[str]) -> None:
    from simulate.tables import pack

    if not folder.is_dir():
        raise DataError(f"no folder of records at {folder}; give the one that was recorded into with --out")
    names = tasks or sorted(p.name for p in folder.iterdir() if p.is_dir())
    if not names:
        raise DataError(f"{folder} holds no records; record some first, with --out {folder}")
    for name in names:
        table, path = pack(folder / name, tables)
        print(f"{name}: {len(table)} configurations, {path.stat().st_size / 1000:.0f} kB in {path}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"default: {', '.join(TASKS)}")
    parser.add_argument("--configurations", type=int, default=120, help="of each task (default: 120)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("curves"), help="folder of the records")
    parser.add_argument("--pack", action="store_true", help="train nothing; make tables of the records")
    parser.add_argument(
        "--tables",
        type=Path,
        default=Path(pare_tune.recorded.__file__).parent / "tables",
        help="where --pack writes",
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except PareTuneError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
