"""PDE-Burgers: what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pare_tune.tasks.pdes import PDE_BURGERS
from pare_tune.tasks.solvers.burgers import write_solutions


def test_only_the_mean_is_left_of_the_wave(tmp_path: Path) -> None:
    write_solutions(tmp_path, 0, samples=60, points=64)
    train = list(PDE_BURGERS.read(tmp_path, 0)["train"])
    assert len(train) == 49
    for record in train:
        assert record["x"].shape == (1, 64)
        np.testing.assert_allclose(record["y"], record["x"].mean(), atol=1e-6)
