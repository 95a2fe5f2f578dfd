from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pare_tune.report.follow import follow_epochs

WAIT_S = 30.0


def write(curve: Path, *epochs: int) -> None:
    with curve.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"epoch": epoch}) + "\n" for epoch in epochs)


def wait_for(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_epoch_is_told_once_and_in_order(tmp_path: Path) -> None:
    curve, heard = tmp_path / "curve.jsonl", []
    with follow_epochs(curve, [lambda epoch: heard.append(epoch["epoch"])]):
        write(curve, 1, 2)
        wait_for(lambda: len(heard) == 2)
        write(curve, 3)
        with curve.open("a", encoding="utf-8") as file:
            file.write('{"epo')  # as a worker leaves it that is in the middle of a line
        wait_for(lambda: len(heard) == 3)
        with curve.open("a", encoding="utf-8") as file:
            file.write('ch": 4}\n')
    assert heard == [1, 2, 3, 4]


def test_what_an_earlier_session_wrote_is_told_first(tmp_path: Path) -> None:
    curve, heard = tmp_path / "curve.jsonl", []
    write(curve, 1, 2)
    with follow_epochs(curve, [lambda epoch: heard.append(epoch["epoch"])]):
        write(curve, 3)
    assert heard == [1, 2, 3]


def test_an_observer_that_raises_stops_neither_the_others_nor_the_training(tmp_path: Path) -> None:
    curve, heard, tried, trained = tmp_path / "curve.jsonl", [], [], threading.Event()

    def broken(epoch: dict[str, Any]) -> None:
        tried.append(epoch.pop("epoch"))
        raise OSError("the reader is gone")

    def train() -> None:
        with follow_epochs(curve, [broken, lambda epoch: heard.append(epoch["epoch"])]):
            write(curve, 1)
            wait_for(lambda: heard == [1])
            write(curve, 2)
            wait_for(lambda: heard == [1, 2])
            trained.set()

    with pytest.warns(
        RuntimeWarning, match=r"broken was told nothing after epoch 1, .* OSError: the reader is gone"
    ):
        train()
    assert trained.is_set()
    assert (heard, tried) == ([1, 2], [1])


def test_an_error_of_the_training_passes_with_all_epochs_told(tmp_path: Path) -> None:
    curve, heard = tmp_path / "curve.jsonl", []

    def train() -> None:
        with follow_epochs(curve, [heard.append]):
            write(curve, 1)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        train()
    assert heard == [{"epoch": 1}]
