"""PDE-Darcy: what the solved file holds. (What holds of every task of PDEBench: test_pdebench.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pare_tune.tasks.pdes import PDE_DARCY
from pare_tune.tasks.samples.darcy_flow import write_pdebench


def test_the_pressure_builds_up_where_less_flows(tmp_path: Path) -> None:
    write_pdebench(tmp_path, 0, samples=40, points=32)
    train = list(PDE_DARCY.read(tmp_path, 0)["train"])
    x, y = (np.stack([r[k] for r in train]) for k in ("x", "y"))
    assert x.shape == (33, 1, 32, 32)
    assert np.corrcoef(x.mean(axis=(1, 2, 3)), y.max(axis=(1, 2)))[0, 1] < -0.5
