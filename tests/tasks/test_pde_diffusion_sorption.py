"""PDE-Diffusion-Sorption: what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pare_tune.tasks.pdes import PDE_DIFFUSION_SORPTION
from pare_tune.tasks.solvers.diffusion_sorption import write_solutions


def test_more_at_first_is_more_in_the_end_at_every_point(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=60, points=32)
    train = list(PDE_DIFFUSION_SORPTION.read(tmp_path, 0)["train"])
    start, profile = (np.stack([r[name].reshape(-1) for r in train]) for name in "xy")
    assert start.shape == profile.shape == (49, 32)
    assert (np.ptp(start, axis=1) == 0).all()  # one concentration everywhere
    order = np.argsort(start[:, 0])
    assert (np.diff(profile[order], axis=0) > -1e-6).all()  # but for rounding
    assert profile[:, 16].std() > 0.01
