"""Training a configuration in full, and using the model here or elsewhere."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pare_tune.cli.app import app
from pare_tune.cli.common import ACCEPT, long_steps, note, print_json, say
from pare_tune.shell import command, shown


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="A run or its best.yaml (path or URL), or a configuration of your own.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the model; default: final/ beside the config."),
    ] = None,
    num_workers: Annotated[int, typer.Option(min=1, help="Data-parallel workers on the Ray cluster.")] = 1,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="Default: 1 where the cluster has GPUs.")
    ] = None,
    with_val: Annotated[
        bool | None,
        typer.Option(
            "--with-val/--no-with-val",
            help="Train on train + validation, until the epoch that folds chose, or the last. Default: where the "
            "search judged its trials over folds.",
        ),
    ] = None,
    bag: Annotated[bool, typer.Option("--bag", help="Keep one model a fold and average them.")] = False,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Average at most five trials of the search, chosen by what they said of held-out samples.",
        ),
    ] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Let simple models join the ensemble.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train longer than the trial did.")] = None,
    accept_changed_data: Annotated[bool, ACCEPT] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Train a configuration in full and score the test split, once.

    pare-tune train runs/psicov-…/best.yaml --num-workers 2
    """
    console = Console()
    from pare_tune.api import train as train_final

    with long_steps(as_json=as_json) as bars, ExitStack() as shown_while:
        tell = _tell_json if bars is None else shown_while.enter_context(bars.training(console)).epoch
        try:
            metrics = train_final(
                config,
                out=out,
                num_workers=num_workers,
                gpus_per_worker=gpus_per_worker,
                with_val=with_val,
                bag=bag,
                ensemble=ensemble,
                peers=peers,
                epochs=epochs,
                accept_changed_data=accept_changed_data,
                observe=tell,
                notify=note,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                "interrupted; the same command goes on from the last epoch that was saved"
            ) from None
    if as_json:
        print_json({"event": "trained", **metrics})
        return
    console.print(
        f"\n[bold]test {metrics['metric']} {_score(metrics['test'], metrics['unit'])}[/bold] "
        f"on {metrics['test_samples']} samples (data: {metrics['data']}), "
        f"{_weights(metrics)}, trained on {metrics['trained_on']}",
        highlight=False,
        soft_wrap=True,
    )
    _print_calibration(metrics)
    _print_next(Path(metrics["folder"]))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="The final/ or best/ folder of a run (path or URL).")],
    inputs: Annotated[
        Path,
        typer.Argument(
            help="Of a task of your own: raw samples, in any file or folder that it can be trained on. Of a benchmark: "
            "its public release, whose test split is predicted, or a .npy of model-ready samples, (n, channels, ...)."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where the predictions go: .npy, .csv or .parquet.")
    ] = Path("out.npy"),
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Probabilities instead of raw outputs; calibrated on validation if the model is.",
        ),
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.999,
            help="Add sets of classes, or intervals of numbers, that hold the truth in such a share of cases, as 0.9.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    num_workers: Annotated[
        int, typer.Option(min=1, help="Processes on the Ray cluster, which must all reach the inputs.")
    ] = 1,
) -> None:
    """Apply a trained model to new inputs, one or millions.

    pare-tune predict runs/psicov-…/final inputs.npy -o out.npy
    """
    from pare_tune.api import predict_file

    with long_steps():
        shape, names = predict_file(
            model,
            inputs,
            out,
            probabilities=probabilities,
            coverage=coverage,
            batch_size=batch_size,
            num_workers=num_workers,
            notify=note,
        )
    say(f"{shown(out)}: {shape}")
    if names:
        say(f"columns: {', '.join(names)}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="The final/ or best/ folder of a run (path or URL).")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where it goes: .onnx, or .pt2 for torch.export.")
    ] = Path("model.onnx"),
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Weights as 8-bit integers (ONNX); says what that costs on validation."),
    ] = False,
) -> None:
    """Write a trained model for other runtimes, checked on real samples; OUT.json says how to use it.

    pare-tune export runs/psicov-…/final -o model.onnx
    """
    from pare_tune.api import export as export_model

    with long_steps():
        about = export_model(model, out, int8=int8)
    checked = about["checked"]
    say(f"{shown(out)}: up to {checked['max_difference']:.2g} off on {checked['samples']} {checked['on']}")
    if "int8" in about:
        scores, unit = about["int8"]["validation"], about["int8"]["unit"]
        say(
            f"8-bit weights: {about['int8']['metric']} on validation {_score(scores['model'], unit)} → "
            f"{_score(scores['int8'], unit)}"
        )
    say(f"how raw samples are prepared, and what outputs mean: {shown(out.with_name(out.name + '.json'))}")


def _weights(metrics: dict[str, Any]) -> str:
    if "members" in metrics:
        size = sum(
            path.stat().st_size for path in Path(metrics["folder"]).glob("members/*/model.safetensors")
        )
        return f"average of {len(metrics['members'])} models ({size / 1e6:.0f} MB)"
    return f"weights of epoch {metrics['epoch']} of {metrics['epochs']}"


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="The final/ folder of a run.")],
) -> None:
    """Write the model card of a trained model again, as README.md in its folder, and print it.

    pare-tune card runs/psicov-…/final
    """
    from pare_tune.report.card import write_card

    say(write_card(model).read_text(encoding="utf-8"))


def _score(value: float | None, unit: str) -> str:
    if value is None or math.isnan(value):
        return "undefined"
    return f"{value:.4g}" if unit == "1" else f"{value:.4g} {unit}"


def _print_calibration(metrics: dict[str, Any]) -> None:
    from pare_tune.report.words import calibration

    for line in calibration(metrics):
        say(line)
    if metrics.get("calibration") is None and metrics["trained_on"] == "train+val":
        say(
            "not calibrated: nothing was held out of this training, and the search left no held-out predictions"
        )


def _print_next(folder: Path) -> None:
    say(f"model: {shown(folder)}")
    inputs, out = _named_as_its_data(folder)
    say(f"next:  {command('predict', folder, inputs, '-o', out)}")


def _named_as_its_data(folder: Path) -> tuple[str, str]:
    from pare_tune.train.export import ModelFolder

    own = ModelFolder(folder).config().own
    given = None if own is None else next(part.input for _, part in own.parts())
    if given is None or given.file is None:
        return "inputs.npy", "out.npy"
    if given.is_table:
        return f"inputs{given.file.suffix}", "out.csv"
    return (f"inputs{given.file.suffix}" if given.file.suffix else "images"), "out.npy"


def _tell_json(epoch: dict[str, Any]) -> None:
    print_json({"event": "epoch", **epoch})
