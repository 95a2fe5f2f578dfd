from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from pare_tune.config import RunConfig, default_trial
from pare_tune.report import FinalWriter, TensorBoardWriter
from pare_tune.report.hparams import Column, row
from pare_tune.report.tensorboard import incumbents
from pare_tune.tasks import get_task
from pare_tune.train.patches import PATCHES, PatchRecord, _write
from pare_tune.tune.snapshot import Snapshot


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(e.step, e.value) for e in read(folder).Scalars(tag)]


def files(run: Path) -> dict[str, int]:
    return {
        folder.name: len(list(folder.glob("events.*")))
        for folder in sorted((run / "tensorboard").iterdir())
        if folder.is_dir()
    }


def expected(trial, field: str) -> list[tuple[int, float]]:
    return [(r["epoch"], pytest.approx(r[field], rel=1e-6)) for r in trial.curve if math.isfinite(r[field])]


def test_values_read_back_as_they_were(tmp_path: Path, make_search) -> None:
    s = make_search(12)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(s)
    for trial in s.trials:
        folder = tmp_path / "tensorboard" / f"trial-{trial.number:04d}"
        for field, tag in [
            ("score", "validation/mae_8"),
            ("train_loss", "loss/total"),
            ("loss_mixed_source", "loss/mixed_source"),
            ("k", "schedule/k"),
            ("lam", "schedule/lambda"),
            ("lr", "schedule/lr"),
            ("grad_norm", "train/grad_norm"),
            ("samples_per_s", "train/samples_per_s"),
            ("gate_entropy", "gate/entropy"),
            ("gate_source", "gate/source"),
        ]:
            assert points(folder, tag) == expected(trial, field)
    assert set(files(tmp_path).values()) == {1}


def test_folds_are_lines_of_their_own(tmp_path: Path, make_search, make_trial) -> None:
    whole = make_trial(0)
    curve = tuple({**r, "folds": 3, "fold": place // 3} for place, r in enumerate(whole.curve))
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(replace(whole, curve=curve),)))
    for fold in range(3):
        told = points(tmp_path / f"tensorboard/trial-0000/fold-{fold + 1}", "validation/mae_8")
        assert [step for step, _ in told] == [1, 2, 3]
        assert [v for _, v in told] == pytest.approx([r["score"] for r in curve[3 * fold : 3 * fold + 3]])


def test_epochs_are_added_as_they_come(tmp_path: Path, make_search, make_trial) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        for epoch in range(1, 9):
            writer.update(make_search(trials=(make_trial(0, "running", epoch=epoch),)))
            assert len(points(tmp_path / "tensorboard/trial-0000", "validation/mae_8")) == epoch
        writer.update(make_search(trials=(make_trial(0),)))
    assert points(tmp_path / "tensorboard/trial-0000", "schedule/k") == expected(make_trial(0), "k")
    assert files(tmp_path) == {"search": 1, "trial-0000": 1}


def test_resuming_writes_nothing_twice(tmp_path: Path, make_search) -> None:
    killed = TensorBoardWriter(tmp_path)
    killed.update(make_search(12))
    killed._owns.close()  # as the kernel ends the lock of a process that was killed; its files are never closed
    closed = {p: p.stat().st_mtime_ns for p in tmp_path.glob("tensorboard/trial-0003/events.*")}
    with TensorBoardWriter(tmp_path) as writer:
        later = make_search(14)
        writer.update(later)
        writer.update(later)
    killed.close()
    for trial in later.trials:
        assert points(tmp_path / f"tensorboard/trial-{trial.number:04d}", "loss/total") == expected(
            trial, "train_loss"
        )
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("tensorboard/trial-0003/events.*")} == closed
    assert len(closed) == 1
    steps = [step for step, _ in points(tmp_path / "tensorboard/search", "best/mae_8")]
    assert steps == sorted(set(steps))


def test_a_report_leaves_the_files_of_a_living_search_to_it(tmp_path: Path, make_search, make_trial) -> None:
    def now(epoch: int) -> Snapshot:
        return make_search(trials=(make_trial(0), make_trial(1, "running", epoch=epoch)))

    def report(snapshot: Snapshot) -> None:
        with TensorBoardWriter(tmp_path) as writer:
            writer.update(snapshot)

    search = TensorBoardWriter(tmp_path)
    search.update(now(3))
    report(now(5))
    for epoch in (6, 9):
        search.update(now(epoch))
        assert len(points(tmp_path / "tensorboard/trial-0001", "schedule/k")) == epoch
    search.close()
    ended = make_search(trials=(make_trial(0), make_trial(1)))
    report(ended)
    for trial in ended.trials:
        folder = tmp_path / f"tensorboard/trial-{trial.number:04d}"
        assert points(folder, "validation/mae_8") == expected(trial, "score")
        assert points(folder, "cost/epochs") == [(trial.number, trial.epoch)]
    assert set(files(tmp_path).values()) == {1}


