from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pare_tune
from pare_tune import api
from pare_tune.report import in_notebook

QUICK = {"train.epochs": 1, "search.confirm": 0, "search.portfolio": False}


class Shown:
    """What a front end shows: one output that is replaced."""

    def __init__(self) -> None:
        self.contents: list[dict[str, str]] = []
        self.outputs = 0

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        self.outputs += 1
        self.update(content, raw=raw)
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.contents.append(content)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = shown.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_cell_shows_the_search_while_an_event_loop_runs(
    notebook: Shown, in_this_process: None, tmp_path: Path
) -> None:
    async def cell() -> Any:
        return pare_tune.tune(task="wdbc", budget=1, settings=QUICK, runs=tmp_path)

    result = asyncio.run(cell())
    assert notebook.outputs == 1
    assert len(notebook.contents) > 1
    last = notebook.contents[-1]
    assert f"{result.best_score:.4g}" in last["text/plain"]
    assert "</pre>" in last["text/html"]
    assert "Ctrl-C" not in last["text/plain"]


def test_who_observes_sees_alone(notebook: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[Any] = []
    monkeypatch.setattr(api, "run_search", lambda plan, options: watched.append(options.observe))
    pare_tune.tune(task="wdbc", budget=1, settings=QUICK, runs=tmp_path, observe=print)
    assert watched == [print]
    assert not notebook.contents


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["no IPython", "IPython on a terminal"])
def test_elsewhere_nothing_is_displayed(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("IPython")
    package.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
