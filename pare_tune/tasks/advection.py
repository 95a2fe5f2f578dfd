"""PDEBench's 1D advection, β = 0.4: from the wave at t = 0 to the wave at t = 2."""

from __future__ import annotations

from pare_tune.tasks.base import PaperSettings
from pare_tune.tasks.pdebench_task import first_to_last, pdebench_task
from pare_tune.tasks.samples.waves1d import END_TIME, FILE, write_solutions

ADVECTION = pdebench_task(
    first_to_last("tensor", file=FILE, points=256, end_time=END_TIME),  # every fourth of the release's 1024
    name="advection",
    title="1D advection, wave at t = 0 on 256 points → wave at t = 2",
    paper=PaperSettings(
        batch_size=4,
        accumulation=1,
        epochs=200,
        optimizer="adam",
        lr=1e-4,
        weight_decay=1e-5,
        clip=1.0,
        warmup_epochs=5,
        decay_epochs=200,
        target_tokens=512,
        source="conll2003",
        score=2.7e-3,
        notes=(
            "The official release ships no PDE config; these are ORCA's. The paper's Table 9 says 1024 "
            "points, the code takes every fourth. The paper's k of 3000 is impossible for 256 tokens; its "
            "share 0.957 is kept."
        ),
    ),
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
