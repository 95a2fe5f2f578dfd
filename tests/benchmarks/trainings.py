"""Many trainings, a line of a file each, so that an interrupted command goes on: what benchmarks that train share."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pare_tune.config import TrialConfig
from pare_tune.tasks.own.spec import OwnData
from pare_tune.train.final import run_final
from pare_tune.train.loop import Context
from pare_tune.yaml import validate

Result = dict[str, Any]
Cell = TypeVar("Cell", bound=NamedTuple)


def train_all(
    cells: Sequence[Cell], train: Callable[[Cell], Result], log: Path, *, jobs: int
) -> dict[Cell, Result]:
    """What `train` gives for each cell, unless a line of `log` holds it already; one thread a training."""
    fields = type(cells[0])._fields
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    known = {tuple(line[name] for name in fields): line for line in lines}
    missing = [cell for cell in cells if cell not in known]
    with multiprocessing.get_context("spawn").Pool(
        jobs, initializer=torch.set_num_threads, initargs=(1,), maxtasksperchild=1
    ) as pool:
        for cell, result in pool.imap_unordered(_Paired(train), missing):
            with log.open("a") as file:
                file.write(json.dumps({**cell._asdict(), **result}) + "\n")
            known[cell] = result
    return {cell: known[cell] for cell in cells}


class _Paired:
    """A cell and its result: they come as they are done."""

    def __init__(self, train: Callable[[Any], Result]) -> None:
        self._train = train

    def __call__(self, cell: Any) -> tuple[Any, Result]:
        return cell, self._train(cell)


def scored(config: TrialConfig, cache: Path | None = None, device: str = "cpu") -> Result:
    """Validation and test scores of `config` trained in full, with the weights that validation chose."""
    with tempfile.TemporaryDirectory() as folder:
        context = Context(report=lambda report: None, folder=Path(folder), device=torch.device(device))
        metrics = run_final(config, context, with_val=False, cache=cache)
    assert metrics is not None
    return {key: metrics[key] for key in ("validation", "test", "epoch", "seconds")}


def own_data(
    folder: Path, name: str, kind: str, splits: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], **more: Any
) -> OwnData:
    """A task of one's own whose (inputs, targets) are written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tree: dict[str, Any] = {"name": name, "kind": kind, **more}
    for split, (x, y) in splits.items():
        tree[split] = {"input": f"{name}-{split}-x.npy", "target": f"{name}-{split}-y.npy"}
        for key, array in zip(("input", "target"), (x, y), strict=True):
            np.save(folder / tree[split][key], array)
    return validate(OwnData, tree, where=name).under(folder)


def spread(scores: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    if len(scores) < 2:
        return f"{scores[0]:.4g}"
    return f"{statistics.mean(scores):.4g} ± {statistics.stdev(scores):.2g}"
