"""What does the gate learn? A toy where a quarter of the tokens tells the class and the rest is noise.

    python tests/benchmarks/gate.py [--seeds 3] [--steps 150]

AUC of the gate's logits against the informative tokens, on fresh samples: of the target after a third of the steps,
while most tokens are still replaced, and of target and source at the end; 0.5 is chance. The schedule of k is the
default one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch
from torch import nn

from pare_tune.method import (
    Gate,
    GateConfig,
    GateMixer,
    KSchedule,
    PareModel,
    PointHead,
    pare_loss,
    source_loss,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "method"))
from test_toy import CLASSES, Domain, N, ToyEncoder, auc
from test_toy import D as WIDTH

ROWS: dict[str, tuple[float, float, float]] = {
    "the paper's": (1.0, 1.0, 1.0),
    "mixed loss × 0.1 (embedded preset)": (0.1, 1.0, 1.0),
    "and noise 0.3": (0.1, 0.3, 1.0),
    "and no noise": (0.1, 0.0, 1.0),
    "and the gate's rate × 10": (0.1, 1.0, 10.0),
    "and the gate's rate × 10, noise 0.3": (0.1, 0.3, 10.0),
}
"""Weight of the mixed loss, scale of the noise, rate of the gate in multiples of the others'."""
LR = 1e-3


def train(
    beta2: float, noise: float, rate: float, seed: int, steps: int
) -> tuple[float, float, float, float]:
    """AUC of the target after a third, of target and source at the end, and the spread of the logits."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    common_D = torch.randn(WIDTH, generator=generator)
    target, source = Domain(common_D, generator), Domain(common_D, generator)
    config = GateConfig(noise=noise)
    mixer = GateMixer(Gate(WIDTH, config), config)
    heads = [PointHead(WIDTH, CLASSES) for _ in range(2)]
    model = PareModel(ToyEncoder(pre_norm=True), nn.Identity(), heads[0], mixer, heads[1])
    others = [p for name, p in model.named_parameters() if not name.startswith("mixer.")]
    optimizer = torch.optim.Adam(
        [{"params": others, "lr": LR}, {"params": list(mixer.parameters()), "lr": LR * rate}]
    )

    @torch.no_grad()
    def read(domain: Domain) -> tuple[float, float]:
        x, _, informative = domain.batch()
        logits = mixer.gate(x)
        return auc(logits, informative), float(logits.std())

    early = 0.5
    for step in range(steps):
        if step == steps // 3:
            early, _ = read(target)
        x, y, _ = target.batch()
        source_x, source_y, _ = source.batch()
        out = model(x, source_x, "tokens", k=KSchedule().k_at(step, steps, N))
        loss_t = loss_mt = source_loss(out.target, y)
        loss_ms, lam = None, 0.0
        if out.mixed is not None:
            loss_mt, loss_ms = source_loss(out.mixed_target, y), source_loss(out.mixed_source, source_y)
            lam = out.mixed.lam
        loss, _ = pare_loss(loss_t, loss_mt, loss_ms, lam=lam, beta2=beta2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (at_end, spread), (of_source, _) = read(target), read(source)
    return early, at_end, of_source, spread


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| settings | target, at a third | target | source | spread of logits |\n|---|---:|---:|---:|---:|")
    for name, settings in ROWS.items():
        runs = [train(*settings, seed, options.steps) for seed in range(options.seeds)]
        means = (statistics.mean(column) for column in zip(*runs, strict=True))
        print(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in means)} |", flush=True)


if __name__ == "__main__":
    main()
