"""The pages in a real browser: nothing is fetched, nothing complains, a keyboard and a phone are enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from pare_tune.report import write_comparison, write_report


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, False), (1280, True), (360, True)])
def test_a_report_loads_without_a_complaint_and_without_scrolling_sideways(
    browser, tmp_path: Path, make_confirmed, width: int, dark: bool
) -> None:
    path = write_report(tmp_path, make_confirmed())
    browser.open(path, width=width, dark=dark)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('.plot').length") == browser.run(
        "Object.keys(figures).length"
    )
    drawn = "[...document.querySelectorAll('.plot')].every(p => p.querySelector('svg.main-svg') && p.clientWidth > 100)"
    assert browser.run(drawn)
    too_wide = "p.querySelector('.main-svg').clientWidth > p.clientWidth + 1"
    assert (
        browser.run(f"[...document.querySelectorAll('.plot')].filter(p => {too_wide}).map(p => p.id)") == []
    )
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    ink = browser.run("document.querySelector('#curves .xtitle').style.fill")
    assert ink == ("rgb(185, 194, 203)" if dark else "rgb(61, 70, 80)")


def test_every_chart_has_a_caption_and_a_name(browser, tmp_path: Path, make_confirmed) -> None:
    browser.open(write_report(tmp_path, make_confirmed()))
    told = "p.closest('figure')?.querySelector('figcaption')?.textContent.trim()"
    assert browser.run(f"[...document.querySelectorAll('.plot')].filter(p => !{told}).map(p => p.id)") == []
    assert browser.run("[...document.querySelectorAll('.plot')].every(p => p.getAttribute('aria-label'))")


def test_the_trials_are_sorted_and_filtered_by_keyboard(browser, tmp_path: Path, make_confirmed) -> None:
    s = make_confirmed()
    browser.open(write_report(tmp_path, s))
    first = "document.querySelector('.sortable tbody tr:not([hidden])').cells[0].textContent"
    browser.run("document.querySelectorAll('.sortable th button')[2].focus()")
    browser.press("Enter", 13)
    scores = sorted((t for t in s.trials if t.best_score is not None), key=lambda t: t.best_score)
    assert browser.run(first) == str(scores[0].number)
    browser.press("Enter", 13)
    assert browser.run(first) == str(scores[-1].number)
    assert (
        browser.run("document.querySelectorAll('.sortable th')[2].getAttribute('aria-sort')") == "descending"
    )

    browser.run("document.querySelector('.filter input[type=search]').focus()")
    browser.type("diverged")
    failed = s.count("failed")
    assert (
        browser.run("document.querySelector('.filter output').textContent") == f"{failed} of {len(s.trials)}"
    )
    browser.run("document.querySelector('.filter input[type=search]').select()")
    browser.press("Backspace", 8)
    browser.run("document.querySelector('.filter input[value=confirmation]').focus()")
    browser.run("document.activeElement.click()")
    assert (
        browser.run("document.querySelector('.filter output').textContent")
        == f"{len(s.searched)} of {len(s.trials)}"
    )
    assert browser.complaints == []


def test_it_can_be_printed(browser, tmp_path: Path, make_confirmed) -> None:
    browser.open(write_report(tmp_path, make_confirmed()), dark=True)
    paper = browser.paper()
    assert paper.startswith(b"%PDF")
    assert len(paper) > 50_000
    assert browser.complaints == []


@pytest.mark.parametrize("kind", ["empty", "one"])
def test_a_report_of_nearly_nothing_loads(
    browser, tmp_path: Path, make_search, make_trial, kind: str
) -> None:
    trials = {"empty": (), "one": (make_trial(0),)}[kind]
    browser.open(write_report(tmp_path, make_search(trials=trials, remaining_s=None)))
    assert browser.complaints == []


@pytest.mark.parametrize("width", [1280, 360])
def test_a_comparison_loads_without_a_complaint(browser, tmp_path: Path, make_confirmed, width: int) -> None:
    runs = [make_confirmed(n, run=tmp_path / f"psicov-{n}") for n in (40, 50)]
    runs.append(make_confirmed(30, run=tmp_path / "ecg-1", task="ecg", metric="macro_f1_error", unit="1"))
    browser.open(write_comparison(runs, tmp_path / "compare.html"), width=width)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('svg.main-svg').length") > 0


def test_the_browser_would_have_told(browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>console.error('oh'); fetch('http://127.0.0.1:9/x'); undefined_name()</script>")
    browser.open(page)
    told = " ".join(browser.complaints)
    assert "oh" in told
    assert "fetches http://127.0.0.1:9/x" in told
    assert "undefined_name" in told
