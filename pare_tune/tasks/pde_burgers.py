"""PDEBench's Burgers equation, ν = 1: from the wave at t = 0 to what is left of it at t = 2."""

from __future__ import annotations

from pare_tune.tasks.base import PaperSettings
from pare_tune.tasks.pdebench_task import first_to_last, pdebench_task
from pare_tune.tasks.solvers.burgers import END_TIME, FILE, write_solutions

PDE_BURGERS = pdebench_task(
    first_to_last("tensor", file=FILE, points=1024, end_time=END_TIME),
    name="pde-burgers",
    title="1D Burgers, wave at t = 0 on 1024 points → wave at t = 2",
    loss="rmse",
    paper=PaperSettings(
        batch_size=4,
        accumulation=1,
        epochs=200,
        optimizer="adam",
        lr=1e-5,
        weight_decay=1e-5,
        clip=1.0,
        warmup_epochs=5,
        decay_epochs=200,
        target_tokens=128,
        source="conll2003",
        score=8.3e-3,
        notes=(
            "The official release ships no PDE config; these are ORCA's, whose code makes 512 tokens of the 1024 "
            "points in spite of its target length of 128. The paper names nRMSE as the loss; that code trains on RMSE, "
            "as here: what is left at t = 2 is the mean of the wave, often nearly 0, by which nRMSE divides. The "
            "paper's k of 3000 is impossible for so few tokens; its share 0.957 is kept."
        ),
    ),
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
