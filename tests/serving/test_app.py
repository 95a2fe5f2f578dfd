"""What a served model answers, without Ray."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pare_tune.tasks.own.predict import Piece
from pare_tune.train.describe import Description
from pare_tune.train.outputs import Predictions
from pare_tune.train.predict import Predictor

pytest.importorskip("fastapi_offline", reason="pip install 'pare-tune[serve]'")

from pare_tune.serving.app import JSON, NPY, Limits, make_app

SERIES = np.random.default_rng(0).normal(size=(8, 2, 32)).astype(np.float32)
TABLE = pd.DataFrame({"size": np.arange(8.0), "colour": ["red", "blue"] * 4})


def served(folder: Path) -> tuple[Predictor, Any]:
    """(the model in a folder, the app that serves it)."""
    predictor = Predictor(folder, probabilities=True)

    async def answer(piece: Piece) -> Predictions:
        return predictor.predict(piece)

    limits = Limits(token="secret", max_bytes=50_000, max_samples=20)
    return predictor, make_app(predictor.open, answer, Description.of("mine", predictor.shape), limits)


@pytest.fixture(scope="module")
def series(untrained: Callable[[Any], Path]) -> tuple[Predictor, Any]:
    return served(untrained(SERIES))


@pytest.fixture(scope="module")
def table(untrained: Callable[[Any], Path]) -> tuple[Predictor, Any]:
    return served(untrained(TABLE))


def call(
    app: Any, method: str, path: str, body: bytes = b"", *, token: str | None = "secret", **headers: str
) -> tuple[int, bytes]:
    """(status, body) of a request that comes in two parts, without a content-length."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        fields["authorization"] = f"Bearer {token}"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "server": ("here", 80), "client": ("there", 1),
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
    }  # fmt: skip
    half = len(body) // 2
    parts = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def as_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def test_json_and_npy_give_what_predict_gives(series: tuple[Predictor, Any]) -> None:
    predictor, app = series
    wanted = predictor.predict(predictor.open(SERIES).piece(range(8))).values
    status, body = call(app, "POST", "/predict", as_json({"inputs": SERIES.tolist()}), content_type=JSON)
    answer = json.loads(body)
    assert status == 200
    assert answer["names"] == ["no", "yes"]
    np.testing.assert_allclose(answer["probability"], wanted, rtol=1e-6)
    assert answer["class"] == [["no", "yes"][i] for i in wanted.argmax(axis=1)]
    status, body = call(app, "POST", "/predict", npy(SERIES), content_type=NPY, accept=NPY)
    assert status == 200
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), wanted)


def test_rows_of_a_table_are_predicted_by_name(table: tuple[Predictor, Any]) -> None:
    predictor, app = table
    rows = TABLE[["colour", "size"]].to_dict("records")
    status, body = call(app, "POST", "/predict", as_json({"rows": rows}), content_type=JSON)
    wanted = predictor.predict(predictor.open(TABLE).piece(range(8))).values
    assert status == 200
    np.testing.assert_allclose(json.loads(body)["probability"], wanted, rtol=1e-6)


