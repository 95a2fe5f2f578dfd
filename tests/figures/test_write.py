"""`pare-tune figures` as a person meets it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from pare_tune.cli import main
from pare_tune.config import default_trial
from pare_tune.errors import DataError, UnknownName
from pare_tune.figures.subject import find_model, open_subject
from pare_tune.figures.write import FIGURES, write_figures
from pare_tune.tasks import get_task

from .conftest import write_run

QUICK = ("--samples", "12", "--grid", "3", "--batches", "1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    for method in ("pare", "finetune"):
        config = default_trial(get_task("wdbc"), preset="embedded", method=method)  # type: ignore[arg-type]
        write_run(folder / method, config)
    return folder


class Command:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["pare-tune", "figures", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_the_quick_ones_are_written_and_the_others_named(figures: Command, runs: Path) -> None:
    code, out, error = figures(runs / "pare", *QUICK)
    assert code == 0, error
    written = sorted(p.name for p in (runs / "pare" / "figures").iterdir())
    stems = {name.rsplit(".", 1)[0] for name in written}
    assert {stem.split("-")[0] for stem in stems} == {"1b", "1c", "4", "6", "8"}
    assert len(written) == 4 * len(stems)
    assert "--only 1a" in out
    assert not any(p.stat().st_size == 0 for p in (runs / "pare" / "figures").iterdir())


def test_two_runs_are_compared_in_a_folder_of_ones_own(figures: Command, runs: Path, tmp_path: Path) -> None:
    code, _, error = figures(
        runs / "pare" / "best",
        "--only",
        "1A, 6",
        "--against",
        runs / "finetune",
        "-o",
        tmp_path / "f",
        *QUICK,
    )
    assert code == 0, error
    assert len(list((tmp_path / "f").iterdir())) == 8
    lines = (tmp_path / "f" / "1a-loss-landscape.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 9
    assert {line.split(",")[0] for line in lines[1:]} == {"pare", "finetune"}
    assert "wdbc" in (tmp_path / "f" / "6-source-knowledge.txt").read_text()


def test_a_run_that_mixes_nothing_is_told_once_and_still_has_its_landscape(
    figures: Command, runs: Path
) -> None:
    code, out, _ = figures(runs / "finetune", *QUICK)
    assert code == 0
    assert out.count("mixes none in") == 1
    assert "1b, 1c, 4: not drawn" in out
    assert figures(runs / "finetune", "--only", "1a", *QUICK)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("pare", "--only", "1d"), ["no figure named '1d'", "Did you mean", "'1a'"]),
        (("pare", "--only", "3"), ["pare-tune compare draws it"]),
        (("pare", "--only", ","), ["--only names figures"]),
        (("pare", "--inner", "sinkhorn"), ["gaussian or exact", "sinkhorn"]),
        (("pare", "--grid", "8"), ["odd", "8"]),
        (("pare", "--samples", "3"), ["at least 10", "3"]),
        (("none",), ["has no model to draw", "no such folder"]),
        (("pare/trials", "--only", "1a"), ["has no model to draw", "best/"]),
        (("finetune", "--only", "4"), ["figure 4", "method finetune", "mixes none in"]),
        (("pare", "--against", "none"), ["none has no model"]),
    ],
)
def test_mistakes_are_one_clear_message(
    figures: Command,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    parts: list[str],
) -> None:
    monkeypatch.chdir(runs)
    before = sorted(runs.rglob("*"))
    code, _, error = figures(*arguments)
    assert code == 2
    assert "Traceback" not in error
    for part in parts:
        assert part in error
    assert sorted(runs.rglob("*")) == before, "nothing is written"


def test_runs_of_different_tasks_are_not_compared(runs: Path, figures: Command, tmp_path: Path) -> None:
    shutil.copytree(runs / "finetune", tmp_path / "other")
    for path in (tmp_path / "other" / "best" / "config.yaml",):
        path.write_text(path.read_text().replace("task: wdbc", "task: car"))
    code, _, error = figures(runs / "pare", "--only", "1a", "--against", tmp_path / "other")
    assert code == 2
    assert "of wdbc" in error
    assert "of car" in error


def test_best_comes_before_final_and_a_models_run_is_found(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "pare", tmp_path / "run")
    run = tmp_path / "run"
    assert find_model(run) == run / "best"
    shutil.move(run / "best", run / "final")
    assert find_model(run) == run / "final"
    assert open_subject(run / "final").run == run.resolve()
    shutil.move(run / "final", tmp_path / "alone")
    assert open_subject(tmp_path / "alone").run == (tmp_path / "alone").resolve()
    with pytest.raises(DataError, match="no model"):
        find_model(run)


def test_the_registry_names_the_papers_figures() -> None:
    assert set(FIGURES) == {"1a", "1b", "1c", "4", "6", "8"}
    with pytest.raises(UnknownName, match="no figure named 'landscape'"):
        write_figures(Path("none"), only=["landscape"])
