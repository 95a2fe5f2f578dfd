"""Every backbone with every head as ONNX and torch.export, at random weights: how far outputs are from the model's.

    python tests/benchmarks/export.py
    python tests/benchmarks/export.py --only bert

Weights are random and the networks small where their library has small ones; no file is downloaded. The heads of a
backbone share one graph, since making it takes most of the time; differences are those of each head's own outputs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pare_tune.config import default_trial
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Output, Point
from pare_tune.train.build import ModelShape, build_model, count_tokens, open_backbone
from pare_tune.train.portable import program_of, write_program

SCALE = (torch.full((2,), 5.0), torch.full((2,), 3.0))
POINTS: tuple[tuple[str, Output, str, Any], ...] = (
    ("class", Point(5), "last", None),
    ("labels", MultiLabel(4), "last", None),
    ("numbers", Numbers(2), "last", SCALE),
)
TASKS = {
    "grid_2d": "ninapro",
    "dense_2d": "psicov",
    "sequence_1d": "satellite",
    "dense_1d": "advection",
    "table": "wdbc",
}


class Together(nn.Module):
    """One encoder with several heads."""

    def __init__(self, models: list[Any]) -> None:
        super().__init__()
        self.model = models[0]
        self.heads = nn.ModuleList(model.target_head for model in models)

    def forward(self, x: Tensor) -> Tensor:
        stages = self.model.encoder.stages(self.model.target_embedder(x))
        return torch.cat([head(stages).flatten(1) for head in self.heads], dim=1)


def models(name: str, side: int | None, modality: Modality) -> tuple[Together, Tensor, list[str], list[int]]:
    """Every head on a backbone: the graph, samples, and each head's name and number of outputs."""
    torch.manual_seed(0)
    is_grid = modality.is_grid
    shape = (3, 40, 40) if is_grid else (2, 12) if modality is Modality.TABLE else (2, 64)
    maps, dense = (Modality.DENSE_2D, Dense((40, 40))) if is_grid else (Modality.DENSE_1D, Dense((64,)))
    kinds = [(*point, modality) for point in POINTS]
    if modality is not Modality.TABLE:
        kinds += [(f"dense, {head}", dense, head, None, maps) for head in ("last", "stages")]
    made, names, sizes = [], [], []
    backbone = None
    for title, output, head, scale, of in kinds:
        config = default_trial(get_task(TASKS[of.value]), preset="embedded", method="finetune", backbone=name)
        sized = {"input.image_size": side} if is_grid else {"input.max_tokens": 32}
        config = config.with_values({"head.kind": head, **{k: v for k, v in sized.items() if v is not None}})
        backbone = backbone or open_backbone(config, pretrained=False)
        about = ModelShape(
            modality=of.value, input_shape=shape, output=output, target_scale=scale, source_kind=None, source_classes=0
        )  # fmt: skip
        model = build_model(config, about, backbone, count_tokens(config, of, shape, backbone)).eval()
        for parameter in model.target_head.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        made.append(model)
        names.append(title)
        sizes.append(int(np.prod(output.shape)) if isinstance(output, Dense) else astuple(output)[0])
    return Together(made).eval(), torch.randn(5, *shape), names, sizes


def bert(folder: Path) -> str:
    """The name of a small BERT, of which only the shape is here."""
    from transformers import BertConfig

    BertConfig(
        vocab_size=99, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=128,
    ).save_pretrained(folder)  # fmt: skip
    return f"hf:{folder}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="backbones whose name holds this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| backbone | modality | head | ONNX | .pt2 | largest output |\n|---|---|---|---:|---:|---:|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        small = bert(Path(temporary) / "small-bert")
        cases = [
            (small, None, Modality.SEQUENCE_1D),
            ("micro-roberta", None, Modality.SEQUENCE_1D),
            ("micro-roberta", None, Modality.TABLE),
            ("timm:vit_tiny_patch16_224", 64, Modality.GRID_2D),
            ("micro-swin", None, Modality.GRID_2D),
            ("timm:swin_tiny_patch4_window7_224", None, Modality.GRID_2D),
            ("timm:swinv2_tiny_window8_256", None, Modality.GRID_2D),
        ]
        for name, side, modality in cases:
            if given.only not in name:
                continue
            started = time.process_time()
            together, x, names, sizes = models(name, side, modality)
            with torch.no_grad():
                wanted = together(x).numpy()
            program = program_of(together, x)
            off = []
            for suffix in (".onnx", ".pt2"):
                run = write_program(program, Path(temporary) / f"model{suffix}", suffix)
                parts = np.concatenate([run(x[:1].numpy()), run(x[1:].numpy())])
                off.append(np.abs(parts - wanted))
            ends = np.cumsum([0, *sizes])
            assert ends[-1] == wanted.shape[1]
            title = "hf: BERT, 4 layers of 64" if name == small else name
            for head, start, stop in zip(names, ends, ends[1:], strict=False):
                told = " | ".join(f"{part[:, start:stop].max():.1e}" for part in off)
                largest = np.abs(wanted[:, start:stop]).max()
                print(f"| {title} | {modality.value} | {head} | {told} | {largest:.2f} |", flush=True)
            print(f"{title}: {time.process_time() - started:.0f} s of a core", flush=True)


if __name__ == "__main__":
    main()
