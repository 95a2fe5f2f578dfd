"""The paper's ablations under one protocol: its Tables 4, 5, 6, 15, 17 and 18 on tasks whose data need no download.

    python tests/benchmarks/ablations.py [--tasks wdbc tic-tac-toe …] [--tables 4 5 …] [--seeds 3] [--runs FOLDER]

Every cell is the test score of the epoch that validation chose, embedded preset, default settings but for what the row
names, mean ± standard deviation over seeds; lower is better for every metric here, and the best mean of a column is
bold. Interrupted, the same command goes on. FOLDER/default is a folder of `pare-tune compare --budget 1`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pare_tune.compare.cell import CellResult
from pare_tune.compare.comparison import summarise
from pare_tune.compare.plan import Plan, make_plan
from pare_tune.compare.run import run_plan
from pare_tune.report import words

TASKS = ("wdbc", "tic-tac-toe", "pde-burgers")
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one table."""

    label: str
    method: str = "pare"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return "_".join(f"{key}={value}" for key, value in self.settings.items()) or "default"


PARE = Row("PaRe")
TABLES: Mapping[str, tuple[Row, ...]] = {
    "Table 4: ways of mixing, and of lowering k": (
        Row("Mixup", "mixup"),
        Row("CutMix", "cutmix"),
        Row("PaRe, non-gradual (random k)", settings={"k.kind": "random"}),
        Row("PaRe, piecewise", settings={"k.kind": "piecewise"}),
        Row("PaRe, exponential", settings={"k.kind": "exponential"}),
        Row("PaRe, linear (default)"),
    ),
    "Table 5: patches by chance or by the gate": (Row("Random", "random"), Row("Gate")),
    "Table 6: gate networks": (
        Row("FC + sigmoid (default)"),
        Row("MLP + sigmoid", settings={"gate.kind": "mlp"}),
        Row("MLP + dropout + sigmoid", settings={"gate.kind": "mlp_dropout"}),
    ),
    "Table 15: ways of fine-tuning": (
        Row("Train from scratch", "scratch"),
        Row("FPT (layer norms)", "layernorm"),
        Row("NFT (fine-tuning)", "finetune"),
        Row("ORCA", "orca"),
        PARE,
    ),
    "Table 17: less training data": tuple(
        Row(f"{label}, {share:.0%}", method, {"train.share": share})
        for share in SHARES
        for label, method in (("ORCA", "orca"), ("PaRe", "pare"))
    ),
    "Table 18: augmentation within the target modality": (
        Row("target_mixup", "target_mixup"),
        Row("target_mask", "target_mask"),
        Row("PaRe without source loss", "pare_no_source_loss"),
        PARE,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--tables", nargs="+", choices=[number(t) for t in TABLES], help="default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    options = parser.parse_args()
    tables = {t: rows for t, rows in TABLES.items() if options.tables is None or number(t) in options.tables}
    plans = {
        folder: plan(rows, options.tasks, options.seeds, options.runs / folder)
        for folder, rows in by_folder(tables).items()
    }
    facts = next(iter(plans.values())).tasks
    if any(task.direction == "max" for task in facts):
        sys.exit("the best of a column is its smallest; name tasks whose metric is an error")
    found: dict[tuple[str, str, str], str] = {}
    best: dict[tuple[str, str, str], float] = {}
    for folder, made in plans.items():
        summary = summarise(made, run_plan(made, tell=tell))
        for task, scores in summary.scores.items():
            for method, score in scores.items():
                found[folder, method, task], best[folder, method, task] = score.text, score.mean
    for title, rows in tables.items():
        print(f"\n{title}\n")
        print("| | " + " | ".join(f"{task.name} ({task.metric}, {task.provenance})" for task in facts) + " |")
        print("|---|" + "---:|" * len(facts))
        least = {
            task.name: min(
                (b for row in rows if not math.isnan(b := best[row.folder, row.method, task.name])),
                default=None,
            )
            for task in facts
        }
        for row in rows:
            keys = [(row.folder, row.method, task.name) for task in facts]
            cells = [f"**{found[key]}**" if best[key] == least[key[2]] else found[key] for key in keys]
            print(f"| {row.label} | {' | '.join(cells)} |")


def number(title: str) -> str:
    """Of a table in the paper."""
    return title.removeprefix("Table ").partition(":")[0]


def by_folder(tables: Mapping[str, tuple[Row, ...]]) -> dict[str, list[Row]]:
    """Rows that share settings share a folder, and a training that several tables show is done once."""
    found: dict[str, list[Row]] = {}
    for rows in tables.values():
        for row in rows:
            found.setdefault(row.folder, []).append(row)
    return found


def plan(rows: list[Row], tasks: list[str], seeds: int, folder: Path) -> Plan:
    methods = list(dict.fromkeys(row.method for row in rows))
    return make_plan(tasks, methods, folder=folder, seeds=seeds, settings=rows[0].settings)


def tell(result: CellResult, done: int, total: int) -> None:
    said = words.number(result.test) if result.state == "done" else result.cause
    took = "" if result.seconds is None else f", {words.duration(result.seconds)}"
    print(
        f"{done}/{total}  {result.task}  {result.method}  seed {result.seed}: {said}{took}", file=sys.stderr
    )


if __name__ == "__main__":
    main()
