from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from pare_tune.report.view import Rows, SearchView, fit_rows
from pare_tune.tune.snapshot import Snapshot


def draw(view: object, width: int = 80, height: int = 40, encoding: str = "utf-8") -> str:
    """What a terminal of this size would show, without colours."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=None)
    console.print(view)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.fixture(params=["usual", "empty", "one", "failed", "many", "long"])
def any_search(request, make_search, make_trial) -> Snapshot:
    message = "crashed: " + "a very long reason " * 20 + "\x1b[2J\nsecond line"
    searches = {
        "usual": lambda: make_search(),
        "empty": lambda: make_search(trials=(), remaining_s=None, dashboard_url=None),
        "one": lambda: make_search(trials=(make_trial(0, "running", epoch=0),), remaining_s=None),
        "failed": lambda: make_search(
            trials=tuple(make_trial(n, "failed", epoch=0, cause="crashed", message=message) for n in range(9))
        ),
        "many": lambda: make_search(300, running=64, budget=1000),
        "long": lambda: make_search(
            task="a-task-of-mine-" * 8, backbone="timm:" + "x" * 200, metric="m" * 120
        ),
    }
    return searches[request.param]()


@pytest.mark.parametrize("width", [40, 80, 119, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_line_is_wider_than_the_console(any_search, width: int, encoding: str) -> None:
    for live in (True, False):
        text = draw(SearchView(any_search, live=live), width, 40, encoding)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "\x1b" not in text


@pytest.mark.parametrize("height", [24, 30, 50])
@pytest.mark.parametrize("width", [80, 200])
def test_a_live_frame_is_no_higher_than_the_console(any_search, width: int, height: int) -> None:
    text = draw(SearchView(any_search, live=True, keys=True), width, height)
    assert len(text.splitlines()) < height


def test_it_shows_what_matters(make_search) -> None:
    text = draw(SearchView(make_search(), live=True, keys=True))
    for said in (
        "psicov",
        "data: sample",
        "mae_8 in Å, lower is better",
        "embedded preset, micro-swin",
        "52 % of 50 trials",
        "7 min so far · about 7 min left",
        "Best so far  2.628 Å  trial 5  0.303 Å (10.3 %) better",
        "Default      2.931 Å  trial 0",
        "26    2/9  4.723 Å  54  0.84  █▁",
        "25    9/9  3.134 Å  ✓ finished",
        "9  diverged: loss became nan in epoch 3",
        "20 finished · 5 stopped early · 1 failed (diverged) · 2 running",
        "http://127.0.0.1:8265",
        "Ctrl-C stops here",
    ):
        assert said in text


def test_it_does_not_guess_the_time_left(make_search) -> None:
    assert "time left is known after the first epoch" in draw(SearchView(make_search(remaining_s=None)))


def test_a_finished_search_says_so(make_search) -> None:
    text = draw(SearchView(make_search(50, running=0, finished=True, spent=1.0)))
    assert "done in 13 min" in text
    assert "left" not in text
    assert "dashboard" not in text


def test_failures_are_counted_by_cause(make_search, make_trial) -> None:
    causes = ["diverged", "out_of_memory", "diverged"]
    s = make_search(trials=tuple(make_trial(n, "failed", epoch=1, cause=c) for n, c in enumerate(causes)))
    assert "3 failed (2 diverged, 1 out of memory)" in draw(SearchView(s))


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (None, "trial 0 has not started"),
        ("running", "trial 0 is at epoch 4 of 9"),
        ("pruned", "trial 0 was stopped after epoch 4 of 9"),
        ("failed", "trial 0 failed: unknown cause"),
    ],
)
def test_it_says_where_the_default_is(make_search, make_trial, trial, said: str) -> None:
    trials = (make_trial(0, trial, epoch=4),) if trial else (make_trial(3, "running", epoch=1),)
    assert said in draw(SearchView(make_search(trials=trials)))


@pytest.mark.parametrize(
    ("height", "counts", "rows"),
    [
        (None, (9, 20, 5), Rows(9, 6, 2)),
        (100, (2, 20, 5), Rows(2, 6, 2)),
        (31, (2, 20, 5), Rows(2, 5, 2)),
        (29, (2, 20, 5), Rows(2, 3, 2)),
        (24, (2, 20, 5), Rows(2, 2, 0)),
        (24, (64, 20, 5), Rows(4, 0, 0)),
        (10, (64, 20, 5), Rows(1, 0, 0)),
        (10, (0, 0, 0), Rows(0, 0, 0)),
    ],
)
def test_what_runs_keeps_its_rows_longest(height, counts, rows: Rows) -> None:
    assert fit_rows(height, *counts, side_by_side=False) == rows
