from __future__ import annotations

import dataclasses
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.color import Color
from rich.console import Console

from pare_tune.report import LiveView
from pare_tune.report.ink import ACCENT, BAD, GOOD, WARN
from pare_tune.report.view import SearchView


@pytest.fixture
def story(make_search, make_trial):
    """Four moments of one search."""
    default = make_trial(0, floor=3.0, params={"k.start": 0.957})
    stopped = make_trial(1, "pruned", epoch=3, floor=4.0, params={"k.start": 0.2})
    better = make_trial(2, floor=2.0, params={"k.start": 0.5})
    broken = make_trial(
        3,
        "failed",
        epoch=0,
        params={"k.start": 0.4},
        cause="out_of_memory",
        message="out of memory:\n\x1b[1m8 GiB",
    )
    run = Path("runs/x")
    return [
        make_search(
            run=run,
            budget=4,
            trials=(make_trial(0, "running", epoch=2, floor=3.0, params={"k.start": 0.957}),),
        ),
        make_search(run=run, budget=4, trials=(default, make_trial(1, "running", epoch=1))),
        make_search(run=run, budget=4, trials=(default, stopped, better)),
        make_search(
            run=run, budget=4, trials=(default, stopped, better, broken), finished=True, elapsed_s=90.0
        ),
    ]


def told(story, mode: str, *, before=None, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with LiveView(Console(file=stream, width=80), mode=mode, before=before) as view:
        for snapshot in story:
            view.update(snapshot)
            view.update(snapshot)
        view.close(story[-1])
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


def test_a_pipe_gets_one_plain_line_an_event(story) -> None:
    assert told(story, "auto") == [
        "psicov [data: sample] search of 4 trials: mae_8 in Å, lower is better; embedded preset, micro-swin; runs/x",
        "psicov [data: sample] trial 0 finished: 2.982 Å (epoch 8 of 9, 36 s)",
        "psicov [data: sample] new best: 2.982 Å, trial 0, the default",
        "psicov [data: sample] trial 1 stopped early after epoch 3 of 9: 4.714 Å",
        "psicov [data: sample] trial 2 finished: 1.980 Å (epoch 9 of 9, 36 s)",
        "psicov [data: sample] new best: 1.980 Å, trial 2 (the default: 2.982 Å)",
        "psicov [data: sample] trial 3 failed after epoch 0 of 9: out of memory:  [1m8 GiB",
        (
            "psicov [data: sample] search finished after 2 min: 2 finished, 1 stopped early, 1 failed. "
            "Better than the default by 1.002 Å (33.6 %)."
        ),
    ]


def test_json_tells_the_same_events(story) -> None:
    events = [json.loads(line) for line in told(story, "json")]
    assert [(e["event"], e.get("trial")) for e in events] == [
        ("search_started", None),
        ("trial_finished", 0),
        ("new_best", 0),
        ("trial_pruned", 1),
        ("trial_finished", 2),
        ("new_best", 2),
        ("trial_failed", 3),
        ("search_ended", None),
    ]
    assert all(e["task"] == "psicov" and e["provenance"] == "sample" and e["unit"] == "Å" for e in events)
    best = story[-1].best
    assert events[4] == {
        "event": "trial_finished", "task": "psicov", "provenance": "sample", "metric": "mae_8", "unit": "Å",
        "direction": "min", "trial": 2, "state": "complete", "score": best.best_score,
        "best_epoch": best.best_epoch, "epoch": 9, "epochs": 9,
        "seconds": 36.0, "params": {"k.start": 0.5}, "cause": None, "message": None, "retries": 0, "repeats": None,
        "spent": 0.75, "remaining_s": 18.0,
    }  # fmt: skip
    assert events[5]["default_score"] == story[-1].default.best_score
    assert events[6]["score"] is None
    assert events[6]["cause"] == "out_of_memory"
    assert events[7]["trials"] == {"waiting": 0, "running": 0, "complete": 2, "pruned": 1, "failed": 1}
    assert (events[7]["finished"], events[7]["best_trial"]) == (True, 2)


def test_json_turns_nan_into_null(make_search, make_trial) -> None:
    trial = make_trial(0, "failed", epoch=0, params={"optimizer.lr": float("inf")})
    lost = type(trial)(
        number=1, state="failed", params={}, epochs=9, best_score=float("nan"), seconds=float("nan")
    )
    for line in told([make_search(trials=(trial, lost), remaining_s=float("nan"))], "json"):
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_resumed_search_does_not_tell_its_past_again(story) -> None:
    lines = told(story[2:], "plain", before=story[1])
    assert lines[0].startswith("psicov [data: sample] search of 4 trials, 1 trial done before:")
    assert [line.split("] ")[1].split(" ")[1] for line in lines[1:-1]] == ["1", "2", "best:", "3"]


def test_a_trial_that_ends_between_two_looks_is_told(story) -> None:
    lines = told([story[-1]], "plain")
    assert len(lines) == 8


def test_a_terminal_without_unicode_is_served(story, make_search) -> None:
    lines = told([*story, make_search()], "plain", encoding="ascii")
    assert "mae_8 in A, lower is better" in lines[0]


def test_an_interrupted_search_says_so(story) -> None:
    assert "search interrupted after" in told(story[:2], "plain")[-1]


def test_updates_after_the_end_are_ignored(story) -> None:
    stream = io.StringIO()
    view = LiveView(Console(file=stream), mode="plain")
    view.close(story[-1])
    before = stream.getvalue()
    view.update(story[0])
    view.close(story[-1])
    assert stream.getvalue() == before


def test_leaving_by_an_error_leaves_the_terminal_usable(story) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=40, force_terminal=True)
    view = LiveView(console)
    with pytest.raises(KeyboardInterrupt), view:
        _interrupted(view, story[1])
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
    assert "Best so far" in stream.getvalue()


