from __future__ import annotations

import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from pare_tune.errors import ConfigError, StorageError, StudyFailed
from pare_tune.report import words, write_comparison, write_report

YAML = "method: {method}\nbackbone: micro-swin\ntrain: {{epochs: {epochs}, batch_size: 8}}\n"


@pytest.fixture
def runs(tmp_path: Path, make_confirmed):
    """Two runs of one task and one of another, with their files."""
    found = []
    for name, size, changes in (
        ("psicov-1", 40, {}),
        ("psicov-2", 50, {}),
        ("ecg-1", 30, {"task": "ecg", "metric": "macro_f1_error", "unit": "1"}),
    ):
        run = tmp_path / name
        run.mkdir()
        (run / "best.yaml").write_text(YAML.format(method="pare", epochs=9 if name == "psicov-1" else 12))
        (run / "run.yaml").write_text(
            f"trial: {{method: pare, data: /here/{name}}}\nsearch: {{seed: {size}, confirm: 2}}\nruns: /x/{name}\n"
        )
        found.append(make_confirmed(size, run=run, **changes))
    write_report(found[0].run, found[0])
    return found


def text_of(path: Path) -> str:
    source = re.sub(r"<(script|style).*?</\1>", " ", path.read_text(encoding="utf-8"), flags=re.S)
    source = re.sub(r"<[^>]+>", " ", source)
    return " ".join(source.replace("&#39;", "'").replace("&lt;", "<").split())


def figures_of(path: Path) -> dict:
    found = re.search(r'id="figures">(.*?)</script>', path.read_text(encoding="utf-8"), flags=re.S)
    assert found is not None
    return json.loads(found[1])


def test_runs_of_one_task_are_drawn_together(tmp_path: Path, runs) -> None:
    path = write_comparison(runs[:2], tmp_path / "compare.html")
    figures = figures_of(path)
    assert list(figures) == ["overlaid-0", "overlaid-time-0"]
    for figure in figures.values():
        go.Figure(figure)
        assert [t["name"] for t in figure["data"]] == ["psicov-1", "psicov-2"]
        assert len({(t["line"]["color"], t["line"]["dash"]) for t in figure["data"]}) == 2
    ends = [t["y"][-1] for t in figures["overlaid-0"]["data"]]
    leaders = [s.trials[s.choice.leader].best_score for s in runs[:2]]
    assert ends == pytest.approx(leaders, rel=1e-4)
    said = text_of(path)
    for s in runs[:2]:
        assert words.judged(s, s.best) in said
        assert words.judged(s, s.default) in said
        assert f"{len(s.searched) + 6 - s.count('pruned') - s.count('failed')} finished" in said
    assert "Only runs of one task" not in said
    assert 'href="psicov-1/report.html"' in path.read_text()
    assert 'href="psicov-2/report.html"' not in path.read_text(), "there is none"
    assert path.stat().st_size <= 6e6


def test_different_tasks_stand_in_one_table_and_are_not_overlaid(tmp_path: Path, runs) -> None:
    path = write_comparison([runs[0], runs[2]], tmp_path / "compare.html")
    assert figures_of(path) == {}
    assert "Only runs of one task on one kind of data are drawn together" in text_of(path)
    assert len(path.read_bytes()) < 100_000
    both = write_comparison(runs, tmp_path / "compare.html")
    assert list(figures_of(both)) == ["overlaid-0", "overlaid-time-0"]
    assert "psicov: best score over the epochs" in text_of(both)


def test_scores_on_other_data_are_not_overlaid(tmp_path: Path, runs, make_confirmed) -> None:
    real = make_confirmed(40, run=tmp_path / "real", provenance="real")
    path = write_comparison([runs[0], real], tmp_path / "compare.html")
    assert figures_of(path) == {}
    assert "data: real" in text_of(path)
    assert "data: sample" in text_of(path)


def test_settings_that_differ_are_marked_and_those_that_do_not_are_folded_away(tmp_path: Path, runs) -> None:
    path = write_comparison(runs[:2], tmp_path / "compare.html")
    source = path.read_text(encoding="utf-8")
    rows = re.findall(r'<tr( class="differs")?><td><code>([^<]+)</code>', source)
    marked = {name: bool(mark) for mark, name in rows}
    assert marked["train.epochs"]
    assert marked["search.seed"]
    assert not marked["backbone"]
    assert not marked["search.confirm"]
    assert "trial.data" not in marked, "where the data lie changes no result"
    assert "runs" not in marked
    best = runs[0].best.params
    assert words.setting(best["optimizer.lr"]) in source


def test_a_run_without_files_or_trials_is_compared_all_the_same(tmp_path: Path, runs, make_search) -> None:
    bare = make_search(trials=(), run=tmp_path / "bare", remaining_s=None)
    said = text_of(write_comparison([runs[0], bare], tmp_path / "compare.html"))
    assert "bare" in said
    assert "no trials" in said


def test_names_are_told_apart_and_escaped(tmp_path: Path, make_confirmed) -> None:
    nasty = "<b>x&y</b>"
    same = [make_confirmed(30, run=tmp_path / folder / "psicov-1", task=nasty) for folder in ("a", "b")]
    path = write_comparison(same, tmp_path / "compare.html")
    assert "a/psicov-1" in text_of(path)
    assert "b/psicov-1" in text_of(path)
    assert nasty not in path.read_text(encoding="utf-8").replace("\\u003c", "<").split('id="figures"')[0]


def test_a_page_that_cannot_be_written_says_where(tmp_path: Path, runs) -> None:
    (tmp_path / "compare.html").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*compare\.html"):
        write_comparison(runs, tmp_path / "compare.html")


def test_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    from pare_tune.api import compare_runs

    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is not a run folder"):
        compare_runs([tmp_path / "empty", tmp_path / "none"])
    with pytest.raises(ConfigError, match="given twice"):
        compare_runs([tmp_path / "empty", tmp_path / "empty"])
    assert not (tmp_path / "compare.html").exists()


def test_a_run_that_ended_before_its_first_trial_is_refused(tmp_path: Path) -> None:
    from pare_tune.api import compare_runs
    from pare_tune.config import RunConfig, default_trial
    from pare_tune.tasks import get_task

    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        config = RunConfig(trial=default_trial(get_task("wdbc"), preset="embedded"))
        (folder / "run.yaml").write_text(config.to_yaml())
        (folder / "space.yaml").write_text("")
    with pytest.raises(StudyFailed, match="ended before its first trial"):
        compare_runs(folders, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
