"""Trials on nodes that do not see the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pare_tune.config import RunConfig
from pare_tune.errors import StorageError
from pare_tune.tune import run
from pare_tune.tune.run import SessionOptions, search

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch, fakes: ModuleType) -> None:
    """Workers see no run folder, as if they were on another machine."""
    original = run.home_of

    @contextmanager
    def home_of(*arguments: Any) -> Iterator[Any]:
        with original(*arguments) as home:
            yield fakes.Blind(home.folder, home.token, home.node, home.url)

    monkeypatch.setattr(run, "home_of", home_of)


@pytest.mark.usefixtures("blind")
def test_files_of_other_nodes_come_back(
    make_config: Callable[..., RunConfig], fakes: ModuleType, tmp_path: Path
) -> None:
    """Also of a trial whose process died: it goes on from the last epoch that had arrived."""
    import ray

    config = make_config("2", epochs=4, pruning=False, max_concurrent=1, confirm=0)
    result = search(config, SessionOptions(runner=partial(fakes.die_once, tmp_path / "killed")))
    assert [(t.state, t.retries) for t in result.snapshot.trials] == [("complete", 0), ("complete", 1)]
    assert (result.path / "best" / "model.safetensors").read_bytes() == b"weights 4"
    trained = (result.path / "trials" / "0001" / "trained.txt").read_text().split()
    assert trained in (["1", "2", "3", "4"], ["1", "2", "2", "3", "4"]), "at most one epoch is lost"
    assert (result.path / "trials" / "0001" / "log.txt").read_text().count("process") == 2
    left = {*result.path.glob(".session-*"), *result.path.glob("trials/*/last.pt")}
    assert not left, "a finished trial needs no checkpoint"
    assert not [name for name in ray.util.list_named_actors() if name.startswith("pare-tune-keeper")]


def test_a_store_that_a_node_cannot_use_is_told_before_anything_trains(
    make_config: Callable[..., RunConfig],
    fakes: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the driver has credentials and the workers have none."""
    original = run.home_of

    @contextmanager
    def home_of(folder: Path, node: str, url: str | None) -> Iterator[Any]:
        with original(folder, node, "file:///proc/nowhere") as home:
            yield home

    monkeypatch.setattr(run, "home_of", home_of)
    with pytest.raises(
        StorageError, match=r"the node .*: cannot write file:///proc/nowhere.*Ray's processes need"
    ):
        search(make_config("2"), SessionOptions(runner=fakes.train))
