"""PDEBench's diffusion and sorption: from one concentration at t = 0 to the profile of it at t = 500."""

from __future__ import annotations

from pare_tune.tasks.pdebench_task import channel_to_channel, pdebench_task
from pare_tune.tasks.solvers.diffusion_sorption import END_TIME, FILE, write_solutions

PDE_DIFFUSION_SORPTION = pdebench_task(
    channel_to_channel(0, 0, file=FILE, channels=1, points=(1024,), end_time=END_TIME),
    name="pde-diffusion-sorption",
    title="1D diffusion-sorption, concentration at t = 0 on 1024 points → profile at t = 500",
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
    scale_target="pointwise",
)
