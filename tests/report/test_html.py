from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from pare_tune.errors import StorageError
from pare_tune.report import words, write_report
from pare_tune.report.html import EXCERPTS_PER_CAUSE, LOG_LINES


class Page(HTMLParser):
    """A page as a browser sees it: text, scripts, links, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " "
        self.addresses += [
            v or "" for k, v in attrs if k in ("src", "href", "action", "data", "poster", "srcset")
        ]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self.open and self.open[-1] != "style":
            self.text += data

    @property
    def figures(self) -> dict[str, Any]:
        return next(json.loads(text) for attrs, text in self.scripts if attrs.get("id") == "figures")

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def report(run: Path, snapshot) -> Page:
    path = write_report(run, snapshot)
    assert path == run / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_holds_the_numbers(tmp_path: Path, make_search) -> None:
    s = make_search(50, running=0, finished=True, run=tmp_path)
    page = report(tmp_path, s)
    for said in (
        "psicov",
        "data: sample",
        "mae_8 in Å, lower is better",
        words.verdict(s),
        words.score(s.best.best_score, "Å"),
        words.score(s.default.best_score, "Å"),
        "377 epochs in 50 trials",
        "38 finished, 11 stopped early, 1 failed",
        f"pare-tune train {tmp_path}/best.yaml",
        f"pare-tune resume {tmp_path}",
        "PED-ANOVA",
    ):
        assert said in page.words
    for trial in s.trials:
        assert words.score(trial.best_score, "Å") in page.words
    assert "not finished" not in page.words


def test_it_fetches_nothing_and_is_small(tmp_path: Path, make_search) -> None:
    page = report(tmp_path, make_search(50, running=0))
    assert page.addresses == []
    assert len(page.source.encode()) <= 6e6
    assert page.source.count("plotly.js v") == 1
    own = max(page.scripts, key=lambda script: len(script[1]))[1]
    rest = page.source.replace(own, "")
    assert "http" not in re.sub(r'http-equiv="Content-Security-Policy"', "", rest)
    assert "default-src 'none'" in rest
    assert "@import" not in rest
    assert "url(" not in rest


def test_its_figures_are_what_plotly_expects(tmp_path: Path, make_search) -> None:
    page = report(tmp_path, make_search(50, running=0))
    assert list(page.figures)[:4] == ["incumbent", "curves", "schedule", "importance"]
    assert sum(key.startswith("slice-") for key in page.figures) == 6
    for key, figure in page.figures.items():
        go.Figure(figure)  # raises for a property that does not exist
        assert f'id="{key}"' in page.source
    assert page.tags.count("figcaption") == 5


def test_its_figures_draw_the_search(tmp_path: Path, make_search) -> None:
    s = make_search(50, running=0)
    figures = report(tmp_path, s).figures
    traces = {t["name"]: t for t in figures["curves"]["data"]}
    best = [r["score"] for r in s.best.curve]
    assert traces["best (trial 5)"]["y"][:-1] == pytest.approx(best, rel=1e-4)
    assert traces["stopped early"]["y"].count(None) == s.count("pruned")
    line = {t["name"]: t for t in figures["incumbent"]["data"]}["best so far"]
    assert line["y"][-1] == pytest.approx(s.best.best_score, rel=1e-4)
    assert line["x"][-1] == sum(t.epoch for t in s.trials)
    assert figures["schedule"]["data"][1]["text"] == [str(r["k"]) for r in s.best.curve]


NASTY = '<script>alert("x")</script><img src=http://e.vil/x>&"\''


def test_everything_is_escaped(tmp_path: Path, make_search, make_trial) -> None:
    params = {"k.start": 0.5, NASTY: NASTY}
    trials = (
        make_trial(0, params={"k.start": 0.9, NASTY: "plain"}),
        make_trial(1, params=params, floor=2.0),
        make_trial(2, "failed", epoch=1, params=params, cause=NASTY, message=NASTY),
    )
    (tmp_path / "run.yaml").write_text(NASTY)
    log = tmp_path / "trials/0002"
    log.mkdir(parents=True)
    (log / "trial.log").write_text(NASTY)
    page = report(
        tmp_path,
        make_search(trials=trials, task=NASTY, metric=NASTY, unit=NASTY, backbone=NASTY, preset=NASTY),
    )
    assert page.tags.count("img") == 0
    assert page.tags.count("script") == 3
    assert page.text.count(NASTY) >= 10
    for figure in page.figures.values():
        assert "<script" not in json.dumps(figure)


@pytest.mark.parametrize(
    "kind", ["empty", "waiting", "first epoch", "one", "failed", "nothing to vary", "nan"]
)
def test_every_search_has_a_report(tmp_path: Path, make_search, make_trial, kind: str) -> None:
    nan = make_trial(1, "failed", epoch=2, cause="diverged")
    bad = {**nan.curve[0], "score": float("nan"), "best_score": float("nan")}
    trials = {
        "empty": (),
        "waiting": (make_trial(0, "waiting", epoch=0),),
        "first epoch": (make_trial(0, "running", epoch=1),),
        "one": (make_trial(0),),
        "failed": tuple(make_trial(n, "failed", epoch=0, cause="crashed", message="no") for n in range(15)),
        "nothing to vary": tuple(make_trial(n, params={"k.start": 0.5}) for n in range(15)),
        "nan": (make_trial(0), type(nan)(number=1, state="failed", params={}, curve=(bad, bad), epochs=9)),
    }[kind]
    page = report(tmp_path, make_search(trials=trials, remaining_s=None))
    assert "data: sample" in page.words
    assert words.verdict(make_search(trials=trials)) in page.words
    if kind in ("empty", "waiting", "failed"):
        assert "nothing to draw" in page.words
        assert page.figures == {}
        assert len(page.source) < 100_000  # plotly is not carried for nothing
    assert "Importances need at least" in page.words


def test_failures_are_grouped_with_the_end_of_their_logs(tmp_path: Path, make_search, make_trial) -> None:
    trials = [
        make_trial(n, "failed", epoch=0, cause="out_of_memory", message=f"message {n}") for n in range(7)
    ]
    trials.append(make_trial(7, "failed", epoch=0, cause="crashed", message="message 7"))
    for n in range(8):
        folder = tmp_path / f"trials/{n:04d}"
        folder.mkdir(parents=True)
        (folder / "train.log").write_text("".join(f"trial {n} line {i}.\n" for i in range(50)))
    page = report(tmp_path, make_search(trials=tuple(trials)))
    assert "out of memory 7 trials" in page.words
    assert "crashed 1 trial" in page.words
    assert all(f"message {n}" in page.words for n in range(8))
    assert "trial 0 line 49." in page.words
    assert f"trial 0 line {50 - LOG_LINES}." in page.words
    assert f"trial 0 line {49 - LOG_LINES}." not in page.words
    assert f"trial {EXCERPTS_PER_CAUSE} line 49." not in page.words
    assert "trial 7 line 49." in page.words


def test_it_shows_the_files_and_versions_of_the_run(tmp_path: Path, make_search) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best/environment.txt").write_text("torch==9.9.9\n")
    (tmp_path / "space.yaml").write_text("k.start: {float: [0.05, 1.0]}\n")
    page = report(tmp_path, make_search(4))
    assert "Versions, as recorded by the run torch==9.9.9" in page.words
    assert "k.start: {float: [0.05, 1.0]}" in page.words
    (tmp_path / "best/environment.txt").unlink()
    assert "Versions, as installed when this page was made python==" in report(tmp_path, make_search(4)).words


def test_the_same_search_gives_the_same_page(tmp_path: Path, make_search) -> None:
    first = write_report(tmp_path, make_search(30)).read_bytes()
    assert write_report(tmp_path, make_search(30)).read_bytes() == first
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_two_hundred_long_trials_are_reported_in_seconds(tmp_path: Path, make_search) -> None:
    s = make_search(200, running=0, budget=200, epochs=60)
    started = time.perf_counter()
    path = write_report(tmp_path, s)
    assert time.perf_counter() - started < 20
    assert path.stat().st_size <= 6e6


def test_a_page_that_cannot_be_written_says_where(tmp_path: Path, make_search) -> None:
    (tmp_path / "report.partial").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*report\.html"):
        write_report(tmp_path, make_search(2))
