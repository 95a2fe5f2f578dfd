"""`pare-tune serve`."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from pare_tune.cli.app import app
from pare_tune.cli.common import long_steps, note, say
from pare_tune.errors import ConfigError

_NEEDED = ("fastapi", "fastapi_offline", "uvicorn", "starlette", "grpc_reflection")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="The final/ or best/ folder of a run (path or URL).")],
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PARE_TUNE_TOKEN", help="What callers must show; default: a new one, which is printed."
        ),
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Answer everybody who reaches the port.")
    ] = False,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of the model; all nodes must reach it.")] = 1,
    latency_ms: Annotated[
        float, typer.Option(min=0, help="How long a request waits for others, to be predicted together.")
    ] = 10.0,
    max_body: Annotated[str, typer.Option(help="Larger requests are refused.")] = "10MB",
    coverage: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.999, help="Add sets of classes, or intervals of numbers, as `predict`."),
    ] = None,
) -> None:
    """Serve a trained model over HTTP with Ray Serve, until Ctrl-C: JSON or .npy in, JSON or .npy out.

    pare-tune serve runs/psicov-…/final

    [dim]Ask it; http://127.0.0.1:8000/docs has the whole interface:[/dim]

      curl http://127.0.0.1:8000/predict -H "Authorization: Bearer TOKEN" -H "Content-Type: application/x-npy"
      --data-binary @inputs.npy

    It needs pip install 'pare-tune[serve]'. /health, /ready and /docs ask for no token.
    """
    missing = next((name for name in _NEEDED if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise ConfigError(
            f"serving needs packages that are not installed ({missing}); install them with: "
            f"pip install 'pare-tune[serve]'"
        )
    if no_token and token is not None:
        raise ConfigError("--no-token asks for no token, and one is given (--token or PARE_TUNE_TOKEN)")
    import secrets
    import threading

    from pare_tune.config import absolute, parse_size
    from pare_tune.serving.deploy import Serving, serving
    from pare_tune.tune.mirror import local

    token = None if no_token else token or secrets.token_urlsafe(24)
    if no_token and host not in _LOOPBACK:
        note(f"everybody who reaches {host}:{port} can use this model; leave out --no-token to ask for one")
    asked = Serving(
        model=absolute(local(model)),
        host=host,
        port=port,
        token=token,
        replicas=replicas,
        latency_ms=latency_ms,
        max_bytes=parse_size(max_body),
        coverage=coverage,
    )
    with long_steps(), serving(asked) as metrics:
        say(f"serving {model} at http://{host}:{port}/predict")
        say(f"interface: http://{host}:{port}/docs")
        if token is not None:
            say(f"token: {token}")
        say(f"metrics: {metrics}")
        say("Ctrl-C ends it")
        threading.Event().wait()
