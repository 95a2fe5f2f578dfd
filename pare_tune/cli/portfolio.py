"""`pare-tune portfolio`: the few configurations of finished runs that are worth testing first on a new task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pare_tune.cli.app import app
from pare_tune.cli.common import print_json, say
from pare_tune.shell import command


@app.command()
def portfolio(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run folders, folders of run folders, or recorded tables (.parquet). Default: the tables that come "
            "with the package."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("portfolio.yaml"),
    size: Annotated[int, typer.Option(min=1, max=50, help="Configurations a modality.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """From finished runs, or recorded tables, the few configurations that together cover their tasks best.

    A search begins with those of the package's tables by itself; runs of your own know more.

    pare-tune portfolio runs -o portfolio.yaml

    pare-tune --task psicov --warm-start portfolio.yaml
    """
    from pare_tune.recorded.table import read_table, recorded_tables
    from pare_tune.tune.portfolio import Portfolio, build_portfolio, tried_in, write_portfolio
    from pare_tune.tune.recorded import tried_of_table

    sources = runs or list(recorded_tables().values())
    tables = [path for path in sources if path.suffix == ".parquet"]
    searches = [path for path in sources if path not in tables]
    portfolios = build_portfolio(
        [*(tried_of_table(read_table(path)) for path in tables), *tried_in(searches)], size
    )
    write_portfolio(portfolios, out)
    if as_json:
        print_json({"file": str(out), "regret": {m: p.regret for m, p in portfolios.items()}})
        return

    def size_of(part: Portfolio) -> str:
        return f"{len(part.points)} configuration{'' if len(part.points) == 1 else 's'}"

    for modality, part in portfolios.items():
        tasks = ", ".join(part.regret)
        say(
            f"{modality}: {size_of(part)} for {tasks}; mean regret {part.mean_regret:.3f}, "
            f"of the default alone {part.default_regret:.3f}"
        )
    say(f"next: {command('--task', 'TASK', '--warm-start', out)}")
