"""How far data sets are from each other; nothing is trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from pare_tune.cli.app import app
from pare_tune.cli.common import SOURCES_ENV, print_json, say
from pare_tune.errors import ConfigError


@app.command()
def otdd(
    a: Annotated[str, typer.Argument(help="A task or a source, by name (`pare-tune tasks`, `sources`).")],
    b: Annotated[str, typer.Argument(help="Another; `source:cifar100` where a name is both.")],
    inner: Annotated[
        str, typer.Option(help="Distance between two classes: gaussian (means and covariances) or exact.")
    ] = "gaussian",
    samples: Annotated[int, typer.Option(min=2, help="Most samples of each.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the samples.")] = 0,
    source_data: Annotated[
        Path | None,
        typer.Option("--source-data", envvar=SOURCES_ENV, help="Folder of proxy data sets as released."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """The distance of two data sets (OTDD), on frozen features of a pretrained backbone.

    Pictures and maps are seen by micro-swin, anything else by micro-roberta. Symmetric, and 0 between a data set and
    itself; a number means something beside others of the same backbone.

    pare-tune otdd ninapro photographs
    """
    from pare_tune.train.data_distance import data_distance

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


def _inner(text: str) -> Literal["exact", "gaussian"]:
    if text not in ("exact", "gaussian"):
        raise ConfigError(f"--inner is gaussian or exact, got {text!r}")
    return cast("Literal['exact', 'gaussian']", text)
