"""PDEBench's Burgers equation, ν = 1: from the wave at t = 0 to what is left of it at t = 2."""

from __future__ import annotations

from pare_tune.tasks.pdebench_task import first_to_last, pdebench_task
from pare_tune.tasks.solvers.burgers import END_TIME, FILE, write_solutions

PDE_BURGERS = pdebench_task(
    first_to_last("tensor", file=FILE, points=1024, end_time=END_TIME),
    name="pde-burgers",
    title="1D Burgers, wave at t = 0 on 1024 points → wave at t = 2",
    loss="rmse",
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
