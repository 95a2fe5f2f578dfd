"""Calibration and coverage of final models on test data: does a promise hold on samples that nobody has seen?

    python tests/benchmarks/calibration.py --seeds 3

Five tasks of one's own, each split anew by the seed (a fifth to train on, two fifths to calibrate, two fifths to test:
what is measured needs many of the latter). Expected calibration error of the likeliest class in 15 bins, before and
after the temperature; the share of test answers in their sets or intervals, mean over the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pare_tune.config import default_trial
from pare_tune.tasks.load import open_test
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.task import own_task
from pare_tune.train.calibration import covered
from pare_tune.train.evaluation import Context, predict_split
from pare_tune.train.export import ModelFolder
from pare_tune.train.final import run_final
from pare_tune.train.predict import load_model
from pare_tune.yaml import validate

COVERAGES = (0.8, 0.9, 0.95)
Made = tuple[np.ndarray, np.ndarray]


def digits(rng: np.random.Generator) -> Made:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y


def tumours(rng: np.random.Generator) -> Made:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return x.astype(np.float32), y


def friedman(rng: np.random.Generator) -> Made:
    from sklearn.datasets import make_friedman1

    return make_friedman1(1500, noise=1.0, random_state=0)


def two_numbers(rng: np.random.Generator) -> Made:
    x = rng.normal(size=(1500, 6))
    noise = rng.normal(size=(1500, 2)) * np.stack([1 + np.abs(x[:, 2]), np.full(1500, 50.0)], axis=1)
    return x, np.stack([4 * x[:, 0] * x[:, 1], 200 * np.sin(x[:, 3])], axis=1) + noise


def waves(rng: np.random.Generator) -> Made:
    step = np.linspace(0, 1, 64)
    place, width = rng.random((1500, 1)), 0.05 + 0.2 * rng.random((1500, 1))
    clean = np.exp(-(((step - place) / width) ** 2))
    return (clean + 0.5 * rng.normal(size=clean.shape)).astype(np.float32), clean.astype(np.float32)


TASKS: Mapping[str, tuple[str, Callable[[np.random.Generator], Made], dict[str, Any]]] = {
    "digits (real)": ("point", digits, {"modality": "sequence_1d"}),
    "tumours (real)": ("point", tumours, {"modality": "table"}),
    "friedman": ("regression", friedman, {"modality": "table"}),
    "two numbers": ("regression", two_numbers, {"modality": "table"}),
    "waves": ("dense", waves, {}),
}


def measure(name: str, seed: int, epochs: int, folder: Path) -> dict[str, float]:
    """One training and what its test split says."""
    kind, make, more = TASKS[name]
    x, y = make(np.random.default_rng(0))
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    split = {"fractions": [0.2, 0.4, 0.4], "seed": seed}
    tree = {"name": "held", "kind": kind, "input": "x.npy", "target": "y.npy", "split": split, **more}
    own = validate(OwnData, tree, where="task").under(folder)
    task = own_task(own, folder / "cache")
    config = default_trial(task, preset="embedded", own=own, method="finetune")
    config = config.with_values({"train.epochs": epochs, "optimizer.lr": 1e-3, "seed": seed})
    if task.modality.value != "table":
        config = config.with_values({"input.max_tokens": 16})
    context = Context(report=lambda epoch: None, folder=folder / "final")
    metrics = run_final(config, context, with_val=False, cache=folder / "cache")
    assert metrics is not None
    calibration = ModelFolder(folder / "final").calibration()
    assert calibration is not None
    model, shape, _ = load_model(folder / "final", torch.device("cpu"))
    predicted = predict_split(model, open_test(task, cache=folder / "cache"), batch_size=64, context=context)
    assert predicted is not None
    told = metrics["calibration"]
    return {
        "held": calibration.samples,
        "test": metrics["test_samples"],
        "before": told.get("ece_before", np.nan),
        "after": told.get("ece_after", np.nan),
        "temperature": told.get("temperature", np.nan),
        **{str(c): covered(*predicted, shape.output, calibration, c) for c in COVERAGES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| task | kind | calibrated on / tested on | temperature | ECE before → after | 80 % | 90 % | 95 % |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name, (kind, _, _) in TASKS.items():
        if given.only not in name:
            continue
        runs = []
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(measure(name, seed, given.epochs, Path(folder)))
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        ece = "" if np.isnan(mean["before"]) else f"{mean['before']:.3f} → {mean['after']:.3f}"
        temperature = "" if np.isnan(mean["temperature"]) else f"{mean['temperature']:.2f}"
        shares = " | ".join(f"{100 * mean[str(c)]:.1f}" for c in COVERAGES)
        print(
            f"| {name} | {kind} | {mean['held']:.0f} / {mean['test']:.0f} | {temperature} | {ece} | {shares} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
