"""How far data sets are from each other, and which proxy source suits a task; nothing is trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.console import Console
from rich.table import Table

from pare_tune.cli.app import app
from pare_tune.cli.common import SOURCES_ENV, from_environment, print_json, say
from pare_tune.errors import ConfigError
from pare_tune.shell import command

if TYPE_CHECKING:
    from pare_tune.train.proxy import RankedSource

_INNER = Annotated[
    str, typer.Option(help="Distance between two classes: gaussian (means and covariances) or exact.")
]
_SOURCE_DATA = Annotated[
    Path | None,
    typer.Option("--source-data", envvar=SOURCES_ENV, help="Folder of proxy data sets as released."),
]


@app.command()
def otdd(
    a: Annotated[str, typer.Argument(help="A task or a source, by name (`pare-tune tasks`, `sources`).")],
    b: Annotated[str, typer.Argument(help="Another; `source:cifar100` where a name is both.")],
    inner: _INNER = "gaussian",
    samples: Annotated[int, typer.Option(min=2, help="Most samples of each.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the samples.")] = 0,
    source_data: _SOURCE_DATA = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """The distance of two data sets (OTDD), on frozen features of a pretrained backbone.

    Pictures and maps are seen by micro-swin, anything else by micro-roberta. Symmetric, and 0 between a data set and
    itself; a number means something beside others of the same backbone.

    pare-tune otdd ninapro photographs
    """
    from pare_tune.train.proxy import data_distance

    distance = data_distance(a, b, inner=_inner(inner), samples=samples, seed=seed, sources=source_data)
    if as_json:
        print_json(asdict(distance))
        return
    say(
        f"OTDD {distance.otdd:.4g} between {distance.a} and {distance.b} "
        f"(inner: {distance.inner}, features: {distance.backbone})",
        "bold",
    )
    for name, count, labels, provenance in zip(
        (distance.a, distance.b), distance.samples, distance.labels, distance.provenance, strict=True
    ):
        say(f"  {name}: {count} samples, {labels}; data: {provenance}")


@app.command("rank-sources")
def rank_sources(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="A task, or a task file of your own.")],
    data: Annotated[
        Path | None, typer.Option(envvar="PARE_TUNE_DATA", help="Folder of the task's public release.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Default: the embedded one of the modality.")] = None,
    inner: _INNER = "gaussian",
    samples: Annotated[int, typer.Option(min=16, help="Most samples of the task and of each source.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the samples.")] = 0,
    source_data: _SOURCE_DATA = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """Rank the proxy data sets for a task before any training.

    By OTDD between frozen features, smallest first. Beside it a transfer score: what a linear model on mixed samples,
    half of whose patches are the source's, can tell about the labels of both (LogME, in nats over no features).

    pare-tune rank-sources ninapro
    """
    from pare_tune.plan import plan_run
    from pare_tune.train.proxy import rank_sources as rank
    from pare_tune.tune.available import available_sources

    if from_environment(context, "data") and task.lower().endswith((".yaml", ".yml")):
        data = None  # a folder of releases, none of which is meant
    plan = plan_run(
        task=task, data=data, preset="embedded", backbone=backbone, settings={"source.data": source_data}
    )
    names = available_sources(plan.trial)
    if not names:
        raise ConfigError(f"no source that {plan.trial.backbone} reads is here; give --source-data FOLDER")
    ranked = rank(plan.trial, names, inner=_inner(inner), samples=samples, seed=seed)
    if as_json:
        print_json([asdict(source) for source in ranked])
        return
    Console().print(_table(ranked))
    order = ",".join(source.name for source in ranked)
    say(f"next: {command('--task', task, '--set', f'search.source_order=[{order}]')}")


def _inner(text: str) -> Literal["exact", "gaussian"]:
    if text not in ("exact", "gaussian"):
        raise ConfigError(f"--inner is gaussian or exact, got {text!r}")
    return cast("Literal['exact', 'gaussian']", text)


def _table(ranked: list[RankedSource]) -> Table:
    table = Table("rank", "source", "kind", "OTDD", "transfer", "target", "source labels", "samples")
    for row in ranked:
        table.add_row(
            str(row.rank), row.name, row.kind, f"{row.otdd:.4g}", f"{row.transfer:.4f}",
            f"{row.target_gain:.4f}", f"{row.source_gain:.4f}", str(row.samples),
        )  # fmt: skip
    return table
