"""PDEBench's shallow water: from a cylinder of water at t = 0 to the height of the waves at t = 1."""

from __future__ import annotations

from pare_tune.tasks.pdebench_task import channel_to_channel, pdebench_task
from pare_tune.tasks.solvers.shallow_water import END_TIME, FILE, write_solutions

PDE_SHALLOW_WATER = pdebench_task(
    channel_to_channel(0, 0, file=FILE, channels=1, points=(128, 128), end_time=END_TIME),
    name="pde-shallow-water",
    title="2D shallow water, cylinder of water at t = 0 → height of the waves at t = 1",
    make=write_solutions,
    release_size={"samples": 1000, "points": 128},
    # The cylinder stands in the middle: nearly all that a position's height says is where it lies.
    scale_target="pointwise",
    # At the modality's rate of 2e-3 the encoder settles on the mean wave and never looks at the radius.
    embedded={"optimizer.lr": 3e-4, "train.epochs": 16},
)
