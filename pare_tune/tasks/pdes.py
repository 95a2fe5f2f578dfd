"""PDEBench's tasks that are their file's first frame in and its last one out: the layout of the file, and the solver
that makes one where no release is given.
"""

from __future__ import annotations

from typing import Final

from pare_tune.tasks.pdebench import ArrayFile, Frame
from pare_tune.tasks.pdebench_task import channel_to_channel, first_to_last, pdebench_task
from pare_tune.tasks.samples import darcy_flow, waves1d
from pare_tune.tasks.solvers import (
    burgers,
    diffusion_sorption,
    reaction_diffusion_1d,
    reaction_diffusion_2d,
    shallow_water,
)

ACTIVATOR: Final = 0
INHIBITOR: Final = 1
"""Channels of the 2D reaction-diffusion."""

ADVECTION = pdebench_task(
    # Every fourth point of the release's 1024.
    first_to_last("tensor", file=waves1d.FILE, points=256, end_time=waves1d.END_TIME),
    name="advection",
    title="1D advection, wave at t = 0 on 256 points → wave at t = 2",
    make=waves1d.write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
"""PDEBench's 1D advection, β = 0.4: from the wave at t = 0 to the wave at t = 2."""

PDE_BURGERS = pdebench_task(
    first_to_last("tensor", file=burgers.FILE, points=1024, end_time=burgers.END_TIME),
    name="pde-burgers",
    title="1D Burgers, wave at t = 0 on 1024 points → wave at t = 2",
    loss="rmse",
    make=burgers.write_solutions,
    release_size={"samples": 10_000, "points": 1024},
)
"""PDEBench's Burgers equation, ν = 1: from the wave at t = 0 to what is left of it at t = 2."""

PDE_REACTION_DIFFUSION = pdebench_task(
    # In training and test alike. The official code trains on frame 29 of 101 and tests on frame 99. At either time the
    # wave is flat already, and its level at t = 1 still tells samples apart.
    first_to_last(
        "tensor", file=reaction_diffusion_1d.FILE, points=1024, end_time=reaction_diffusion_1d.END_TIME
    ),
    name="pde-reaction-diffusion",
    title="1D reaction-diffusion, wave at t = 0 on 1024 points → wave at t = 1",
    make=reaction_diffusion_1d.write_solutions,
    release_size={"samples": 10_000, "points": 1024},
    scale_target=True,
)
"""PDEBench's 1D reaction and diffusion, ν = 0.5, ρ = 1: from the wave at t = 0 to the level it reaches at t = 1."""

PDE_DIFFUSION_SORPTION = pdebench_task(
    channel_to_channel(
        0, 0, file=diffusion_sorption.FILE, channels=1, points=(1024,), end_time=diffusion_sorption.END_TIME
    ),
    name="pde-diffusion-sorption",
    title="1D diffusion-sorption, concentration at t = 0 on 1024 points → profile at t = 500",
    make=diffusion_sorption.write_solutions,
    release_size={"samples": 10_000, "points": 1024},
    scale_target="pointwise",
)
"""PDEBench's diffusion and sorption: from one concentration at t = 0 to the profile of it at t = 500."""

PDE_DARCY = pdebench_task(
    ArrayFile(
        file=darcy_flow.PDEBENCH_FILE,
        inputs=(Frame("nu", None),),
        targets=(Frame("tensor", 0),),
        points=(64, 64),  # every second of the release's 128, an axis
        coordinates=("x-coordinate", "y-coordinate"),
        end_time=None,
    ),
    name="pde-darcy",
    title="2D Darcy flow: coefficient on 64×64 points → pressure",
    make=darcy_flow.write_pdebench,
    release_size={"samples": 10_000, "points": 128},
    scale_target="pointwise",
    embedded={"optimizer.lr": 1e-3, "train.epochs": 10, "train.batch_size": 8},
)
"""PDEBench's 2D Darcy flow, β = 0.1: from the coefficient at 64×64 points to the pressure there."""

PDE_SHALLOW_WATER = pdebench_task(
    channel_to_channel(
        0, 0, file=shallow_water.FILE, channels=1, points=(128, 128), end_time=shallow_water.END_TIME
    ),
    name="pde-shallow-water",
    title="2D shallow water, cylinder of water at t = 0 → height of the waves at t = 1",
    make=shallow_water.write_solutions,
    release_size={"samples": 1000, "points": 128},
    # The cylinder stands in the middle: nearly all that a position's height says is where it lies.
    scale_target="pointwise",
    # At the modality's rate of 2e-3 the encoder settles on the mean wave and never looks at the radius.
    embedded={"optimizer.lr": 3e-4, "train.epochs": 16},
)
"""PDEBench's shallow water: from a cylinder of water at t = 0 to the height of the waves at t = 1."""

PDE_REACTION_DIFFUSION_2D = pdebench_task(
    channel_to_channel(
        ACTIVATOR,
        INHIBITOR,
        file=reaction_diffusion_2d.FILE,
        channels=2,
        points=(128, 128),
        end_time=reaction_diffusion_2d.END_TIME,
    ),
    name="pde-reaction-diffusion-2d",
    title="2D reaction-diffusion, activator at t = 0 → inhibitor at t = 5",
    make=reaction_diffusion_2d.write_solutions,
    release_size={"samples": 1000, "points": 128},
    scale_target=True,
)
"""PDEBench's 2D reaction-diffusion: from the activator at t = 0, white noise, to the inhibitor at t = 5."""
