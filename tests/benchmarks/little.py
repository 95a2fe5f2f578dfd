"""Little data: what a search and its final training get on test, by how trials are told apart.

    python tests/benchmarks/little.py CELLS --series SITE-PACKAGES
    python tests/benchmarks/little.py CELLS --series SITE-PACKAGES --only GunPoint wine --sizes 50 --ways split folds

Tables are scikit-learn's; series are those that the package aeon carries, in SITE-PACKAGES (it need not be importable
here: `pip install --no-deps --target SITE-PACKAGES aeon`). Each cell is a data set, a size, a way and a split: so many
development samples are drawn, each class in its share, and at most 1,000 others are tested. A cell that is done is one
file in CELLS and is not run again; the table is of those that are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pare_tune import api
from pare_tune.data.files import write_json
from pare_tune.tune.result import Result
from pare_tune.tune.run import snapshot

TABLES = ("breast_cancer", "wine", "iris", "digits")
SERIES = ("GunPoint", "ItalyPowerDemand", "ArrowHead", "OSULeaf")
SIZES = (50, 200, 1000)
WAYS: Mapping[str, Mapping[str, Any]] = {
    "split": {"search": {"validation": "split"}, "train": {}},
    "folds": {"search": {}, "train": {}},
    "bag": {"search": {}, "train": {"bag": True}},
    "ensemble": {"search": {}, "train": {"ensemble": True}},
    "peers": {"search": {}, "train": {"ensemble": True, "peers": True}},
}
"""What is given to `tune` and to `train`: as before folds, as plans choose now, and several models averaged. Ways that
search alike share one search."""
_MOST_TESTED = 1000


def load(name: str, series: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Samples (n, features) or (n, 1, steps), and classes (n,)."""
    if name in TABLES:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(return_X_y=True)
    assert series is not None, f"{name} needs --series"
    parts = [read_ts(series / f"aeon/datasets/data/{name}/{name}_{half}.ts") for half in ("TRAIN", "TEST")]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def read_ts(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A .ts file of series of one length and one channel."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines if line and line[0] not in "#@"]
    x = np.array([[float(v) for v in values.split(",")] for values, _ in rows], np.float32)
    return x[:, None], np.array([label for _, label in rows])


def cells(options: argparse.Namespace) -> Iterator[tuple[str, int, str, int]]:
    """(data, size, way, split) of everything that is asked for and that has samples enough."""
    for name in options.only:
        num = len(load(name, options.series)[1])
        for size, split, way in itertools.product(options.sizes, range(options.splits), options.ways):
            if 1.2 * size <= num:
                yield name, size, way, split


def run(cell: tuple[str, int, str, int], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train and test once, after a search if none is there yet."""
    name, size, way, split = cell
    alike = next(other for other in WAYS if WAYS[other]["search"] == WAYS[way]["search"])
    home = folder.with_name(f"{name}-{size}-{alike}-{split}")
    runs = [*(home / "runs").glob("*/report.html")]
    if not runs:
        shutil.rmtree(home / "runs", ignore_errors=True)
        runs = [search_once((name, size, alike, split), options, home)]
    run = runs[0].parent
    shutil.rmtree(folder / "final", ignore_errors=True)
    metrics = api.train(run, out=folder / "final", **WAYS[way]["train"])
    result = Result(run, snapshot(run))
    trials = result.trials
    return {
        "data": name, "size": size, "way": way, "split": split, "test": metrics["test"], "metric": metrics["metric"],
        "validation": result.best_score, "default": result.default_score,
        "search_s": round(result.snapshot.elapsed_s, 1),
        "training_s": round(float(trials["seconds"].sum()), 1), "epochs": int(trials["epochs_run"].sum()),
        "best": result.best.number, "final_s": round(metrics["seconds"], 1),
        "simple": {row.kind: row.score for row in result.snapshot.simple},
    }  # fmt: skip


def search_once(cell: tuple[str, int, str, int], options: argparse.Namespace, folder: Path) -> Path:
    """Search; the report's path."""
    from sklearn.model_selection import train_test_split

    name, size, way, split = cell
    x, y = load(name, options.series)
    kept, tested = train_test_split(np.arange(len(y)), train_size=size, stratify=y, random_state=split)
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Any] = {}
    for part, rows in (("train", kept), ("test", tested[:_MOST_TESTED])):
        np.save(folder / f"{part}_x.npy", x[rows])
        np.save(folder / f"{part}_y.npy", np.unique(y, return_inverse=True)[1][rows])
        parts[part] = {"input": f"{part}_x.npy", "target": f"{part}_y.npy"}
    task = folder / "task.yaml"
    task.write_text(
        json.dumps({"name": f"little-{name.lower()}".replace("_", "-"), "kind": "point", **parts})
    )
    result = api.tune(
        str(task),
        options.trials,
        seed=split,
        runs=folder / "runs",
        **{"portfolio": True, **WAYS[way]["search"]},
    )
    return result.path / "report.html"


def table(done: list[dict[str, Any]]) -> Iterator[str]:
    """A line a data set and size: mean test score ± spread over splits, and the mean gap to validation."""
    ways = [way for way in WAYS if any(cell["way"] == way for cell in done)]
    yield f"| data | size | splits | {' | '.join(f'{way}: test | its validation' for way in ways)} |"
    yield f"| --- | ---: | ---: |{' ---: | ---: |' * len(ways)}"
    for name, size in dict.fromkeys((cell["data"], cell["size"]) for cell in done):
        shown, counts = [], set()
        for way in ways:
            here = [c for c in done if (c["data"], c["size"], c["way"]) == (name, size, way)]
            tests = [c["test"] for c in here]
            counts.add(len(here))
            spread = statistics.stdev(tests) if len(tests) > 1 else math.nan
            shown += [f"{statistics.fmean(tests):.2f} ± {spread:.2f}" if tests else "–"]
            shown += [f"{statistics.fmean(c['validation'] for c in here):.2f}" if here else "–"]
        yield f"| {name} | {size} | {min(counts)} | {' | '.join(shown)} |"


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", type=Path)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--only", nargs="+", default=[*TABLES, *SERIES])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    for cell in cells(options):
        path = options.cells / f"{'-'.join(map(str, cell))}.json"
        if not path.is_file():
            write_json(path, run(cell, options, options.cells / path.stem))
            print(path.read_text(), flush=True)
    done = [json.loads(path.read_text()) for path in sorted(options.cells.glob("*.json"))]
    print("\n".join(table(done)))


if __name__ == "__main__":
    main()