def test_a_search_takes_over_from_a_report_that_came_first(tmp_path: Path, make_search, make_trial) -> None:
    first, second = (make_search(trials=(make_trial(0, "running", epoch=epoch),)) for epoch in (2, 3))
    report, search = TensorBoardWriter(tmp_path), TensorBoardWriter(tmp_path)
    report.update(first)
    search.update(first)
    report.close()
    search.update(second)
    search.close()
    assert points(tmp_path / "tensorboard/trial-0000", "schedule/k") == expected(second.trials[0], "k")


def test_a_retry_starts_its_curve_anew(tmp_path: Path, make_search, make_trial) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(make_trial(0, "running", epoch=4, floor=5.0),)))
        writer.update(make_search(trials=(make_trial(0, "running", epoch=4, retries=1),)))
        writer.update(make_search(trials=(make_trial(0, retries=1),)))
    assert points(tmp_path / "tensorboard/trial-0000", "validation/mae_8") == expected(make_trial(0), "score")


def test_the_search_has_its_best_so_far(tmp_path: Path, make_search) -> None:
    s = make_search(12)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(4))
        writer.update(s)
    found = points(tmp_path / "tensorboard/search", "best/mae_8")
    assert found == [(n, pytest.approx(v, rel=1e-6)) for n, v in incumbents(s)]
    assert [n for n, _ in found] == list(range(10))
    assert found[-1][1] == pytest.approx(s.best.best_score, rel=1e-6)


def test_the_best_so_far_waits_for_the_trials_before(make_search, make_trial) -> None:
    late = make_search(trials=(make_trial(0), make_trial(1, "running", epoch=2), make_trial(2, floor=1.0)))
    assert [n for n, _ in incumbents(late)] == [0]


def hparams(folder: Path) -> dict[str, object]:
    content = read(folder).PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/session_start_info"]
    ).session_start_info
    return {name: getattr(value, f"{value.WhichOneof('kind')}") for name, value in start.hparams.items()}


def test_settings_go_to_the_hparams_tab_without_those_that_do_not_apply(
    tmp_path: Path, make_search, make_trial
) -> None:
    plain = make_trial(0, params={"gate.kind": "fc", "optimizer.clip": None})
    mlp = make_trial(1, "pruned", epoch=3, params={"gate.kind": "mlp", "gate.hidden": 64})
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(plain, mlp)))
    assert hparams(tmp_path / "tensorboard/trial-0000") == {
        "gate.kind": "fc", "optimizer.clip": "none", "state": "complete",
    }  # fmt: skip
    assert hparams(tmp_path / "tensorboard/trial-0001") == {
        "gate.kind": "mlp",
        "gate.hidden": 64,
        "state": "pruned",
    }
    assert points(tmp_path / "tensorboard/trial-0001", "best/mae_8") == [
        (1, pytest.approx(mlp.best_score, rel=1e-6))
    ]
    assert points(tmp_path / "tensorboard/trial-0001", "cost/epochs") == [(1, 3)]
    # An experiment summary of one trial would hide the settings that only others have.
    assert "_hparams_/experiment" not in read(tmp_path / "tensorboard/trial-0000").PluginTagToContent(
        "hparams"
    )


SPACE = """
k.start: {float: [0.1, 0.9]}
optimizer.weight_decay: {choice: [0.0, 1e-3]}
gate.kind: {choice: [fc, mlp]}
gate.hidden: {int: [8, 64], when: {gate.kind: [mlp]}}
"""


def test_the_hparams_page_has_the_settings_of_the_space_before_any_trial_has_them(
    tmp_path: Path, make_search, make_trial
) -> None:
    base = default_trial(get_task("wdbc"), preset="embedded").with_values({"optimizer.weight_decay": 0.5})
    (tmp_path / "run.yaml").write_text(RunConfig(trial=base).to_yaml())
    (tmp_path / "space.yaml").write_text(SPACE)
    default = make_trial(0, params={"k.start": 0.957, "optimizer.weight_decay": 0.5, "gate.kind": "fc"})
    again = replace(make_trial(1, params=default.params), repeats=0)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(default, again)))
    content = read(tmp_path / "tensorboard/search").PluginTagToContent("hparams")
    page = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    number, word = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_STRING
    assert {i.name: (i.type, list(i.domain_discrete)) for i in page.hparam_infos} == {
        "k.start": (number, []),
        "optimizer.weight_decay": (number, [0.0, 1e-3, 0.5]),  # trial 0's own, which no page must filter out
        "gate.kind": (word, ["fc", "mlp"]),
        "gate.hidden": (number, []),
        "state": (word, ["complete", "failed", "pruned"]),
        "repeats": (number, []),
    }
    assert [(m.name.tag, m.display_name) for m in page.metric_infos] == [
        ("best/mae_8", "best mae_8, Å"),
        ("cost/epochs", "epochs"),
        ("cost/seconds", "seconds"),
    ]
    assert hparams(tmp_path / "tensorboard/trial-0001") == {
        **default.params,
        "state": "complete",
        "repeats": 0,
    }


