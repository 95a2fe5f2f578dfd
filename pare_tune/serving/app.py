"""The HTTP interface of a trained model. It knows no Ray: what is asked goes to a callable that predicts.

What a request sends is numbers, or cells of a table. Nothing in it is executed, unpickled, or taken for a path.
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline

from pare_tune import __version__
from pare_tune.data.arrays import npy_of
from pare_tune.data.files import plain_json
from pare_tune.errors import DataError
from pare_tune.tasks.own.predict import NewSamples, Piece
from pare_tune.train.describe import Description
from pare_tune.train.outputs import Predictions

NPY: Final = "application/x-npy"
JSON: Final = "application/json"

Answer = Callable[[Piece], Awaitable[Predictions]]
"""Predicts the samples of one request."""
Open = Callable[[Any], NewSamples]
"""Takes an array or a data frame as `Predictor.open` does."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server accepts."""

    max_bytes: int = 10 * 10**6
    """Of a body."""
    max_samples: int = 1024
    """Of a request: small images may be laid on a large square."""
    token: str | None = None
    """What a caller must show; None asks for nothing."""


def make_app(open_samples: Open, answer: Answer, description: Description, limits: Limits) -> FastAPI:
    """The routes: /predict, /model, /health, /ready, and /docs, which needs no network."""
    app: FastAPI = FastAPIOffline(title=f"pare-tune: {description.task}", version=__version__)
    guard = _guard(limits.token)

    def read(content: bytes, kind: str) -> Piece:
        """The samples of a body, model-ready."""
        if kind == NPY:
            given = npy_of(content, "the body")
        else:
            given = _from_json(content, description.columns, limits.max_samples)
        samples = open_samples(given)
        _require_few(len(samples), limits.max_samples)
        return samples.piece(range(len(samples)))

    @app.get("/health", summary="Whether the server runs")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether the model is loaded")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.get("/model", summary="What goes in and what comes out", dependencies=guard)
    async def model() -> dict[str, Any]:
        return description.to_dict()

    @app.post(
        "/predict",
        summary="Predict samples",
        description=_explained(description),
        dependencies=guard,
        openapi_extra={"requestBody": description.body},
        responses={
            status: {"description": text}
            for status, text in (
                (401, "No token, or another one"),
                (413, f"More than {limits.max_bytes:,} bytes or {limits.max_samples:,} samples"),
                (415, f"Neither {JSON} nor {NPY}"),
                (422, "Samples that do not fit the model; the message says what does"),
            )
        },
    )
    async def predict(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, NPY):
            raise HTTPException(415, f"send {JSON} or {NPY}, got {kind or 'no content-type'}")
        content = await _body(request, limits.max_bytes)
        try:
            piece = await asyncio.to_thread(read, content, kind)
            predictions = await answer(piece)
        except DataError as error:
            raise HTTPException(422, str(error)) from error
        as_npy = NPY in request.headers.get("accept", "")
        return await asyncio.to_thread(_npy_response if as_npy else _json_response, predictions)

    return app


def _explained(description: Description) -> str:
    forms = ['`{"rows": [{column: cell, …}, …]}`'] if description.columns else []
    if description.takes_arrays:
        forms.append('`{"inputs": [sample, …]}` or NumPy\'s .npy format')
    return (
        f"Takes {description.takes}, as {' or '.join(forms)}, and gives {description.gives}; as .npy with "
        f"`Accept: {NPY}`."
    )


def _guard(token: str | None) -> list[Any]:
    """What a route depends on that asks for the token."""
    if token is None:
        return []
    bearer = HTTPBearer(auto_error=False)

    async def check(
        given: HTTPAuthorizationCredentials | None = Depends(bearer),  # noqa: B008
    ) -> None:
        shown = "" if given is None else given.credentials
        if not secrets.compare_digest(shown.encode(), token.encode()):
            raise HTTPException(
                401,
                "send the server's token: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return [Depends(check)]


async def _body(request: Request, most: int) -> bytes:
    """Raises HTTPException 413 before more than `most` bytes are held."""
    too_large = HTTPException(413, f"a body holds at most {most:,} bytes; send fewer samples at a time")
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > most:
        raise too_large
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise too_large
    return bytes(content)


def _require_few(samples: int, most: int) -> None:
    if samples > most:
        raise HTTPException(413, f"a request holds at most {most:,} samples, got {samples:,}; send several")


def _from_json(content: bytes, columns: Sequence[str], most: int) -> Any:
    """{"inputs": nested lists} → an array; {"rows": [{column: cell}, …]} → a data frame."""
    try:
        tree = json.loads(content, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is not JSON: {error}") from error
    if not isinstance(tree, dict) or len(tree) != 1 or not {"inputs", "rows"} & set(tree):
        raise DataError(
            'the body must be {"inputs": [sample, …]}, or {"rows": [{"column": cell, …}, …]} of a table'
        )
    return _rows(tree["rows"], columns, most) if "rows" in tree else _array(tree["inputs"])


def _whole(text: str) -> int | float:
    """Whole numbers that 64 bits do not hold as floats, which may be infinite and are refused as such."""
    return int(text) if len(text) < 19 else float(text)


def _array(values: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"inputs: samples must be lists of one shape ({error})") from error
    if array.dtype.kind not in "biuf":
        raise DataError("inputs: numbers are needed, with lists of one shape around them")
    return array


def _rows(rows: Any, columns: Sequence[str], most: int) -> Any:
    import pandas as pd

    cells = (str, int, float, bool, type(None))
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError('rows: a list of {"column": cell, …} is needed, with at least one')
    _require_few(len(rows), most)
    # Of the model's columns alone: rows that each bring others would make a table as wide as all of them together.
    table = {name: [row.get(name) for row in rows] for name in columns if any(name in row for row in rows)}
    odd = next((v for values in table.values() for v in values if not isinstance(v, cells)), None)
    if odd is not None:
        raise DataError(f"rows: a cell is a number, text, true, false or null, got {type(odd).__name__}")
    try:
        return pd.DataFrame(table)
    except UnicodeEncodeError as error:
        raise DataError(f"rows: text is damaged ({error})") from error


def _json_response(predictions: Predictions) -> Response:
    content = json.dumps(plain_json(predictions.to_dict()), allow_nan=False)
    return Response(content, media_type=JSON)


def _npy_response(predictions: Predictions) -> Response:
    stream = io.BytesIO()
    np.save(stream, predictions.array(), allow_pickle=False)
    return Response(stream.getvalue(), media_type=NPY)
