"""PDEBench's 1D advection, β = 0.4: from the wave at t = 0 to the wave at t = 2."""

from __future__ import annotations

from pare_tune.tasks.pdebench_task import first_to_last, pdebench_task
from pare_tune.tasks.samples.waves1d import END_TIME, FILE, write_solutions

ADVECTION = pdebench_task(
    first_to_last("tensor", file=FILE, points=256, end_time=END_TIME),  # every fourth of the release's 1024
    name="advection",
    title="1D advection, wave at t = 0 on 256 points → wave at t = 2",
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
