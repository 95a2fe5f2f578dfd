"""What changed between a search and what follows it is told, and nothing that did not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pare_tune.config import TrialConfig, default_trial, load_trial, own_of, task_of
from pare_tune.errors import ConfigError
from pare_tune.tasks import get_task
from pare_tune.tasks.own.task import own_task
from pare_tune.train.fingerprint import Fingerprint, check_unchanged, package_versions, read_fingerprint

ROWS = [f"{i % 7},{i * i % 11},{'ab'[i % 2]}" for i in range(60)]


def write(table: Path, rows: list[str]) -> None:
    table.write_text("x,y,label\n" + "\n".join(rows) + "\n")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write(tmp_path / "rows.csv", ROWS)
    return tmp_path / "rows.csv"


def config_of(table: Path) -> TrialConfig:
    own = own_of(None, data=table, target="label", kind="point")
    assert own is not None
    return default_trial(own_task(own), preset="embedded", own=own)


def fingerprint(table: Path) -> Fingerprint:
    config = config_of(table)
    return Fingerprint.of(config, task_of(config))


def cut(table: Path) -> None:
    write(table, ROWS[:30])


def put_on_top(table: Path) -> None:
    write(table, ["9,9,a", "8,8,b", "7,7,a", "6,6,b", "5,5,a", *ROWS])


def edit(table: Path) -> None:
    write(table, [*ROWS[:-1], "5,5,b"])
    os.utime(table, (1e9, 1e9))


def swap_labels(table: Path) -> None:
    write(table, [row.translate(str.maketrans("ab", "ba")) for row in ROWS])


def touch(table: Path) -> None:
    os.utime(table, (1e9, 1e9))


def write_again(table: Path) -> None:
    table.unlink()
    write(table, ROWS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cut, ["samples: 60 → 30", "train: 40 → 20 samples", r"rows\.csv: 370 → 190 bytes"]),
        (
            put_on_top,
            [
                "samples: 60 → 65",
                "train: 40 → 45 samples",
                "test: 10 samples, other ones",
                r"rows\.csv: 370 → 400 bytes",
            ],
        ),
        (edit, ["samples: 60, other ones", "other ones", r"rows\.csv: "]),
        (swap_labels, ["samples: 60, other ones"]),
        (touch, []),
        (write_again, []),
    ],
)
def test_changed_samples_are_told_and_a_file_that_was_only_touched_is_not(
    table: Path, change: Callable[[Path], None], told: list[str]
) -> None:
    before = fingerprint(table)
    change(table)
    changes = "\n".join(before.changes(fingerprint(table)))
    assert bool(changes) == bool(told)
    for line in told:
        assert re.search(line, changes), changes


def test_the_data_may_move(table: Path, tmp_path: Path) -> None:
    before = fingerprint(table)
    (tmp_path / "elsewhere").mkdir()
    assert not before.changes(fingerprint(table.rename(tmp_path / "elsewhere" / "rows.csv")))


def test_other_splits_of_the_same_rows_are_told(table: Path) -> None:
    before = fingerprint(table)
    config = config_of(table)
    assert config.own is not None
    split = config.own.split.model_copy(update={"seed": 5})
    config = config.model_copy(update={"own": config.own.model_copy(update={"split": split})})
    after = Fingerprint.of(config, task_of(config))
    assert before.changes(after)[0] == "samples: 60, other ones"


def test_it_reads_what_it_wrote_behind_a_configuration(table: Path, tmp_path: Path) -> None:
    config, kept = config_of(table), fingerprint(table)
    best = tmp_path / "best.yaml"
    best.write_text(config.to_yaml() + kept.to_yaml())
    assert load_trial(best) == config
    assert read_fingerprint(best) == kept
    best.write_text(config.to_yaml())
    assert read_fingerprint(best) is None
    best.write_text(config.to_yaml() + "fingerprint: 3\n")
    with pytest.raises(ConfigError, match="not what pare-tune wrote"):
        read_fingerprint(best)


def test_backbones_are_told_by_their_weights_and_not_compared_under_another_name() -> None:
    config = default_trial(get_task("wdbc"), preset="embedded")
    task = task_of(config)
    kept = Fingerprint.of(config, task)
    other = replace(kept, backbone={**kept.backbone, "content": "0"})
    assert other.changes(kept) == ["backbone micro-roberta: other pretrained weights"]
    assert not replace(kept, backbone={"name": "roberta-base", "content": "0"}).changes(kept)
    assert not Fingerprint.of(config.with_values({"method": "scratch"}), task).backbone


@pytest.mark.parametrize(
    ("accept", "changed", "version", "noted"),
    [
        (False, False, "", []),
        (False, False, "0.1", ["versions changed since best.yaml was made, .*: numpy 0.1 → "]),
        (True, True, "", ["changed since best.yaml was made, and accepted: .*test: 8 → 10 samples.*scores do not"]),
        (True, True, "0.1", ["accepted", "versions changed"]),
    ],
)  # fmt: skip
def test_versions_warn_and_changes_can_be_accepted(
    table: Path, accept: bool, changed: bool, version: str, noted: list[str]
) -> None:
    now = fingerprint(table)
    then = now
    if changed:
        then = replace(then, splits={**now.splits, "test": {"samples": 8, "content": "0"}})
    if version:
        then = replace(then, packages={**now.packages, "numpy": version})
    notes: list[str] = []

    def check(*, accept: bool) -> None:
        check_unchanged(
            then, now, where=Path("best.yaml"), accept=accept, accepted_means="scores do not compare",
            notify=notes.append,
        )  # fmt: skip

    if changed:
        with pytest.raises(
            ConfigError, match=r"(?s)test: 8 → 10 samples.*--accept-changed-data.*scores do not"
        ):
            check(accept=False)
    check(accept=accept)
    assert len(notes) == len(noted)
    for note, pattern in zip(notes, noted, strict=True):
        assert re.search(pattern, note), note


def test_a_run_of_before_goes_on_with_a_note(table: Path) -> None:
    notes: list[str] = []
    check_unchanged(
        None, fingerprint(table), where=Path("run"), accept=False, accepted_means="-", notify=notes.append
    )
    assert notes == ["run does not say what data it was made on; whether they changed since cannot be told"]


def test_versions_are_of_what_is_installed() -> None:
    assert {"torch", "timm", "transformers", "numpy", "scikit-learn"} <= package_versions().keys()
