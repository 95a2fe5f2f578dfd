"""The command line as a person meets it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pare_tune.cli import main
from pare_tune.config import default_trial
from pare_tune.tasks import get_task


class Call:
    """The command line in this process, which has torch loaded already."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cwd: Path
    ) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "80")

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["pare-tune", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def refused(self, *arguments: str | Path, parts: list[str]) -> None:
        code, _, error = self(*arguments)
        assert code == 2, error
        assert "Traceback" not in error
        for part in parts:
            assert part in error


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    return Call(monkeypatch, capsys, tmp_path)


def test_help_shows_worked_examples_within_80_columns(call: Call) -> None:
    code, shown, _ = call("--help")
    assert code == 0
    assert "pare-tune --task psicov --budget 50" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_tasks_are_listed(call: Call) -> None:
    rows = json.loads(call("tasks", "--json")[1])
    assert {"psicov", "ninapro", "ecg", "advection", "wdbc"} <= {r["name"] for r in rows}
    assert max(map(len, call("tasks")[1].splitlines())) <= 80


def test_tasks_are_chosen_by_name_or_benchmark(call: Call) -> None:
    assert {r["benchmark"] for r in json.loads(call("tasks", "openml", "--json")[1])} == {"OpenML-CC18"}
    assert "\nwdbc" in call("tasks", "wdbc")[1]
    call.refused("tasks", "wdbd", parts=["no task or benchmark named 'wdbd'", "'wdbc'"])


def test_sources_are_listed_with_what_is_found(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    monkeypatch.setenv("PARE_TUNE_DATA", str(tmp_path))
    rows = {r["name"]: r["data"] for r in json.loads(call("sources", "--json")[1])}
    assert (rows["cifar100"], rows["cifar10"], rows["docs"]) == ("found", "missing", "embedded")
    monkeypatch.setenv("PARE_TUNE_SOURCES", str(tmp_path / "elsewhere"))
    assert {r["data"] for r in json.loads(call("sources", "--json")[1])} == {
        "embedded",
        "missing",
        "your own",
    }
    _, shown, _ = call("sources", "--data", tmp_path)
    assert f"looked below {tmp_path}" in shown
    assert max(map(len, shown.partition("looked")[0].splitlines())) <= 80


def test_the_folder_and_size_of_a_source_are_settings_of_the_search(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARE_TUNE_SOURCES", str(tmp_path))
    given = ["--task", "wdbc", "--source", "textfile", "--set", "source.samples=500"]
    plan = json.loads(call(*given, "--dry-run", "--json")[1])
    assert plan["trial"]["source"] == {"name": "textfile", "data": str(tmp_path), "samples": 500}
    (tmp_path / "run.yaml").write_text(json.dumps(plan))
    monkeypatch.setenv("PARE_TUNE_SOURCES", str(tmp_path / "elsewhere"))
    again = json.loads(call("--config", "run.yaml", "--dry-run", "--json")[1])
    assert again == plan, "a search is repeated as it was, whatever the environment says now"
    call.refused("--task", "wdbc", "--set", "source.samples=0", parts=["source.samples", "got 0"])


def test_data_status_says_what_each_task_would_read(call: Call, tmp_path: Path) -> None:
    _, shown, _ = call("data", "status")
    assert max(map(len, shown.splitlines())) <= 80
    (tmp_path / "ninaPro").mkdir()
    (row,) = json.loads(call("data", "status", "ninapro", "--data", tmp_path, "--json")[1])
    assert (row["data"], row["lacking"], row["prepared_bytes"]) == ("real", [], None)


def test_old_prepared_data_are_cleaned(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARE_TUNE_CACHE", str(tmp_path / "cache"))
    old = tmp_path / "cache" / "prepared" / "wdbc-real-0123456789ab-0123456789ab"
    old.mkdir(parents=True)
    (old / "train.arrow").write_bytes(bytes(2000))
    assert "would free 2 kB in 1 folder" in call("data", "clean", "--dry-run")[1]
    assert old.is_dir()
    cleaned = json.loads(call("data", "clean", "--json")[1])
    assert cleaned["bytes"] == 2000
    assert [f["path"] for f in cleaned["folders"]] == [str(old)]
    assert not old.exists()
    assert "freed 0 bytes in 0 folders" in call("data", "clean")[1]


def test_a_dry_run_prints_a_plan_that_runs(call: Call, tmp_path: Path) -> None:
    plan = json.loads(call("--task", "wdbc", "--budget", "2h", "--seed", "3", "--dry-run", "--json")[1])
    assert plan["search"]["budget"] == "2 h"
    assert plan["trial"]["seed"] == plan["search"]["seed"] == 3
    (tmp_path / "run.yaml").write_text(json.dumps(plan))  # JSON is YAML
    assert json.loads(call("--config", "run.yaml", "--dry-run", "--json")[1]) == plan
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--task", "psicof"], ["no task named 'psicof'", "Did you mean 'psicov'"]),
        (["--task", "wdbc", "--budget", "soon"], ["budget", "'soon'"]),
        (["--task", "wdbc", "--preset", "tiny"], ["--preset", "'tiny'"]),
        (["--task", "wdbc", "--method", "magic"], ["--method", "'magic'"]),
        (["--task", "wdbc", "--set", "k.begin=1"], ["k.begin"]),
        (["--task", "wdbc", "--set", "k.start=1.5"], ["k", "1.5"]),
        (["--task", "wdbc", "--set", "epochs"], ["KEY=VALUE"]),
        (
            ["--task", "wdbc", "--set", "search.prunin=last"],
            ["no setting named 'search.prunin'", "'search.pruning'"],
        ),
        (["--task", "wdbc", "--set", "search.pruning=first"], ["pruning", "'first'"]),
        (["--task", "wdbc", "--set", "train.restart=9"], ["no setting named 'train.restart'"]),
        (
            ["--task", "wdbc", "--set", "trian.epochs=9"],
            ["Did you mean 'train.epochs'", "--task TASK --dry-run"],
        ),
        (["--task", "wdbc", "--backbone", "micro-swim"], ["no backbone named 'micro-swim'", "micro-swin"]),
        (["--task", "wdbc", "--backbone", "micro-swin"], ["sequence backbone", "micro-swin"]),
        (["--task", "wdbc", "--source", "dogs"], ["no source named 'dogs'"]),
        (["--task", "wdbc", "--data", "absent"], ["absent", "--data"]),
        (["--config", "absent.yaml"], ["absent.yaml"]),
        (["train", "absent.yaml"], ["absent.yaml"]),
        (["predict", "absent", "inputs.npy"], ["absent"]),
        (["resume", "absent"], ["absent"]),
        (["status", "absent"], ["absent"]),
        (["--seed", "3"], ["--task"]),
        (["--task", "wdbc", "--set", "k.start=[1"], ["--set k.start=[1", "YAML"]),
        (["--task", "wdbc", "--confirm", "0"], ["--confirm is no option", "--set search.confirm=VALUE"]),
        (["--task", "wdbc", "--no-portfolio"], ["--set search.portfolio=VALUE"]),
        (["--task", "wdbc", "--source-samples", "9"], ["--set source.samples=VALUE"]),
        (["--task", "wdbc", "--epochs", "9"], ["--set train.epochs=VALUE"]),
        (["--task", "wdbc", "--bugdet", "9"], ["No such option: --bugdet"]),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    call: Call, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    call.refused(*arguments, parts=parts)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_runs_folder_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    call.refused("--task", "wdbc", "--budget", "1", parts=["runs"])


def test_a_sample_is_written_in_the_releases_format(call: Call, tmp_path: Path) -> None:
    code, _, error = call("data", "sample", "ninapro", "copy")
    assert code == 0, error
    assert (tmp_path / "copy" / "ninaPro" / "ninapro_train.npy").is_file()
    call.refused("data", "sample", "ninapro", "copy", parts=["copy", "exists"])
    assert "data: sample" in call("data", "prepare", "ninapro", "--data", "copy")[1], "a copy is no release"
    (tmp_path / "copy" / "PROVENANCE").unlink()
    assert "data: real" in call("data", "prepare", "ninapro", "--data", "copy")[1]


def test_solved_data_come_at_the_size_of_the_release(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(get_task("advection"), release_size={"samples": 700, "points": 512})
    monkeypatch.setattr("pare_tune.tasks.pdes.ADVECTION", small)
    monkeypatch.setenv("PARE_TUNE_CACHE", str(tmp_path / "cache"))
    code, shown, error = call("data", "prepare", "advection", "--full")
    assert code == 0, error
    assert "700 samples, 512 points" in error
    assert "data: solved, 567 train, 63 val, input (1, 256)" in shown
    folder = Path(shown.split("--data ")[1].strip())
    plan = json.loads(call("--task", "advection", "--data", folder, "--dry-run", "--json")[1])
    assert plan["trial"]["data"] == str(tmp_path / folder), (
        "told from here, kept as it is found from anywhere"
    )
    assert call("data", "sample", "advection", "copy", "--full")[0] == 0
    assert "data: solved, 567 train" in call("data", "prepare", "advection", "--data", "copy")[1]
    assert json.loads(call("data", "clean", "--json")[1])["bytes"] == 0
    call.refused(
        "data", "sample", "psicov", "other", "--full", parts=["psicov", "not solved but sample", "--data"]
    )
    call.refused("data", "prepare", "advection", "--full", "--data", "copy", parts=["--full", "--data"])
    assert not (tmp_path / "other").exists()


def test_predictions_of_another_kind_of_file_are_refused_before_any_work(call: Call) -> None:
    code, _, error = call("predict", "no-model", "no-inputs.npy", "-o", "out.xlsx")
    assert code == 2
    assert "--out must end in .npy, .csv or .parquet" in " ".join(error.split())


@pytest.mark.parametrize(("test", "shown"), [(None, "undefined on"), (0.123456, "0.1235 Å on")])
def test_a_test_score_that_is_undefined_is_shown_as_such(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, test: float | None, shown: str
) -> None:
    found = {
        "metric": "auroc_error", "unit": "Å", "test": test, "test_samples": 9, "data": "real", "epoch": 1,
        "epochs": 2, "trained_on": "train", "folder": str(tmp_path / "final"),
    }  # fmt: skip
    monkeypatch.setattr("pare_tune.api.train", lambda *_, **__: found)
    (tmp_path / "final").mkdir()
    config = default_trial(get_task("wdbc"), preset="embedded").to_yaml()
    (tmp_path / "final/config.yaml").write_text(config, encoding="utf-8")
    code, out, error = call("train", "best.yaml")
    assert code == 0, error
    assert f"test auroc_error {shown} 9 samples" in " ".join(out.split())


# Data of the user's own


@pytest.fixture
def own(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    x = rng.normal(size=(60, 1, 64)).astype(np.float32)
    x[:, 0, :32] += 2.0 * labels[:, None]
    np.save(tmp_path / "inputs.npy", x)
    np.save(tmp_path / "labels.npy", np.array(["low", "high"])[labels])
    (tmp_path / "my-task.yaml").write_text("name: mine\nkind: point\ninput: inputs.npy\ntarget: labels.npy\n")
    return tmp_path


@pytest.mark.parametrize(
    "given",
    [
        ["--data", "inputs.npy", "--target", "labels.npy", "--kind", "point"],
        ["--task", "my-task.yaml"],
    ],
)
def test_own_data_are_planned_without_code(call: Call, own: Path, given: list[str]) -> None:
    code, shown, error = call(*given, "--budget", "20", "--dry-run")
    assert code == 0, error
    assert "series of 64 steps → 2 classes" in shown
    assert "preset: embedded (default for data of your own)" in " ".join(shown.split())
    assert "with --preset paper: roberta-base" in shown
    assert "memory of a trial: about" in shown
    plan = json.loads(call(*given, "--dry-run", "--json")[1])
    assert plan["trial"]["own"]["input"] == {"file": str(own / "inputs.npy")}
    assert plan["trial"]["data"] is None
    (own / "run.yaml").write_text(json.dumps(plan))
    assert json.loads(call("--config", "run.yaml", "--dry-run", "--json")[1]) == plan
    assert json.loads(call("--config", "run.yaml", *given, "--dry-run", "--json")[1]) == plan


def test_a_folder_of_releases_in_the_environment_is_not_own_data(
    call: Call, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARE_TUNE_DATA", str(own))
    assert call("--task", "my-task.yaml", "--dry-run")[0] == 0
    call.refused("--target", "labels.npy", "--kind", "point", parts=["needs --data FILE"])


def test_own_data_are_checked_and_prepared(call: Call, own: Path) -> None:
    code, shown, error = call("data", "check", "my-task.yaml")
    assert code == 0, error
    assert "next: pare-tune --task my-task.yaml --budget 20" in shown
    assert json.loads(call("data", "check", "my-task.yaml", "--json")[1])["ok"]
    assert "my-task.yaml: data: real, 42 train, 9 val" in " ".join(
        call("data", "prepare", "my-task.yaml")[1].split()
    )
    np.save(own / "labels.npy", np.zeros(60, int))
    call.refused("data", "check", "my-task.yaml", parts=["every sample is of class '0'"])
    code, shown, _ = call("data", "check", "my-task.yaml", "--json")
    assert (code, json.loads(shown)["ok"]) == (2, False)
    np.save(own / "labels.npy", np.arange(60) // 58)
    code, shown, _ = call("data", "check", "my-task.yaml")
    assert code == 2
    assert "problem: class '1' has 2 samples" in shown


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--task", "absent.yaml"], ["absent.yaml"]),
        (["--task", "my-task.yaml", "--data", "inputs.npy"], ["my-task.yaml says all of its data"]),
        (["--task", "ecg", "--kind", "point"], ["--kind is for data of your own"]),
        (
            ["--data", "inputs.npy", "--target", "labels.npy"],
            ["--kind point, multilabel, regression or dense"],
        ),
        (["--data", "inputs.npy", "--target", "labels.npy", "--kind", "class"], ["options: kind", "'class'"]),
        (["--data", "inputs.npy", "--kind", "point"], ["target is missing"]),
        (["--data", "input.npy", "--target", "labels.npy", "--kind", "point"], ["input.npy"]),
        (["--data", "inputs.npy", "--target", "labels.npy", "--kind", "dense"], ["labels.npy"]),
        (
            ["--data", "inputs.npy", "--target", "labels.npy", "--kind", "point", "--preset", "tiny"],
            ["'tiny'"],
        ),
        (["data", "check"], ["give a task file"]),
        (["data", "prepare", "my-task.yaml", "--data", "x"], ["leave out --data"]),
    ],
)
def test_wrong_own_data_are_one_message(
    call: Call, own: Path, arguments: list[str], parts: list[str]
) -> None:
    before = sorted(own.iterdir())
    call.refused(*arguments, parts=parts)
    assert sorted(own.iterdir()) == before
