"""What a comparison says, on made-up results: numbers, gaps, and the published value apart."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from pare_tune.compare.cell import CellResult
from pare_tune.compare.comparison import Comparison, plus_minus, summarise
from pare_tune.compare.export import latex, markdown, method_rows, page, pair_rows, score_rows, write_files
from pare_tune.compare.plan import Plan, TaskFacts
from pare_tune.compare.profiles import STEM, profiles
from pare_tune.compare.terminal import comparison_view
from pare_tune.figures.sheet import style

TASKS = (
    TaskFacts("wdbc", "auroc_error", "1", "min", "real", 0.004),
    TaskFacts("a_table", "accuracy", "%", "max", "sample", None),
    TaskFacts("advection", "nrmse", "1", "min", "solved", 0.0027),
)
METHODS = ("pare", "finetune", "trees & co")
SCORES = {
    ("wdbc", "pare"): (0.02, 0.04),
    ("wdbc", "finetune"): (0.05, 0.07),
    ("wdbc", "trees & co"): (0.03, 0.03),
    ("a_table", "pare"): (80.0, 82.0),
    ("a_table", "finetune"): (70.0, 71.0),
    ("a_table", "trees & co"): (90.0, None),
    ("advection", "pare"): (0.5, 0.6),
    ("advection", "finetune"): (None, None),
}


def results() -> list[CellResult]:
    found = []
    for task in TASKS:
        for seed in range(2):
            for method in METHODS:
                scores = SCORES.get((task.name, method))
                shared = {"task": task.name, "method": method, "seed": seed}
                if scores is None:
                    found.append(CellResult(**shared, state="unfit", cause="learns tables"))
                elif scores[seed] is None:
                    found.append(CellResult(**shared, state="failed", cause="diverged: <loss> & 100 %"))
                else:
                    epochs = None if method == "trees & co" else 10
                    found.append(
                        CellResult(
                            **shared,
                            state="done",
                            test=scores[seed],
                            validation=0.1,
                            epochs=epochs,
                            seconds=61.0,
                        )
                    )
    return found


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    notes: tuple[object, ...] = (None,) * 18
    return Plan(
        folder=tmp_path, tasks=TASKS, methods=METHODS, seeds=2, budget=4, presets=("embedded",), cells=notes,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def found(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setattr(Plan, "notes", ("trees & co: learns tables, advection is of modality dense_1d",))
    return summarise(plan, results())


def test_means_wins_and_gaps(found: Comparison) -> None:
    assert found.scores["wdbc"]["pare"].text == "0.030 ± 0.014"
    assert found.scores["a_table"]["trees & co"].text == "90.00 (1 of 2)"
    assert found.scores["advection"]["finetune"].text == "failed"
    assert found.scores["advection"]["trees & co"].text == "n/a"
    pare, finetune, trees = found.methods
    assert (pare.wins, finetune.wins, trees.wins) == (2, 0, 2), "a tie on wdbc counts for both"
    assert (pare.tasks, finetune.tasks, finetune.failed, trees.failed) == (3, 2, 2, 1)
    assert (pare.epochs, pare.seconds) == (10, 61)
    assert math.isnan(trees.epochs)
    assert found.ranking.tasks == 2
    assert (pare.rank, finetune.rank, trees.rank) == (1.75, 3, 1.25)


def test_a_failure_is_never_dropped_silently(found: Comparison) -> None:
    text = " ".join(found.notes)
    assert (
        "failed: finetune on advection (seed 0), finetune on advection (seed 1), trees & co"
        in text.replace(
            "trees & co on a_table (seed 1), finetune on advection (seed 0), finetune on advection (seed 1)",
            "finetune on advection (seed 0), finetune on advection (seed 1), trees & co on a_table (seed 1)",
        )
    )
    assert "diverged: <loss> & 100 %" in text
    assert "the 2 of 3 tasks on which every method has a score" in text
    assert "simulated data" in text


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (33.512, 1.63, "33.5 ± 1.6"),
        (0.0397, 0.0023, "0.0397 ± 0.0023"),
        (123.4, 56.0, "123 ± 56"),
        (0.5, 0.0, "0.5000 ± 0"),
        (0.5, math.nan, "0.5000"),
        (0.25, 1e-12, "0.250000 ± 0.000000"),
        (0.0, math.nan, "0"),
    ],
)
def test_numbers_are_as_long_as_their_spread_allows(mean: float, spread: float, text: str) -> None:
    assert plus_minus(mean, spread) == text


def test_the_published_value_stands_apart_and_changes_nothing(plan: Plan, found: Comparison) -> None:
    head, rows = score_rows(found)
    assert head[-1] == "published"
    assert [row[-1] for row in rows] == ["0.004000", "–", "0.002700"]
    others = replace(plan, tasks=tuple(replace(t, published=None) for t in TASKS))
    without = summarise(others, results())
    assert without.methods == found.methods
    assert without.pairs == found.pairs
    assert any("published" in note and "selects on test" in note for note in found.notes)
    assert not any("published" in note for note in without.notes)


def test_the_terminal_needs_eighty_columns(found: Comparison) -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(comparison_view(found, console))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    for cell in (
        "0.030 ± 0.014 *",
        "90.00 (1 of 2) *",
        "failed",
        "n/a",
        "0.004000",
        "pare against",
        "1.75",
    ):
        assert cell in text
    assert "…" not in text, "nothing is cut"


def test_an_ascii_terminal_gets_ascii(found: Comparison) -> None:
    console = Console(width=80, file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), color_system=None)
    console.print(comparison_view(found, console))
    console.file.flush()


def test_markdown_has_whole_tables(found: Comparison) -> None:
    text = markdown(found)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert "**0.030 ± 0.014**" in text


def test_latex_escapes_what_it_must(found: Comparison) -> None:
    text = latex(found)
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in body}) == 1
    assert r"trees \& co" in text
    assert r"a\_table" in text
    assert r"\textbf{0.030 ± 0.014}" in text
    assert text.count("{") == text.count("}")


class Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.outside += [v for k, v in attributes if k in ("src", "href") and v and not v.startswith("data:")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_needs_nothing_else(found: Comparison) -> None:
    with style():
        text = page(found, profiles(found))
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.outside == []
    assert "trees &amp; co" in text
    assert "&lt;loss&gt;" in text
    assert text.count('class="best"') == 4
    assert text.count("data:image/svg+xml;base64,") == 1


def test_all_files_are_written(found: Comparison, tmp_path: Path) -> None:
    written = write_files(found, tmp_path / "out")
    names = {path.name for path in written}
    assert {"scores.csv", "pairs.csv", "compare.md", "compare.tex", "compare.html"} <= names
    assert {f"{STEM}.png", f"{STEM}.svg"} <= names
    assert all(path.stat().st_size for path in written)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert len(rows) == 18
    assert {r["state"] for r in rows} == {"done", "failed", "unfit"}
    assert "pare 67%" in " ".join((tmp_path / "out" / f"{STEM}.txt").read_text().split()), (
        "the wins of the table"
    )
    assert len(list(csv.DictReader((tmp_path / "out" / "pairs.csv").read_text().splitlines()))) == 3


def test_one_method_on_one_task_has_tables_too(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "notes", ())
    small = replace(plan, tasks=TASKS[:1], methods=("pare",), cells=plan.cells[:2])
    found = summarise(small, [r for r in results() if (r.task, r.method) == ("wdbc", "pare")])
    assert pair_rows(found)[1] == []
    assert method_rows(found)[1][0][:4] == ["pare", "1", "1", "1.00"]
    names = {path.name for path in write_files(found, tmp_path)}
    assert "compare.html" in names
    assert not any(name.endswith(".svg") for name in names)
    empty = summarise(small, [])
    write_files(empty, tmp_path)
    assert "2 of 2 cells have not run yet" in " ".join(empty.notes)
