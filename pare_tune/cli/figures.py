"""The paper's figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pare_tune.cli.app import app
from pare_tune.cli.common import long_steps
from pare_tune.errors import ConfigError

LANDSCAPE, POINTS = "Figure 1a", "Figures 1b, 1c and 6"


@app.command()
def figures(
    run: Annotated[str, typer.Argument(help="A run (folder or URL), or the best/ or final/ folder of one.")],
    only: Annotated[
        str | None,
        typer.Option(
            help="Figures by the paper's numbers: 1a,1b,1c,4,6,8. Default: those that take seconds."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the files; default: figures/ in the run.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="A second run of the same task, for 1a and 6.", metavar="RUN")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of samples, directions and chance.")] = 0,
    grid: Annotated[int, typer.Option(help="Points a side, odd.", rich_help_panel=LANDSCAPE)] = 15,
    span: Annotated[
        float, typer.Option(help="Distance from the solution, in filter norms.", rich_help_panel=LANDSCAPE)
    ] = 1.0,
    batches: Annotated[int, typer.Option(help="Validation batches.", rich_help_panel=LANDSCAPE)] = 8,
    samples: Annotated[
        int, typer.Option(help="Validation samples, and as many source samples.", rich_help_panel=POINTS)
    ] = 200,
    inner: Annotated[
        str, typer.Option(help="Distance between classes: gaussian or exact.", rich_help_panel=POINTS)
    ] = "gaussian",
) -> None:
    """Draw the paper's figures of a run: PNG, SVG, the numbers as CSV, and what to see as text.

    pare-tune figures runs/psicov-…
    pare-tune figures runs/psicov-… --only 1a --against runs/psicov-finetune-…
    """
    names = (
        None
        if only is None
        else [name for name in (part.strip().lower() for part in only.split(",")) if name]
    )
    if names == []:
        raise ConfigError(f"--only names figures, such as 1a,6; got {only!r}")

    from pare_tune.figures.write import Settings, write_figures

    settings = Settings(samples=samples, inner=inner, grid=grid, span=span, batches=batches, seed=seed)
    with long_steps():
        write_figures(run, out=out, only=names, against=against, settings=settings, notify=typer.echo)
