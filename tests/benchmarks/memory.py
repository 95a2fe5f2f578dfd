"""What a training step takes of memory: what `pare-tune --dry-run` tells of it against a process that runs it.

    python tests/benchmarks/memory.py [--cases micro-swin swin-tiny]

Every case has a process of its own, which imports everything, runs a step of a micro encoder, and then counts from
there: on a CPU the most of its resident set (VmHWM), on a GPU what its allocator has given out. The step is that of a
trial, optimiser included, on random samples of the task's shape. `malloc` gives back what is freed (blocks from 64 KiB
on are mapped one by one); `--keeping` leaves it as it comes, where it keeps much of that for later.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import re
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import BertConfig

from pare_tune.config import TrialConfig, default_trial
from pare_tune.method.model import Precision
from pare_tune.tasks import get_task
from pare_tune.train.lighter import lighter
from pare_tune.train.memory import Rehearsal, memory_need
from pare_tune.train.optim import make_optimizer

_GIVES_BACK = "MALLOC_MMAP_THRESHOLD_"
os.environ[_GIVES_BACK] = str(2**16)  # of the processes that measure; this one has begun


class Case(NamedTuple):
    """A trial; `small-bert` stands for a folder with the shapes of a small BERT."""

    task: str
    backbone: str
    batch: int
    checkpointing: bool = False
    precision: Precision = "fp32"

    def config(self, folder: Path) -> TrialConfig:
        backbone = self.backbone
        if backbone == "small-bert":
            backbone = f"hf:{folder}"
            BertConfig(
                hidden_size=512, num_hidden_layers=4, num_attention_heads=8, intermediate_size=2048
            ).save_pretrained(folder)
        trial = default_trial(get_task(self.task), preset="embedded", backbone=backbone)
        return trial.with_values(
            {
                "train.batch_size": self.batch,
                "train.precision": self.precision,
                "train.gradient_checkpointing": self.checkpointing,
            }
        )


CASES = {
    "micro-swin": Case("cifar100", "micro-swin", 32),
    "micro-swin, all stages": Case("psicov", "micro-swin", 16),
    "micro-roberta": Case("ecg", "micro-roberta", 64),
    "swin-tiny": Case("cifar100", "timm:swin_tiny_patch4_window7_224", 4),
    "swin-tiny, checkpointing": Case("cifar100", "timm:swin_tiny_patch4_window7_224", 4, checkpointing=True),
    "small-bert": Case("ecg", "small-bert", 16),
}
_MICRO = {"grid": Case("cifar100", "micro-swin", 2), "sequence": Case("ecg", "micro-roberta", 2)}


def measured(case: Case, device: str) -> int:
    """Bytes that two steps take at most, in this process."""
    with tempfile.TemporaryDirectory() as folder, torch.device(device):
        config = case.config(Path(folder))
        for warm_up in _MICRO.values():
            _steps(warm_up.config(Path(folder)), warm_up)
        before = _taken(device, forget=True)
        _steps(config, case)
        return _taken(device) - before


def _steps(config: TrialConfig, case: Case) -> None:
    rehearsal = Rehearsal.of(config, get_task(case.task))
    optimizer = make_optimizer(rehearsal.model, config.optimizer)
    with lighter(rehearsal.encoder, config.train):
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            rehearsal.loss(case.batch).backward()
            optimizer.step()


def _taken(device: str, *, forget: bool = False) -> int:
    """Most bytes so far; `forget` begins to count anew."""
    if device == "cuda":
        if forget:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    if forget:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def compare(case: Case, device: str) -> str:
    """Cells of a table: MB told, MB measured, their ratio, CPU seconds of telling."""
    with tempfile.TemporaryDirectory() as folder:
        config = case.config(Path(folder))
        started = time.process_time()
        told = memory_need(config, get_task(case.task)).peak
        seconds = time.process_time() - started
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # reads its environment as it begins
        taken = pool.apply(measured, (case, device))
    return f"{told / 1e6:.0f} | {taken / 1e6:.0f} | {told / taken:.2f} | {seconds:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--keeping", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.keeping:
        del os.environ[_GIVES_BACK]
    print(
        "| case | told, MB | measured, MB | told / measured | CPU seconds to tell |\n|---|---:|---:|---:|---:|"
    )
    for name in options.cases:
        case = CASES[name]
        print(f"| {name}, B {case.batch} | {compare(case, 'cpu')} |", flush=True)


if __name__ == "__main__":
    main()
