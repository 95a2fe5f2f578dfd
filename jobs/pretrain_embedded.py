"""Pretrain micro-swin and micro-roberta, and write the weights that ship inside the package.

    python jobs/pretrain_embedded.py                                   # both at once, one core each
    python jobs/pretrain_embedded.py --only micro-swin --out /tmp/new  # one, elsewhere

Expect about 8 minutes on two idle cores of a 2026 server processor, no download, no GPU, and two files of 2.5 and
2.7 MB. Steps, seeds and threads (one a process) are fixed: the same machine and library versions write the same bytes.

Pretexts, chosen by measured transfer to new embedders and heads on small target sets:

- micro-swin: from which part of which free photograph an augmented crop comes, and which of 60 fractals (iterated
  function systems) this is. Gentle on purpose: a learning rate of 2e-3, and hidden tokens whose pixels were to be
  reconstructed (SimMIM), made the residual stream 30 times as large and mostly constant, and transfer worse than
  random weights.
- micro-roberta: which of 24 formulas made a wave, spans hidden and reconstructed; every fourth step, hidden bytes of
  the standard library's documentation. What eight operators (shifts, a derivative, a transport…) make of smooth
  functions in the place of every other wave, and weights brought halfway back to where they began, helped predicted
  series and a table, and harmed a classified series (tests/benchmarks/RESULTS.md).

Sources: fractals, Kataoka et al., arXiv:2101.08515, their systems drawn as by Anderson and Farrell, arXiv:2110.03091;
masked text, BERT, Devlin et al., arXiv:1810.04805.
"""
# Shape suffixes: B = batch, N = tokens, D = their width, L = samples of a wave, P = samples of a patch, S = side of an
# image, M = maps of a fractal.

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from pare_tune.backbones import Backbone, load_backbone
from pare_tune.backbones.weights_io import packaged_weights
from pare_tune.sources.docs import docstrings
from pare_tune.sources.photographs import Photograph, crops, photographs
from pare_tune.sources.waves import GENERATORS, POINTS_PER_TOKEN, make_waves

SEED = 0
SAVE_EVERY = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings of one run."""

    steps: int
    batch: int
    lr: float
    weight_decay: float = 0.05
    warmup: int = 100


SWIN = Plan(steps=1000, batch=64, lr=5e-4)
ROBERTA = Plan(steps=2400, batch=32, lr=1e-3)


# Training -------------------------------------------------------------------------------------------------------


def train(
    backbone: Backbone,
    modules: Iterable[nn.Module],
    plan: Plan,
    losses: Callable[[int], dict[str, Tensor]],
    file: Path,
) -> None:
    """AdamW with warm-up and a cosine fall over the sum of the losses of each step; writes `file` now and then."""
    parameters = [p for module in modules for p in module.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    rest = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=plan.lr,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, plan))
    start, recent = time.monotonic(), {}
    for step in range(plan.steps):
        values = losses(step)
        optimizer.zero_grad()
        torch.stack(list(values.values())).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        for name, value in values.items():
            recent.setdefault(name, []).append(value.item())
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == plan.steps:
            means = "  ".join(f"{name} {np.mean(value):.3f}" for name, value in recent.items())
            print(
                f"{file.stem}  step {step + 1}/{plan.steps}  {time.monotonic() - start:.0f} s  {means}",
                flush=True,
            )
            recent.clear()
            save(backbone, file)


def rate(step: int, plan: Plan) -> float:
    """Learning rate as a share of its peak."""
    return min(1.0, (step + 1) / plan.warmup) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))


def save(backbone: Backbone, file: Path) -> None:
    """float16 is exact enough for a starting point and halves the package."""
    state = {name: value.detach().half().contiguous() for name, value in backbone.state_dict().items()}
    partial = file.with_suffix(".partial")
    save_file(state, partial)
    partial.chmod(0o644)
    os.replace(partial, file)


class MaskToken(nn.Module):
    """One learnt vector in the place of hidden tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_D = nn.Parameter(torch.zeros(width))

    def forward(self, tokens_BND: Tensor, hidden_BN: Tensor) -> Tensor:
        return torch.where(hidden_BN[..., None], self.token_D, tokens_BND)


