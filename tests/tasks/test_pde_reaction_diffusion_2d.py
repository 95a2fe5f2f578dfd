"""PDE-Reaction-Diffusion-2D: what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from pare_tune.tasks.pdes import PDE_REACTION_DIFFUSION_2D as TASK
from pare_tune.tasks.solvers.reaction_diffusion_2d import write_solutions


def test_the_inhibitor_follows_the_blurred_activator_in_the_solved_file(tmp_path: Path) -> None:
    """What there is to learn, found without learning: nRMSE of no answer is 1."""
    write_solutions(tmp_path, 0, samples=40, points=32)
    train = list(TASK.read(tmp_path, 0)["train"])
    x, y = (np.stack([r[key] for r in train]) for key in ("x", "y"))
    assert x.shape == (33, 1, 32, 32)
    assert y.shape == (33, 32, 32)
    blurred = np.stack([gaussian_filter(frame[0], 1.0, mode="reflect") for frame in x])
    gain = (blurred * y).sum() / (blurred**2).sum()
    score = TASK.metric.score(torch.from_numpy(gain * blurred), {"y": torch.from_numpy(y)})
    assert 0.6 < score < 0.8  # the rest is the inhibitor's own noise at t = 0
