"""PDEBench's 1D reaction and diffusion, ν = 0.5, ρ = 1: from the wave at t = 0 to the level it reaches at t = 1."""

from __future__ import annotations

from typing import Final

from pare_tune.tasks.base import Dense, Modality, PaperSettings, Task
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.pdebench import HOMEPAGE, ArrayFile, Frame
from pare_tune.tasks.solvers.reaction_diffusion_1d import END_TIME, FILE, write_solutions

POINTS: Final = 1024
"""Grid points given to the model: all of PDEBench's, or those of a file solved on fewer."""

TARGET_FRAME: Final = -1
"""Saved time of the target, in training and test alike: the last. The official code trains on frame 29 of 101 and
tests on frame 99. At either time the wave is flat already, and its level at t = 1 still tells samples apart."""

_FILE: Final = ArrayFile(
    file=FILE,
    inputs=(Frame("tensor", 0),),
    targets=(Frame("tensor", TARGET_FRAME),),
    points=(POINTS,),
    end_time=END_TIME,
)
"""x (1, 1024) float32 the first saved frame, y (1024,) the target; fewer points where the file was solved on fewer."""

PDE_REACTION_DIFFUSION = Task(
    name="pde-reaction-diffusion",
    title="1D reaction-diffusion, wave at t = 0 on 1024 points → wave at t = 1",
    modality=Modality.DENSE_1D,
    input_shape=(1, POINTS),
    output=Dense((POINTS,)),
    loss="nrmse",
    metric=NRMSE,
    paper=PaperSettings(
        batch_size=4,
        accumulation=1,
        epochs=200,
        optimizer="sgd",
        lr=1e-3,
        weight_decay=1e-5,
        momentum=0.99,
        clip=1.0,
        warmup_epochs=5,
        decay_epochs=200,
        target_tokens=256,
        source="conll2003",
        score=2.6e-3,
        notes=(
            "The official release ships no PDE config; these are ORCA's. Its code trains on t = 0.29 and tests on "
            "t = 0.99; here both are t = 1. There nothing scales the targets. The paper's k of 3000 is impossible for "
            "256 tokens; its share 0.957 is kept."
        ),
    ),
    embedded_provenance="solved",
    homepage=HOMEPAGE,
    files=(FILE,),
    read=_FILE.read,
    make=write_solutions,
    release_size={"samples": 10_000, "points": 1024},
    # The official 1D code's factor. Errors are 0.07 at most here, and the source's cross-entropy of above 1 drowns
    # them: with the paper's 1 nRMSE stays where predicting the mean leaves it, with 0.1 it falls to a tenth of that.
    embedded={"loss.beta2": 0.1},
    scale_target=True,
)
