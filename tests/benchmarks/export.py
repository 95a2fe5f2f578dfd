"""Every backbone × every head as ONNX and torch.export, at random weights: how far outputs are from the model's.

    python tests/benchmarks/export.py
    python tests/benchmarks/export.py --only bert

Weights are random and the networks small where their library has small ones; no file is downloaded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from pare_tune.config import TrialConfig, default_trial
from pare_tune.errors import PareTuneError
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense, Modality, MultiLabel, Numbers, Output, Point
from pare_tune.train.build import ModelShape, empty_model
from pare_tune.train.portable import Portable, check, write_portable


@dataclass(frozen=True)
class Case:
    """One model."""

    backbone: str
    image_size: int | None
    modality: Modality
    output: Output
    head: str
    scaled: bool = False

    @property
    def title(self) -> str:
        """Of its head."""
        kind = type(self.output).__name__.lower()
        return f"{kind}, {self.head}" if isinstance(self.output, Dense) else kind

    def model(self) -> tuple[Portable, torch.Tensor]:
        """With random weights, of a size that outputs differ, and samples for it."""
        torch.manual_seed(0)
        is_grid = self.modality.is_grid
        shape = (3, 40, 40) if is_grid else (2, 64) if self.modality is not Modality.TABLE else (2, 12)
        scale = (torch.full((2,), 5.0), torch.full((2,), 3.0)) if self.scaled else None
        about = ModelShape(
            modality=self.modality.value, input_shape=shape, output=self.output, target_scale=scale,
            source_kind=None, source_classes=0,
        )  # fmt: skip
        model = empty_model(self.config, about).eval()
        for parameter in model.target_head.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        return Portable(model), torch.randn(5, *shape)

    @property
    def config(self) -> TrialConfig:
        """Of a task of its modality."""
        task = {"grid_2d": "ninapro", "dense_2d": "psicov", "dense_1d": "advection", "table": "wdbc"}
        name = task.get(self.modality.value, "satellite")
        config = default_trial(get_task(name), preset="embedded", method="finetune", backbone=self.backbone)
        sized = {} if self.image_size is None else {"input.image_size": self.image_size}
        return config.with_values({"head.kind": self.head, **sized})


GRIDS = (
    ("micro-swin", None),
    ("timm:swin_tiny_patch4_window7_224", 224),
    ("timm:swinv2_tiny_window8_256", 256),
    ("timm:vit_tiny_patch16_224", 64),
)


def bert(folder: Path) -> str:
    """The name of a small BERT, of which only the shape is here."""
    from transformers import BertConfig

    BertConfig(
        vocab_size=99, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=128,
    ).save_pretrained(folder)  # fmt: skip
    return f"hf:{folder}"


def cases(folder: Path) -> list[Case]:
    """Every backbone with every head that it can have."""
    points = [(Point(5), False), (MultiLabel(4), False), (Numbers(2), True)]
    made = []
    for backbone, size in GRIDS:
        made += [Case(backbone, size, Modality.GRID_2D, output, "last", scaled) for output, scaled in points]
        made += [
            Case(backbone, size, Modality.DENSE_2D, Dense((40, 40)), head) for head in ("last", "stages")
        ]
    for backbone in ("micro-roberta", bert(folder)):
        made += [
            Case(backbone, None, Modality.SEQUENCE_1D, output, "last", scaled) for output, scaled in points
        ]
        made += [Case(backbone, None, Modality.DENSE_1D, Dense((64,)), head) for head in ("last", "stages")]
        made += [Case(backbone, None, Modality.TABLE, Point(2), "last")]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="backbones whose name holds this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| backbone | modality | head | ONNX, max difference | .pt2, max difference | CPU s |\n"
        "|---|---|---|---:|---:|---:|"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for case in cases(Path(temporary) / "small-bert"):
            if given.only not in case.backbone:
                continue
            started = time.process_time()
            portable, x = case.model()
            told = []
            for suffix in (".onnx", ".pt2"):
                try:
                    run = write_portable(portable, x, Path(temporary) / f"model{suffix}", suffix)
                    told.append(f"{check(run, portable, x, suffix, on='noise')['max_difference']:.1e}")
                except (PareTuneError, RuntimeError, ValueError) as error:
                    told.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            name = case.backbone if "small-bert" not in case.backbone else "hf: BERT, 4 layers of 64"
            seconds = time.process_time() - started
            print(
                f"| {name} | {case.modality.value} | {case.title} | {' | '.join(told)} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
