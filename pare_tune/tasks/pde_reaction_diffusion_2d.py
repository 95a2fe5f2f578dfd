"""PDEBench's 2D reaction-diffusion: from the activator at t = 0, white noise, to the inhibitor at t = 5."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pare_tune.tasks.base import Dense, Modality, PaperSettings, Task
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.pdebench import HOMEPAGE, Channel, GroupFile, Splits
from pare_tune.tasks.solvers.reaction_diffusion_2d import END_TIME, FILE, write_solutions

POINTS: Final = (128, 128)
ACTIVATOR: Final = 0
INHIBITOR: Final = 1

_FILE: Final = GroupFile(
    file=FILE,
    inputs=(Channel(ACTIVATOR, time=0),),
    targets=(Channel(INHIBITOR, time=-1),),
    channels=2,
    points=POINTS,
    end_time=END_TIME,
)


def read(root: Path, seed: int) -> Splits:
    """x (1, 128, 128) float32 the activator at t = 0, y (128, 128) the inhibitor at t = 5.

    Both are smaller where the file was solved on fewer points. Splits and errors as `GroupFile.read`.
    """
    return _FILE.read(root, seed)


PDE_REACTION_DIFFUSION_2D = Task(
    name="pde-reaction-diffusion-2d",
    title="2D reaction-diffusion, activator at t = 0 → inhibitor at t = 5",
    modality=Modality.DENSE_2D,
    input_shape=(1, *POINTS),
    output=Dense(POINTS),
    loss="nrmse",
    metric=NRMSE,
    paper=PaperSettings(
        batch_size=4,
        accumulation=1,
        epochs=200,
        optimizer="adam",
        lr=1e-4,
        weight_decay=1e-3,
        clip=1.0,
        warmup_epochs=5,
        decay_epochs=200,
        source="voc",
        score=0.818,
        notes=(
            "The official release ships no PDE config; these are ORCA's, which trains on the last frame and tests on "
            "the one before it. The inhibitor begins as noise that the model is not shown, so no score can come near "
            "0. (PDEBench's own baselines see both fields, and ten frames.)"
        ),
    ),
    embedded_provenance="solved",
    homepage=HOMEPAGE,
    files=(FILE,),
    read=read,
    make=write_solutions,
    release_size={"samples": 1000, "points": 128},
    scale_target=True,
)
