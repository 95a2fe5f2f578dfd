"""PDE-Reaction-Diffusion: what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pare_tune.tasks.pdes import PDE_REACTION_DIFFUSION
from pare_tune.tasks.solvers.reaction_diffusion_1d import write_solutions


def test_the_level_follows_the_mean_and_the_variance_of_the_wave(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=200, points=32)
    splits = {split: list(records) for split, records in PDE_REACTION_DIFFUSION.read(tmp_path, 0).items()}
    train, test = (
        [np.stack([r[name].reshape(-1) for r in splits[split]]) for name in "xy"]
        for split in ("train", "test")
    )
    # More closely than the mean alone.
    errors = []
    for powers in (1, 2):
        traits = [
            np.stack([(x**p).mean(axis=1) for p in range(powers + 1)], axis=1) for x, _ in (train, test)
        ]
        weights = np.linalg.lstsq(traits[0], train[1].mean(axis=1), rcond=None)[0]
        errors.append(np.abs(traits[1] @ weights - test[1].mean(axis=1)).mean())
    spread = np.abs(test[1].mean(axis=1) - train[1].mean()).mean()
    assert errors[1] < errors[0] < 0.3 * spread