def test_a_column_has_values_of_one_type(make_trial) -> None:
    columns = [Column("a", ("0.5", "none")), Column("b", None), Column("c", ("true", "false"))]
    shown = [row(columns, make_trial(0, params=p)) for p in ({"a": 0.5, "b": None}, {"a": None, "c": True})]
    assert shown == [{"a": "0.5", "state": "complete"}, {"a": "none", "c": "true", "state": "complete"}]


def test_times_are_those_of_the_search(tmp_path: Path, make_search, make_trial) -> None:
    plain = make_trial(0)
    curve = tuple({**r, "elapsed": 7.0 * r["epoch"]} for r in plain.curve)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(replace(plain, curve=curve),)))
    times = [e.wall_time for e in read(tmp_path / "tensorboard/trial-0000").Scalars("schedule/k")]
    assert np.diff(times) == pytest.approx(7.0, abs=1e-3), (
        "written at once, and yet a training's length apart"
    )


def test_a_trial_that_failed_before_its_first_epoch_has_settings_only(
    tmp_path: Path, make_search, make_trial
) -> None:
    failed = make_trial(0, "failed", epoch=0, params={"k.start": 0.5}, cause="crashed")
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(failed,)))
    assert hparams(tmp_path / "tensorboard/trial-0000") == {"k.start": 0.5, "state": "failed"}
    assert read(tmp_path / "tensorboard/trial-0000").Tags()["scalars"] == []


def test_an_empty_search_writes_nothing(tmp_path: Path, make_search) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=()))
    assert not (tmp_path / "tensorboard").exists()


def test_a_torn_state_file_is_no_obstacle(tmp_path: Path, make_search) -> None:
    s = make_search(5)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(s)
    (tmp_path / "tensorboard/written.json").write_text('{"0": ["comp')
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(s)
    assert points(tmp_path / "tensorboard/trial-0000", "schedule/k") == expected(s.trials[0], "k")


def record_pictures(folder: Path, *epochs: int) -> None:
    none = np.zeros((0, 0), np.float16)
    for epoch in epochs:
        mask = np.eye(1, 4, epoch % 4, dtype=np.uint8)
        _write(
            folder / PATCHES / f"{epoch:05d}.npz",
            PatchRecord(
                epoch=epoch, k=1, grid=(2, 2), target_x=np.zeros((1, 1, 4, 4), np.float16),
                source_x=np.zeros((1, 3, 4, 4), np.float16), target_mask=1 - mask, source_mask=mask,
                target_score=none, source_score=none,
            ),
        )  # fmt: skip


def pictures(folder: Path) -> list[int]:
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return [e.step for tag in events.Tags()["images"] for e in events.Images(tag)]


def test_kept_trials_have_pictures_of_their_patches(tmp_path: Path, make_search, make_trial) -> None:
    record_pictures(tmp_path / "trials/0000", 1, 3)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(make_trial(0), make_trial(1))))
    assert pictures(tmp_path / "tensorboard/trial-0000") == [1, 3]
    assert pictures(tmp_path / "tensorboard/trial-0001") == []


def test_pictures_of_running_trials_come_if_the_trial_is_likely_to_be_kept(
    tmp_path: Path, make_search, make_trial
) -> None:
    for number in (1, 2):
        record_pictures(tmp_path / f"trials/{number:04d}", 1, 3)
    leading = make_trial(1, "running", epoch=3, floor=0.1)
    behind = make_trial(2, "running", epoch=3, floor=9.0)
    with TensorBoardWriter(tmp_path) as writer:
        writer.update(make_search(trials=(make_trial(0), leading, behind)))
        assert pictures(tmp_path / "tensorboard/trial-0001") == [1, 3]
        assert pictures(tmp_path / "tensorboard/trial-0002") == []
        record_pictures(tmp_path / "trials/0001", 6, 9)
        ended = make_trial(1, floor=0.1)
        writer.update(make_search(trials=(make_trial(0), ended, behind)))
    assert pictures(tmp_path / "tensorboard/trial-0001") == [1, 3, 6, 9], "each once"


@pytest.mark.parametrize("in_a_run", [True, False])
def test_the_final_training_stands_beside_the_search_it_came_from(
    tmp_path: Path, make_trial, in_a_run: bool
) -> None:
    run, final = tmp_path / "run", tmp_path / "run/final"
    record_pictures(final, 1, 3)
    if in_a_run:
        (run / "study.journal").touch()
    trial = make_trial(0)
    for told in (3, 9):  # interrupted after three epochs, then told all of them again
        with FinalWriter(final, "mae_8") as writer:
            for report in trial.curve[:told]:
                writer.add({**report, "gate_target": None})
            if told == 9:
                writer.end({"task": "psicov", "test": 2.5, "epoch": 7, "validation": 2.0})
    folder = (run if in_a_run else final) / "tensorboard/final"
    assert points(folder, "validation/mae_8") == expected(trial, "score")
    assert points(folder, "loss/mixed_source") == expected(trial, "loss_mixed_source")
    assert points(folder, "test/mae_8") == [(7, 2.5)]
    assert pictures(folder) == [1, 3]
    assert len(list(folder.iterdir())) == 1