def _interrupted(view: LiveView, snapshot) -> None:
    view.update(snapshot)
    raise KeyboardInterrupt


LIVE_SEARCH = """
import importlib.util, itertools, sys, time
spec = importlib.util.spec_from_file_location("made_up", sys.argv[1])
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)
from rich.console import Console
from pare_tune.report import LiveView

try:
    with LiveView(Console()) as view:
        for n in itertools.cycle(range(3, 100)):
            view.update(made_up.search(n))
            time.sleep(0.02)
except KeyboardInterrupt:
    print("saved; go on with pare-tune resume")
"""


@pytest.mark.parametrize("columns", [80, 200])
def test_ctrl_c_on_a_real_terminal_loses_no_line(columns: int) -> None:
    main, terminal = pty.openpty()
    env = {
        **os.environ,
        "TERM": "xterm-256color",
        "COLUMNS": str(columns),
        "LINES": "40",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-c", LIVE_SEARCH, str(Path(__file__).with_name("conftest.py"))]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=env) as process:
        try:
            os.close(terminal)
            # Two whole frames: then the process is in its loop, and neither importing nor leaving it.
            seen = read_until(main, lambda text: text.count(b"Ctrl-C stops here") >= 2)
            process.send_signal(signal.SIGINT)
            seen += read_until(main, lambda text: False)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            os.close(main)
    text = seen.decode()
    assert "Traceback" not in text
    last = text.rsplit("\x1b[2K", 1)[-1]  # what was drawn after the last erased line
    assert "Best so far" in last
    assert "Ctrl-C stops here" in text
    assert "Ctrl-C stops here" not in last
    assert "\x1b[?25h" in last
    assert text.rstrip().endswith("saved; go on with pare-tune resume")


def read_until(terminal: int, enough: Callable[[bytes], bool], *, limit_s: float = 120.0) -> bytes:
    """What comes from a terminal until it is enough, or until the other end is closed."""
    seen = b""
    deadline = time.monotonic() + limit_s
    while not enough(seen):
        assert time.monotonic() < deadline, (
            f"the terminal showed only {seen.decode(errors='replace')[-2000:]}"
        )
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        seen += more
    return seen


def test_ctrl_c_in_the_middle_of_a_frame_waits_for_its_end(make_search) -> None:
    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            if "Best so far" in text:
                signal.raise_signal(signal.SIGINT)  # the worst moment
            return super().write(text)

    console = Console(file=Terminal(), width=80, height=40, force_terminal=True, _environ={})
    handler = signal.getsignal(signal.SIGINT)
    view = LiveView(console)
    with pytest.raises(KeyboardInterrupt), view:
        view.update(make_search(5))
    assert "Ctrl-C stops here" in console.file.getvalue(), "the frame is whole"
    assert console.file.getvalue().endswith("\x1b[?25h")
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("width", [80, 200])
def test_a_frame_reaches_the_terminal_in_one_piece(make_search, width: int) -> None:
    """Otherwise the terminal would show half of one: that is what flickers."""
    written: list[str] = []

    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    console = Console(file=Terminal(), width=width, height=40, force_terminal=True, _environ={})
    with LiveView(console) as view:
        view.update(make_search(20))
        for n in range(21, 26):
            written.clear()
            view.update(make_search(n))
            frames = [text for text in written if text]
            assert len(frames) == 1
            assert "Best so far" in frames[0]
            assert frames[0].index("\x1b[2K") < frames[0].index("psicov")


def test_a_confirmation_has_a_bar_of_its_own(make_confirmed) -> None:
    whole = make_confirmed()
    running = [t for t in whole.trials if t.repeats is None or t.number < len(whole.trials) - 4]
    begun = dataclasses.replace(
        whole.trials[-4], state="running", curve=whole.trials[-4].curve[:3], best_score=None
    )
    s = dataclasses.replace(whole, trials=(*running, begun), finished=False, spent=0.9, remaining_s=80.0)
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=40, force_terminal=True, color_system=None, _environ={})
    with LiveView(console) as view:
        view.update(s)
    assert "2 of 6 with fresh seeds" in stream.getvalue()
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(SearchView(whole))
    assert "with fresh seeds" not in stream.getvalue()


def test_before_the_first_epoch_the_budget_is_a_pulse_and_no_guess(make_search, make_trial) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=40, force_terminal=True, _environ={})
    with LiveView(console) as view:
        view.update(make_search(trials=(make_trial(0, "running", epoch=0),), remaining_s=None, spent=0.0))
    assert "time left is known after the first epoch" in stream.getvalue()


@pytest.mark.parametrize("colour", [GOOD, WARN, BAD, ACCENT])
def test_colours_can_be_read_on_dark_and_on_light_terminals(colour: str) -> None:
    shade = Color.parse(colour).get_truecolor()
    parts = [c / 255 for c in shade]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert (light + 0.05) / 0.05 > 3.8, "on black"
    assert 1.05 / (light + 0.05) > 3.8, "on white"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["torch", "ray", "optuna", "plotly", "pandas", "tensorboard", "jinja2", "numpy"]
    code = f"import sys, pare_tune.report; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"
