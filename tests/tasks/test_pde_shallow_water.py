"""PDE-Shallow-Water: what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pare_tune.tasks.pdes import PDE_SHALLOW_WATER as TASK
from pare_tune.tasks.solvers.shallow_water import write_solutions


def test_the_radius_can_be_learned_from_the_solved_file(tmp_path: Path) -> None:
    """The mean wave is a poor answer, the wave of the nearest volume a good one."""
    write_solutions(tmp_path, 0, samples=40, points=16)
    splits = {split: list(records) for split, records in TASK.read(tmp_path, 0).items()}
    assert len({r["x"].tobytes() for records in splits.values() for r in records}) == 40
    train_x, train_y, val_x, val_y = (
        np.stack([r[key] for r in splits[split]]) for split in ("train", "val") for key in ("x", "y")
    )
    nearest = np.abs(val_x.sum((1, 2, 3))[:, None] - train_x.sum((1, 2, 3))).argmin(axis=1)

    def score(prediction: np.ndarray) -> float:
        return TASK.metric.score(torch.from_numpy(prediction), {"y": torch.from_numpy(val_y)})

    assert score(train_y[nearest]) < 0.3 * score(np.broadcast_to(train_y.mean(0), val_y.shape).copy())
