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
    assert list(page.figures)[:5] == ["incumbent", "curves", "schedule", "importance", "pair-0"]
    assert sum(key.startswith("slice-") for key in page.figures) == 6
    assert sum(key.startswith("pair-") for key in page.figures) >= 1
    for key, figure in page.figures.items():
        go.Figure(figure)  # raises for a property that does not exist
        assert f'id="{key}"' in page.source
    assert page.tags.count("figcaption") == 6


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


def test_a_confirmed_search_says_mean_and_spread_and_repeats_are_no_search_trials(
    tmp_path: Path, make_confirmed
) -> None:
    s = make_confirmed()
    page = report(tmp_path, s)
    again = [t for t in s.trials if t.repeats is not None]
    for said in (
        words.judged(s, s.best),
        words.judged(s, s.default),
        "± ",
        "2 fresh seeds",
        "(6 of them confirmation)",
        "mean ± spread over 2 fresh seeds for what was confirmed",
        f"finished (repeats {s.best.number})",
    ):
        assert said in page.words
    drawn = {text for trace in page.figures["curves"]["data"] for text in trace["text"]}
    assert not drawn & {str(t.number) for t in again}
    dots = {trace["name"]: trace for trace in page.figures["confirmation"]["data"]}
    assert sorted(dots["a fresh seed"]["x"]) == pytest.approx(sorted(t.best_score for t in again), rel=1e-4)
    assert len(dots["mean ± spread"]["x"]) == 3
    finished = {t["name"]: t for t in page.figures["incumbent"]["data"]}["finished trial"]
    assert len(finished["x"]) == sum(t.state == "complete" for t in s.searched)


def test_the_best_so_far_is_drawn_over_epochs_and_over_time(tmp_path: Path, make_confirmed) -> None:
    s = make_confirmed()
    figures = report(tmp_path, s).figures
    by_epochs, by_time = (
        {t["name"]: t for t in figures[key]["data"]} for key in ("incumbent", "incumbent-time")
    )
    assert by_epochs["best so far"]["x"][-1] == sum(t.epoch for t in s.trials)
    assert by_time["best so far"]["x"][-1] == pytest.approx(s.elapsed_s / 60, rel=1e-3)
    assert by_time["best so far"]["y"] == by_epochs["best so far"]["y"]
    [shade] = figures["incumbent"]["layout"]["shapes"]
    assert shade["label"]["text"] == "confirmation"
    assert shade["x1"] - shade["x0"] <= 6 * 9 + 9
    assert figures["incumbent-time"]["layout"]["xaxis"]["title"]["text"] == "wall time, minutes"


def test_cost_and_resources_are_told(tmp_path: Path, make_confirmed) -> None:
    (tmp_path / "run.yaml").write_text("search: {workers_per_trial: 2, cpus_per_worker: 3.0}\n")
    s = make_confirmed()
    page = report(tmp_path, s)
    hours = 6 * sum(t.seconds for t in s.trials) / 3600
    assert f"{hours:.3g} CPU-hours" in page.words
    assert "Seconds an epoch 4.000 4.000 4.000" in page.words
    assert "Memory of its process 300 MB 300 MB 300 MB" in page.words
    (tmp_path / "best").mkdir()
    (tmp_path / "best/environment.txt").write_text("python 3.12\ngpu NVIDIA H100 80GB HBM3\n")
    page = report(tmp_path, s)
    assert f"{hours / 3:.3g} GPU-hours" in page.words
    assert "NVIDIA H100 80GB HBM3" in page.words


def test_a_damaged_run_yaml_does_not_stop_the_report(tmp_path: Path, make_search) -> None:
    for text in ("a: [", "just text", "search: 3"):
        (tmp_path / "run.yaml").write_text(text)
        assert "CPU-hours" in report(tmp_path, make_search(4)).words


def test_a_thousand_trials_stay_a_small_page(tmp_path: Path, make_search) -> None:
    path = write_report(tmp_path, make_search(1000, running=0, budget=1000, epochs=60))
    assert path.stat().st_size <= 6e6


def test_pairs_show_the_trials_that_have_both_settings(tmp_path: Path, make_search) -> None:
    s = make_search(80, running=0, budget=80)
    pairs = {key: f for key, f in report(tmp_path, s).figures.items() if key.startswith("pair-")}
    assert 1 < len(pairs) <= 4
    finished = [t for t in s.trials if t.state == "complete"]
    for figure in pairs.values():
        x, y = (figure["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis"))
        points, scale = figure["data"]
        both = [t for t in finished if x in t.params and y in t.params]
        assert len(points["x"]) == len(points["y"]) == len(points["hovertext"]) == len(both)
        assert points["marker"]["symbol"].count("diamond") == (s.best in both)
        assert scale["marker"]["colorbar"]["ticktext"][0].startswith("min. (2.")


def test_the_best_and_the_default_stand_out_and_lie_on_top(tmp_path: Path, make_search) -> None:
    s = make_search(50, running=0)
    figures = report(tmp_path, s).figures
    slices = {f["layout"]["xaxis"]["title"]["text"]: f["data"][0] for k, f in figures.items() if "slice" in k}
    assert slices["k.start"]["marker"]["symbol"][-2:] == ["diamond-open", "diamond"]
    assert slices["k.start"]["text"][-2:] == ["0", str(s.best.number)]
    assert slices["k.start"]["marker"]["symbol"][:-2] == ["circle"] * (s.count("complete") - 2)


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
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*report\.html"):
        write_report(tmp_path, make_search(2))
