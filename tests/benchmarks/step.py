"""One PaRe training step against its floor: the same embedders, one encoder pass of 2B, heads; no gate, no mixing.

    python tests/benchmarks/step.py [--pairs 20] [--threads 2]

Both run forward and backward, in turn, and the ratio is the median over pairs, so a machine that slows down slows
both. Weights are random (their values do not change the time), K is half of N. Target: at most 1.05.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pare_tune.backbones import load_backbone
from pare_tune.method import (
    Gate,
    GateConfig,
    GateMixer,
    GridEmbedder,
    Mixed,
    Mixer,
    PareModel,
    PointHead,
    SequenceEmbedder,
    pare_loss,
    source_loss,
)
from pare_tune.method.model import Precision


class Case(NamedTuple):
    """An encoder and what it is given."""

    backbone: str
    batch: int
    shape: tuple[int, ...]
    tokens: int


CASES = {
    "micro-swin, B 16, N 256": Case("micro-swin", 16, (3, 64, 64), 256),
    "micro-roberta, B 16, N 64": Case("micro-roberta", 16, (1, 256), 64),
    "Swin-tiny, B 4, N 3136": Case("timm:swin_tiny_patch4_window7_224", 4, (3, 224, 224), 3136),
}


class TakeSource(Mixer):
    """The floor: the second half of the batch is the source as it is."""

    def mix(self, target_BND: Tensor, source_BND: Tensor, k: int) -> Mixed:
        return Mixed(tokens_BND=source_BND, lam=0.5, target_weight=0.5)


def step_of(case: Case, mixer: str, precision: Precision = "fp32") -> Callable[[], float]:
    """A training step that returns its seconds, on torch's default device."""
    torch.manual_seed(0)
    name, batch, shape, n = case
    backbone = load_backbone(name, pretrained=False)
    spec = backbone.spec
    chosen: Mixer = (
        TakeSource() if mixer == "floor" else GateMixer(Gate(spec.width, GateConfig()), GateConfig())
    )
    if spec.kind == "grid":
        assert spec.image_size is not None
        assert spec.patch_size is not None
        embedder: torch.nn.Module = GridEmbedder(shape[0], spec.image_size, spec.patch_size, spec.width)
        source_x, kind = torch.randn(batch, 3, spec.image_size, spec.image_size), "images"
    else:
        embedder = SequenceEmbedder(shape[0], shape[1], n, spec.width)
        source_x, kind = torch.randint(0, 200, (batch, n)), "text"
    head = PointHead(spec.feature_width, 10)
    model = PareModel(
        backbone, embedder, head, chosen, PointHead(spec.feature_width, 10), precision=precision
    ).train()
    x, y = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))

    def step() -> float:
        started = time.perf_counter()
        model.zero_grad(set_to_none=True)
        out = model(x, source_x, source_kind=kind, k=n // 2)
        loss_t = torch.nn.functional.cross_entropy(out.target, y)
        loss_mt = torch.nn.functional.cross_entropy(out.mixed_target, y)
        loss, _ = pare_loss(loss_t, loss_mt, source_loss(out.mixed_source, y), lam=0.5)
        loss.backward()
        wait()
        return time.perf_counter() - started

    return step


def wait() -> None:
    """Until the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def against_floor(case: Case, pairs: int, precision: Precision = "fp32") -> tuple[float, float, float]:
    """Milliseconds of the floor and of PaRe, and the median ratio of pairs."""
    floor, pare = (step_of(case, mixer, precision) for mixer in ("floor", "pare"))
    for _ in range(2):
        floor(), pare()
    timed = [(floor(), pare()) for _ in range(pairs)]
    a, b = (1e3 * statistics.median(column) for column in zip(*timed, strict=True))
    return a, b, statistics.median(p / f for f, p in timed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, median of {options.pairs} pairs\n")
    print("| step | floor, ms | PaRe, ms | ratio |\n|---|---:|---:|---:|")
    for title, case in CASES.items():
        a, b, ratio = against_floor(case, options.pairs)
        print(f"| {title} | {a:.0f} | {b:.0f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