def thawed(embedder: nn.Module) -> nn.Module:
    """The library's module inside a `Frozen` source embedder, made trainable: here it is what is pretrained."""
    return embedder.module.requires_grad_(True)


# micro-swin -----------------------------------------------------------------------------------------------------


def pretrain_swin(file: Path) -> None:
    torch.set_num_threads(1)
    half = SWIN.batch // 2
    backbone = load_backbone("micro-swin", pretrained=False, seed=SEED).train()
    torch.manual_seed(SEED)
    spec, embedder = backbone.spec, thawed(backbone.source_embedder)
    photos, systems = parts_of(photographs()), fractal_systems(60, np.random.default_rng(SEED))
    photo_head, fractal_head = (
        nn.Linear(spec.feature_width, len(photos)),
        nn.Linear(spec.feature_width, len(systems)),
    )
    photo_batches = photo_crops(photos, half, spec.image_size)

    def losses(step: int) -> dict[str, Tensor]:
        photo_x, photo_y = next(photo_batches)
        fractal_x, fractal_y = fractals(systems, half, spec.image_size, np.random.default_rng([SEED, step]))
        x = normalised(np.concatenate([photo_x, fractal_x]), spec.image_mean, spec.image_std)
        tokens_BND = embedder(x).flatten(1, 2)
        with torch.autocast("cpu", torch.bfloat16):  # 1.7 times as fast where the processor has AMX
            features = backbone.encode(tokens_BND)
        pooled = features.float().mean(1)
        return {
            "photographs": cross_entropy(photo_head(pooled[:half]), photo_y),
            "fractals": cross_entropy(fractal_head(pooled[half:]), fractal_y),
        }

    train(backbone, [embedder, backbone.encoder, photo_head, fractal_head], SWIN, losses, file)


def cross_entropy(logits: Tensor, y: np.ndarray) -> Tensor:
    return functional.cross_entropy(logits, torch.from_numpy(y), label_smoothing=0.05)


def parts_of(photos: list[Photograph]) -> list[Photograph]:
    """The four quarters of every photograph that is large enough, so that where a crop lies matters as well."""
    parts = []
    for photo in photos:
        height, width = photo.image.shape[0] // 2, photo.image.shape[1] // 2
        if min(height, width) < 128:
            parts.append(photo)
            continue
        for top, left in ((0, 0), (0, width), (height, 0), (height, width)):
            image = photo.image[top : top + height, left : left + width]
            parts.append(Photograph(f"{photo.name} {top},{left}", image, photo.licence))
    return parts


