"""PDEBench's 2D reaction-diffusion: from the activator at t = 0, white noise, to the inhibitor at t = 5."""

from __future__ import annotations

from typing import Final

from pare_tune.tasks.pdebench_task import channel_to_channel, pdebench_task
from pare_tune.tasks.solvers.reaction_diffusion_2d import END_TIME, FILE, write_solutions

ACTIVATOR: Final = 0
INHIBITOR: Final = 1

PDE_REACTION_DIFFUSION_2D = pdebench_task(
    channel_to_channel(ACTIVATOR, INHIBITOR, file=FILE, channels=2, points=(128, 128), end_time=END_TIME),
    name="pde-reaction-diffusion-2d",
    title="2D reaction-diffusion, activator at t = 0 → inhibitor at t = 5",
    make=write_solutions,
    release_size={"samples": 1000, "points": 128},
    scale_target=True,
)
