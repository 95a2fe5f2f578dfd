"""PDEBench's 2D Darcy flow, β = 0.1: from the coefficient at 64×64 points to the pressure there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pare_tune.tasks.base import Dense, Modality, PaperSettings, Task
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.pdebench import HOMEPAGE, ArrayFile, Frame, Splits
from pare_tune.tasks.samples.darcy_flow import PDEBENCH_FILE, write_pdebench

POINTS: Final = 64
"""Side of the grid given to the model: every second of PDEBench's 128 points, every one of a file solved at 64."""

_FILE: Final = ArrayFile(
    file=PDEBENCH_FILE,
    inputs=(Frame("nu", None),),
    targets=(Frame("tensor", 0),),
    points=(POINTS, POINTS),
    coordinates=("x-coordinate", "y-coordinate"),
    end_time=None,
)


def read(root: Path, seed: int) -> Splits:
    """x (1, 64, 64) float32 the coefficient, y (64, 64) the solution; splits and errors as `ArrayFile.read`."""
    return _FILE.read(root, seed)


PDE_DARCY = Task(
    name="pde-darcy",
    title="2D Darcy flow: coefficient on 64×64 points → pressure",
    modality=Modality.DENSE_2D,
    input_shape=(1, POINTS, POINTS),
    output=Dense((POINTS, POINTS)),
    loss="nrmse",
    metric=NRMSE,
    paper=PaperSettings(
        batch_size=4,
        accumulation=1,
        epochs=100,
        optimizer="adamw",
        lr=1e-4,
        weight_decay=1e-5,
        warmup_epochs=5,
        decay_epochs=100,
        source="voc",
        score=8.06e-2,
        notes=(
            "The official release ships no PDE config; these are ORCA's. The paper's Table 9 says 128×128 points, the "
            "code takes every second. There nothing scales the targets."
        ),
    ),
    embedded_provenance="solved",
    homepage=HOMEPAGE,
    files=(PDEBENCH_FILE,),
    read=read,
    make=write_pdebench,
    release_size={"samples": 10_000, "points": 128},
    scale_target="pointwise",
    embedded={"optimizer.lr": 1e-3, "train.epochs": 10, "train.batch_size": 8},
)
