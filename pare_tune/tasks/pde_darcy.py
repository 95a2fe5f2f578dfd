"""PDEBench's 2D Darcy flow, β = 0.1: from the coefficient at 64×64 points to the pressure there."""

from __future__ import annotations

from pare_tune.tasks.pdebench import ArrayFile, Frame
from pare_tune.tasks.pdebench_task import pdebench_task
from pare_tune.tasks.samples.darcy_flow import PDEBENCH_FILE, write_pdebench

PDE_DARCY = pdebench_task(
    ArrayFile(
        file=PDEBENCH_FILE,
        inputs=(Frame("nu", None),),
        targets=(Frame("tensor", 0),),
        points=(64, 64),  # every second of the release's 128, an axis
        coordinates=("x-coordinate", "y-coordinate"),
        end_time=None,
    ),
    name="pde-darcy",
    title="2D Darcy flow: coefficient on 64×64 points → pressure",
    make=write_pdebench,
    release_size={"samples": 10_000, "points": 128},
    scale_target="pointwise",
    embedded={"optimizer.lr": 1e-3, "train.epochs": 10, "train.batch_size": 8},
)
