"""What a dense head can say at best: the error left on random fields when the features are free.

    python tests/benchmarks/heads.py [--steps 400]

Each head keeps the weights it starts with; what it reads is fitted to white noise of 128×128 (512 numbers for series)
by gradient descent. Root mean square error, where 1 is the best constant. And what it costs: time of the encoder and
the head, forward and backward, against the paper's head.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.method import HeadConfig
from pare_tune.tasks.base import Dense
from pare_tune.train.build import ModelShape, _target_head

CASES = {
    "micro-swin, 64×64": ("micro-swin", None, (128, 128)),
    "Swin-B, 224×224": ("timm:swin_base_patch4_window7_224", None, (128, 128)),
    "ViT-S/16, 224×224": ("timm:vit_small_patch16_224", None, (128, 128)),
    "micro-roberta, 32 tokens": ("micro-roberta", 32, (512,)),
    "roberta-base, 128 tokens": ("roberta-base", 128, (512,)),
}
HEADS = {
    "last (paper)": HeadConfig(kind="last"),
    "stages": HeadConfig(kind="stages"),
    "across": HeadConfig(kind="across"),
}


def head_of(config: HeadConfig, backbone: Backbone, num_tokens: int, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    dense = ModelShape(
        modality="dense_2d" if backbone.spec.kind == "grid" else "dense_1d", input_shape=(1,), output=Dense(shape),
        target_scale=None, source_kind=None, source_classes=0,
    )  # fmt: skip
    return _target_head(config, dense, backbone, num_tokens)


def best_error(head: nn.Module, stages: list[Tensor], field: Tensor, steps: int) -> float:
    features = [torch.randn_like(stage).requires_grad_() for stage in stages]
    # First predictions are a hundredth of the field, so the last layer's weights are brought to its scale.
    with torch.no_grad():
        scale = head(features).std()
    optimizer = torch.optim.Adam(features, lr=0.1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        optimizer.zero_grad()
        loss = (head(features) / scale - field).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach().sqrt())


def seconds(head: nn.Module, backbone: Backbone, tokens: Tensor, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.process_time()
        head(backbone.stages(tokens)).square().mean().backward()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| backbone | head | parameters | error left | time, of the paper's head |\n|---|---|---:|---:|---:|"
    )
    for title, (name, num_tokens, shape) in CASES.items():
        backbone = load_backbone(name, pretrained=False).train()
        spec = backbone.spec
        n = num_tokens or spec.token_grid[0] * spec.token_grid[1]  # type: ignore[index]
        tokens = torch.randn(2, n, spec.width)
        with torch.no_grad():
            stages = [stage[:1] for stage in backbone.stages(tokens)]
        field = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
        paper = None
        for kind, config in HEADS.items():
            if config.kind == "across" and spec.kind == "grid":
                continue
            head = head_of(config, backbone, n, shape)
            took = seconds(head, backbone, tokens, options.repeats)
            paper = paper or took
            size = sum(p.numel() for p in head.parameters())
            error = best_error(head, stages, field, options.steps)
            print(f"| {title} | {kind} | {size:,} | {error:.3f} | {took / paper:.2f} |", flush=True)


if __name__ == "__main__":
    main()
