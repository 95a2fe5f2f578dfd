"""What only a GPU can tell, in one run of at most six minutes; on a CPU the same at micro sizes, to prove the script.

    python tests/benchmarks/gpu.py [--minutes 6]

The paper's encoders have random weights, which changes no time and no memory. What does not fit the
time is left out, and said. `pare-tune data prepare cifar100` and `pare-tune data prepare advection` make the data
before the clock runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

import memory
import selection
import step
from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from pare_tune.train.batches import StepBatches, plan_epoch
from pare_tune.train.build import count_tokens, open_backbone, open_data, open_trial_source
from pare_tune.train.loop import Context, fit
from pare_tune.train.opened import OpenedTrial
from trainings import scored, spread

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
SWIN, ROBERTA = (
    ("timm:swin_base_patch4_window7_224", "roberta-base") if GPU else ("micro-swin", "micro-roberta")
)
STEPS = (
    {
        "Swin-base, B 16, N 3136": step.Case(SWIN, 16, (3, 224, 224), 3136),
        "RoBERTa-base, B 16, N 512": step.Case(ROBERTA, 16, (1, 4096), 512),
    }
    if GPU
    else {
        "micro-swin, B 4, N 256": step.Case(SWIN, 4, (3, 64, 64), 256),
        "micro-roberta, B 4, N 64": step.Case(ROBERTA, 4, (1, 256), 64),
    }
)
SELECTION = (16, 3136, 2000) if GPU else (4, 256, 128)
BATCH = 16 if GPU else 8
SCORES = {"advection": "PDE", "cifar100": "classes"}
PRECISIONS = {"float32": ("fp32", "highest"), "TF32": ("fp32", "high"), "bfloat16": ("bf16", "highest")}
SEEDS = 3 if GPU else 1
SHARE_S = 10.0 if GPU else 2.0


def steps() -> Iterator[str]:
    """A PaRe step against its floor, and what is selected in it."""
    yield "| step | precision | floor, ms | PaRe, ms | ratio |\n|---|---|---:|---:|---:|"
    for title, case in STEPS.items():
        for name, (precision, matmul) in PRECISIONS.items() if GPU else [("float32", ("fp32", "highest"))]:
            torch.set_float32_matmul_precision(matmul)
            with torch.device(DEVICE):
                floor, pare, ratio = step.against_floor(case, 10 if GPU else 3, precision)
            yield f"| {title} | {name} | {floor:.1f} | {pare:.1f} | {ratio:.3f} |"
    torch.set_float32_matmul_precision("highest")


def selecting() -> Iterator[str]:
    """`topk` against the paper's `iterative`."""
    b, n, k = SELECTION
    yield f"| selection, B {b}, N {n}, k {k} | ms | saved for autograd, MB |\n|---|---:|---:|"
    for method in selection.METHODS:
        with torch.device(DEVICE):
            passes = [selection.one_pass(method, b, n, k) for _ in range(4)][1:]
        yield f"| {method} | {1e3 * statistics.median(s for s, _ in passes):.1f} | {passes[0][1] / 1e6:.1f} |"


def memories() -> Iterator[str]:
    """What `--dry-run` tells against what a step takes."""
    yield "| memory of B target and B mixed samples | precision | told, MB | measured, MB | ratio | CPU s to tell |"
    yield "|---|---|---:|---:|---:|---:|"
    for task, backbone in (("cifar100", SWIN), ("ecg", ROBERTA)):
        for precision in ("fp32", "bf16") if GPU else ("fp32",):
            for checkpointing in (False, True):
                case = memory.Case(task, backbone, BATCH, checkpointing, precision)
                title = f"{backbone}, B {BATCH}" + (", checkpointing" if checkpointing else "")
                yield f"| {title} | {precision} | {memory.compare(case, DEVICE)} |"