def photo_crops(photos: list[Photograph], batch: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches of (B, 3, S, S) in [0, 1] and labels, cut 64 batches at a time."""
    seed = 1000
    while True:
        images, labels = crops(photos, 64 * batch, size, seed)
        for start in range(0, len(images), batch):
            yield images[start : start + batch].astype(np.float32) / 255, labels[start : start + batch]
        seed += 1


def normalised(x: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (torch.from_numpy(x) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@dataclass(frozen=True, slots=True)
class FractalSystem:
    """Affine maps x → linear x + shift that, applied at random again and again, draw a fractal."""

    linear_M22: np.ndarray
    shift_M2: np.ndarray


def fractal_systems(count: int, rng: np.random.Generator) -> list[FractalSystem]:
    """Systems of 2 to 4 maps whose picture is neither dust nor a blot."""
    systems: list[FractalSystem] = []
    while len(systems) < count:
        M = int(rng.integers(2, 5))
        singular = rng.uniform(0.2, 0.9, (M, 2))
        # Sums in this range give well-filled attractors (Anderson and Farrell, section 3).
        if not 0.5 * (5 + M) <= (singular * [1, 2]).sum() <= 0.5 * (6 + M):
            continue
        linear = rotations(rng.uniform(0, 2 * np.pi, M)) @ (
            singular[:, :, None] * rotations(rng.uniform(0, 2 * np.pi, M))
        )
        system = FractalSystem(linear, rng.uniform(-1, 1, (M, 2)))
        filled = (drawn(system.linear_M22[None], system.shift_M2[None], 64, rng) > 0).mean()
        if 0.08 < filled < 0.6:
            systems.append(system)
    return systems


def rotations(angles: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def fractals(
    systems: list[FractalSystem], batch: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(B, 3, S, S) in [0, 1] and labels; maps and colours jittered gently: more was measured to be unlearnable."""
    labels = rng.integers(0, len(systems), batch)
    x = np.empty((batch, 3, size, size), dtype=np.float32)
    num_maps = np.array([len(systems[label].linear_M22) for label in labels])
    for M in np.unique(num_maps):
        rows = np.flatnonzero(num_maps == M)
        linear = np.stack([systems[label].linear_M22 for label in labels[rows]])
        shift = np.stack([systems[label].shift_M2 for label in labels[rows]])
        linear = linear * rng.uniform(0.96, 1.04, (len(rows), M, 1, 1))
        shift = shift * rng.uniform(0.93, 1.07, (len(rows), M, 2))
        colour, ground = (
            rng.uniform(0.4, 1.0, (len(rows), 3, 1, 1)),
            rng.uniform(0.0, 0.3, (len(rows), 3, 1, 1)),
        )
        x[rows] = np.clip(ground + colour * drawn(linear, shift, size, rng)[:, None], 0, 1)
    return x, labels


def drawn(linear_BM22: np.ndarray, shift_BM2: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The chaos game with 160 points of 38 steps each → (B, S, S) log-densities in [0, 1]."""
    batch = len(linear_BM22)
    area = np.abs(np.linalg.det(linear_BM22)) + 0.02
    chances = np.cumsum(area / area.sum(1, keepdims=True), axis=1)
    rows = np.arange(batch)[:, None]
    points, path = np.zeros((batch, 160, 2)), []
    for step in range(50):
        chosen = (rng.random((batch, 160))[..., None] > chances[:, None, :-1]).sum(-1)
        points = np.einsum("bpij,bpj->bpi", linear_BM22[rows, chosen], points) + shift_BM2[rows, chosen]
        if step >= 12:  # by then they are on the attractor
            path.append(points)
    visited = np.concatenate(path, axis=1)
    low, high = np.quantile(visited, [0.01, 0.99], axis=1)[:, :, None]
    scale = 0.9 * size / np.maximum((high - low).max(-1, keepdims=True), 1e-6)
    cells = ((visited - low) * scale + 0.05 * size).astype(int)
    inside = ((cells >= 0) & (cells < size)).all(-1)
    index = (rows * size + cells[..., 1]) * size + cells[..., 0]
    density = np.log1p(np.bincount(index[inside], minlength=batch * size**2).reshape(batch, size, size))
    return density / np.maximum(density.max((1, 2), keepdims=True), 1e-6)


# micro-roberta --------------------------------------------------------------------------------------------------

WINDOWS = (32, 48, 64, 96)
"""Numbers of tokens of the waves; all of a batch have one."""
TEXT_TOKENS = 64
TEXT_EVERY = 4
WAVES_HIDDEN = 0.3
TEXT_HIDDEN = 0.2
"""Shares of the tokens."""


def pretrain_roberta(file: Path) -> None:
    from pare_tune.backbones.micro_roberta import MASK_ID

    torch.set_num_threads(1)
    plan = ROBERTA
    backbone = load_backbone("micro-roberta", pretrained=False, seed=SEED).train()
    torch.manual_seed(SEED)
    D = backbone.spec.width
    text_embedder, wave_embedder = thawed(backbone.source_embedder), thawed(backbone.wave_embedder)
    table = text_embedder.position_embeddings.weight
    first = len(table) - backbone.spec.max_tokens
    backbone.positions = table.detach()[first:]  # shares memory, so it is saved as it is learnt
    class_head, sample_head = nn.Linear(D, len(GENERATORS)), nn.Linear(D, POINTS_PER_TOKEN)
    byte_head, mask_token = nn.Linear(D, text_embedder.word_embeddings.num_embeddings), MaskToken(D)
    text, waves = encoded_documentation(backbone), {N: wave_batches(plan.batch, N) for N in WINDOWS}

    def wave_losses(rng: np.random.Generator) -> dict[str, Tensor]:
        N = int(rng.choice(WINDOWS))
        x_BL, y = next(waves[N])
        hidden_BN = hidden_spans(plan.batch, N, WAVES_HIDDEN, 2, rng)
        tokens_BND = mask_token(wave_embedder(x_BL[:, None]), hidden_BN) + table[first : first + N]
        features = backbone.encode(tokens_BND)
        samples_BNP = x_BL.unflatten(1, (N, POINTS_PER_TOKEN))
        return {
            "formulas": cross_entropy(class_head(features.mean(1)), y),
            "samples": functional.smooth_l1_loss(sample_head(features[hidden_BN]), samples_BNP[hidden_BN]),
        }

    def text_losses(rng: np.random.Generator) -> dict[str, Tensor]:
        starts = rng.integers(0, len(text) - TEXT_TOKENS, (plan.batch, 1))
        ids_BN = torch.from_numpy(text[starts + np.arange(TEXT_TOKENS)])
        hidden_BN = hidden_spans(plan.batch, TEXT_TOKENS, TEXT_HIDDEN, 2, rng)
        slots = torch.arange(first, first + TEXT_TOKENS).expand(plan.batch, -1)
        tokens_BND = text_embedder(input_ids=ids_BN.masked_fill(hidden_BN, MASK_ID), position_ids=slots)
        logits = byte_head(backbone.encode(tokens_BND)[hidden_BN])
        return {"bytes": functional.cross_entropy(logits, ids_BN[hidden_BN])}

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([SEED, step])
        return text_losses(rng) if step % TEXT_EVERY == TEXT_EVERY - 1 else wave_losses(rng)

    modules = [text_embedder, wave_embedder, backbone.encoder, class_head, sample_head, byte_head, mask_token]
    train(backbone, modules, plan, losses, file)


def wave_batches(batch: int, num_tokens: int) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Endless batches of (B, L) waves and their formulas, made 24 batches at a time."""
    seed = 5000
    while True:
        x, y, _ = make_waves(24 * batch, num_tokens * POINTS_PER_TOKEN, seed)
        for start in range(0, len(x), batch):
            yield torch.from_numpy(x[start : start + batch]), y[start : start + batch]
        seed += 1


def hidden_spans(batch: int, num_tokens: int, share: float, span: int, rng: np.random.Generator) -> Tensor:
    """(B, N) bool: about `share` of the tokens, in runs of at least `span`; never none."""
    starts = rng.random((batch, num_tokens)) < share / span
    starts[:, rng.integers(0, num_tokens)] = True
    hidden = starts.copy()
    for offset in range(1, span):
        hidden[:, offset:] |= starts[:, :-offset]
    return torch.from_numpy(hidden)


def encoded_documentation(backbone: Backbone) -> np.ndarray:
    """Docstrings of the standard library as one run of token ids."""
    groups = docstrings(Path(sysconfig.get_paths()["stdlib"]))
    return np.asarray(backbone.tokenize(["\n".join(text for group in groups.values() for text in group)])[0])


# Command line ---------------------------------------------------------------------------------------------------

JOBS: dict[str, Callable[[Path], None]] = {"micro-swin": pretrain_swin, "micro-roberta": pretrain_roberta}


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrain the two embedded backbones.")
    parser.add_argument(
        "--only", choices=sorted(JOBS), help="one of the two (default: both, in two processes)"
    )
    parser.add_argument("--out", type=Path, help="folder for the weights (default: inside the package)")
    options = parser.parse_args()
    out = options.out or packaged_weights("").parent
    out.mkdir(parents=True, exist_ok=True)
    names = [options.only] if options.only else list(JOBS)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=JOBS[name], args=(out / f"{name}.safetensors",)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
