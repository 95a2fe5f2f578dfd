from __future__ import annotations

import io
import re
import time

import pytest
from rich.cells import cell_len
from rich.console import Console

from pare_tune.report import bars as module
from pare_tune.report.bars import Bars, mode_of
from pare_tune.steps import step, watched_by


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_SHOW_AFTER_S", 0.0)
    monkeypatch.setattr(module, "_TELL_AFTER_S", 0.02)

    def make(width: int = 80, encoding: str = "utf-8", *, live: bool = True) -> Console:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        return Console(file=stream, width=width, height=24, force_terminal=live, _environ={})

    return make


def shown(console: Console) -> str:
    console.file.flush()
    return console.file.buffer.getvalue().decode(console.encoding)


def wait_for(console: Console, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in shown(console):
        assert time.monotonic() < deadline, shown(console)
        time.sleep(0.01)


@pytest.mark.parametrize(("width", "encoding"), [(80, "utf-8"), (200, "utf-8"), (80, "ascii")])
def test_a_step_on_a_terminal_is_a_bar_that_vanishes(terminal, width: int, encoding: str) -> None:
    console = terminal(width, encoding)
    with watched_by(Bars(console)), step("preparing the data of psicov, samples", 3) as count:
        wait_for(console, "preparing the data of psicov")
        count()
        time.sleep(0.12)
        count()
        wait_for(console, "2/3")
    text = shown(console)
    drawn = [line for line in text.replace("\r", "\n").splitlines() if "preparing" in line]
    assert drawn
    assert all(cell_len(_without_codes(line)) <= width for line in drawn)
    assert text.endswith("\x1b[2K\x1b[?25h\r")  # the bar's line is erased and the cursor back


def _without_codes(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


def test_a_short_step_draws_nothing(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHOW_AFTER_S", 30.0)
    console = terminal()
    with watched_by(Bars(console)), step("starting Ray") as count:
        count()
    assert shown(console) == ""


def test_steps_inside_each_other_stand_below_each_other(terminal) -> None:
    console = terminal()
    with watched_by(Bars(console)), step("outer"):
        wait_for(console, "outer")
        with step("inner"):
            wait_for(console, "inner")
    assert shown(console).count("\x1b[?25h") == 1, "one display for both"


def test_an_error_in_a_step_leaves_the_terminal_as_it_was(terminal) -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt):
        _interrupted(console)
    assert "\x1b[?25h" in shown(console)


def _interrupted(console: Console) -> None:
    with watched_by(Bars(console)), step("starting Ray"):
        wait_for(console, "starting Ray")
        raise KeyboardInterrupt


def test_a_pipe_gets_a_line_when_a_step_is_long_and_one_at_its_end(terminal) -> None:
    console = terminal(live=False)
    with watched_by(Bars(console, mode="plain")), step("preparing the data of psicov, samples") as count:
        wait_for(console, "…")
        for _ in range(1234):
            count()
    assert shown(console).splitlines() == [
        "preparing the data of psicov …",
        "preparing the data of psicov, 1,234 samples: 0 s",
    ]


def test_a_pipe_gets_nothing_of_a_short_step(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TELL_AFTER_S", 30.0)
    console = terminal(live=False)
    with watched_by(Bars(console, mode="plain")), step("starting Ray"):
        pass
    assert shown(console) == ""


def test_nobody_watches_by_default() -> None:
    with step("anything", 3) as count:
        count()
    with watched_by(None), step("anything") as count:
        count()


def test_bars_need_a_terminal_on_both_streams(terminal) -> None:
    assert mode_of(terminal(), terminal()) == "live"
    assert mode_of(terminal(live=False), terminal()) == "plain"
    assert mode_of(terminal(), terminal(live=False)) == "plain"


def epoch(number: int, score: float | None = 2.9314) -> dict:
    return {
        "epoch": number, "epochs": 9, "train_loss": 1.23456, "score": score, "k": 40, "seconds": 4.0, "lam": 0.5,
    }  # fmt: skip


def test_the_final_training_prints_its_epochs_in_a_pipe(terminal) -> None:
    out, err = terminal(live=False), terminal(live=False)
    with Bars(err, mode="plain").training(out) as bar:
        bar.epoch(epoch(1))
        bar.epoch(epoch(2, score=None))
    assert shown(out).splitlines() == [
        "epoch   1/9  loss 1.235  val 2.931  k 40  4.0 s",
        "epoch   2/9  loss 1.235  k 40  4.0 s",
    ]
    assert shown(err) == ""


@pytest.mark.parametrize("width", [80, 200])
def test_the_final_training_has_a_bar_with_the_time_left(terminal, width: int) -> None:
    console = terminal(width)
    with Bars(console).training(terminal()) as bar:
        wait_for(console, "training starts")
        bar.epoch(epoch(3))
        wait_for(console, "3/9")
        wait_for(console, "about 24 s left")
        bar.epoch(epoch(9))
        wait_for(console, "scoring the test split")
    text = shown(console)
    assert "epoch   3/9  loss 1.235" in text
    assert text.endswith("\x1b[2K\x1b[?25h\r")
    assert all(cell_len(_without_codes(line)) <= width for line in text.replace("\r", "\n").splitlines())