def scores() -> Iterator[str]:
    """Validation and test scores by precision, of the embedded preset."""
    yield "| task | precision | validation | test | seconds |\n|---|---|---:|---:|---:|"
    for task, kind in SCORES.items():
        for name, (precision, matmul) in PRECISIONS.items() if GPU else [("float32", ("fp32", "highest"))]:
            torch.set_float32_matmul_precision(matmul)
            done = [
                scored(
                    default_trial(get_task(task), preset="embedded", seed=seed).with_values(
                        {
                            "train.precision": precision,
                            **({} if GPU else {"train.epochs": 1, "train.share": 0.2}),
                        }
                    ),
                    device=DEVICE,
                )
                for seed in range(SEEDS)
            ]
            shown = [spread([d[split] for d in done]) for split in ("validation", "test")]
            seconds = statistics.median(d["seconds"] for d in done)
            yield f"| {task} ({kind}) | {name} | {' | '.join(shown)} | {seconds:.0f} |"
    torch.set_float32_matmul_precision("highest")


def loading() -> Iterator[str]:
    """Batches alone against an epoch that trains on them."""
    yield f"| cifar100, {SWIN}, B {BATCH} | batches alone, ms each | trained on, ms each |\n|---|---:|---:|"
    for workers in (0, 4 if GPU else 2):
        opened = _opened(workers)
        train = opened.config.train
        batches = StepBatches(
            opened.data.train, opened.source.dataset, seed=0, loader_workers=workers, pin_memory=GPU
        )  # fmt: skip
        plan = plan_epoch(
            len(opened.data.train), len(opened.source.dataset), train.batch_size, seed=0, epoch=0
        )
        list(batches.epoch(plan[:4], 0))  # processes begin
        started = time.perf_counter()
        count = sum(1 for _ in batches.epoch(plan, 1))
        alone = 1e3 * (time.perf_counter() - started) / count
        context = Context(report=lambda report: None, device=torch.device(DEVICE))
        last = fit(opened, opened.build(), context, validate=False, until=2).curve[-1]
        yield f"| {workers} processes | {alone:.1f} | {1e3 * train.batch_size / last.samples_per_s:.1f} |"


def _opened(loader_workers: int) -> OpenedTrial:
    """The class task for the large encoder, with random weights."""
    config = default_trial(get_task("cifar100"), preset="embedded", backbone=SWIN)
    config = config.with_values(
        {
            "train.batch_size": BATCH,
            "train.loader_workers": loader_workers,
            "train.share": 1.0 if GPU else 0.2,
        }
    )
    data, backbone = open_data(config), open_backbone(config, pretrained=False)
    num_tokens = count_tokens(config, data.task.modality, data.input_shape, backbone)
    source = open_trial_source(config, backbone, num_tokens)
    return OpenedTrial(config=config, data=data, source=source, backbone=backbone, num_tokens=num_tokens)


def sharing() -> Iterator[str]:
    """Two trials on one device."""
    yield "| two trials on the device | steps/s alone | steps/s of both together | ratio |\n|---|---:|---:|---:|"
    for title, case in STEPS.items():
        alone, both = (sum(_together(case, count)) for count in (1, 2))
        yield f"| {title} | {alone:.2f} | {both:.2f} | {both / alone:.2f} |"


def _together(case: step.Case, count: int) -> list[float]:
    """Steps a second of `count` processes that run at once."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count)
    with spawn.Pool(count, initializer=_meet_at, initargs=(barrier,)) as pool:
        return pool.map(_paced, [case] * count, chunksize=1)


def _meet_at(barrier: Any) -> None:
    _paced.barrier = barrier  # type: ignore[attr-defined]


def _paced(case: step.Case) -> float:
    with torch.device(DEVICE):
        run = step.step_of(case, "pare", "bf16")
    run(), run()
    _paced.barrier.wait()  # type: ignore[attr-defined]
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SHARE_S:
        run()
        count += 1
    return count / (time.perf_counter() - started)


PARTS: Sequence[Callable[[], Iterator[str]]] = (steps, selecting, memories, loading, sharing, scores)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=6.0)
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if GPU else f"no GPU, {platform.machine()}: micro shapes"
    print(f"torch {torch.__version__}, {where}")
    started = time.perf_counter()
    for part in PARTS:
        print()
        for line in part():
            print(line, flush=True)
            if time.perf_counter() - started > 60 * options.minutes:
                print(f"(the time is over: what follows in `{part.__name__}` and after it is left out)")
                return
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
