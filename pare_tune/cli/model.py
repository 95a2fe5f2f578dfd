"""Training a configuration in full, and using the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import shown


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="best.yaml of a run, or one of your own.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the model; default: final/ beside the config."),
    ] = None,
    num_workers: Annotated[int, typer.Option(min=1, help="Data-parallel workers on the Ray cluster.")] = 1,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="Default: 1 where the cluster has GPUs.")
    ] = None,
    with_val: Annotated[
        bool,
        typer.Option("--with-val", help="Train on train + validation; the last epoch's weights are kept."),
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train longer than the trial did.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Train a configuration in full and score the test split, once.

    pare-tune train runs/psicov-…/best.yaml --num-workers 2
    """
    from pare_tune.api import train as train_final

    console = Console()
    progress = _epoch_printer(console, as_json)
    metrics = train_final(
        config,
        out=out,
        num_workers=num_workers,
        gpus_per_worker=gpus_per_worker,
        with_val=with_val,
        epochs=epochs,
        observe=progress,
    )
    if as_json:
        print(json.dumps({"event": "trained", **metrics}))
        return
    unit = "" if metrics["unit"] == "1" else f" {metrics['unit']}"
    console.print(
        f"\n[bold]test {metrics['metric']} {metrics['test']:.4g}{unit}[/bold] on {metrics['test_samples']} samples "
        f"(data: {metrics['data']}), weights of epoch {metrics['epoch']} of {metrics['epochs']}, "
        f"trained on {metrics['trained_on']}",
        highlight=False,
    )
    folder = shown(Path(metrics["folder"]))
    console.print(f"model: {folder}", highlight=False, soft_wrap=True)
    console.print(f"next:  pare-tune predict {folder} inputs.npy -o out.npy", highlight=False, soft_wrap=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="The final/ or best/ folder of a run.")],
    inputs: Annotated[
        Path,
        typer.Argument(
            help="A .npy of model-ready samples, (n, channels, ...); of a task of your own: raw samples, in any form "
            "that it can be trained on."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the predictions go, .npy.")] = Path(
        "out.npy"
    ),
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Class probabilities instead of raw outputs.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
) -> None:
    """Apply a trained model to new inputs.

    pare-tune predict runs/psicov-…/final inputs.npy -o out.npy
    """
    from pare_tune.api import predict_file

    shape, names = predict_file(model, inputs, out, probabilities=probabilities, batch_size=batch_size)
    typer.echo(f"{out}: {shape}")
    if names:
        typer.echo(f"columns: {', '.join(names)}")


def _epoch_printer(console: Console, as_json: bool) -> Any:
    def show(epoch: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps({"event": "epoch", **epoch}), flush=True)
            return
        score = epoch["score"]
        console.print(
            f"epoch {epoch['epoch']:>3}/{epoch['epochs']}  loss {epoch['train_loss']:.4g}"
            + ("" if score is None else f"  val {score:.4g}")
            + f"  k {epoch['k']}  {epoch['seconds']:.1f} s",
            highlight=False,
        )

    return show
