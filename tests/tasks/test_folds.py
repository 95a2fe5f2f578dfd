"""Development samples cut into folds: who is held out with whom, what is fitted on what, and when to choose them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pare_tune.errors import ConfigError, DataError
from pare_tune.tasks import get_task
from pare_tune.tasks.folds import Fold, Folds, draw_folds, forward
from pare_tune.tasks.load import TaskData, load_fold, load_task, open_test
from pare_tune.tasks.own.spec import OwnData
from pare_tune.tasks.own.split import cut_in_time
from pare_tune.tasks.own.task import own_task
from pare_tune.tasks.own.validation import Validation, usual_validation
from pare_tune.yaml import validate

CLASSES = np.arange(30) % 3
ALONE = np.arange(30)
GROUPS = np.repeat(np.arange(10), 3)


@pytest.mark.parametrize("units", [ALONE, GROUPS], ids=["alone", "groups"])
@pytest.mark.parametrize("classes", [None, CLASSES], ids=["values", "classes"])
def test_every_sample_is_held_out_once_and_groups_and_classes_are_kept(units: Any, classes: Any) -> None:
    fold_n = draw_folds(Folds(5), units, classes)
    assert np.bincount(fold_n).tolist() == [6] * 5
    for unit in np.unique(units):
        assert len(np.unique(fold_n[units == unit])) == 1
    if classes is not None:
        assert all((np.bincount(classes[fold_n == k]) == 2).all() for k in range(5))
    assert (draw_folds(Folds(5), units, classes) == fold_n).all()
    assert (draw_folds(Folds(5, draw=1), units, classes) != fold_n).any(), "a fresh seed draws its own"


RARE = np.array([0] * 27 + [1] * 3)
ONE_GROUP = np.where(GROUPS == 4, 1, 0)


@pytest.mark.parametrize("size", [1, 3])
def test_large_and_small_numbers_are_in_every_fold(size: int) -> None:
    numbers = np.random.default_rng(0).lognormal(sigma=2.0, size=(60, 1))
    units = np.arange(60) // size
    fold_n = draw_folds(Folds(5), units, numbers)
    assert all(len(set(fold_n[units == unit])) == 1 for unit in units)
    order = np.argsort(numbers[:, 0])
    held_out = [set(fold_n[order[part : part + 20]]) for part in (0, 20, 40)]
    assert held_out == [set(range(5))] * 3
    if size == 1:
        assert all(
            np.bincount(fold_n[order[part : part + 6]], minlength=5).max() <= 2 for part in range(0, 60, 6)
        )


@pytest.mark.parametrize(
    ("count", "units", "classes", "told"),
    [
        (5, ALONE, RARE, r"5 folds need 5 samples of each class, class 'b' has 3 in train and val.*search\.folds=3"),
        (12, GROUPS, None, r"12 folds need as many groups .* have 10; take fewer \(--set search\.folds=10\)"),
        (2, np.zeros(30, int), None, r"2 folds need as many groups .* have 1; one split"),
        (3, GROUPS, ONE_GROUP, r"class 'b' is in one group only.*search\.validation=split"),
        (3, np.repeat([0, 1, 2], [28, 1, 1]), np.r_[[0, 1] * 14, 0, 1], None),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_told(count: int, units: Any, classes: Any, told: str | None) -> None:
    if told is None:
        assert set(draw_folds(Folds(count), units, classes)) == {0, 1, 2}
        return
    with pytest.raises(DataError, match=told):
        draw_folds(Folds(count), units, classes, names=["a", "b"])


def spec_of(root: Path, **tree: Any) -> OwnData:
    return validate(OwnData, {"name": "mine", "kind": "point", **tree}, where="task").under(root)


def folds_of(spec: OwnData, cache: Path, count: int) -> list[TaskData]:
    task = own_task(spec, cache)
    return [load_fold(task, Fold(Folds(count), number), cache=cache) for number in range(count)]


def test_a_fold_of_ones_own_table_is_fitted_on_its_own_training_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": np.arange(60.0) ** 2, "y": np.arange(60) % 2})
    frame.to_csv(tmp_path / "t.csv", index=False)
    spec = spec_of(tmp_path, input="t.csv", target="y", split={"seed": 3})
    whole = load_task(own_task(spec, tmp_path / "cache"), cache=tmp_path / "cache")
    development = np.stack([d.item(i)["x"] for d in (whole.train, whole.val) for i in range(len(d))])[:, 0]
    labels = [int(d.item(i)["y"]) for d in (whole.train, whole.val) for i in range(len(d))]
    folds = folds_of(spec, tmp_path / "cache", 3)
    assert sorted(np.concatenate([f.val_index for f in folds])) == list(range(len(development)))
    for fold in folds:
        x = np.stack([fold.train.item(i)["x"] for i in range(len(fold.train))])[:, 0]
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
        held_out = np.stack([fold.val.item(i)["x"] for i in range(len(fold.val))])[:, 0]
        # One line maps the whole task's scale to the fold's: the samples are those that the index names.
        for column in range(2):
            fit = np.polyfit(development[fold.val_index, column], held_out[:, column], 1)
            np.testing.assert_allclose(
                np.polyval(fit, development[fold.val_index, column]), held_out[:, column], atol=1e-4
            )
        assert [int(fold.val.item(i)["y"]) for i in range(len(fold.val))] == [
            labels[i] for i in fold.val_index
        ]
        assert len(fold.train) + len(fold.val) == len(development), "test is no part of it"


def test_groups_of_ones_own_data_stay_together(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 20)))
    table = pd.DataFrame({"y": np.arange(60) % 2, "machine": np.repeat(np.arange(12), 5)})
    table.to_csv(tmp_path / "t.csv", index=False)
    spec = spec_of(tmp_path, input="x.npy", target="t.csv:y", split={"group": "t.csv:machine"})
    task = own_task(spec, tmp_path / "cache")
    assert task.units is not None
    units = task.units()
    held_out = [set(units[f.val_index]) for f in folds_of(spec, tmp_path / "cache", 3)]
    assert len(set.union(*held_out)) == sum(map(len, held_out))


def in_time(root: Path, days: Any, **split: Any) -> OwnData:
    """Samples whose first feature is their place in time, in any order."""
    frame = pd.DataFrame({"a": np.arange(len(days)), "day": days, "y": np.arange(len(days)) % 2})
    frame.sample(frac=1, random_state=0).to_csv(root / "t.csv", index=False)
    return spec_of(root, input="t.csv", target="y", normalise="none", split={"time": "day", **split})


def test_folds_in_time_go_forward_and_dates_need_no_order_in_the_file(tmp_path: Path) -> None:
    spec = in_time(tmp_path, pd.date_range("2026-01-01", periods=80).astype(str))
    task = own_task(spec, tmp_path / "cache")
    whole = load_task(task, cache=tmp_path / "cache")

    def times(data: Any) -> list[float]:
        return sorted(float(data.item(i)["x"][0, 0]) for i in range(len(data)))

    test = open_test(task, cache=tmp_path / "cache")
    assert [*times(whole.train), *times(whole.val), *times(test)] == list(range(80))
    assert (len(whole.train), len(whole.val), len(test)) == (56, 12, 12)
    before: list[float] = []
    for fold in folds_of(spec, tmp_path / "cache", 3):
        assert [*times(fold.train), *times(fold.val)] == list(range(len(fold.train) + len(fold.val)))
        assert times(fold.train) == before or not before
        before = [*times(fold.train), *times(fold.val)]
        development = [float(d.item(i)["x"][0, 0]) for d in (whole.train, whole.val) for i in range(len(d))]
        assert sorted(development[i] for i in fold.val_index) == times(fold.val)
    assert before == list(range(68)), "all but test"


@pytest.mark.parametrize(
    ("days", "split", "told"),
    [
        ([1] * 30 + [2] * 30, {}, "3 splits in time need at least as many times, found 2"),
        (["soon"] * 60, {}, "time must be numbers, clock times or dates, found 'soon'"),
        (list(range(60)), {"group": "a"}, "time and group both say how to cut; give one of them"),
    ],
)
def test_what_no_time_cuts_is_told(days: Any, split: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, ConfigError), match=told):
        own_task(in_time(tmp_path, days, **split), tmp_path / "cache")


def test_samples_of_one_time_stay_together_and_folds_in_time_need_times(tmp_path: Path) -> None:
    times = np.repeat([5, 1, 4, 2, 3], [7, 20, 1, 2, 30])
    split = cut_in_time(times, (0.7, 0.15, 0.15))
    assert {time: set(split[times == time]) for time in range(1, 6)} == {
        1: {0},
        2: {0},
        3: {0},
        4: {1},
        5: {2},
    }
    assert forward(Fold(Folds(2), 0), times)[times == 5].tolist() == [-1] * 7
    with pytest.raises(
        DataError, match=r"5 folds that go forward in time need more than 5 times.*search\.folds=4"
    ):
        forward(Fold(Folds(5), 0), times)
    with pytest.raises(
        DataError, match=r"class 'b' comes only after the times that fold 1 of 3 is trained on"
    ):
        forward(Fold(Folds(3), 2), np.arange(12), np.repeat([0, 1], [4, 8]), names=["a", "b"])


def test_a_benchmark_is_cut_from_its_own_splits(tmp_path: Path) -> None:
    task = get_task("wdbc")
    whole = load_task(task)
    folds = [load_fold(task, Fold(Folds(4), number)) for number in range(4)]
    assert sorted(np.concatenate([f.val_index for f in folds])) == list(
        range(len(whole.train) + len(whole.val))
    )
    first, at = folds[0], int(folds[0].val_index[-1]) - len(whole.train)
    assert (first.val.item(len(first.val) - 1)["x"] == whole.val.item(at)["x"]).all()


@pytest.mark.parametrize(
    ("samples", "tree", "expected"),
    [
        (60, {}, Validation("folds", 3, "the validation split has 9 samples, fewer than 300")),
        (200, {}, Validation("folds", 5, "the validation split has 30 samples, fewer than 300")),
        (2400, {}, Validation("split", 5, "360 samples")),
        (2400, {"target": "t.csv:rare"}, Validation("folds", 5, "it has 9 samples of 'b' in validation, fewer")),
        (60, {"target": "t.csv:rarest"}, Validation("folds", 2, "the validation split has 9 samples, fewer than 300")),
        (60, {"split": {"column": "t.csv:split"}}, Validation("split", 5, "as you cut it; the validation split has")),
        (60, {"split": {"column": "t.csv:tested"}}, Validation("folds", 3, "the validation split has 7")),
        (60, {"split": {"group": "t.csv:rarest"}}, Validation("folds", 2, "the validation split has")),
    ],
)  # fmt: skip
def test_folds_are_chosen_where_the_validation_split_is_small(
    samples: int, tree: dict[str, Any], expected: Validation, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(samples, 20)))
    number = np.arange(samples)
    pd.DataFrame(
        {
            "y": np.where(number % 2, "a", "b"),
            "rare": np.where(number % 40, "a", "b"),
            "rarest": np.where(number < 3, "b", np.where(number < 30, "a", "c")),
            "split": np.array(["train", "val", "test"])[number % 3],
            "tested": np.where(number % 3, "train", "test"),
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    spec = spec_of(tmp_path, **{"input": "x.npy", "target": "t.csv:y", **tree})
    chosen = usual_validation(spec, tmp_path / "cache", 60)
    assert (chosen.method, chosen.folds) == (expected.method, expected.folds)
    assert chosen.why.startswith(expected.why)