DEEP = b'{"inputs": ' + b"[" * 20_000


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (as_json({"inputs": SERIES[:, :1].tolist()}), JSON, 422, "takes samples of 2 × 32, got 8 of 1 × 32"),
        (npy(SERIES[0]), NPY, 422, "takes samples of 2 × 32"),
        (npy(SERIES[:0]), NPY, 422, "got 0 of 2 × 32"),
        (npy(np.full_like(SERIES, np.nan)), NPY, 422, "holds NaN"),
        (npy(SERIES.astype(object)), NPY, 422, "object"),
        (npy(SERIES)[:-9], NPY, 422, "cut short"),
        (npy(np.broadcast_to(np.float32(0), (10**9, 2, 32))[:0]).replace(b"(0, 2", b"(9, 2"), NPY, 422, "cut short"),
        (b"PK\x03\x04", NPY, 422, "not a .npy array"),
        (npy(SERIES.astype(np.float64) * 1e300), NPY, 422, "sample 0 holds numbers beyond single precision"),
        (as_json({"inputs": [[[10**400] * 32] * 2]}), JSON, 422, "holds NaN or infinity"),
        (as_json({"inputs": ["/etc/passwd"]}), JSON, 422, "numbers are needed"),
        (as_json({"inputs": [[1], [2, 3]]}), JSON, 422, "lists of one shape"),
        (as_json({"inputs": "data.npy"}), JSON, 422, "numbers are needed"),
        (as_json({"path": "/etc/passwd"}), JSON, 422, "the body must be"),
        (as_json({"rows": [{"size": 1}]}), JSON, 422, "not trained on rows of a table"),
        (b"[", JSON, 422, "not JSON"),
        (DEEP, JSON, 422, "not JSON"),
        (npy(np.zeros((21, 2, 32), np.float32)), NPY, 413, "at most 20 samples, got 21"),
        (b" " * 50_001, JSON, 413, "at most 50,000 bytes"),
        (npy(SERIES), "text/plain", 415, "send application/json or application/x-npy, got text/plain"),
    ],
)  # fmt: skip
def test_what_does_not_fit_gets_one_message(
    series: tuple[Predictor, Any], body: bytes, kind: str, status: int, message: str
) -> None:
    given, answer = call(series[1], "POST", "/predict", body, content_type=kind)
    assert given == status
    assert message in json.loads(answer)["detail"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"rows": [{"size": 1}]}, "no column 'colour'"),
        ({"rows": [{"size": "big", "colour": "red"}]}, "must hold numbers, found 'big' in row 1"),
        ({"rows": [{"size": [1], "colour": "red"}]}, "a cell is a number"),
        ({"rows": [{"size": 10**400, "colour": "red"}]}, "row 1 holds infinity"),
        ({"rows": [{"size": 1, "colour": "\ud800"}]}, "text is damaged"),
        ({"rows": []}, "at least one"),
        ({"rows": [{str(i): 1} for i in range(9)]}, "no column 'size'"),
        ({"inputs": [[1.0, 2.0]]}, "give a table with the columns size, colour"),
    ],
)
def test_rows_that_do_not_fit_get_one_message(table: tuple[Predictor, Any], tree: Any, message: str) -> None:
    status, answer = call(table[1], "POST", "/predict", as_json(tree), content_type=JSON)
    assert status == 422
    assert message in json.loads(answer)["detail"]


def test_a_cell_that_looks_like_a_path_is_a_category(
    table: tuple[Predictor, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> Any:
        raise AssertionError(f"{given} was opened")

    monkeypatch.setattr("pare_tune.tasks.own.tables.open_images", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    rows = [{"size": 1, "colour": "/etc/hostname.png"}]
    assert call(table[1], "POST", "/predict", as_json({"rows": rows}), content_type=JSON)[0] == 200


@pytest.mark.parametrize("token", [None, "", "wrong", "secret2"])
def test_without_the_token_nothing_is_answered(series: tuple[Predictor, Any], token: str | None) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/model")):
        assert call(series[1], method, path, npy(SERIES), token=token, content_type=NPY)[0] == 401


def test_health_readiness_and_the_interface_are_open(series: tuple[Predictor, Any]) -> None:
    app = series[1]
    for path in ("/health", "/ready", "/docs"):
        assert call(app, "GET", path, token=None)[0] == 200
    status, body = call(app, "GET", "/openapi.json", token=None)
    schema = json.loads(body)["paths"]["/predict"]["post"]["requestBody"]["content"][JSON]["schema"]
    sample = schema["properties"]["inputs"]["items"]
    assert (status, sample["minItems"], sample["items"]["maxItems"]) == (200, 2, 32)
    assert b"cdn." not in call(app, "GET", "/docs", token=None)[1]


def test_requests_that_are_predicted_together_get_their_own_answers(series: tuple[Predictor, Any]) -> None:
    predictor, _ = series
    pieces = [
        predictor.open(SERIES[rows]).piece(range(len(SERIES[rows]))) for rows in (slice(3), slice(3, 8))
    ]
    first, second = predictor.predict_each(pieces)
    assert (len(first.values), len(second.values)) == (3, 5)
    alone = predictor.predict(pieces[1]).values
    np.testing.assert_allclose(second.values, alone, rtol=1e-5)
