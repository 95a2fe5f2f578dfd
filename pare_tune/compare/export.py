"""The files of a comparison: CSV, Markdown, LaTeX, figures and one page of HTML."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from pare_tune.compare.comparison import PUBLISHED, Comparison
from pare_tune.compare.plan import TaskFacts
from pare_tune.compare.profiles import profiles
from pare_tune.compare.statistics import Pair
from pare_tune.data.files import write_text
from pare_tune.figures.sheet import Drawing, style, write
from pare_tune.report.render import render_template
from pare_tune.report.words import duration, number

SCORES, PAIRS, MARKDOWN, LATEX, PAGE = "scores.csv", "pairs.csv", "compare.md", "compare.tex", "compare.html"

Rows = list[list[str]]


def write_files(comparison: Comparison, folder: Path) -> list[Path]:
    """Write all of them into `folder`; each is replaced as a whole.

    Raises:
        StorageError: the folder cannot be written.
    """
    with style():
        profile = profiles(comparison)
        pictures = [] if profile is None else write(folder, profile)
        html = page(comparison, profile)
    texts = {
        SCORES: comparison.table().to_csv(index=False, lineterminator="\n"),
        PAIRS: _pairs_csv(comparison),
        MARKDOWN: markdown(comparison),
        LATEX: latex(comparison),
        PAGE: html,
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *pictures]


def score_rows(comparison: Comparison, *, best: str = "{}") -> tuple[list[str], Rows]:
    """The main table: a row a task, a column a method, and the published value apart at the end.

    Args:
        best: a pattern around the best score of each task.
    """
    head = ["task", "metric", "data", *comparison.names, PUBLISHED]
    rows = []
    for task in comparison.tasks:
        cells = [
            best.format(score.text) if comparison.is_best(task, name) else score.text
            for name, score in comparison.scores[task.name].items()
        ]
        rows.append([task.name, metric_text(task), task.provenance, *cells, number(task.published)])
    return head, rows


def method_rows(comparison: Comparison) -> tuple[list[str], Rows]:
    """A row a method: wins, average rank, and what it took."""
    head = ["method", "tasks", "wins", "rank", "epochs", "time", "failed"]
    rows = [
        [
            m.name,
            str(m.tasks),
            str(m.wins),
            _decimals(m.rank, 2),
            _decimals(m.epochs, 0),
            duration(m.seconds) if m.seconds >= 10 or math.isnan(m.seconds) else f"{m.seconds:.1f} s",
            str(m.failed),
        ]
        for m in comparison.methods
    ]
    return head, rows


def pair_rows(comparison: Comparison, first: str | None = None) -> tuple[list[str], Rows]:
    """A row a pair of methods; `first` keeps those of one method, seen from its side."""
    head = ["pair", "n", "w/t/l", "diff.", "95 %", "p", "p Holm"]
    rows = []
    for pair in comparison.pairs:
        if first is not None and pair.first != first:
            continue
        interval = "–" if math.isnan(pair.low) else f"{pair.low:+.2f} to {pair.high:+.2f}"
        rows.append(
            [
                f"{pair.first} : {pair.second}",
                str(pair.tasks),
                f"{pair.wins}/{pair.ties}/{pair.losses}",
                "–" if math.isnan(pair.difference) else f"{pair.difference:+.3f}",
                interval,
                p_text(pair.p),
                p_text(pair.p_holm),
            ]
        )
    return head, rows


def pair_note(comparison: Comparison) -> str:
    """What the columns of the pairs mean."""
    return (
        "diff.: mean over tasks of 2(a - b)/(|a| + |b|) of the test scores, below 0 where the first of the "
        "pair is better; 95 %: bootstrap over seeds; p: Wilcoxon's signed-rank test over tasks, two-sided; p Holm: "
        f"corrected for all {len(comparison.pairs)} pairs"
    )


def friedman_text(comparison: Comparison) -> str:
    """The test over all methods, in a sentence."""
    r = comparison.ranking
    if math.isnan(r.critical):
        return (
            f"Friedman's test needs three methods and two tasks that all of them have; such tasks: {r.tasks}"
        )
    return (
        f"Friedman: chi-squared {r.chi2:.2f} over {r.tasks} tasks, p = {p_text(r.p)} (Iman and Davenport); ranks that "
        f"differ by less than {r.critical:.2f} are not told apart at 5 % (Nemenyi)"
    )


def metric_text(task: TaskFacts) -> str:
    """`error_rate (%)`, and whether higher is better."""
    unit = "" if task.unit in ("", "1") else f" ({task.unit})"
    return f"{task.metric}{unit}" + ("" if task.direction == "min" else ", higher is better")


def p_text(p: float) -> str:
    """Two significant digits."""
    return "–" if math.isnan(p) else f"{p:.2g}"


def markdown(comparison: Comparison) -> str:
    """Tables and notes; the best score of each task is bold."""
    parts = [
        f"# {comparison.title}",
        "Test scores, mean ± standard deviation over seeds; test was scored once, by what validation chose.",
        _markdown_table(*score_rows(comparison, best="**{}**")),
        _markdown_table(*method_rows(comparison)),
        friedman_text(comparison) + ".",
        _markdown_table(*pair_rows(comparison)),
        pair_note(comparison) + ".",
        "\n".join(f"- {_markdown(note)}" for note in comparison.notes),
    ]
    return "\n\n".join(parts) + "\n"


def latex(comparison: Comparison) -> str:
    """The table of scores for booktabs, the best of each task bold, with the notes as comments."""
    import numpy as np
    import pandas as pd

    head, rows = score_rows(comparison)
    best = [
        [name in comparison.names and comparison.is_best(task, name) for name in head]
        for task in comparison.tasks
    ]
    table = pd.DataFrame(rows, columns=head).style.hide(axis="index").format(escape="latex")
    table = table.format_index(escape="latex", axis=1)
    table = table.apply(lambda _: np.where(best, "textbf:--rwrap;", ""), axis=None)
    notes = [f"% {note}\n" for note in comparison.notes]
    return f"% {comparison.title}\n{''.join(notes)}{table.to_latex(hrules=True)}"


def page(comparison: Comparison, profile: Drawing | None) -> str:
    """One self-contained page."""
    head, rows = score_rows(comparison)
    best = [[comparison.is_best(task, name) for name in comparison.names] for task in comparison.tasks]
    return render_template(
        "pare_tune.compare",
        "compare.html.j2",
        title=comparison.title,
        head=head,
        rows=list(zip(rows, best, strict=True)),
        methods=method_rows(comparison),
        friedman=friedman_text(comparison),
        pairs=pair_rows(comparison),
        pair_note=pair_note(comparison),
        notes=comparison.notes,
        figures=[] if profile is None else [_figure(profile)],
    )


def _figure(drawing: Drawing) -> dict[str, str]:
    """An SVG inside the page."""
    text = io.BytesIO()
    drawing.figure.savefig(text, format="svg", metadata={"Date": None})
    return {
        "source": f"data:image/svg+xml;base64,{base64.b64encode(text.getvalue()).decode('ascii')}",
        "caption": " ".join(drawing.caption.split()),
        "name": drawing.stem,
    }


def _pairs_csv(comparison: Comparison) -> str:
    import pandas as pd

    columns = [field.name for field in fields(Pair)]
    return pd.DataFrame(map(asdict, comparison.pairs), columns=columns).to_csv(
        index=False, lineterminator="\n"
    )


def _markdown_table(head: Sequence[str], rows: Rows) -> str:
    lines = [[_markdown(cell) for cell in row] for row in (head, *rows)]
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (lines[0], rule, *lines[1:]))


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _decimals(value: float, places: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{places}f}"
