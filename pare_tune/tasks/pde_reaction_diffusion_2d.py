"""PDEBench's 2D reaction-diffusion: from the activator at t = 0, white noise, to the inhibitor at t = 5."""

from __future__ import annotations

from typing import Final

from pare_tune.tasks.pdebench import Channel, GroupFile
from pare_tune.tasks.pdebench_task import pdebench_task
from pare_tune.tasks.solvers.reaction_diffusion_2d import END_TIME, FILE, write_solutions

ACTIVATOR: Final = 0
INHIBITOR: Final = 1

PDE_REACTION_DIFFUSION_2D = pdebench_task(
    GroupFile(
        file=FILE,
        inputs=(Channel(ACTIVATOR, time=0),),
        targets=(Channel(INHIBITOR, time=-1),),
        channels=2,
        points=(128, 128),
        end_time=END_TIME,
    ),
    name="pde-reaction-diffusion-2d",
    title="2D reaction-diffusion, activator at t = 0 → inhibitor at t = 5",
    make=write_solutions,
    release_size={"samples": 1000, "points": 128},
    scale_target=True,
)
